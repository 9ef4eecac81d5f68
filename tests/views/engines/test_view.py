"""The table of layers and the views that share one selection."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.kit.places import RECORDED
from workbench import views
from workbench.engine.load import load_report
from workbench.engine.summary import summarize
from workbench.errors import ReportError
from workbench.graph.load import load_model
from workbench.session import open_model
from workbench.views.engines.table import EngineTable
from workbench.views.engines.view import speed_columns
from workbench.views.kit.picture import WIDGET_MIME
from workbench.views.kit.themes import OKABE_ITO


def recorded(name):
    return load_report(RECORDED / f"{name}.graph.json", profile=RECORDED / f"{name}.profile.json")


@pytest.fixture(scope="module")
def summary(shared, tmp_path_factory):
    folder = shared / "engines" / "trt-8.6.0-h200"
    path = tmp_path_factory.mktemp("model") / "resnet50.onnx"
    path.write_bytes(gzip.decompress((folder / "resnet50-b32.modelopt.zeroed.onnx.gz").read_bytes()))
    stem = "resnet50-b32.modelopt_int8_fp16"
    report = load_report(folder / f"{stem}.graph.json", profile=folder / f"{stem}.profile.json")
    return summarize(report, load_model(path))


def test_one_selection_for_table_source_graph_and_engine_graph(summary):
    view = views.engine(summary)
    seen = []
    view.on_layer(seen.append)
    (layer,) = summary.fusion.by_node["l2.0.conv2"]
    view.selected_layer = layer
    assert view.table.selected == view.fusion.selected_layer == view.graph.selected_layer == layer
    assert "l2.0.conv2" in view.fusion.selected
    assert dict(view.facts())["layer"] == layer
    # A click on a node, on a card of the engine, and on a row.
    view.fusion.handle({"type": "select", "pane": 0, "id": "l2.0.add", "add": False})
    add = summary.fusion.by_node["l2.0.add"][0]
    assert view.table.selected == view.graph.selected_layer == view.selected_layer == add
    assert view.fusion.selected == ["l2.0.add"]
    view.graph.selected = [layer]
    assert view.table.selected == view.fusion.selected_layer == layer
    # The scopes around it are open, so that it is seen.
    assert "l2.0.conv2" in {item.id for item in view.fusion.picture.panel().walk()}
    view.table.selected = summary.report.layers[0].name
    assert view.selected_layer == summary.report.layers[0].name
    view.selected_layer = None
    assert view.fusion.selected == view.graph.selected == []
    assert seen == [layer, add, layer, summary.report.layers[0].name, None]


@pytest.fixture(scope="module")
def built(small_cnn, small_data):
    """A workbench, and the engine that ONNX Runtime made of its tuned model."""
    wb = open_model(small_cnn)
    wb.prepare()
    wb.calibrate(small_data)
    wb.tune()
    return wb, wb.engines.inspect(wb.build())


def test_an_engine_is_set_against_the_plan_as_it_is_now(built):
    wb, summary = built
    view = views.engine(summary, wb)
    node = next(node for node, precision in wb.plan.precisions.items() if precision == "int8")
    (layer, *_) = summary.fusion.by_node[node]

    def requested():
        row = next(row for row in view.table.rows if row.id == layer)
        column = view.fusion.column("requested")
        return row.texts["requested"], column.values[node], dict(view.fusion.fusion_picture.facts(node))["requested"]

    assert requested()[0].startswith("int8")
    view.fusion.colour("requested")
    wb.plan.set(f"name:{node}", "fp32")
    assert requested()[0].startswith("fp32")
    assert requested()[2] == "fp32"
    assert view.fusion.picture.overlay is view.fusion.column("requested")
    assert next(verdict for verdict in view.summary.verdicts if verdict.node == node).requested == "fp32"
    wb.undo()
    assert requested()[0].startswith("int8")
    assert requested()[2] == "int8"


def test_what_is_selected_in_another_view_of_the_workbench_is_selected_in_the_engine(built):
    wb, summary = built
    view, graph, other = views.engine(summary, wb), views.graph(wb), views.engine(summary, wb)
    node = next(node for node, precision in wb.plan.precisions.items() if precision == "int8")
    graph.selected = [node]
    assert view.fusion.selected == other.fusion.selected == [node]
    assert view.selected_layer == view.table.selected == summary.fusion.by_node[node][0]
    assert graph.selected == [node]
    seen = []
    stop = wb.on_change(lambda change: seen.append(change.kind))
    view.table.selected = summary.report.layers[0].name
    stop()
    assert "selection" in seen
    assert other.selected_layer == view.selected_layer


def test_the_nodes_of_a_layer_have_its_columns_in_the_list(summary):
    view = views.engine(summary)
    view.fusion.choose(["l2.0.conv2"])
    (row,) = view.fusion.mark_state()["table"]["rows"]
    (layer,) = summary.fusion.by_node["l2.0.conv2"]
    assert row["texts"]["precision"] == "int8"
    assert row["texts"]["kind"] == "conv"
    latency, unit = row["texts"]["latency"].split()
    assert unit == "ms"
    assert float(latency) == pytest.approx(summary.report.layer(layer).ms, rel=0.02)
    assert row["texts"]["bytes moved"].endswith(" B")


def test_a_row_says_what_is_known_and_what_is_not():
    report = recorded("resnet50.qdq")
    table = views.engine(report).table
    assert [row.id for row in table.rows] == [layer.name for layer in report.layers]
    slowest = max(table.rows, key=lambda row: row.values["ms"])
    assert slowest.looks["ms"]["share"] == 1
    assert slowest.looks["ms"]["colour"] == "var(--wb-int8)"
    assert sum(row.values["ms"] for row in table.rows) == pytest.approx(report.layers_ms)
    poor = views.engine(load_report({"Layers": ["a", "b"]}))
    row = poor.table.rows[0]
    assert row.values["ms"] is row.values["precision"] is row.values["bytes"] is None
    assert {row.texts[key] for key in ("ms", "share", "precision", "bytes", "tactic")} == {"unknown"}
    assert poor.fusion is None
    assert poor.svg("light").startswith("<svg")
    with pytest.raises(ReportError, match="no row"):
        poor.selected_layer = "c"


def test_two_engines_share_groups():
    view = views.compare(recorded("resnet50.fp16"), recorded("resnet50.qdq"))
    groups = view.comparison.groups
    saved = [row.values["saved 1"] for row in view.table.rows]
    assert sum(saved) == pytest.approx(view.comparison.totals[0] - view.comparison.totals[1])
    faster = next(row for row in view.table.rows if (row.values["speedup 1"] or 0) > 1.1)
    assert faster.looks["speedup 1"]["colour"] == OKABE_ITO["blue"]
    assert faster.texts["speedup 1"].endswith("x")
    seen = []
    view.on_group(seen.append)
    place = next(at for at, group in enumerate(groups) if len(group.layers[0]) > 1 and group.layers[1])
    view.selected_group = place
    assert [graph.selected for graph in view.engines] == [list(layers) for layers in groups[place].layers]
    other = next(at for at, group in enumerate(groups) if all(group.layers) and at != place)
    view.engines[1].selected = [groups[other].layers[1][0]]
    assert view.selected_group == other
    assert set(groups[other].layers[0]) == set(view.engines[0].selected)
    view.selected_group = None
    assert [graph.selected for graph in view.engines] == [[], []]
    assert seen == [place, other, None]


def test_the_source_graph_shows_what_is_faster(summary, shared):
    folder = shared / "engines" / "trt-8.6.0-h200"
    stem = "resnet50-b32.fp16"
    fp16 = load_report(folder / f"{stem}.graph.json", profile=folder / f"{stem}.profile.json")
    view = views.compare(fp16, summary)
    (column,) = speed_columns(view.comparison).values()
    (group,) = [group for group in view.comparison.groups if "l2.0.conv2" in group.nodes]
    assert group.speedup(1) > 1.1
    assert column.values["l2.0.conv2"] == "faster"
    # What only one engine has as a layer has no speed.
    assert column.values["Relu_172_out_DequantizeLinear"] is None
    assert "speed of resnet50-b32.modelopt_int8_fp16" in view.source.svg("light")
    view.source.selected = ["l2.0.conv2"]
    assert view.selected_group == view.comparison.groups.index(group)
    assert view.engines[1].selected == list(group.layers[1])
    view.engines[0].selected = ["stem + Relu_3"]
    assert "stem" in view.source.selected
    assert len(view.widget().children[1].children) == 3


def test_there_is_a_widget_and_always_a_picture(summary):
    for view in (views.engine(summary), views.compare(recorded("resnet50.fp16"), recorded("resnet50.qdq"))):
        data, _ = view._repr_mimebundle_()
        assert {WIDGET_MIME, "image/png", "image/svg+xml", "text/plain"} <= set(data)
        assert data[WIDGET_MIME]["model_id"] == view.widget().model_id
        box = view.widget()
        assert box is view.widget()
        tabs = box.children[1]
        assert len(tabs.children) == 2


def test_the_page_and_python_have_one_selection():
    view = views.engine(recorded("mobilenet_v2.qdq"))
    widget = view.table.widget()
    name = view.summary.report.layers[3].name
    widget.handle({"type": "select", "rows": [name], "add": False})  # what a click in the page does
    assert view.selected_layer == name
    view.selected_layer = view.summary.report.layers[4].name
    assert widget.marks["selected"] == [view.summary.report.layers[4].name]
    widget.handle({"type": "select", "rows": ["nothing of the kind"]})
    assert view.selected_layer == view.summary.report.layers[4].name


def test_no_function_for_notebooks_has_the_name_of_a_module():
    # Importing such a module would put it in the function's place.
    modules = {path.stem for path in Path(views.__file__).parent.iterdir()}
    assert not modules & set(views.__all__)


def test_a_table_of_another_order():
    report = load_report(RECORDED / "resnet50.qdq.graph.json")
    table = EngineTable(summarize(report), views.engine(report).table.chart)
    assert table.mark_state()["order"] == ["place", False]
    assert table.scene_state()["legend"][0][1] in {"int8", "fp32"}
