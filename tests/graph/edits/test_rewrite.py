"""Fusing, expanding and replacing: what is offered where, what is counted, which constants are written."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.kit.models import assert_same, constant, model, proto, weight
from workbench.errors import EditError
from workbench.graph.edits.patterns import EXPANSIONS
from workbench.graph.edits.registry import applicable, edit_by_name
from workbench.graph.load import from_proto

node = helper.make_node


def silus(count, *, opset=24, kind=TensorProto.FLOAT, shape=(2, 3)):
    """SiLUs one behind the other, each in a scope of its own."""
    nodes, last = [], "x"
    for at in range(count):
        nodes.append(node("Sigmoid", [last], [f"s{at}"], f"at{at}/s"))
        nodes.append(node("Mul", [last, f"s{at}"], [f"m{at}"], f"at{at}/m"))
        last = f"m{at}"
    given = (kind, list(shape))
    return model(nodes, {"x": given}, {last: given}, opset=opset, ir_version=10)


def offers(network, do, *addresses):
    return [(edit.pattern, edit.only) for edit in applicable(network, addresses) if edit.do == do]


def test_a_fusion_is_offered_for_all_or_for_the_matches_that_hold_what_is_picked():
    network = silus(2)
    assert offers(network, "fuse") == [("silu", None)]
    ((pattern, only),) = offers(network, "fuse", "at1/s")
    fused = edit_by_name("fuse", pattern=pattern, only=only)(network)
    assert list(fused.model.nodes) == ["at0/s", "at0/m", "at1/m"]
    both = offers(network, "fuse", "at0/m", "at1/s")
    assert len(both) == 1
    assert edit_by_name("fuse", pattern="silu", only=both[0][1])(network).notes == ("fused 2 silu",)
    assert offers(network, "expand") == []


@pytest.mark.parametrize(("opset", "offered"), [(23, False), (24, True), (25, False)])
def test_swish_is_offered_where_onnx_runtime_runs_it(opset, offered):
    assert bool(offers(silus(1, opset=opset), "fuse")) is offered
    if opset < 24:
        with pytest.raises(EditError) as refused:
            edit_by_name("fuse", pattern="silu")(silus(1, opset=opset))
        assert str(refused.value) == (
            "g: operator set 23 cannot express silu so. Convert it first: wb.edit('convert_opset', version=24)."
        )


def test_an_expansion_needs_the_operator_set_of_its_operators():
    for name, oldest in (("gelu", 9), ("gelu_tanh", 9), ("silu", 6), ("layer_norm", 7)):
        assert EXPANSIONS[name].opset == oldest
    call = node("QuickGelu", ["x"], ["y"], "it", domain="com.microsoft", alpha=1.0)
    for opset, able in ((5, False), (6, True)):
        network = model([call], {"x": [2, 3]}, {"y": [2, 3]}, opset=opset, domains=["com.microsoft"])
        assert bool(offers(network, "expand", "it")) is able
        if able:
            assert edit_by_name("expand", pattern="silu")(network).notes == ("expanded 1 silu",)
            continue
        with pytest.raises(EditError, match="operator set 5 cannot express silu so"):
            edit_by_name("expand", pattern="silu")(network)


def test_matches_are_counted():
    assert edit_by_name("fuse", pattern="silu")(silus(3)).notes == ("fused 3 silu",)
    done = edit_by_name("fuse", pattern="silu", only="scope:at1")(silus(3))
    assert done.notes == ("fused 1 silu",)
    assert list(done.model.nodes) == ["at0/s", "at0/m", "at1/m", "at2/s", "at2/m"]
    assert not edit_by_name("fuse", pattern="silu", only="name:at1/s")(silus(3)).changed
    negated = edit_by_name("replace_pattern", pattern="s = Sigmoid(x) \n y = Mul(x, s)", replacement="y = Neg(x)")
    assert negated(silus(3)).notes == ("replaced 3 matches",)


def test_a_domain_of_ones_own_is_imported_where_it_is_used_and_nowhere_else():
    swap = {"pattern": "s = Sigmoid(x)", "replacement": "y = own::Fast(x)"}
    assert edit_by_name("replace_pattern", **swap)(silus(1)).model.ir_model.opset_imports == {"": 24, "own": 1}
    absent = edit_by_name("replace_pattern", pattern="y = Abs(x)", replacement="y = own::Fast(x)")
    assert not absent(silus(1)).changed


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.FLOAT, TensorProto.DOUBLE])
def test_constants_are_of_the_type_of_the_result(kind):
    doubled = edit_by_name("replace_pattern", pattern="s = Sigmoid(x)", replacement="y = Mul(x, 2)")
    (held,) = doubled(silus(1, kind=kind)).model.initializers.values()
    assert (held.const_value.dtype, held.const_value.numpy().item()) == (kind, 2)


def test_where_the_result_has_no_known_type_it_is_that_of_what_is_read():
    nodes = [node("Own", ["x", "w"], ["o"], "own", domain="own"), node("Neg", ["o"], ["y"], "neg")]
    known = model(nodes, {"x": [3]}, {"y": None}, [constant("w", [1, 2, 3], "float16")], domains=["own"])
    doubled = edit_by_name("replace_pattern", pattern="o = own::Own(x, $w)", replacement="y = own::Other(x, $w, 2)")
    held = doubled(known).model.initializers
    assert held["own_constant"].const_value.numpy().dtype == np.float32
    stated = proto(
        [node("Neg", ["x"], ["n"], "neg"), node("Own", ["n"], ["y"], "own", domain="own")],
        {"x": [3]},
        {"y": [3]},
        domains=["own"],
    )
    for value in (stated.graph.input[0], stated.graph.output[0]):
        value.ClearField("type")
    untyped = from_proto(stated)
    assert not edit_by_name("replace_pattern", pattern="n = Neg(x)", replacement="n = Mul(x, 2)")(untyped).changed


def spelled(axes, shape, scale, bias, *, states=True):
    """A layer normalization spelled out over some axes of a result whose shape the file may not state."""
    nodes = [
        node("Own", ["z"], ["x"], "own", domain="own") if not states else node("Neg", ["z"], ["x"], "own"),
        node("ReduceMean", ["x"], ["m"], "m", axes=axes, keepdims=1),
        node("Sub", ["x", "m"], ["d"], "d"),
        node("Mul", ["d", "d"], ["s"], "s"),
        node("ReduceMean", ["s"], ["v"], "v", axes=axes, keepdims=1),
        node("Add", ["v", "eps"], ["e"], "e"),
        node("Sqrt", ["e"], ["r"], "r"),
        node("Div", ["d", "r"], ["n"], "n"),
        node("Mul", ["n", "scale"], ["w"], "w"),
        node("Add", ["w", "bias"], ["y"], "y"),
    ]
    held = [weight("scale", *scale), weight("bias", *bias), constant("eps", 1e-3, "float32")]
    return model(nodes, {"z": shape}, {"y": shape if states else None}, held, domains=["own"], ir_version=10)


def fused_constants(network):
    done = edit_by_name("fuse", pattern="layer_norm")(network)
    if not done.changed:
        return None
    return [(value.name, tuple(value.const_value.shape)) for value in done.model.nodes["y"].inputs[1:]]


@pytest.mark.parametrize(
    ("axes", "scale", "bias", "written"),
    [
        ([-1], (5,), (5,), [("scale", (5,)), ("bias", (5,))]),
        ([-1], (1, 1, 5), (5,), [("y_scale", (5,)), ("bias", (5,))]),
        ([-1], (), (1,), [("y_scale", (5,)), ("y_bias", (5,))]),
        ([-2, -1], (5,), (3, 1), [("y_scale", (3, 5)), ("y_bias", (3, 5))]),
        ([-2, -1], (1, 3, 5), (3, 5), [("y_scale", (3, 5)), ("bias", (3, 5))]),
        ([-1], (3, 5), (5,), None),
        ([-1], (5,), (2, 1, 1), None),
    ],
)
def test_scale_and_bias_are_of_the_shape_of_what_is_normalized(axes, scale, bias, written):
    network = spelled(axes, [2, 3, 5], scale, bias)
    assert fused_constants(network) == written
    if written:
        assert_same(network, edit_by_name("fuse", pattern="layer_norm")(network).model, atol=3e-6)


@pytest.mark.parametrize(
    ("axes", "scale", "bias", "written"),
    [
        ([-1], (5,), (5,), [("scale", (5,)), ("bias", (5,))]),
        ([-1], (5,), (), [("scale", (5,)), ("y_bias", (5,))]),
        ([-1], (1,), (1,), None),  # a length of 1 could stand for any
        ([-1], (), (), None),
        ([-2, -1], (5,), (5,), None),
        ([-2, -1], (3, 5), (1, 5), [("scale", (3, 5)), ("y_bias", (3, 5))]),
        ([-2, -1], (1, 5), (5,), None),
        ([-1], (5,), (4,), None),
    ],
)
def test_where_the_shape_is_not_known_the_constants_tell_it(axes, scale, bias, written):
    assert fused_constants(spelled(axes, [2, 3, 5], scale, bias, states=False)) == written


def test_all_spellings_are_looked_for_in_all_graphs():
    def branch(op):
        result = helper.make_tensor_value_info("r", TensorProto.FLOAT, [3])
        nodes = [node("Sigmoid", ["x"], ["s"], "s"), node(op, ["s", "x"], ["r"], "r")]
        return helper.make_graph(nodes, op, [], [result])

    choice = node("If", ["c"], ["y"], "if", then_branch=branch("Mul"), else_branch=branch("Add"))
    inputs = {"x": [3], "c": (TensorProto.BOOL, [])}
    network = model([choice], inputs, {"y": [3]}, opset=24, ir_version=10)
    assert offers(network, "fuse", "if/then/s") != []
    assert offers(network, "fuse", "if/else/s") == []
    done = edit_by_name("fuse", pattern="silu")(network)
    assert {name: one.op_type for name, one in done.model.nodes.items()} == {
        "if": "If",
        "if/then/r": "Swish",
        "if/else/s": "Sigmoid",
        "if/else/r": "Add",
    }


def test_what_was_found_once_is_what_is_offered_again():
    network = silus(2)
    assert offers(network, "fuse", "at0/s") == offers(network, "fuse", "at0/s")
    assert offers(network, "fuse", "at0/s") != offers(network, "fuse", "at1/s")
