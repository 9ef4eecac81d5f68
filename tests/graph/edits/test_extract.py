"""A part of a model as a model: what it holds, what it is fed, what it cannot be cut out of."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.kit.models import constant, model, run, weight
from workbench.errors import EditError
from workbench.graph.edits.registry import applicable, edit_by_name

node = helper.make_node
info = helper.make_tensor_value_info


def extract(network, inputs, outputs):
    return edit_by_name("extract", inputs=inputs, outputs=outputs)(network)


def refusal(network, inputs, outputs):
    with pytest.raises(EditError) as refused:
        extract(network, inputs, outputs)
    return str(refused.value)


def offers(network, *addresses):
    return [(edit.inputs, edit.outputs) for edit in applicable(network, addresses) if edit.do == "extract"]


def network(**more):
    """Two inputs, a diamond, and a weight."""
    nodes = [
        node("Add", ["x", "w"], ["a"], "add"),
        node("Relu", ["a"], ["b"], "relu"),
        node("Mul", ["a", "z"], ["c"], "mul"),
        node("Sub", ["b", "c"], ["d"], "sub"),
        node("Neg", ["d"], ["y"], "neg"),
    ]
    return model(nodes, {"x": [2, 3], "z": [2, 3]}, {"y": [2, 3]}, [weight("w", 2, 3), weight("idle", 7)], **more)


def test_only_what_computes_the_outputs_from_the_inputs_is_kept():
    done = extract(network(), ["a", "z"], ["d", "b"])
    assert done.notes == ("kept 3 of 5 nodes",)
    part = done.model
    assert list(part.nodes) == ["relu", "mul", "sub"]
    assert [str(tensor) for tensor in (*part.inputs, *part.outputs)] == [
        "a float[2x3]",
        "z float[2x3]",
        "d float[2x3]",
        "b float[2x3]",
    ]
    assert (list(part.initializers), part.ir_model.graph.name, part.opset) == ([], "g", 17)
    a, z = np.float32([[1, -2, 3], [-4, 5, -6]]), np.float32([[2, 3, 4], [5, 6, 7]])
    d, b = run(part, {"a": a, "z": z})
    np.testing.assert_array_equal(b, np.maximum(a, 0))
    np.testing.assert_array_equal(d, np.maximum(a, 0) - a * z)
    whole = extract(network(), ["x", "z"], ["y"])
    assert (whole.notes, list(whole.model.initializers)) == (("kept 5 of 5 nodes",), ["w"])


def test_what_cannot_be_cut_out_is_refused():
    assert refusal(network(), ["a"], []) == "g: a model needs an output. Name at least one tensor in outputs."
    assert "Name every input it needs." in refusal(network(), ["a"], ["d"])
    assert "there is no such tensor" in refusal(network(), ["q"], ["d"])
    assert extract(network(), ["x"], ["b"]).notes == ("kept 2 of 5 nodes",)


def test_what_is_picked_is_offered_between_what_it_reads_and_what_others_read_of_it():
    subject = network()
    assert offers(subject, "relu") == [(("a",), ("b",))]
    assert offers(subject, "mul", "relu") == [(("a", "z"), ("c", "b"))]
    assert offers(subject, "add", "relu", "mul") == [(("x", "z"), ("b", "c"))]
    assert offers(subject, "add") == [(("x",), ("a",))]
    assert offers(subject, "neg") == [(("d",), ("y",))]
    assert offers(subject) == []


def test_an_unused_result_and_a_stored_one_are_no_border():
    nodes = [
        node("TopK", ["x", "k"], ["v", "i"], "top"),
        node("Neg", ["v"], ["y"], "neg"),
        node("Neg", ["x"], ["unread"], "idle"),
        node("Identity", ["k"], ["e"], "stored"),
        node("Mul", ["e", "e"], ["q"], "reader"),
    ]
    subject = model(nodes, {"x": [2, 5]}, {"y": [2, 3], "q": (TensorProto.INT64, [1])}, [constant("k", [3])])
    assert offers(subject, "top") == [(("x",), ("v",))]
    assert offers(subject, "idle") == []
    assert offers(subject, "stored") == []


def branches():
    """An If whose branches read a computed and a stored tensor from around it."""

    def branch(op):
        nodes = [node(op, ["n", "w"], ["s"], "first"), node("Neg", ["s"], ["r"], "last")]
        return helper.make_graph(nodes, op, [], [info("r", TensorProto.FLOAT, [2, 3])])

    choice = node("If", ["c"], ["y"], "if", then_branch=branch("Add"), else_branch=branch("Mul"))
    nodes = [node("Abs", ["x"], ["n"], "abs"), choice]
    inputs = {"x": [2, 3], "c": (TensorProto.BOOL, [])}
    return model(nodes, inputs, {"y": [2, 3]}, [weight("w", 2, 3)])


def test_a_branch_brings_along_what_it_reads_from_around_it():
    subject = branches()
    assert offers(subject, "if/then/first") == [((), ("if/then/s",))]
    assert offers(subject, "if/then/first", "if/else/first") == []
    done = extract(subject, [], ["if/then/s"])
    assert done.notes == ("kept 1 of 6 nodes",)
    part = done.model
    assert [str(tensor) for tensor in part.inputs] == ["n float[2x3]"]
    assert {name: one.op_type for name, one in part.nodes.items()} == {"first": "Add"}
    w = subject.initializers["w"].const_value.numpy()
    n = np.float32([[1, -2, 3], [-4, 5, -6]])
    np.testing.assert_array_equal(run(part, {"n": n})[0], n + w)
    # An If as a whole takes along what its branches read.
    assert offers(subject, "if") == [(("c", "n"), ("y",))]
    assert list(extract(subject, ["c", "n"], ["y"]).model.initializers) == ["w"]


def test_no_run_of_the_whole_tells_about_a_branch():
    subject = branches()
    inner = edit_by_name("extract", inputs=[], outputs=["if/then/s"])
    assert inner.unchecked(subject) == ("'if/then/s' lies in a subgraph, whose values cannot be read from outside")
    assert edit_by_name("extract", inputs=["n", "c"], outputs=["y"]).unchecked(subject) is None
    with pytest.raises(EditError, match=r"y, if/then/s: these outputs lie in different graphs\. Extract from one"):
        extract(subject, ["n", "c"], ["y", "if/then/s"])


def test_a_tensor_of_unknown_shape_or_type_is_no_border():
    nodes = [
        node("Reshape", ["x", "s"], ["r"], "reshape"),
        node("Own", ["x"], ["o"], "own", domain="own"),
        node("Relu", ["r"], ["y"], "relu"),
        node("Neg", ["o"], ["z"], "neg"),
    ]
    inputs = {"x": [6], "s": (TensorProto.INT64, ["n"])}
    subject = model(nodes, inputs, {"y": [None], "z": [None]}, domains=["own"])
    assert offers(subject, "reshape") == offers(subject, "relu") == offers(subject, "own") == []
    for name in ("r", "o"):
        assert f"{name}: its shape or element type is unknown, so it cannot become an input or output" in refusal(
            subject, [name], ["y"] if name == "r" else ["z"]
        )


def functions(*, opset=17):
    """A local function of its own operator set, which calls another, in a model that has a third."""
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("own", 1)]
    inner = helper.make_function("own", "Inner", ["a"], ["b"], [node("Abs", ["a"], ["b"], "abs")], opsets)
    body = [
        node("Inner", ["p"], ["q"], "call", domain="own"),
        node("Neg", ["q"], ["r"], "neg"),
        node("Exp", ["r"], ["s"], "exp"),
    ]
    outer = helper.make_function("own", "Outer", ["p"], ["s"], body, opsets)
    idle = helper.make_function("own", "Idle", ["a"], ["b"], [node("Neg", ["a"], ["b"], "n")], opsets)
    calls = [node("Outer", ["x"], ["y"], "outer", domain="own"), node("Idle", ["y"], ["z"], "idle", domain="own")]
    return model(
        calls, {"x": [3]}, {"z": [3]}, opset=opset, domains=["own"], functions=[inner, outer, idle], ir_version=10
    )


def test_a_part_of_a_function_takes_the_functions_that_it_calls():
    subject, at = functions(), "function(own:Outer)/"
    assert offers(subject, f"{at}neg") == [((f"{at}q",), (f"{at}r",))]
    done = extract(subject, [f"{at}p"], [f"{at}r"])
    assert done.notes == ("kept 3 of 7 nodes",)
    assert [function.name for function in done.model.ir_model.functions.values()] == ["Inner"]
    assert list(done.model.top_nodes) == ["call", "neg"]
    x = np.float32([1, -2, 3])
    np.testing.assert_array_equal(run(done.model, {done.model.inputs[0].name: x})[0], -np.abs(x))
