"""The nouns and their tables."""

from __future__ import annotations

import subprocess
import sys

import pandas as pd
import pytest

from workbench.engine.formats import parse_format
from workbench.engine.load import load_report
from workbench.engine.report import EngineReport, EngineTensor, Layer, LayerTime, Weights
from workbench.errors import ReportError


def test_importing_the_package_pulls_in_no_heavy_library():
    code = (
        "import sys, workbench.engine.load, workbench.engine.report;"
        "bad = {'pandas', 'matplotlib', 'onnxruntime', 'tensorrt'} & set(sys.modules); assert not bad, bad"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_tables_have_a_row_each_and_sum_up(recorded):
    report = recorded("implicit_int8_fp16")
    table = report.layers_table()
    assert len(table) == 57
    assert table["ms"].sum() == pytest.approx(report.layers_ms)
    assert table["percent"].sum() == pytest.approx(100)
    assert table["weight_bytes"].sum() == report.weight_bytes
    types = report.types_table()
    assert list(types.index) == list(range(len(types)))
    assert types["ms"].is_monotonic_decreasing
    assert types["layers"].sum() == 57
    assert types["ms"].sum() == pytest.approx(report.layers_ms)
    tensors = report.tensors_table().set_index("tensor")
    assert pd.isna(tensors.loc["input", "made_by"])
    assert tensors.loc["input", "bytes"] == 32 * 3 * 224 * 224 * 4


def test_weights_are_those_of_resnet_50(recorded):
    # 25,502,912 convolution and dense weights and 27,560 biases, each biased Conv folding its BatchNormalization.
    report = recorded("tf32")
    counts = {
        role: sum(w.count for layer in report.layers for w in layer.weights if w.role == role)
        for role in ("Weights", "Bias")
    }
    assert counts["Weights"] == 64 * 3 * 49 + 23_445_504 + 2048 * 1000
    assert report.weight_bytes == 4 * sum(counts.values())


def test_unknown_stays_unknown_in_tables(engines):
    report = load_report(engines / "trt-8.6.0-h200" / "dynamic" / "resnet50.int8.graph.json")
    table = report.layers_table()
    assert table["input_bytes"].isna().all()
    assert table["ms"].isna().all()
    assert set(table["inputs"].str.split(", ").explode()) == {"unknown"}
    assert report.tensors_table()["dtype"].isna().all()
    assert report.layers_ms is None


def test_empty_engine_has_empty_tables(engines):
    report = load_report(engines / "trt-11-documented" / "io_tensors.json")
    assert report.layers_table().empty
    assert report.tensors_table().empty
    assert report.types_table().empty


def test_layer_by_name(recorded):
    report = recorded("fp16")
    assert report.layer("MaxPool_4").type == "CaskPooling"
    with pytest.raises(ReportError, match="no layer 'nope'"):
        report.layer("nope")


def test_tensor_bytes_of_an_unknown_format():
    assert EngineTensor("t", (1, 2), parse_format("something new")).nbytes is None


def test_a_layer_is_found_by_its_name_wherever_it_sorts():
    layers = tuple(
        Layer(name=name, type=kind) for name, kind in (("b", "Slice"), ("a", "Reformat"), ("c", "Convolution"))
    )
    report = EngineReport(name="e", layers=layers, dialect="d")
    assert [report.layer(name) for name in "abc"] == [layers[1], layers[0], layers[2]]
    assert report.reformat_layers == (layers[1],)


@pytest.mark.parametrize(
    ("name", "kind", "myelin"),
    [
        ("a", "TrainStation", True),
        ("a", "MyelinGraph", True),
        ("{ForeignNode[a...b]}", None, True),
        ("a", "CaskConvolution", False),
        ("a", None, False),
    ],
)
def test_what_myelin_made_tells_of_weights_where_it_lists_some(name, kind, myelin):
    bare = Layer(name=name, type=kind)
    assert bare.myelin == myelin
    assert bare.weight_bytes == (None if myelin else 0)
    assert Layer(name=name, type=kind, weights=(Weights("Weights", "fp16", 3),)).weight_bytes == 6


def test_types_are_in_order_of_time():
    times = (("a", "Relu", 1.0), ("b", None, 5.0), ("c", "Relu", 3.0), ("d", "Slice", None))
    layers = tuple(
        Layer(name=name, type=kind, time=None if ms is None else LayerTime(name, ms)) for name, kind, ms in times
    )
    table = EngineReport(name="e", layers=layers, dialect="d").types_table()
    assert table[["type", "layers"]].to_numpy().tolist() == [["unknown", 1], ["Relu", 2], ["Slice", 1]]
    assert table["ms"].tolist()[:2] == [5.0, 4.0]
    assert table["ms"].isna()[2]


def test_the_headline_has_the_sum_of_the_layers_where_they_have_times():
    layers = (Layer(name="a", time=LayerTime("a", 0.25)), Layer(name="b", time=LayerTime("b", 0.5)), Layer(name="c"))
    assert repr(EngineReport(name="e", layers=layers, dialect="d")).splitlines()[0] == "e: 3 layers, 0.7500 ms in all"
    assert repr(EngineReport(name="e", layers=layers[2:], dialect="d")).splitlines()[0] == "e: 1 layer"
