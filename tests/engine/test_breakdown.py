"""What the engine charts show."""

from __future__ import annotations

import gzip

import onnx
import pytest

from workbench.engine.breakdown import (
    Transitions,
    layer_label,
    precision_share,
    roofline_dots,
    top_layers,
    transitions,
)
from workbench.engine.formats import TensorFormat
from workbench.engine.fusion import fusion_map
from workbench.engine.load import load_report
from workbench.engine.report import Binding, EngineReport, EngineTensor, Layer, LayerTime
from workbench.views.engines.data import latency_bars, layer_cells, short, squarify


@pytest.fixture(scope="module")
def load(shared):
    def one(name):
        folder = shared / "engines" / "trt-8.6.0-h200"
        return load_report(folder / f"{name}.graph.json", profile=folder / f"{name}.profile.json")

    return one


def test_bars_and_top_layers_agree(load):
    report = load("resnet50-b32.modelopt_int8_fp16")
    bars = latency_bars(report)
    assert len(bars) == 59
    assert sum(bar.ms for bar in bars) == pytest.approx(report.layers_ms)
    assert sum(bar.share for bar in bars) == pytest.approx(1)
    top = latency_bars(report, 5)
    assert top[0].label == "stem + Relu_3 + MaxPool_4"
    table = top_layers(report, 5)
    assert list(table["layer"]) == [bar.layer for bar in top]
    assert table["cumulative_percent"].iloc[-1] == pytest.approx(100 * sum(bar.share for bar in top))


def test_treemap_areas_are_the_times(load):
    report = load("small/ultraface_rfb320.int8_entropy2")
    for by in ("type", "scope"):
        cells = layer_cells(report, by)
        assert sum(cell.width * cell.height for cell in cells) == pytest.approx(1)
        total = sum(cell.ms for cell in cells)
        assert total == pytest.approx(report.layers_ms)
        for cell in cells:
            assert cell.width * cell.height == pytest.approx(cell.ms / total)
            assert -1e-9 <= cell.x <= cell.x + cell.width <= 1 + 1e-9
            assert -1e-9 <= cell.y <= cell.y + cell.height <= 1 + 1e-9


def test_scopes_come_from_source_nodes(load, shared):
    report = load("resnet50-b32.modelopt_int8_fp16")
    data = gzip.decompress(
        (shared / "engines" / "trt-8.6.0-h200" / "resnet50-b32.modelopt.zeroed.onnx.gz").read_bytes()
    )
    fusion = fusion_map(report, onnx.load_model_from_string(data))
    groups = {cell.group for cell in layer_cells(report, "scope", fusion)}
    assert groups == {"l1", "l2", "l3", "l4", "no scope"}


def test_squarify_fills_without_overlap():
    boxes = squarify([6, 6, 4, 3, 2, 2, 1], 0, 0, 6, 4)
    assert [width * height for _, _, width, height in boxes] == pytest.approx([6, 6, 4, 3, 2, 2, 1])
    # The example of the paper: two sixes above one another make the first column, 3 wide.
    assert boxes[0] == pytest.approx((0, 0, 3, 2))
    assert boxes[1] == pytest.approx((0, 2, 3, 2))
    for i, (ax, ay, aw, ah) in enumerate(boxes):
        for bx, by, bw, bh in boxes[i + 1 :]:
            across = min(ax + aw, bx + bw) - max(ax, bx)
            up = min(ay + ah, by + bh) - max(ay, by)
            assert across < 1e-9 or up < 1e-9
    assert squarify([], 0, 0, 1, 1) == []
    assert len(squarify([2.0**70, 1.0, 1e-300], 0, 0, 1, 1)) == 3


def test_precision_share_leaves_free_layers_out(load):
    shares = {share.precision: share for share in precision_share(load("resnet50-b32.modelopt_int8_fp16"))}
    # 53 convolutions and the dequantization at the end read int8.
    assert shares["int8"].layers == 54
    assert sum(share.layers for share in shares.values()) == 58


def test_transitions_count_edges_and_what_converting_costs(load):
    report = load("resnet50-b32.modelopt_int8_fp16")
    actual = transitions(report)
    assert actual.names == ("int8", "fp16", "fp32")
    cell = {(a, b): actual.edges[i][j] for i, a in enumerate(actual.names) for j, b in enumerate(actual.names)}
    assert cell["fp32", "int8"] == 1
    assert cell["int8", "fp16"] == 1
    assert cell["fp16", "fp32"] == 1
    # 52 convolutions after the stem, 16 of them with a second, residual input.
    assert cell["int8", "int8"] == 52 + 16
    assert actual.conversion_ms[2][0] == report.layer("input_QuantizeLinear").ms
    total = sum(sum(row) for row in actual.conversion_ms)
    assert total == pytest.approx(sum(layer.ms for layer in report.reformat_layers))


def test_unknown_precision_is_a_row_of_its_own(shared):
    report = load_report(shared / "engines" / "trt-8.6.0-h200" / "dynamic" / "resnet50.int8.graph.json")
    assert "unknown" in transitions(report).names
    assert {share.precision: share.ms for share in precision_share(report)} == {"int8": None, "unknown": None}
    assert latency_bars(report) == []
    assert layer_cells(report) == []
    assert roofline_dots(report) == []


def test_transitions_of_each_profile(shared):
    report = load_report(shared / "engines" / "trt-10-logs" / "engine_inspector_text.log")
    first = transitions(report, 0)
    # The casts at the end, of int32 to int64 and of fp16 to fp32, are looked through.
    assert first.names == ("fp16", "fp32", "int64")
    cell = {(a, b): first.edges[i][j] for i, a in enumerate(first.names) for j, b in enumerate(first.names)}
    assert cell["fp16", "int64"] == 1
    assert cell["fp16", "fp32"] == 1


def test_labels():
    assert short("abcdefghijkl", 9) == "ab...ijkl"
    assert len(short("a" * 100, 30)) == 30
    assert short("abc", 30) == "abc"


def test_layer_labels_are_source_nodes(load):
    report = load("resnet50-b32.fp16")
    assert layer_label(report.layers[0]) == "reformat for stem + Relu_3"
    assert layer_label(report.layers[1]) == "stem + Relu_3"


def made(*layers, **more):
    return EngineReport(name="e", layers=layers, dialect="by hand", **more)


def layer(name, kind, source, target, form, ms=None, profile=0):
    before, after = (EngineTensor(one, (1,), TensorFormat("", form, "linear")) for one in (source, target))
    time = None if ms is None else LayerTime(name, ms)
    return Layer(name=name, type=kind, inputs=(before,), outputs=(after,), time=time, profile=profile)


def test_ten_layers_are_the_slowest_unless_more_are_asked_for():
    report = made(*(layer(f"l{at}", "PointWiseV2", "x", "y", "fp16", float(at)) for at in range(13)))
    table = top_layers(report)
    assert list(table["layer"]) == [f"l{at}" for at in range(12, 2, -1)]
    assert list(table.index) == list(range(10))
    assert len(top_layers(report, 12)) == 12


def test_what_is_of_another_profile_or_made_by_nobody_has_no_edge():
    layers = [
        layer("a", "PointWiseV2", "x", "t", "fp16", profile=0),
        layer("r", "Reformat", "t", "u", "fp16", profile=0),
        layer("b", "PointWiseV2", "u", "y", "fp16", profile=0),
        layer("s", "shape_call", "t", "s", "bf16", profile=0),  # moves no data
        layer("c", "PointWiseV2", "x", "y", "int8", profile=1),
        layer("d", "PointWiseV2", "x", "y", "bf16", profile=2),
    ]
    half = TensorFormat("", "fp16", "linear")
    ends = (Binding("x", "input", (1,), half), Binding("y", "output", (1,), half), Binding("z", "output", (1,), half))
    report = made(*layers, bindings=ends)
    assert transitions(report) == Transitions(("fp16",), ((3,),), ((0.0,),))  # nothing was timed
    assert transitions(report, 1) == Transitions(("int8", "fp16"), ((0, 1), (1, 0)), ((0.0, 0.0), (0.0, 0.0)))
    assert transitions(report, 2).names == ("fp16", "bf16")
