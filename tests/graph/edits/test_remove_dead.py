"""What no output of the model is computed from goes: nodes, weights, optional results."""

from __future__ import annotations

import pytest
from onnx import TensorProto, helper

from tests.kit.models import assert_same, model, weight
from workbench.graph.edits.registry import applicable, edit_by_name

node = helper.make_node


def cleaned(network, **arguments):
    return edit_by_name("remove_dead", **arguments)(network)


def test_dead_chains_go_from_their_end_with_what_they_read():
    nodes = [
        node("Constant", [], ["k"], "k", value_floats=[1.0, 2, 3]),
        node("Add", ["x", "w"], ["a"], "one"),
        node("Mul", ["a", "k"], ["b"], "two"),
        node("Relu", ["x"], ["y"], "relu"),
    ]
    network = model(nodes, {"x": [3]}, {"y": [3]}, [weight("w", 3), weight("idle", 3)])
    done = cleaned(network)
    assert done.notes == ("removed 3 nodes and 2 weights that nobody needs",)
    assert (list(done.model.nodes), list(done.model.initializers)) == (["relu"], [])
    assert not cleaned(done.model).changed
    # Kept to a part, it leaves weights that nothing there read.
    part = cleaned(network, only="name:two")
    assert part.notes == ("removed 2 nodes and 0 weights that nobody needs",)
    assert (list(part.model.nodes), list(part.model.initializers)) == (["one", "relu"], ["w", "idle"])


def test_weights_alone_are_worth_a_sentence():
    network = model([node("Relu", ["x"], ["y"], "relu")], {"x": [3]}, {"y": [3]}, [weight("idle", 3)])
    assert cleaned(network).notes == ("removed 0 nodes and 1 weights that nobody needs",)


def test_what_a_dead_node_holds_goes_with_it():
    def branch(op):
        result = helper.make_tensor_value_info("r", TensorProto.FLOAT, [3])
        return helper.make_graph([node(op, ["a", "v"], ["r"], op)], op, [], [result], [weight("v", 3)])

    nodes = [
        node("Neg", ["x"], ["a"], "neg"),
        node("If", ["c"], ["unread"], "if", then_branch=branch("Add"), else_branch=branch("Mul")),
        node("Relu", ["x"], ["y"], "relu"),
    ]
    network = model(nodes, {"x": [3], "c": (TensorProto.BOOL, [])}, {"y": [3]})
    done = cleaned(network)
    assert done.notes == ("removed 4 nodes and 2 weights that nobody needs",)
    assert list(done.model.nodes) == ["relu"]


LSTM = [weight("w", 1, 12, 5), weight("r", 1, 12, 3)]


@pytest.mark.parametrize(
    ("made", "given", "left", "count"),
    [
        (["all", "last", "cell"], ["all"], ["all"], 2),
        (["all", "last", "cell"], ["last"], ["all", "last"], 1),
        (["all", "last", "cell"], ["cell"], ["all", "last", "cell"], 0),
        (["all", "last", "cell"], ["all", "cell"], ["all", "last", "cell"], 0),
    ],
)
def test_optional_results_at_the_end_go_where_nothing_reads_them(made, given, left, count):
    shapes = {"all": [9, 1, 2, 3], "last": [1, 2, 3], "cell": [1, 2, 3]}
    lstm = node("LSTM", ["x", "w", "r"], made, "lstm", hidden_size=3)
    network = model([lstm], {"x": [9, 2, 5]}, {name: shapes[name] for name in given}, LSTM)
    done = cleaned(network)
    assert [value.name for value in done.model.nodes["lstm"].outputs] == left
    said = f"removed 0 nodes and 0 weights that nobody needs, and {count} results that nothing reads"
    assert done.notes == ((said,) if count else ())
    assert_same(network, done.model)
    assert not cleaned(network, only="name:lstm").changed


@pytest.mark.parametrize(
    ("one", "inputs", "result"),
    [
        (node("Split", ["x"], ["y", "unread"], "it", axis=0), {"x": [4, 2]}, [2, 2]),
        (node("Own", ["x"], ["y", "unread"], "it", domain="own"), {"x": [4, 2]}, [4, 2]),
        (
            node("Attention", ["x", "x", "x", "", "pk", "pv"], ["y", "nk", "nv"], "it"),
            {"x": [1, 2, 4, 8], "pk": [1, 2, 3, 8], "pv": [1, 2, 3, 8]},
            [1, 2, 4, 8],
        ),
    ],
)
def test_results_that_a_node_has_anyway_stay(one, inputs, result):
    network = model([one], inputs, {"y": result}, opset=17 if one.op_type == "Split" else 23, domains=["own"])
    assert not cleaned(network).changed


def test_it_is_offered_for_nodes_that_nothing_needs():
    nodes = [node("Neg", ["x"], ["a"], "dead"), node("Abs", ["x"], ["b"], "read"), node("Relu", ["b"], ["y"], "last")]
    network = model(nodes, {"x": [3]}, {"y": [3]})
    for place, offered in (("dead", True), ("read", False), ("last", False)):
        assert ("remove_dead" in {edit.do for edit in applicable(network, [place])}) is offered
