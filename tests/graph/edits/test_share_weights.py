"""Equal weights of a graph are stored once; what only looks equal is not shared."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.kit.models import assert_same, constant, model
from workbench.graph.edits.registry import edit_by_name

node = helper.make_node


def reading(weights, outputs=()):
    """A node for each weight, which a Cast makes a float and a Reshape a row of three."""
    nodes, parts = [], []
    for tensor in weights:
        name = tensor.name
        nodes += [
            node("Cast", [name], [f"{name}f"], f"{name}f", to=TensorProto.FLOAT),
            node("Reshape", [f"{name}f", "row"], [f"{name}r"], f"{name}r"),
        ]
        parts.append(f"{name}r")
    nodes.append(node("Sum", ["x", *parts], ["y"], "sum"))
    return model(nodes, {"x": [3]}, {"y": [3]} | {name: [3] for name in outputs}, [*weights, constant("row", [3])])


def test_of_those_with_equal_bytes_shape_and_type_the_first_stays():
    weights = [
        constant("a", [1, 2, 3], "float32"),
        constant("b", [1, 2, 3], "float32"),
        constant("column", [[1], [2], [3]], "float32"),
        constant("c", [1, 2, 3], "float32"),
        constant("other", [1, 2, 4], "float32"),
        constant("zeros", [0, 0, 0], "float32"),
        constant("nothing", [0, 0, 0], "int32"),
    ]
    network = reading(weights)
    done = edit_by_name("share_weights")(network)
    assert done.notes == ("2 of 8 weights were copies of others",)
    assert list(done.model.initializers) == ["a", "column", "other", "zeros", "nothing", "row"]
    assert_same(network, done.model)
    assert not edit_by_name("share_weights")(done.model).changed


def test_an_output_keeps_its_name():
    weights = [constant("a", [1, 2, 3], "float32"), constant("b", [1, 2, 3], "float32")]
    assert not edit_by_name("share_weights")(reading(weights, outputs=["a"])).changed
    assert not edit_by_name("share_weights")(reading(weights, outputs=["b"])).changed


def test_weights_without_numbers_are_not_equal():
    empty = [onnx.TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[3]) for name in "ab"]
    network = reading([*empty, constant("c", np.ones(3), "float32"), constant("d", np.ones(3), "float32")])
    done = edit_by_name("share_weights")(network)
    assert done.notes == ("1 of 5 weights were copies of others",)
    assert list(done.model.initializers) == ["a", "b", "c", "row"]


def test_each_graph_keeps_its_own():
    result = helper.make_tensor_value_info("r", TensorProto.FLOAT, [3])
    held = constant("k", [1, 2, 3], "float32")

    def branch(op):
        return helper.make_graph([node(op, ["x", "k"], ["r"], op)], op, [], [result], [held])

    choice = node("If", ["c"], ["y"], "if", then_branch=branch("Add"), else_branch=branch("Mul"))
    network = model([choice], {"x": [3], "c": (TensorProto.BOOL, [])}, {"y": [3]})
    assert not edit_by_name("share_weights")(network).changed
