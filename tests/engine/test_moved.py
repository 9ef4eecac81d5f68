"""Which Q/DQ or Cast one graph has and another has not, and what it tore or joined."""

from __future__ import annotations

import pytest
from onnx import TensorProto, helper

from workbench.engine.compare import compare_engines
from workbench.engine.moved import MovedEdge, MovedTensor, moved, reason_for, working_edges
from workbench.engine.source import source_graph
from workbench.graph.edits.registry import edit_by_name
from workbench.graph.load import load_model


def graph(*nodes, output="y"):
    """Nodes as "name: Type(inputs) -> output"."""
    records = []
    for text in nodes:
        name, rest = text.split(": ")
        kind, rest = rest.split("(")
        inputs, result = rest.split(") -> ")
        records.append(helper.make_node(kind, inputs.split(", "), [result], name=name))
    value = helper.make_tensor_value_info
    ends = [value("x", TensorProto.FLOAT, [1])], [value(output, TensorProto.FLOAT, [1])]
    return helper.make_model(helper.make_graph(records, "g", *ends))


PLAIN = graph("conv: Conv(x) -> c", "relu: Relu(c) -> r", "add: Add(r, x) -> y")


def test_edges_look_through_conversions():
    converted = graph(
        "conv: Conv(x) -> c",
        "q: QuantizeLinear(c) -> cq",
        "dq: DequantizeLinear(cq) -> cd",
        "relu: Relu(cd) -> r",
        "cast: Cast(r) -> rc",
        "same: Identity(rc) -> ri",
        "add: Add(ri, x) -> y",
    )
    assert working_edges(source_graph(converted)) == {
        MovedTensor("x", "conv"): "",
        MovedTensor("conv", "relu"): "Q DQ",
        MovedTensor("relu", "add"): "Cast",
        MovedTensor("x", "add"): "",
    }
    moves = moved(PLAIN, converted)
    assert moves == [
        MovedEdge(MovedTensor("conv", "relu"), "", "Q DQ"),
        MovedEdge(MovedTensor("relu", "add"), "", "Cast"),
    ]
    assert moves[0].words("A", "B") == "a Q/DQ stands between conv and relu in B and not in A"
    assert moved(converted, PLAIN)[0].words("A", "B") == "a Q/DQ stands between conv and relu in A and not in B"
    assert moved(PLAIN, PLAIN) == []


def test_of_several_moves_the_one_that_tore_is_named():
    moves = [
        MovedEdge(MovedTensor("x", "conv"), "", "Q DQ"),
        MovedEdge(MovedTensor("conv", "relu"), "", "Q DQ"),
        MovedEdge(MovedTensor("relu", "add"), "", "Q DQ"),
    ]
    one = {"conv": "a", "relu": "a", "add": "a"}
    two = {"conv": "a", "relu": "b", "add": "b"}
    assert reason_for(one, moves, one, two) == [moves[1]]
    # Joined again, it is the same that was in the way.
    assert reason_for(one, moves, two, one) == [moves[1]]
    # Where none of the inner edges moved, those at the border have.
    assert reason_for(["conv"], moves[:1], {"conv": "a"}, {"conv": "b"}) == [moves[0]]
    assert reason_for(["other"], moves, {}, {}) == []


@pytest.fixture(scope="module")
def pair(recorded, resnet_onnx, tmp_path_factory):
    """FP16 and explicit INT8 of one ResNet-50, each with its own graph."""
    path = tmp_path_factory.mktemp("models") / "quantized.onnx"
    path.write_bytes(resnet_onnx.SerializeToString())
    quantized = load_model(path)
    plain = edit_by_name("remove_qdq")(quantized).model
    return [recorded("fp16"), recorded("modelopt_int8_fp16")], [plain, quantized]


def test_a_real_residual_block_names_the_shortcut_that_was_quantized(pair):
    reports, models = pair
    comparison = compare_engines(reports, models=models)
    (residual,) = [group for group in comparison.groups if "l1.0.add" in group.nodes]
    assert residual.change[1].endswith(
        ", because a Q/DQ stands between l1.0.down and l1.0.add in modelopt_int8_fp16 and not in fp16"
    )
    (stem,) = [group for group in comparison.groups if "stem" in group.nodes]
    assert stem.change[1] == (
        "these 2 layers became one: stem + Relu_3 | MaxPool_4, because a Q/DQ stands between Relu_3 and MaxPool_4 in "
        "modelopt_int8_fp16 and not in fp16"
    )
    other = compare_engines(reports[::-1], models=models[::-1])
    (stem,) = [group for group in other.groups if "stem" in group.nodes]
    assert stem.change[1].startswith("this layer became 2: stem + Relu_3 | MaxPool_4, because a Q/DQ stands between")
    assert stem.change[1].endswith("in modelopt_int8_fp16 and not in fp16")


def test_without_the_files_nothing_is_claimed_of_them(pair):
    reports, models = pair
    comparison = compare_engines(reports, models[1])
    (residual,) = [group for group in comparison.groups if "l1.0.add" in group.nodes]
    assert "because" not in residual.change[1]
    half = compare_engines(reports, models[1], models=[None, models[1]])
    assert [group.change for group in half.groups] == [group.change for group in comparison.groups]


def test_three_conversions_of_an_edge_are_told_from_its_start():
    converted = graph(
        "conv: Conv(x) -> c",
        "cast: Cast(c) -> h",
        "q: QuantizeLinear(h) -> q",
        "dq: DequantizeLinear(q) -> d",
        "relu: Relu(d) -> r",
        "add: Add(r, x) -> y",
    )
    assert working_edges(source_graph(converted))[MovedTensor("conv", "relu")] == "Cast Q DQ"


def test_what_both_convert_alike_has_not_moved():
    both = graph(
        "conv: Conv(x) -> c", "q: QuantizeLinear(c) -> q", "dq: DequantizeLinear(q) -> d", "relu: Relu(d) -> y"
    )
    again = graph(
        "conv: Conv(x) -> c", "q: QuantizeLinear(c) -> q", "dq: DequantizeLinear(q) -> d", "relu: Relu(d) -> y"
    )
    assert moved(both, again) == []


def test_two_nodes_are_inside_of_themselves_and_torn_whichever_layer_sorts_first():
    first, second = (MovedEdge(MovedTensor(*ends), "", "Cast") for ends in (("conv", "relu"), ("relu", "add")))
    one = {"conv": "a", "relu": "a", "add": "a"}
    assert reason_for(["conv", "relu"], [first, second], one, one) == [first]
    for torn in ({"conv": "b", "relu": "a", "add": "a"}, {"conv": "a", "relu": "b", "add": "b"}):
        assert reason_for(one, [first, second], one, torn) == [first]
        assert reason_for(one, [first, second], torn, one) == [first]
