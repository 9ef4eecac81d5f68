"""Reports at the edges of what files say: percentiles, incomplete devices, braces in names, words for precisions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.kit.places import RECORDED
from workbench.engine.compare import compare_engines
from workbench.engine.dialects.profile import read_profile
from workbench.engine.dialects.source import source_name
from workbench.engine.dialects.text import read_inspector_text
from workbench.engine.dialects.timing import timing_of
from workbench.engine.dialects.trex import read_device
from workbench.engine.formats import MOST_ELEMENTS
from workbench.engine.fusion import fusion_map
from workbench.engine.load import load_report
from workbench.engine.precision import compare_precision
from workbench.engine.summary import load_engine
from workbench.engine.traits import layer_precision
from workbench.errors import ReportError


def test_percentiles_are_those_of_their_names():
    found = timing_of(np.arange(1001.0)).ms
    assert found == {"min": 0, "max": 1000, "mean": 500, "median": 500, "p90": 900, "p95": 950, "p99": 990}


@pytest.mark.parametrize("capability", [[8], [], None, "8.6", ["8", "six"]])
def test_an_unreadable_compute_capability_is_left_out(capability):
    assert "Compute Capability" not in read_device([{"Name": "GPU", "ComputeCapability": capability}])


def test_a_compute_capability_is_worded_as_in_other_files():
    assert read_device([{"ComputeCapability": [8, 6], "Name": "A"}])["Compute Capability"] == 8.6
    assert read_device([{"ComputeCapability": ["9", "0", "a"]}])["Compute Capability"] == 9.0


def test_names_may_hold_letters_that_sort_behind_braces():
    line = (
        "Name: a~b, LayerType: Convolution, "
        "Inputs: [ { Name: x~é, Dimensions: [1,3], Format/Datatype: Row major linear FP32 }], "
        "Outputs: [ { Name: y|z, Dimensions: [1,3], Format/Datatype: Row major linear FP32 }]"
    )
    (layer,) = read_inspector_text(line, "log").layers
    assert [tensor.name for tensor in (*layer.inputs, *layer.outputs)] == ["x~é", "y|z"]


def test_sources_are_named_by_what_they_are():
    assert source_name(Path("folder/engine.json")) == "folder/engine.json"
    assert source_name("engine.json") == "engine.json"
    assert source_name({"Layers": []}) == "a dict in memory"
    assert source_name('{"Layers": []}') == "JSON text"


def test_a_row_without_anything_is_passed_over_and_one_without_a_name_is_not():
    times = [{"count": 2}, {}, {"name": "a", "timeMs": 4}]
    assert [(name, time.average_ms) for name, time in read_profile(times, "p")[1]] == [("a", 2)]
    with pytest.raises(ReportError, match="entry 1 has no layer name"):
        read_profile([{"count": 2}, {"averageMs": 1}], "p")


@pytest.mark.parametrize("word", ["uint9", "zzz", "a"])
def test_what_is_no_precision_is_none(word):
    report = load_report(RECORDED / "vit_small.fp16.graph.json")
    with pytest.raises(ReportError, match="is no precision"):
        compare_precision(report, fusion_map(report), {"node": word})


def test_no_tensor_has_more_elements_than_a_machine():
    assert MOST_ELEMENTS == 2**48


def test_two_engines_are_compared_without_models():
    report = load_report(RECORDED / "vit_small.fp16.graph.json", name="one")
    other = load_report(RECORDED / "vit_small.qdq.graph.json", name="two")
    alone = compare_engines([report, other])
    assert alone.table().equals(compare_engines([report, other], models=[]).table())
    with pytest.raises(ReportError, match="there is nothing to compare"):
        compare_engines([])


def test_the_text_shows_ten_layers_and_ten_findings_and_json_all():
    name = "yolox_nano.qdq"
    summary = load_engine(RECORDED / f"{name}.graph.json")
    assert summary.text() == summary.text(top=10)
    assert summary.text() != summary.text(top=11)
    data = json.loads(summary.json())
    assert len(data["layers"]) == len(summary.report.layers)
    assert len(data["findings"]) == len(summary.findings)


def test_the_slowest_layers_come_first():
    summary = load_engine(RECORDED / "resnet50.fp16.graph.json", profile=RECORDED / "resnet50.fp16.profile.json")
    text = summary.text()
    times = [float(line.split(" ms")[0]) for line in text.splitlines() if line.startswith("    0.") and " ms " in line]
    assert times[:10] == sorted(times[:10], reverse=True)
    assert times[0] == pytest.approx(max(layer.ms for layer in summary.report.layers if layer.ms), abs=1e-4)
    first = next(line for line in text.splitlines() if line.startswith(f"    {times[0]:.4f}"))
    assert f"{times[0] / summary.report.layers_ms:.1%}" in first


def test_a_node_done_by_two_layers_is_known_from_the_first_that_computes():
    int8, fp16 = "Four wide channel vectorized row major Int8 format", "Row major linear FP16 format"

    def layer(name, kind, source, target, form):
        tensors = {"Dimensions": [1, 8, 4, 4], "Format/Datatype": form}
        sides = {"Inputs": [{"Name": source, **tensors}], "Outputs": [{"Name": target, **tensors}]}
        return {"Name": name, "LayerType": kind, "Metadata": "[ONNX Layer: conv]", **sides}

    layers = [layer("one", "CaskConvolution", "x", "t", int8), layer("two", "PointWiseV2", "t", "y", fp16)]
    report = load_report({"Layers": layers, "Bindings": ["x", "y"]})
    (verdict,) = compare_precision(report, fusion_map(report), {"conv": "int8"})
    first, second = (layer_precision(one) for one in report.layers)
    assert verdict.realized.precision == "fp16+int8"
    assert verdict.realized.layers == ("one", "two")
    assert verdict.realized.evidence == first.evidence != second.evidence
