"""Is it a valid graph: what ONNX's checker says, and what it leaves out."""

from __future__ import annotations

import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from tests.kit.models import constant, model, proto, weight
from workbench.graph.check import (
    Contradiction,
    _first_lines,
    bring_in_order,
    broken_edge,
    checker_reason,
    contradiction,
    custom_ops,
    is_custom,
    node_reason,
)
from workbench.graph.model import Model

node = helper.make_node


def value(name, shape=(2,), kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def branched(*nodes, weights=(), made="z"):
    """An If whose branches hold some nodes, and that runs after a node of its own."""
    body = helper.make_graph(list(nodes), "b", [], [value(made)], list(weights))
    holder = node("If", ["yes"], ["y"], "if", then_branch=body, else_branch=body)
    first = node("Relu", ["x"], ["a"], "first")
    return proto([first, holder], {"x": [2], "yes": (TensorProto.BOOL, [])}, {"y": [2]})


def test_of_what_the_checker_says_two_lines_are_told():
    assert _first_lines(ValueError(" one \n\n  two\nthree")) == "one two"
    assert _first_lines(ValueError("one")) == "one"
    assert _first_lines(ValueError(" \n")) == "ValueError"


def test_a_valid_model_is_not_refused_and_another_is():
    assert checker_reason(model([node("Relu", ["x"], ["y"], "r")], {"x": [2]}, {"y": [2]})) is None
    twice = model([node("Relu", ["x", "x"], ["y"], "r")], {"x": [2]}, {"y": [2]})
    assert (
        "has input size 2 not in range [min=1, max=1]. ==> Context: Bad node spec for node. Name: r"
        in checker_reason(twice)
    )


@pytest.mark.parametrize("depth", [1, 2])
def test_a_weight_of_a_branch_that_was_stripped_is_no_reason(depth):
    bare = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2])
    inner = branched(node("Add", ["x", "w"], ["z"], "add"), weights=[bare])
    if depth == 2:
        inner = branched(inner.graph.node[1], made="y")
        inner.graph.output[0].name = inner.graph.node[1].output[0] = "outer"
    assert checker_reason(Model(ir.from_proto(inner))) is None


def test_a_weight_of_a_branch_that_has_its_numbers_is_left_as_it_is():
    for fields in ({"float_data": [1, 2]}, {"raw_data": bytes(8)}):
        whole = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], **fields)
        stated = branched(node("Add", ["x", "w"], ["z"], "add"), weights=[whole])
        assert checker_reason(Model(ir.from_proto(stated))) is None


def test_a_node_is_refused_whatever_is_around_it_and_inside_of_it():
    network = ir.from_proto(branched(node("Relu", ["x", "x"], ["z"], "twice")))
    relu, holder = network.graph
    (twice,) = holder.attributes["then_branch"].as_graph()
    assert node_reason(relu, network) is node_reason(holder, network) is None
    assert "has input size 2" in node_reason(twice, network)
    network.ir_version = None
    assert node_reason(relu, network) is None


def test_a_stated_type_or_shape_that_no_node_makes_is_a_contradiction():
    def stated(shape, kind=TensorProto.FLOAT):
        return model([node("Relu", ["x"], ["y"], "r")], {"x": [2]}, {"y": (kind, shape)})

    assert contradiction(stated([2])) is None
    told = contradiction(stated([3]))
    assert told == Contradiction("r", told.text)
    assert told.text.startswith("Relu: Inferred shape and existing shape differ in dimension 0: (2) vs (3)")
    other = contradiction(stated([2], TensorProto.INT64))
    assert (other.node, other.text[:6]) == ("r", "Relu: ")


def test_a_contradiction_may_be_of_no_node():
    loaded = model([node("Wobble", ["x"], ["y"], "it", domain="own")], {"x": [2]}, {"y": [2]})
    told = "Cannot infer type and shape for node name it. No opset import for domain own optype Wobble"
    assert contradiction(loaded) == Contradiction("", told)


def test_the_first_tensor_from_nowhere_is_named_with_who_reads_it():
    def first(network):
        return broken_edge(ir.from_proto(network))

    assert first(branched(node("Add", ["x", "a"], ["z"], "add"))) is None
    assert first(branched(node("Add", ["x", "ghost"], ["z"], "add"))) == ("if/else/add", "ghost")
    assert first(branched(node("Add", ["x", "ghost"], ["z"]))) == ("if/else/Add", "ghost")
    assert first(branched(node("Relu", ["x"], ["a2"], "r"))) == ("", "z")
    assert first(branched(node("Clip", ["x", "", "most"], ["z"], "clip"), weights=[weight("most")])) is None
    assert first(proto([node("Relu", ["x"], ["y"])], {"x": [2]}, {"y": [2], "ghost": [2]})) == ("", "ghost")


def test_what_another_model_makes_comes_from_nowhere():
    one, other = (ir.from_proto(proto([node("Relu", ["x"], ["y"], "r")], {"x": [2]}, {"y": [2]})) for _ in range(2))
    one.graph[0].replace_input_with(0, other.graph[0].outputs[0])
    assert broken_edge(one) == ("r", "y")


def order(*nodes):
    network = ir.from_proto(proto(nodes, {"x": [2], "yes": (TensorProto.BOOL, [])}, {"y": [2]}))
    late = bring_in_order(network)
    return late, [str(one.name) for one in network.graph]


def test_nodes_are_sorted_only_where_one_comes_too_early():
    a, b, c = node("Relu", ["x"], ["a"], "a"), node("Neg", ["x"], ["b"], "b"), node("Add", ["a", "b"], ["y"], "c")
    assert order(a, b, c) == ([], ["a", "b", "c"])
    assert order(b, a, c) == ([], ["b", "a", "c"])
    late, names = order(a, c, b)
    assert late == ["c"]
    assert names.index("c") == 2
    nameless = node("Add", ["a", "b"], ["y"])
    assert order(nameless, a, b)[0] == ["Add"]
    # Of several the first is told.
    assert order(node("Relu", ["a"], ["p"], "p"), node("Neg", ["a"], ["y"], "q"), a)[0] == ["p"]


@pytest.mark.parametrize("parts", [1, 2])
def test_a_node_comes_after_what_the_graphs_inside_of_it_read(parts):
    body = helper.make_graph([node("Neg", ["a"], ["z"], "neg")], "b", [], [value("z")])
    held = {"then_branch": body, "else_branch": body} if parts == 1 else {"parts": [body, body]}
    kind = ("If", "") if parts == 1 else ("Own", "own")
    holder = node(kind[0], ["yes"], ["y"], "holder", domain=kind[1], **held)
    assert order(holder, node("Relu", ["x"], ["a"], "a")) == (["holder"], ["a", "holder"])
    assert order(node("Relu", ["x"], ["a"], "a"), holder) == ([], ["a", "holder"])


def test_a_cycle_has_no_order():
    with pytest.raises(ValueError, match="cycle"):
        order(node("Add", ["x", "b"], ["a"], "a"), node("Relu", ["a"], ["b"], "b"), node("Relu", ["b"], ["y"], "y"))


@pytest.mark.parametrize(
    ("op", "domain", "custom"),
    [
        ("Relu", "", False),
        ("Relu", "ai.onnx", False),
        ("HardSwish", "", True),  # of set 14
        ("Wobble", "", True),
        ("Relu", "com.microsoft", True),
        ("Relu", "a.b", True),
        ("Scaler", "ai.onnx.ml", False),
        ("TreeEnsemble", "ai.onnx.ml", True),  # of set 5
        ("Mine", "own", False),  # a local function
        ("Other", "own", True),
    ],
)
def test_an_operator_is_custom_where_onnx_has_it_not_in_the_version_that_is_imported(op, domain, custom):
    function = helper.make_function(
        "own", "Mine", ["a"], ["b"], [node("Neg", ["a"], ["b"], "neg")], [helper.make_opsetid("", 13)]
    )
    network = ir.from_proto(
        proto([node(op, ["x"], ["y"], "it", domain=domain)], {"x": [2]}, {"y": [2]}, opset=13, functions=[function])
    )
    assert is_custom(network.graph[0], network) == custom
    name = f"{domain}.{op}" if domain else op
    assert custom_ops(network) == ({name: ["it"]} if custom else {})


def test_without_a_version_the_newest_is_meant():
    network = ir.from_proto(proto([node("HardSwish", ["x"], ["y"], "it")], {"x": [2]}, {"y": [2]}))
    network.graph.opset_imports.clear()
    assert not is_custom(network.graph[0], network)


def test_custom_operators_are_told_with_all_of_their_nodes():
    nodes = [node(op, ["x"], [f"y{at}"], f"n{at}", domain="own") for at, op in enumerate(["A", "B", "A"])]
    network = proto(nodes, {"x": [2]}, {f"y{at}": [2] for at in range(3)}, [constant("k", 1)], domains=["own"])
    assert custom_ops(ir.from_proto(network)) == {"own.A": ["n0", "n2"], "own.B": ["n1"]}
