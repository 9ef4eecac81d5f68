"""The graph as a notebook asks for it."""

from __future__ import annotations

import pytest
from onnx import helper

from tests.kit.models import model, weight
from workbench.errors import SelectorError
from workbench.graph.inspection.browse import Graph


def test_questions_about_a_graph():
    network = model(
        [helper.make_node("MatMul", ["x", "w"], ["a"], "m"), helper.make_node("Identity", ["a"], ["y"], "i")],
        {"x": ["N", 4]},
        {"y": ["N", 2]},
        [weight("w", 4, 2)],
    )
    graph = Graph(network)
    assert list(graph.nodes("op:MatMul").index) == ["m"]
    assert graph.nodes(sizes={"N": 3})["macs"].tolist() == [24, 0]
    assert graph.ops({"N": 3})["macs"].sum() == 24
    assert graph.select("has:weights") == ["m"]
    assert list(graph.initializers().index) == ["w"]
    assert graph.tensors().loc["w", "kind"] == "weight"
    assert not graph.diff(network)
    assert "remove_noops" in {edit.do for edit in graph.edits()}
    assert {"bypass", "remove_noops"} <= {edit.do for edit in graph.edits("op:Identity")}
    assert "MACs        8" in repr(graph)
    with pytest.raises(SelectorError, match="Did you mean op:MatMul"):
        graph.nodes("op:Matmul")
