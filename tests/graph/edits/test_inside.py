"""Where graphs hang in a model, what nodes read, what is known of tensors in functions."""

from __future__ import annotations

import onnx_ir as ir
from onnx import TensorProto, helper

from tests.kit.models import model
from workbench.graph.edits.inside import called, captured, graphs_in, place_of, reads_of, state, tensor_at
from workbench.graph.tensor import Tensor

node = helper.make_node


def info(name, shape=(3,)):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def nested():
    """An If in an If: the innermost branches read what is around both."""

    def inner(op):
        return helper.make_graph([node(op, ["x", "m"], ["r"], op)], op, [], [info("r")])

    deep = node("If", ["c"], ["d"], "deep", then_branch=inner("Add"), else_branch=inner("Mul"))
    held = helper.make_graph([node("Neg", ["x"], ["m"], "neg"), deep], "h", [], [info("d")])
    plain = helper.make_graph([node("Abs", ["x"], ["p"], "abs")], "p", [], [info("p")])
    choice = node("If", ["c"], ["y"], "if", then_branch=held, else_branch=plain)
    return model([choice], {"x": [3], "c": (TensorProto.BOOL, [])}, {"y": [3]})


def with_function(*calls, types=None):
    """A function that adds its inputs, called with what is given."""
    body = [node("Add", ["a", "b"], ["s"], "add"), node("Relu", ["s"], ["o"], "relu")]
    function = helper.make_function("own", "Sum", ["a", "b"], ["o"], body, [helper.make_opsetid("", 17)])
    nodes = [node("Sum", list(call), [f"y{at}"], f"call{at}", domain="own") for at, call in enumerate(calls)]
    inputs = types or {"x": [3], "z": [3], "wide": [2, 3]}
    return model(nodes, inputs, {f"y{at}": None for at in range(len(calls))}, domains=["own"], functions=[function])


def test_a_graph_has_a_place():
    graph = nested().thaw()
    main = place_of(graph, graph.graph)
    assert (main.prefix, main.part, main.holder, main.function) == ("", graph.graph, None, False)
    choice = graph.graph.node("if")
    held = choice.attributes["then_branch"].as_graph()
    place = place_of(graph, held)
    assert (place.prefix, place.part, place.holder, place.function) == ("if/then/", held, choice, False)
    deep = held.node("deep")
    place = place_of(graph, deep.attributes["else_branch"].as_graph())
    assert (place.prefix, place.holder) == ("if/then/deep/else/", deep)
    functions = with_function(("x", "z")).thaw()
    (function,) = functions.functions.values()
    place = place_of(functions, function.graph)
    assert (place.prefix, place.holder, place.function) == ("function(own:Sum)/", None, True)


def test_a_node_reads_what_its_graphs_read():
    graph = nested().thaw().graph
    choice = graph.node("if")
    assert [part.name for part in graphs_in(choice)] == ["p", "h"]
    assert sorted({value.name for value in reads_of(choice)}) == ["c", "d", "m", "p", "r", "x"]
    several = ir.node("Own", [], {"bodies": ir.AttrGraphs("bodies", graphs_in(choice))}, domain="own")
    assert [part.name for part in graphs_in(several)] == ["p", "h"]
    reference = ir.Node("own", "Own", [], [ir.RefAttr("body", "given", ir.AttributeType.GRAPH)])
    assert graphs_in(reference) == []


def test_what_a_graph_reads_from_around_it_is_captured():
    graph = nested().thaw().graph
    held = graph.node("if").attributes["then_branch"].as_graph()
    nodes, around = captured(held, list(held.outputs), [])
    assert ([one.name for one in nodes], sorted(value.name for value in around)) == (["deep", "neg"], ["c", "x"])
    (x,) = (value for value in around if value.name == "x")
    assert [value.name for value in captured(held, list(held.outputs), [x])[1]] == ["c"]
    middle = held.node("neg").outputs[0]
    nodes, _ = captured(held, list(held.outputs), [middle])
    assert [one.name for one in nodes] == ["deep"]
    assert captured(held, [middle], [middle]) == ([], [])


def test_in_a_function_is_known_what_all_its_calls_agree_on():
    at = "function(own:Sum)/"
    same = with_function(("x", "z"), ("z", "x"))
    assert [str(tensor_at(same, f"{at}{name}")) for name in "abso"] == [f"{at}{name} float[3]" for name in "abso"]
    torn = with_function(("x", "z"), ("wide", "z"))
    assert [str(tensor_at(torn, f"{at}{name}")) for name in "ab"] == [f"{at}a ?[?]", f"{at}b float[3]"]
    lacking = with_function(("x", "z"), ("x",))
    assert [str(tensor_at(lacking, f"{at}{name}")) for name in "ab"] == [f"{at}a float[3]", f"{at}b ?[?]"]
    skipped = with_function(("x", "z"), ("x", ""))
    assert str(tensor_at(skipped, f"{at}b")) == f"{at}b float[3]"
    assert str(tensor_at(same, "x")) == "x float[3]"
    (function,) = same.ir_model.functions.values()
    assert called(same, function) is called(same, function)


def test_what_is_known_is_stated_and_no_more():
    value = ir.Value(name="v")
    state(value, Tensor("v", None, None))
    assert (value.type, value.shape) == (None, None)
    state(value, Tensor("v", (2, "N", None), "FLOAT16"))
    assert (value.dtype, str(value.shape)) == (ir.DataType.FLOAT16, "[2,N,None]")
    state(value, Tensor("v", None, None))
    assert (value.dtype, str(value.shape)) == (ir.DataType.FLOAT16, "[2,N,None]")
