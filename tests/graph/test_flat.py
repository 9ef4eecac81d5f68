"""Which messages need no repair and have one graph."""

from __future__ import annotations

import pytest
from onnx import TensorProto, helper

from tests.kit.models import proto, weight
from workbench.graph.load import from_proto

node = helper.make_node
FIRST, SECOND = node("Add", ["x", "w"], ["a"], "first"), node("Mul", ["a", "x"], ["y"], "second")


def made(*nodes, outputs=("y",), listed=(), **options):
    inputs = {name: [2] for name in ("x", *listed)}
    return proto(nodes or (FIRST, SECOND), inputs, {name: [2] for name in outputs}, [weight("w", 2)], **options)


def with_value_info(*names):
    stated = made()
    stated.graph.value_info.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in names)
    return stated


def without_opset():
    stated = made()
    del stated.opset_import[:]
    return stated


BRANCH = helper.make_graph([node("Neg", ["x"], ["z"], "neg")], "b", [], [helper.make_tensor_value_info("z", 1, [2])])
FUNCTION = helper.make_function(
    "own", "F", ["a"], ["b"], [node("Neg", ["a"], ["b"], "n")], [helper.make_opsetid("", 17)]
)


def test_a_message_that_spells_the_default_domain_out_is_one_too():
    spelled = made()
    spelled.opset_import[0].domain = "ai.onnx"
    for one in spelled.graph.node:
        one.domain = "ai.onnx"
    assert set(from_proto(spelled).flat.kinds) == {("", "Add"), ("", "Mul")}


@pytest.mark.parametrize(
    ("stated", "flat"),
    [
        (made(), True),
        (made(ir_version=4), True),
        (made(ir_version=3), False),
        (made(listed=["w"]), False),
        (made(FIRST, node("Mul", ["a", "x"], ["y"])), False),
        (made(FIRST, node("Mul", ["a", "x"], ["y"], "first")), False),
        (made(SECOND, FIRST), False),
        (made(functions=[FUNCTION], domains=["own"]), False),
        (made(FIRST, node("HardSwish", ["a"], ["y"], "second")), True),
        (made(FIRST, node("HardSwish", ["a"], ["y"], "second"), opset=13), False),
        (made(FIRST, node("Scaler", ["a"], ["y"], "second", domain="ai.onnx.ml"), domains=["ai.onnx.ml"]), True),
        (made(FIRST, node("Scaler", ["a"], ["y"], "second", domain="ai.onnx.ml")), False),
        (made(FIRST, node("Wobble", ["a"], ["y"], "second", domain="own"), domains=["own"]), False),
        (made(FIRST, node("Clip", ["x", "", "a"], ["y"], "second")), True),
        (made(FIRST, node("If", ["a"], ["y"], "second", then_branch=BRANCH, else_branch=BRANCH)), False),
        (made(outputs=["y", "a"]), True),
        (made(outputs=["y", "x"]), True),
        (made(outputs=["y", "w"]), True),
        (with_value_info("a", "w"), True),
        (with_value_info("a", "nowhere"), False),
        (without_opset(), False),
    ],
)
def test_a_message_is_taken_as_it_is_where_it_needs_no_repair(stated, flat):
    loaded = from_proto(stated)
    assert (loaded.flat is not None) == flat
    if loaded.flat is not None:
        assert loaded.flat.proto is stated
        assert list(loaded.nodes) == list(loaded.flat.nodes) == ["first", "second"]
        assert dict(loaded.flat.predecessors) == {"first": (), "second": ("first",)}
