"""The source graph with its layers outlined: real pairs of model and engine."""

from __future__ import annotations

import gzip
from xml.etree import ElementTree as ET

import pytest

from tests.kit.places import RECORDED
from workbench.engine.load import load_report
from workbench.engine.summary import summarize
from workbench.errors import ReportError
from workbench.graph.load import load_model
from workbench.views import fusion
from workbench.views.graphs.live import PLAIN
from workbench.views.graphs.panel import build_panel
from workbench.views.kit.picture import png_size
from workbench.views.kit.themes import DARK

STEM = "resnet50-b32.modelopt_int8_fp16"


@pytest.fixture(scope="module")
def summary(shared, tmp_path_factory):
    folder = shared / "engines" / "trt-8.6.0-h200"
    path = tmp_path_factory.mktemp("model") / "resnet50.onnx"
    path.write_bytes(gzip.decompress((folder / "resnet50-b32.modelopt.zeroed.onnx.gz").read_bytes()))
    report = load_report(folder / f"{STEM}.graph.json", profile=folder / f"{STEM}.profile.json")
    return summarize(report, load_model(path))


@pytest.fixture
def view(summary):
    view = fusion(summary)
    for path in view.picture.shown.expanded:
        view.collapse(path)
    view.expand("l2.0/")
    return view


def groups(view):
    return view.picture.groups(view.picture.panel())


def test_every_node_that_is_in_a_layer_is_in_one_outline(summary):
    view = fusion(summary)
    picture = view.picture
    everything = [path for path, scope in picture.scopes.tree.scopes.items() if path]
    panel = build_panel(picture.scopes.tree, everything)
    outlined = {}
    for name, items in picture.groups(panel).items():
        for item in items:
            assert item.id not in outlined
            outlined[item.id] = name
    drawn = {item.id for item in panel.walk() if item.kind == "op"}
    assert drawn >= set(outlined)
    in_layers = drawn & set(summary.fusion.by_node)
    assert set(outlined) == in_layers
    assert len(in_layers) > 200
    fused = [node for node, name in outlined.items() if name == outlined["l2.0.conv2"]]
    assert {"l2.0.conv2", "Relu_42"} <= set(fused)


def test_the_drawing_outlines_layers_and_takes_in_no_stranger(view):
    picture = view.picture
    drawing = picture.drawing(bare=True)
    hulls = [group for group in drawing.groups if group.kind == "hull"]
    names = {group.data["id"] for group in hulls}
    assert names == set(groups(view))
    assert "layer:l2.0.conv2.weight_QuantizeLinear_Output + l2.0.conv2 + Relu_42" in names
    svg = view.svg("light")
    matches = ET.fromstring(svg).findall(".//{http://www.w3.org/2000/svg}g[@class='wb-hull']")  # noqa: S314
    assert len(matches) == len(hulls)
    assert "0.016 ms" in svg
    assert "layers · " in svg


def test_the_tags_of_closed_scopes_add_up(view, summary):
    for name, items in groups(view).items():
        if not name.startswith("layer:"):
            layers = {layers[0] for node in view.picture.members(name) if (layers := view.picture.of_node.get(node))}
            ms = sum(summary.report.layer(layer.removeprefix("layer:")).ms for layer in layers)
            words = f"{len(layers)} layers · {ms:.3f} ms"
            assert view.picture._tag(name, items) == words


def test_a_click_on_an_outline_selects_the_layer_and_its_nodes(view, summary):
    seen = []
    view.on_layer(seen.append)
    (layer,) = summary.fusion.by_node["l2.0.conv2"]
    view.handle({"type": "select", "pane": 0, "id": f"layer:{layer}", "add": False})
    assert view.selected_layer == layer
    assert {"l2.0.conv2", "Relu_42"} <= set(view.selected)
    facts = dict(view.facts())
    assert facts["type"] == "CaskConvolution (conv)"
    assert facts["time"].startswith("0.0170 ms")
    assert facts["in 0"].endswith("int8 CHW32, 32×128×56×56, 12.25 MiB")
    assert facts["precision"].startswith("int8")
    assert facts["weights"] == "144.50 KiB"
    assert "Relu_42_out_QuantizeLinear" in facts["does the work of"]
    assert view.mark_state()["facts"]["title"] == f"Layer {layer}"
    assert f"layer:{layer}" in view.mark_state()["panes"][0]["selected"]
    # A node selects the layer that does its work; nothing selects none.
    view.selected = ["l2.0.add"]
    assert view.selected_layer == summary.fusion.by_node["l2.0.add"][0]
    view.selected = []
    assert view.selected_layer is None
    assert "facts" not in view.mark_state()
    assert seen == [layer, summary.fusion.by_node["l2.0.add"][0], None]


def test_a_layer_with_a_finding_says_so(view, summary):
    view.selected_layer = "Relu_172_out_DequantizeLinear"
    (finding,) = view.findings()
    assert finding.kind == "lone-qdq"
    row = view.mark_state()["facts"]["findings"][0]
    assert row["cost"] == f"{finding.cost_ms:.4f} ms"
    # A layer that no source node stands for is still one that can be selected.
    reformat = summary.report.reformat_layers[-1].name
    view.selected_layer = reformat
    assert (view.selected_layer, view.selected) == (reformat, [])
    with pytest.raises(ReportError, match="no layer"):
        view.selected_layer = "nothing of the kind"


def test_a_closed_scope_is_selected_by_its_outline(view):
    name = next(name for name in groups(view) if not name.startswith("layer:"))
    view.handle({"type": "select", "pane": 0, "id": name, "add": False})
    assert set(view.selected) == set(view.picture.members(name))


def test_colours_of_layers_and_of_nodes(view):
    light = view.svg("light")
    assert "precision" in light
    view.color_by("latency")
    assert "latency (ms)" in view.svg("light")
    assert view.svg("light") != light
    view.color_by(PLAIN)
    assert "matrix product" in view.svg("light")
    view.color_by("macs at N = 1" if "macs at N = 1" in view.columns else "macs")
    assert 'class="wb-hull"' in view.svg("light")
    assert DARK.paper in view.svg("dark")
    width, height = png_size(view.png("dark"))
    assert height > width > 400
    assert 'class="wb-hull"' in view.html()


def test_the_pointer_on_a_node_tells_its_layer(view, summary):
    description = view.picture.scopes.network.describe("l2.0.conv2")
    assert description["layer"] == summary.fusion.by_node["l2.0.conv2"][0]
    assert description["time of the layer"] == "0.0170 ms"
    gone = next(iter(summary.fusion.vanished))
    assert view.picture.facts(gone) == {"in no layer": summary.fusion.vanished[gone]}


def test_what_was_asked_stands_beside_what_was_made(summary):
    asked = {"fc": "int8", "l2.0.conv2": "int8", "GlobalAveragePool_173": "fp16"}
    view = fusion(summarize(summary.report, summary.model, asked), color="requested")
    light = view.svg("light")
    assert "int8 asked for, fp16 made" in light
    assert "as requested" in light
    assert view.picture.facts("fc")["requested"] == "int8"
    assert view.picture.facts("fc")["realized"] == "fp16"
    view.selected = ["fc"]
    assert dict(view.facts())["asked of fc"] == "int8, made fp16: wider"
    assert "requested" not in fusion(summary).columns


def test_an_engine_without_a_model_has_no_source_graph():
    report = load_report(RECORDED / "resnet50.fp16.graph.json")
    with pytest.raises(ReportError, match="no source graph"):
        fusion(report)
