"""Identity and Dropout go where they change nothing and no name needs them."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.kit.models import assert_same, constant, model, weight
from workbench.graph.edits.registry import applicable, edit_by_name

node = helper.make_node
TRUE, FALSE = constant("mode", True, "bool"), constant("mode", False, "bool")
RATIO = constant("ratio", np.float32(0.5), "float32")


def between(one, weights=(), *, opset=17, inputs=None, outputs=None):
    """A node between an Abs and a Neg."""
    nodes = [node("Abs", ["x"], ["a"], "abs"), one, node("Neg", ["b"], ["y"], "neg")]
    return model(nodes, {"x": [3]} | (inputs or {}), {"y": [3]} | (outputs or {}), weights, opset=opset)


GOES = {
    "an Identity": between(node("Identity", ["a"], ["b"], "it")),
    "a Dropout": between(node("Dropout", ["a"], ["b"], "it")),
    "a Dropout with an unread mask": between(node("Dropout", ["a"], ["b", "mask"], "it")),
    "a Dropout with a ratio": between(node("Dropout", ["a", "ratio"], ["b"], "it"), [RATIO]),
    "a Dropout that does not train": between(node("Dropout", ["a", "ratio", "mode"], ["b"], "it"), [RATIO, FALSE]),
    "a Dropout without a mode": between(node("Dropout", ["a", "ratio", ""], ["b"], "it"), [RATIO]),
    "a Dropout under test": between(node("Dropout", ["a"], ["b"], "it", is_test=1), opset=6),
}
STAYS = {
    "a Dropout that trains": between(node("Dropout", ["a", "ratio", "mode"], ["b"], "it"), [RATIO, TRUE]),
    "a Dropout that may train": between(
        node("Dropout", ["a", "ratio", "mode"], ["b"], "it"), [RATIO], inputs={"mode": (TensorProto.BOOL, [])}
    ),
    "a Dropout of old that trains": between(node("Dropout", ["a"], ["b"], "it", is_test=0), opset=6),
    "a Dropout whose mask is given out": between(
        node("Dropout", ["a"], ["b", "mask"], "it"), outputs={"mask": (TensorProto.BOOL, [3])}
    ),
    "another operator": between(node("Relu", ["a"], ["b"], "it")),
    "an Identity of another domain": between(node("Identity", ["a"], ["b"], "it", domain="own")),
}


@pytest.mark.parametrize("name", GOES)
def test_it_goes(name):
    network = GOES[name]
    assert "remove_noops" in {edit.do for edit in applicable(network, ["it"])}
    done = edit_by_name("remove_noops")(network)
    assert done.notes == ("removed 1 nodes that change nothing",)
    assert [f"{one.op_type} {one.inputs[0].name}" for one in done.model.nodes.values()] == ["Abs x", "Neg a"]


@pytest.mark.parametrize("name", STAYS)
def test_it_stays(name):
    network = STAYS[name]
    assert "remove_noops" not in {edit.do for edit in applicable(network, ["it"])}
    assert not edit_by_name("remove_noops")(network).changed


def given_out(source):
    """An Identity from something to an output, and what the model gives out besides."""
    nodes = [node("Abs", ["x"], ["a"], "abs"), node("Identity", [source], ["y"], "it"), node("Neg", ["a"], ["z"], "n")]
    return model(nodes, {"x": [3]}, {"y": [3], "z": [3]} | ({"a": [3]} if source == "a" else {}), [weight("w", 3)])


@pytest.mark.parametrize("source", ["x", "w", "a"])
def test_an_output_that_is_an_input_a_weight_or_another_output_needs_its_identity(source):
    assert not edit_by_name("remove_noops")(given_out(source)).changed


def test_an_output_takes_the_place_of_what_only_its_identity_reads():
    nodes = [node("Abs", ["x"], ["a"], "abs"), node("Identity", ["a"], ["y"], "it")]
    network = model(nodes, {"x": [3]}, {"y": [3]})
    done = edit_by_name("remove_noops")(network).model
    assert [f"{name} {one.outputs[0].name}" for name, one in done.nodes.items()] == ["abs y"]
    assert_same(network, done)


def test_what_a_branch_gives_out_of_what_is_around_it_needs_its_identity():
    result = helper.make_tensor_value_info("r", TensorProto.FLOAT, [3])

    def branch(*inner):
        return helper.make_graph(list(inner), "b", [], [result])

    direct, other = branch(node("Identity", ["a"], ["r"], "it")), branch(node("Neg", ["a"], ["r"], "neg"))
    nodes = [node("Abs", ["x"], ["a"], "abs"), node("If", ["c"], ["y"], "if", then_branch=direct, else_branch=other)]
    network = model(nodes, {"x": [3], "c": (TensorProto.BOOL, [])}, {"y": [3]})
    assert not edit_by_name("remove_noops")(network).changed
    assert "remove_noops" not in {edit.do for edit in applicable(network, ["if/then/it"])}
