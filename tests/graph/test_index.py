"""Who feeds whom, by address, with what is inside of branches, loops and functions."""

from __future__ import annotations

import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from tests.kit.models import constant, model
from workbench.errors import ModelError
from workbench.graph.index import scope_of
from workbench.graph.model import Model
from workbench.graph.structure import content_of, walk

node = helper.make_node


def value(name, kind=TensorProto.FLOAT, shape=(2,)):
    return helper.make_tensor_value_info(name, kind, shape)


def looping():
    body = helper.make_graph(
        [node("Identity", ["go"], ["on"], "keep"), node("Add", ["outer", "s"], ["t"], "sum")],
        "body",
        [value("i", TensorProto.INT64, ()), value("go", TensorProto.BOOL, ()), value("s")],
        [value("on", TensorProto.BOOL, ()), value("t")],
    )
    nodes = [
        node("Relu", ["x"], ["start"], "start"),
        node("Neg", ["x"], ["outer"], "outer"),
        node("Loop", ["count", "", "start"], ["looped"], "loop", body=body),
        node("Mul", ["looped", "looped"], ["square"], "square"),
        node("Add", ["square", "start"], ["y"], "y"),
    ]
    return model(nodes, {"x": [2]}, {"y": [2]}, [constant("count", 3)])


def test_a_loop_comes_after_its_body_and_the_body_after_what_feeds_the_loop():
    index = looping().index
    assert index.predecessors == {
        "start": (),
        "outer": (),
        "loop": ("start", "loop/body/keep", "loop/body/sum"),
        "square": ("loop",),
        "y": ("square", "start"),
        "loop/body/keep": ("start",),
        "loop/body/sum": ("outer", "start"),
    }
    assert index.successors == {
        "start": ("loop", "y", "loop/body/keep", "loop/body/sum"),
        "outer": ("loop/body/sum",),
        "loop": ("square",),
        "square": ("y",),
        "y": (),
        "loop/body/keep": ("loop",),
        "loop/body/sum": ("loop",),
    }
    assert index.depth == {
        "start": 0,
        "outer": 0,
        "loop": 2,
        "square": 3,
        "y": 4,
        "loop/body/keep": 1,
        "loop/body/sum": 1,
    }


def test_what_depends_on_a_node_and_what_it_depends_on():
    index = looping().index
    assert index.upstream(["loop/body/sum"]) == {"start", "outer"}
    assert index.upstream(["square"]) == {"start", "outer", "loop", "loop/body/keep", "loop/body/sum"}
    assert index.downstream(["outer"]) == {"loop/body/sum", "loop", "square", "y"}
    assert index.downstream(["square", "y"]) == {"y"}
    assert index.upstream([]) == set()


def test_a_tensor_is_named_after_the_graph_that_it_is_in():
    looped = looping()
    body = looped.nodes["loop"].attributes["body"].as_graph()
    assert [looped.index.tensor(one) for one in (*body.inputs, *body.outputs)] == [
        "loop/body/i",
        "loop/body/go",
        "loop/body/s",
        "loop/body/on",
        "loop/body/t",
    ]
    assert [looped.index.tensor(one) for one in looped.nodes["loop/body/sum"].inputs] == ["outer", "loop/body/s"]
    assert looped.index.prefix == {looped.ir_model.graph: "", body: "loop/body/"}
    assert {looped.index.address[one] for one in looped.nodes.values()} == set(looped.nodes)


def test_one_graph_is_indexed_alike_with_its_message_and_without():
    nodes = [
        node("Relu", ["x"], ["a"], "a"),
        node("Add", ["a", "x"], ["b"], "b"),
        node("Mul", ["b", "b"], ["c"], "c"),
        node("Clip", ["c", "", "most"], ["d"], "d"),
        node("Sum", ["a", "d", "b"], ["y"], "y"),
    ]
    loaded = model(nodes, {"x": [2]}, {"y": [2]}, [constant("most", 6, "float32")])
    assert loaded.flat is not None
    for indexed in (loaded, Model(loaded.ir_model)):
        assert indexed.index.predecessors == {"a": (), "b": ("a",), "c": ("b",), "d": ("c",), "y": ("a", "d", "b")}
        assert indexed.index.successors == {"a": ("b", "y"), "b": ("c", "y"), "c": ("d",), "d": ("y",), "y": ()}
        assert indexed.index.depth == {"a": 0, "b": 1, "c": 2, "d": 3, "y": 4}


@pytest.mark.parametrize(("address", "scope"), [("a/b/c", "a/b"), ("/c", ""), ("c", ""), ("", "")])
def test_a_scope_is_an_address_up_to_the_last_slash(address, scope):
    assert scope_of(address) == scope


def test_addresses_name_branches_lists_of_graphs_and_functions():
    def graph(op):
        return helper.make_graph([node(op, ["x"], ["z"], "it")], "g", [], [value("z")])

    body = [node("Neg", ["a"], ["b"], "neg"), node("Own", ["b"], ["c"], "held", domain="own", parts=[graph("Exp")] * 2)]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    for inner in (body[1].attribute[0].graphs[0], body[1].attribute[0].graphs[1]):
        inner.node[0].input[0] = "a"
    function = helper.make_function("own", "F", ["a"], ["c"], body, opsets)
    nodes = [
        node("If", ["yes"], ["t"], "if", then_branch=graph("Relu"), else_branch=graph("Abs")),
        node("F", ["t"], ["y"], "call", domain="own"),
    ]
    inputs = {"x": [2], "yes": (TensorProto.BOOL, [])}
    loaded = model(nodes, inputs, {"y": [2]}, domains=["own"], functions=[function])
    expected = [
        "if",
        "call",
        "if/else/it",
        "if/then/it",
        "function(own:F)/neg",
        "function(own:F)/held",
        "function(own:F)/held/parts[0]/it",
        "function(own:F)/held/parts[1]/it",
    ]
    assert list(loaded.nodes) == [address for address, _ in walk(loaded.ir_model)] == expected
    assert loaded.operators[("", "Exp")] == expected[-2:]
    assert list(loaded.top_nodes) == ["if", "call"]


def test_a_model_is_called_after_its_file_or_its_graph(tmp_path):
    loaded = model([node("Relu", ["x"], ["y"], "r")], {"x": [2]}, {"y": [2]})
    assert (loaded.name, loaded.opset, repr(loaded)) == ("g", 17, "<Model g: 1 nodes, opset 17>")
    assert Model(loaded.ir_model, path=tmp_path / "net.v2.onnx").name == "net.v2"
    nameless = loaded.thaw()
    nameless.graph.name = ""
    nameless.graph.opset_imports.clear()
    assert (Model(nameless).name, Model(nameless).opset) == ("model", 0)


def test_a_weight_has_a_content():
    held = ir.Value(name="w", const_value=ir.tensor([1.0, 2.0]))
    assert content_of(held) is held.const_value
    with pytest.raises(ModelError, match=r"^w: an initializer without content. Export the model again\.$"):
        content_of(ir.Value(name="w"))
