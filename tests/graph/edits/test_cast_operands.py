"""Operands of a node get one floating-point type where ONNX wants one."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.kit.models import constant, model
from workbench.errors import EditError
from workbench.graph.edits.registry import edit_by_name

node = helper.make_node
TYPES = {
    "half": TensorProto.FLOAT16,
    "brain": TensorProto.BFLOAT16,
    "single": TensorProto.FLOAT,
    "double": TensorProto.DOUBLE,
    "whole": TensorProto.INT64,
    "truth": TensorProto.BOOL,
}
"""A tensor of each type, called after it."""


def with_operands(op, operands, result, weights=(), **attributes):
    """One node of fed operands, each called after its type, and stored ones; its result is declared to be of a type."""
    stored = {tensor.name for tensor in weights}
    inputs = {name: (TYPES[name.rstrip("2")], [3]) for name in operands if name and name not in stored}
    return model([node(op, operands, ["y"], "it", **attributes)], inputs, {"y": (TYPES[result], None)}, weights)


def casts(network):
    """What each Cast reads, and what it makes of it."""
    made = [one for one in network.nodes.values() if one.op_type == "Cast"]
    return {one.inputs[0].name: one.attributes["to"].as_int() for one in made}


@pytest.mark.parametrize(
    ("op", "operands", "result", "notes", "to"),
    [
        ("Add", ["half", "single"], "single", ["operand 0 of it: FLOAT16 -> FLOAT"], {"half": 1}),
        ("Add", ["half", "single"], "half", ["operand 1 of it: FLOAT -> FLOAT16"], {"single": 10}),
        ("Add", ["half", "single"], "double", ["operand 0 of it: FLOAT16 -> FLOAT"], {"half": 1}),
        ("Add", ["double", "single"], "whole", ["operand 1 of it: FLOAT -> DOUBLE"], {"single": 11}),
        ("Add", ["half", "brain"], "single", ["operand 1 of it: BFLOAT16 -> FLOAT16"], {"brain": 10}),
        (
            "Sum",
            ["half", "single", "double", "single2"],
            "single",
            ["operand 0 of it: FLOAT16 -> FLOAT", "operand 2 of it: DOUBLE -> FLOAT"],
            {"half": 1, "double": 1},
        ),
        ("Where", ["truth", "half", "single"], "single", ["operand 1 of it: FLOAT16 -> FLOAT"], {"half": 1}),
        ("Clip", ["single", "", "half"], "single", ["operand 2 of it: FLOAT16 -> FLOAT"], {"half": 1}),
    ],
)
def test_operands_are_cast_to_the_type_of_the_result_or_else_to_the_widest(op, operands, result, notes, to):
    done = edit_by_name("cast_operands", node="it")(with_operands(op, operands, result))
    assert done.notes[: len(notes)] == tuple(notes)
    assert casts(done.model) == to


def test_a_constant_is_stored_in_the_type():
    stored = [constant("half", [0.5, 1.5, 2.5], "float16")]
    done = edit_by_name("cast_operands", node="it")(with_operands("Add", ["single", "half"], "single", stored))
    assert done.notes == ("operand 1 of it: FLOAT16 -> FLOAT",)
    assert list(done.model.nodes) == ["it"]
    ((name, value),) = done.model.initializers.items()
    assert (name, value.const_value.numpy().dtype) == ("half/float", np.float32)
    np.testing.assert_array_equal(value.const_value.numpy(), [0.5, 1.5, 2.5])


@pytest.mark.parametrize(
    ("op", "operands", "result"),
    [
        ("Add", ["single", "single2"], "single"),
        ("Gather", ["half", "whole"], "half"),  # indices are of a type of their own
        ("Pow", ["single", "half"], "single"),  # so is an exponent
        ("Where", ["truth", "whole", "whole2"], "whole"),
    ],
)
def test_operands_that_may_differ_are_left(op, operands, result):
    assert not edit_by_name("cast_operands", node="it")(with_operands(op, operands, result)).changed


def test_operands_that_are_no_floats_are_left_beside_those_that_are():
    network = with_operands("Sum", ["half", "whole", "single"], "single")
    assert edit_by_name("cast_operands", node="it").apply(network.thaw(), network) == [
        "operand 0 of it: FLOAT16 -> FLOAT"
    ]


def test_which_types_go_together_is_known_of_onnx_operators_alone():
    own = model([node("Own", ["x"], ["y"], "it", domain="own")], {"x": [3]}, {"y": [3]}, domains=["own"], opset=17)
    with pytest.raises(EditError, match="it: ONNX has no Own in operator set 17"):
        edit_by_name("cast_operands", node="it")(own)
