"""Which source nodes a node of an optimized graph does the work of, on optimized graphs written by hand."""

from __future__ import annotations

import pytest
from onnx import helper

from tests.kit.models import model, weight
from workbench.backends.onnxruntime.map import name_nodes, source_nodes

node = helper.make_node
WEIGHTS = [weight("w", 4, 4, 1, 1), weight("v", 4, 4, 1, 1), weight("k", 4, 1, 1)]
ENDS = {"x": [1, 4, 2, 2], "z": [1, 4, 2, 2]}
SOURCE = model(
    [
        node("Conv", ["x", "w"], ["a"], "c1"),
        node("Relu", ["a"], ["b"], "r1"),
        node("Add", ["k", "k"], ["kk"], "constant"),
        node("Add", ["b", "kk"], ["c"], "s1"),
        node("Conv", ["c", "v"], ["d"], "c2"),
        node("Add", ["d", "z"], ["e"], "s2"),
        node("Relu", ["e"], ["f"], "r2"),
        node("Sigmoid", ["f"], ["y"], "last"),
    ],
    ENDS,
    {"y": [1, 4, 2, 2]},
    WEIGHTS,
)


def optimized(*nodes):
    return helper.make_model(helper.make_graph(list(nodes), "g", [], []))


def mapped(*nodes, source=SOURCE):
    return {name: " ".join(found) for name, found in source_nodes(optimized(*nodes), source).items()}


def test_every_node_gets_a_name_of_its_own():
    nodes = [
        ("b_2", "Add"),
        ("b", "Add"),
        ("b", "Add"),
        ("", "Relu"),
        ("Relu_3", "Relu"),
        ("", "Relu"),
        ("b_2_2", "Add"),
    ]
    graph = optimized(*(node(op, ["x"], ["y"], name) for name, op in nodes))
    name_nodes(graph)
    names = ["b_2", "b", "b_2_2", "Relu_3", "Relu_3_4", "Relu_5", "b_2_2_6"]
    assert [one.name for one in graph.graph.node] == names


def test_a_fused_node_does_what_lies_between_the_tensors_that_survive():
    assert mapped(
        node("FusedConv", ["x", "w"], ["b"], "c1"),
        node("Add", ["b", "folded"], ["c"], "s1"),
        node("FusedConv", ["c", "v", "", "z"], ["f"], "c2"),
        node("Sigmoid", ["f"], ["y"], "last"),
    ) == {"c1": "c1 r1", "s1": "s1", "c2": "c2 s2 r2", "last": "last"}


def test_what_is_constant_is_nobodys_work():
    assert mapped(node("Any", ["x", "z"], ["y"], "all")) == {"all": "c1 r1 s1 c2 s2 r2 last"}


def test_a_node_that_was_put_in_between_counts_with_the_next_whose_tensor_survives():
    assert mapped(
        node("Cast", ["x"], ["own1"], "in"),
        node("Conv", ["own1", "w"], ["own2"], "it"),
        node("Relu", ["own2"], ["own3"], "between"),
        node("Cast", ["own3"], ["b"], "out"),
        node("Rest", ["b", "z"], ["y"], "rest"),
    ) == {"in": "", "it": "", "between": "", "out": "c1 r1", "rest": "s1 c2 s2 r2 last"}


def test_a_source_node_belongs_to_the_first_that_does_it():
    assert mapped(
        node("Any", ["x"], ["b"], "one"),
        node("Any", ["x"], ["c"], "two"),
        node("Any", ["x", "z"], ["e"], "three"),
        node("Any", ["nowhere"], ["y"], "four"),
    ) == {"one": "c1 r1", "two": "s1", "three": "c2 s2", "four": ""}  # the last comes out of what no node makes


@pytest.mark.parametrize("other", ["Mul", "Abs"])
def test_a_node_of_the_same_name_and_operator_is_the_same_whatever_its_tensors_are_called(other):
    nodes = [
        node("Conv", ["x", "w"], ["a"], "c1"),
        node("Relu", ["a"], ["other"], "r1"),
        node(other, ["other", "kk"], ["others"], "s1"),
        node("Rest", ["others", "z"], ["y"], "rest"),
    ]
    assert mapped(*nodes) == {"c1": "c1", "r1": "r1", "s1": "", "rest": "s1 c2 s2 r2 last"}


def test_outputs_that_a_source_node_does_not_have_are_none_of_its():
    split = model(
        [node("Split", ["x"], ["p", "q"], "split", num_outputs=2)], {"x": [4]}, {"p": [2], "q": [2]}, opset=18
    )
    made = node("Split", ["x"], ["own1", "own2", "own3"], "split")
    assert mapped(made, node("Neg", ["own3"], ["q"], "n"), source=split) == {"split": "split", "n": ""}


BLOCKED = [
    node("ReorderInput", ["x"], ["xr"], "ri", domain="com.microsoft.nchwc"),
    node("Conv", ["xr", "w"], ["own1"], "a_nchwc", domain="com.microsoft.nchwc", activation="Relu"),
    node("ReorderOutput", ["own1"], ["own2"], "ro", domain="com.microsoft.nchwc"),
    node("Add", ["own2", "kk"], ["c"], "s1"),
]
FUSED = {"ri": "", "a_nchwc": "c1 r1", "ro": "", "s1": "s1"}


@pytest.mark.parametrize(
    ("inputs", "activation", "made"),
    [
        (["c", "v", "", "z"], {"activation": "Relu"}, {"d_nchwc": "c2 s2 r2", "rest": "last"}),
        (["c", "v", "", "z"], {}, {"d_nchwc": "c2 s2", "rest": "r2 last"}),
        (["c", "v", "bias", "z", "more"], {}, {"d_nchwc": "c2 s2", "rest": "r2 last"}),
        (["c", "v", "bias", ""], {}, {"d_nchwc": "c2", "rest": "s2 r2 last"}),
        (["c", "v", "bias"], {}, {"d_nchwc": "c2", "rest": "s2 r2 last"}),
        (["c", "v"], {"activation": "Tanh"}, {"d_nchwc": "c2", "rest": "s2 r2 last"}),  # nothing of that kind follows
    ],
)
def test_a_convolution_for_blocked_channels_has_the_name_of_the_tensor_before_what_was_fused_into_it(
    inputs, activation, made
):
    nodes = [*BLOCKED, node("Conv", inputs, ["own3"], "d_nchwc", domain="com.microsoft.nchwc", **activation)]
    assert mapped(*nodes, node("Rest", ["own3", "z"], ["y"], "rest")) == FUSED | made


def test_a_blocked_convolution_that_was_named_after_its_activation_has_it_once():
    nodes = [node("Conv", ["x", "w"], ["own"], "b_nchwc", activation="Relu"), node("Rest", ["own", "z"], ["y"], "rest")]
    assert mapped(*nodes) == {"b_nchwc": "c1 r1", "rest": "s1 c2 s2 r2 last"}


@pytest.mark.parametrize("activation", ["Clip", "Relu", "Conv"])
def test_an_activation_is_told_from_a_convolution_by_its_operator(activation):
    nodes = [
        node("Conv", ["x", "w"], ["a"], "c"),
        node(activation, ["a", "w"][: 1 + (activation == "Conv")], ["y"], "act"),
    ]
    source = model(nodes, {"x": [1, 4, 2, 2]}, {"y": [1, 4, 2, 2]}, WEIGHTS[:1])
    blocked = node("Conv", ["x", "w"], ["own"], "a_nchwc", activation=activation)
    made = {"a_nchwc": "c", "last": "act"} if activation == "Conv" else {"a_nchwc": "c act", "last": ""}
    assert mapped(blocked, node("Any", ["own"], ["y"], "last"), source=source) == made


def test_two_readers_of_one_kind_leave_open_which_was_fused():
    nodes = [
        node("Conv", ["x", "w"], ["a"], "c"),
        node("Relu", ["a"], ["b"], "one"),
        node("Relu", ["a"], ["y"], "two"),
    ]
    source = model(nodes, {"x": [1, 4, 2, 2]}, {name: [1, 4, 2, 2] for name in "by"}, WEIGHTS[:1])
    blocked = node("Conv", ["x", "w"], ["own"], "a_nchwc", activation="Relu")
    rest = [node("Any", ["own"], ["b"], "first"), node("Any", ["own"], ["y"], "second")]
    assert mapped(blocked, *rest, source=source) == {"a_nchwc": "c", "first": "one", "second": "two"}
