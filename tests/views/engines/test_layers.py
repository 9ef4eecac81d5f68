"""The engine's own layers as a graph, for every kind of report."""

from __future__ import annotations

import pytest

from tests.kit.places import RECORDED
from workbench.engine.load import load_report
from workbench.views import engine_graph


@pytest.fixture(scope="module")
def view():
    report = load_report(RECORDED / "resnet50.qdq.graph.json", profile=RECORDED / "resnet50.qdq.profile.json")
    return engine_graph(report)


def everything(view):
    """Open every scope."""
    for path in view.picture.scopes.tree.scopes:
        if path:
            view.expand(path)
    return view


def test_layers_are_joined_by_the_tensors_of_the_inspector(view):
    network, report = view.picture.scopes.network, view.summary.report
    assert [op.name for op in network.ops] == [layer.name for layer in report.layers]
    makers = {tensor.name: layer.name for layer in report.layers for tensor in layer.outputs}
    expected = {
        (makers[tensor.name], layer.name) for layer in report.layers for tensor in layer.inputs if tensor.name in makers
    }
    names = [op.name for op in network.ops]
    edges = {(names[a], names[b]) for a, b in zip(network.tails.tolist(), network.heads.tolist(), strict=True)}
    assert edges == expected
    assert len(edges) >= len(names) - 1


def test_reformats_and_formats_are_seen():
    report = load_report(RECORDED / "resnet50.qdq.graph.json", profile=RECORDED / "resnet50.qdq.profile.json")
    view = everything(engine_graph(report))
    drawing = view.drawing()
    cards = {g.data["id"]: g for g in drawing.groups if g.kind == "card"}
    reformat = report.reformat_layers[0]
    words = [mark.text for mark in cards[reformat.name].marks if hasattr(mark, "text")]
    assert words[0] == "Reformat"
    assert " → " in words[1]
    wires = [g.title for g in drawing.groups if g.kind == "wire"]
    assert sum("int8 CHW32, 32×" in title and "MiB" in title for title in wires) > 30
    description = view.picture.scopes.network.describe(reformat.name)
    assert description["precision"]
    assert description["time"].endswith("%)")


def test_a_selected_layer_and_its_facts(view):
    name = view.summary.report.layers[5].name
    view.selected_layer = name
    assert view.selected == [name]
    assert dict(view.facts())["layer"] == name
    view.selected = [view.summary.report.layers[6].name]
    assert view.selected_layer == view.summary.report.layers[6].name


@pytest.mark.parametrize("color", ["precision", "kind", "latency", "bytes moved", "weights", "findings"])
def test_every_column_has_a_legend(view, color):
    view.color_by(color)
    assert f">{color}" in view.svg("light")


def test_both_profiles_of_a_myelin_engine(shared):
    report = load_report(shared / "engines" / "trt-10-logs" / "engine_inspector_text.log")
    for profile in (0, 1):
        view = everything(engine_graph(report, profile=profile))
        network = view.picture.scopes.network
        assert len(network.ops) == 13
        kinds = {op.op_type for op in network.ops}
        assert {"kgen", "gemm"} <= kinds
        assert len(network.tails) >= 10
        assert "latency" not in view.columns
        view.selected_layer = network.ops[0].name
        assert dict(view.facts())["time"] == "unknown: no profile"


@pytest.mark.parametrize("color", ["precision", "kind"])
def test_every_recorded_engine_has_a_graph(shared, color):
    paths = [*sorted((shared / "engines").rglob("*.graph.json")), *sorted(RECORDED.glob("*.graph.json"))]
    paths.append(shared / "engines" / "trt-10-logs" / "trt10_issue4020_excerpt.json")
    for path in paths:
        view = engine_graph(load_report(path), color=color)
        assert view.svg("dark").startswith("<svg")
        assert len(view.picture.scopes.network.ops) >= 1


def test_bare_names_have_no_edges_and_that_is_said():
    view = engine_graph(load_report({"Layers": ["conv", "conv", "relu"]}))
    assert [op.name for op in view.picture.scopes.network.ops] == ["conv", "conv (2)", "relu"]
    assert "no edges" in view.svg("light")
    view.selected_layer = "conv (2)"
    assert dict(view.facts())["tactic"] == "unknown"
