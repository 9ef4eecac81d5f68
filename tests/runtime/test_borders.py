"""At the border of what is refused, switched off, written out or narrowed before a graph runs."""

from __future__ import annotations

from types import SimpleNamespace

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.kit.models import constant, model, weight
from workbench import limits
from workbench.errors import BackendError
from workbench.graph.load import from_proto
from workbench.runtime import as_written
from workbench.runtime.borders import border_types, bordered
from workbench.runtime.constants import check_constants
from workbench.runtime.narrow import in_float32
from workbench.runtime.session import OLDEST_OPSET, Session, _what_helps, disabled_optimizers

node = helper.make_node


def made_of(count, known):
    """A model that makes as many bytes of a constant, one more of those, and four of that one."""
    nodes = [node("Neg", ["w"], ["n"], "n"), node("ReduceMax", ["n"], ["p"], "p", keepdims=0)]
    stored = [numpy_helper.from_array(np.ones(count, np.int8), "w")]
    if not known:
        nodes[0] = node(
            "ConstantOfShape", ["length"], ["n"], "n", value=helper.make_tensor("v", TensorProto.INT8, [1], [1])
        )
        nodes.insert(0, node("Cast", ["w"], ["length"], "length", to=TensorProto.INT64))
        stored = [numpy_helper.from_array(np.array([count + 4], np.float32), "w")]  # what Casts make of it is free
    nodes += [node("Cast", ["p"], ["q"], "q", to=TensorProto.FLOAT), node("Add", ["x", "q"], ["y"], "add")]
    return model(nodes, {"x": [2]}, {"y": [2]}, stored)


@pytest.mark.parametrize(("known", "where"), [(True, "q"), (False, "tensor 'n'")])
@pytest.mark.parametrize(("count", "fits"), [(2**20 - 5, True), (2**20 - 4, False)])
def test_constants_may_take_as_much_as_the_limit_and_no_byte_more(monkeypatch, count, fits, known, where):
    monkeypatch.setattr(limits, "_raised", {"constants_mib": 1})
    if fits:
        check_constants(made_of(count, known))
    else:
        with pytest.raises(BackendError, match=rf"^{where}: what is made of constants .* the limit is 1\."):
            check_constants(made_of(count, known))


@pytest.mark.parametrize(("results", "fits"), [(5, True), (6, False)])
def test_weights_may_be_dequantized_and_transposed_whatever_their_size(monkeypatch, results, fits):
    """Sixteen times their own bytes are free: four results in FP32 of one weight in INT8, and then one of 1 MiB."""
    monkeypatch.setattr(limits, "_raised", {"constants_mib": 1})
    stored = [numpy_helper.from_array(np.zeros((2**9, 2**9), np.int8), "w"), constant("s", 0.5, "float32")]
    nodes = [node("DequantizeLinear", ["w", "s"], ["d0"], "dq")]
    nodes += [node("Transpose", [f"d{at - 1}"], [f"d{at}"], f"t{at}") for at in range(1, results)]
    nodes.append(node("MatMul", ["x", f"d{results - 1}"], ["y"], "product"))
    graph = model(nodes, {"x": [1, 2**9]}, {"y": [1, 2**9]}, stored)
    if fits:
        check_constants(graph)
    else:
        with pytest.raises(BackendError, match=r"^t5: what is made of constants .* the limit is 1\."):
            check_constants(graph)


@pytest.mark.parametrize(
    ("nodes", "where"),
    [
        ([node("TopK", ["w", "k"], ["", "i"], "top"), node("Cast", ["i"], ["y"], "cast", to=1)], "top"),
        ([node("Identity", ["w"], ["y"], "same")], "same"),
        ([node("Own", ["w"], ["o"], "own", domain="own"), node("Neg", ["w"], ["y"], "neg")], "neg"),
    ],
    ids=["the second of two results, the first not wanted", "an Identity that is handed out", "behind an unknown type"],
)
def test_every_result_that_is_made_of_constants_counts(monkeypatch, nodes, where):
    monkeypatch.setattr(limits, "_raised", {"constants_mib": 1})
    stored = [weight("w", 2**18 + 1), numpy_helper.from_array(np.array([2**18 + 1]), "k")]
    graph = model(nodes, {}, {"y": [2**18 + 1]}, stored, domains=["own"])
    with pytest.raises(BackendError, match=f"^{where}: what is made of constants"):
        check_constants(graph)


def test_what_onnx_runtime_refuses_of_constants_is_said_of_the_model_as_a_whole():
    nodes = [
        node("Cast", ["length"], ["shape"], "cast", to=TensorProto.INT64),
        node("ConstantOfShape", ["shape"], ["big"], "fill"),
        node("ReduceMax", ["big"], ["peak"], "peak", keepdims=0),
        node("Add", ["x", "peak"], ["y"], "add"),
    ]
    length = numpy_helper.from_array(np.float32([-3]), "length")
    check_constants(model(nodes, {"x": [2]}, {"y": [2]}, [length]))


@pytest.mark.parametrize(("opset", "old"), [(1, True), (OLDEST_OPSET - 1, True), (OLDEST_OPSET, False), (17, False)])
def test_a_newer_operator_set_helps_where_the_set_is_old(opset, old):
    graph = model([node("Relu", ["x"], ["y"])], {"x": [2]}, {"y": [2]}, opset=opset)
    assert _what_helps(graph).startswith("Bring it to a newer operator set" if old else "Repair or replace")


def dequantized_inside(*, around):
    """An If of whose branches each multiplies by a stored weight: its own, or one of the graph around it."""
    stored = [numpy_helper.from_array(np.arange(12, dtype=np.int8).reshape(4, 3), "w"), constant("s", 0.5, "float32")]
    branches = {}
    for name, last in (("then_branch", "Identity"), ("else_branch", "Neg")):
        nodes = [
            node("DequantizeLinear", ["w", "s"], ["d"]),
            node("MatMul", ["x", "d"], ["m"]),
            node(last, ["m"], ["o"]),
        ]
        result = helper.make_tensor_value_info("o", TensorProto.FLOAT, [1, 3])
        branches[name] = helper.make_graph(nodes, name, [], [result], [] if around else stored)
    choice = node("If", ["c"], ["y"], "if", **branches)
    inputs = {"x": [1, 4], "c": (TensorProto.BOOL, [])}
    return model([choice], inputs, {"y": [1, 3]}, stored if around else [], opset=21, ir_version=10)


def test_text_that_is_made_of_constants_counts_as_much_as_it_takes(monkeypatch):
    monkeypatch.setattr(limits, "_raised", {"constants_mib": 1})
    for count, fits in ((2**15, True), (2**15 + 1, False)):
        text = helper.make_tensor("t", TensorProto.STRING, [count], [b"a"] * count)
        graph = model([node("Identity", ["t"], ["y"], "same")], {}, {"y": (TensorProto.STRING, [count])}, [text])
        if fits:
            check_constants(graph)
        else:
            with pytest.raises(BackendError, match=r"^same: what is made of constants .* the limit is 1\."):
                check_constants(graph)


def test_optimizers_are_off_always_where_numbers_count_or_where_types_are_narrow(monkeypatch):
    switches = [SimpleNamespace(name=where, where=where, is_option=False) for where in as_written.WHERE]
    monkeypatch.setattr(as_written, "SWITCHED_OFF", switches)
    half = (TensorProto.FLOAT16, [2])
    plain, narrow = (model([node("Relu", ["x"], ["y"])], {"x": of}, {"y": of}) for of in ([2], half))
    assert disabled_optimizers(plain) == disabled_optimizers(plain, "speed") == ["always"]
    assert set(disabled_optimizers(plain, "numerics")) == {"always", "numerics"}
    assert set(disabled_optimizers(narrow, "speed")) == {"always", "narrow"}
    assert disabled_optimizers(dequantized_inside(around=True)) == ["always", "bodies"]
    assert disabled_optimizers(dequantized_inside(around=False)) == ["always"]


@pytest.mark.parametrize("around", [True, False])
def test_a_body_that_dequantizes_a_weight_from_around_it_runs_in_both_modes(around):
    graph, x = dequantized_inside(around=around), np.arange(-2, 2, dtype=np.float32).reshape(1, 4)
    for mode in ("numerics", "speed"):
        for then, sign in ((True, 1), (False, -1)):
            result = Session(graph, mode=mode).run({"x": x, "c": np.array(then)})["y"]
            exact = sign * 0.5 * x @ np.arange(12, dtype=np.float32).reshape(4, 3)
            # For speed ONNX Runtime quantizes what such a weight multiplies.
            np.testing.assert_allclose(result, exact, atol=0.1 if mode == "speed" else 0)


def test_local_functions_are_written_out_where_types_are_widened():
    twice = helper.make_function(
        *("own", "twice", ["q"], ["s"]),
        [node("Exp", ["q"], ["k"]), node("Exp", ["k"], ["s"])],
        [helper.make_opsetid("", 17)],
    )
    call, half = node("twice", ["x"], ["y"], "call", domain="own"), (TensorProto.FLOAT16, [2])
    wide = in_float32(model([call], {"x": half}, {"y": half}, functions=[twice], domains=["own"]))
    assert not wide.ir_model.functions
    assert [one.op_type for one in wide.nodes.values()].count("Exp") == 2


def test_a_bf16_input_that_is_taken_as_it_is_is_rounded_before():
    narrow = (TensorProto.BFLOAT16, [2])
    nodes = [node("Cast", ["x"], ["c"], "cast", to=TensorProto.FLOAT16), node("Cast", ["c"], ["y"], "back", to=1)]
    nodes.append(node("Add", ["x", "x"], ["z"], "add"))
    graph = model(nodes, {"x": narrow}, {"y": [2], "z": narrow})
    fed = np.array([1.00390625, 3.0], np.float32)
    results = Session(graph).run({"x": fed})
    rounded = fed.astype(ml_dtypes.bfloat16).astype(np.float32)
    assert results["y"].tolist() == rounded.tolist() == [1.0, 3.0]


@pytest.mark.parametrize("kind", [TensorProto.FLOAT8E4M3FN, TensorProto.UINT4, TensorProto.INT4])
def test_types_that_python_has_no_arrays_of_become_others_at_the_borders_alone(kind):
    narrow, plain = (kind, [4]), (TensorProto.FLOAT, [4])
    nodes = [
        node("Cast", ["x"], ["a"], "a", to=TensorProto.FLOAT),
        node("Cast", ["x"], ["b"], "b", to=TensorProto.FLOAT),
        node("Add", ["a", "b"], ["s"], "s"),
        node("Cast", ["a"], ["y"], "y", to=kind),
    ]
    graph = model(nodes, {"x": narrow}, {"s": plain, "y": narrow}, opset=21, ir_version=10)
    wide = bordered(graph, ["y"])
    part = wide.ir_model.graph
    (fed,) = part.inputs
    assert fed.dtype != graph.ir_model.graph.inputs[0].dtype
    (first,) = fed.uses()
    assert next(iter(part)) is first.node  # before all that read it
    assert (first.node.op_type, first.node.outputs[0].dtype) == ("Cast", ir.DataType(kind))
    assert {use.node.name for use in first.node.outputs[0].uses()} == {"a", "b"}
    s, y = part.outputs
    assert (s.name, y.name, s.dtype, y.dtype) == ("s", "y", ir.DataType.FLOAT, fed.dtype)
    assert y.producer().inputs[0].producer().name == "y"
    assert border_types(graph, ["s", "y"]) == {"y": ir.DataType(kind).numpy()}
    inwards = bordered(graph, ["s"]).ir_model.graph
    assert (inwards.inputs[0].dtype, inwards.outputs[1].dtype) == (fed.dtype, ir.DataType(kind))


def test_what_is_made_of_other_types_has_a_border_behind_it_alone():
    graph = model(
        [node("Cast", ["x"], ["y"], "y", to=TensorProto.INT4)], {"x": [3]}, {"y": (TensorProto.INT4, [3])}, opset=21
    )
    part = bordered(graph, ["y"]).ir_model.graph
    assert (part.inputs[0].dtype, part.outputs[0].dtype) == (ir.DataType.FLOAT, ir.DataType.INT8)


def test_one_input_that_is_handed_out_as_it_came_leaves_the_others_their_border():
    narrow = (TensorProto.UINT4, [3])
    nodes = [node("Cast", ["b"], ["y"], "y", to=TensorProto.FLOAT)]
    part = bordered(model(nodes, {"a": narrow, "b": narrow}, {"a": narrow, "y": [3]}, opset=21), []).ir_model.graph
    assert [value.dtype for value in part.inputs] == [ir.DataType.UINT8] * 2
    assert [len(value.uses()) for value in part.inputs] == [0, 1]
    assert [one.op_type for one in part] == ["Cast", "Cast"]


@pytest.mark.parametrize("kind", ["FLOAT8E4M3FN", "FLOAT8E5M2", "INT4", "UINT4", "FLOAT16", "BFLOAT16", "FLOAT"])
def test_an_input_that_is_handed_out_as_it_came_needs_no_node(kind):
    value = helper.make_tensor_value_info("x", TensorProto.DataType.Value(kind), [3])
    graph = helper.make_graph([], "g", [value], [value])
    source = from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10))
    given = np.arange(3).astype(ir.DataType[kind].numpy())
    result = Session(source).run({"x": given})["x"]
    assert result.dtype == given.dtype
    assert result.astype(np.float32).tolist() == [0, 1, 2]


def test_a_model_without_such_types_is_itself():
    plain = model([node("Relu", ["x"], ["y"])], {"x": [2]}, {"y": [2]})
    assert bordered(plain, ["y"]) is plain
    assert border_types(plain, ["y"]) == {}
