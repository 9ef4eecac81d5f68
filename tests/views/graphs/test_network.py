from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

from workbench.graph.load import from_proto, load_model
from workbench.views.graphs.network import Network, Op, network_of, split_name


@pytest.mark.parametrize(
    ("name", "kind", "scope", "label"),
    [
        ("/encoder/layers.0/attn/MatMul", "MatMul", ("encoder", "layers.0", "attn"), "MatMul"),
        ("encoder.layers.0.attn.MatMul", "MatMul", ("encoder", "layers.0", "attn"), "MatMul"),
        ("Conv_12", "Conv", (), "Conv_12"),
        ("p2o.Conv.12", "Conv", ("p2o",), "Conv.12"),
        ("model/conv1/Conv2D", "Conv", ("model", "conv1"), "Conv2D"),
        ("12", "Relu", (), "12"),
        ("/", "Relu", (), "/"),
    ],
)
def test_scopes_are_read_from_names(name, kind, scope, label) -> None:
    assert split_name(name, kind) == (scope, label)


def loop_and_if() -> onnx.ModelProto:
    f = helper.make_tensor_value_info
    then = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["t"], name="/m/Relu")], "then", [], [f("t", TensorProto.FLOAT, [2])]
    )
    other = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["t"], name="/m/Neg")], "else", [], [f("t", TensorProto.FLOAT, [2])]
    )
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"], name="keep"),
            helper.make_node("Add", ["v", "v"], ["w"], name="double"),
        ],
        "body",
        [f("i", TensorProto.INT64, []), f("go", TensorProto.BOOL, []), f("v", TensorProto.FLOAT, [2])],
        [f("go_on", TensorProto.BOOL, []), f("w", TensorProto.FLOAT, [2])],
    )
    nodes = [
        helper.make_node("If", ["c"], ["y"], name="/m/If", then_branch=then, else_branch=other),
        helper.make_node("Loop", ["n", "c", "y"], ["z"], name="again", body=body),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [f("c", TensorProto.BOOL, []), f("x", TensorProto.FLOAT, [2]), f("n", TensorProto.INT64, [])],
        [f("z", TensorProto.FLOAT, [2])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def test_branches_are_scopes_and_join_in_their_node() -> None:
    network = network_of(from_proto(loop_and_if()))
    op = {op.name: op for op in network.ops}
    assert set(op) == {
        "/m/If",
        "/m/If/then//m/Relu",
        "/m/If/else//m/Neg",
        "again",
        "again/body/keep",
        "again/body/double",
    }
    assert op["/m/If/then//m/Relu"].scope == ("m", "If", "then")
    assert op["/m/If/else//m/Neg"].scope == ("m", "If", "else")
    assert op["/m/If"].scope == ("m", "If")
    assert op["again/body/double"].scope == ("again", "body")
    # Both branches call their result "t"; they are two tensors all the same, and both feed the If.
    results = {op["/m/If/then//m/Relu"].outputs[0], op["/m/If/else//m/Neg"].outputs[0]}
    assert len(results) == 2
    assert results < set(op["/m/If"].inputs)


def test_what_is_fed_to_a_loop_feeds_its_body() -> None:
    op = {op.name: op for op in network_of(from_proto(loop_and_if())).ops}
    assert op["again/body/double"].inputs == op["/m/If"].outputs


def test_the_view_knows_every_node_that_the_model_knows(shared) -> None:
    model = load_model(shared / "models/silero_vad_16k_op15/model.onnx")
    network = network_of(model)
    assert set(network.index) == set(model.nodes)
    assert len(network.ops) == 350
    assert network.notes["state"] == "float32 2 × batch × 128"


def test_a_node_is_described_with_its_tensors_and_attributes(shared) -> None:
    model = load_model(shared / "models/mnist_cntk/model.onnx")
    network = network_of(model)
    name = next(op.name for op in network.ops if op.op_type == "Conv")
    description = network.describe(name)
    assert description["op"] == "Conv"
    assert "1x8x28x28" in description["out 0"]
    assert "kernel_shape" in description
    assert network.describe("nothing of the kind") == {}


def test_constants_are_drawn_with_their_consumer() -> None:
    ops = [Op("c", "Constant", (), ("k",)), Op("a", "Add", ("x", "k"), ("y",)), Op("b", "Mul", ("y", "k"), ("z",))]
    network = Network(ops, ["x"], ["z"])
    assert network.host == [1, 1, 2]
    assert list(zip(network.tails.tolist(), network.heads.tolist(), strict=True)) == [(1, 2)]


def test_a_neighbourhood_has_the_hops_asked_for_and_no_more_than_the_limit() -> None:
    ops = [Op(f"n{i}", "Relu", (f"t{i}",), (f"t{i + 1}",)) for i in range(20)]
    network = Network(ops, ["t0"], ["t20"])
    near, cut = network.neighbourhood(["n10"], 3, 100)
    assert [op.name for op in near.ops] == [f"n{i}" for i in range(7, 14)]
    assert not cut
    assert near.beyond == {"n7": (1, 0), "n13": (0, 1)}
    near, cut = network.neighbourhood(["n10"], 9, 5)
    assert len(near.ops) == 5
    assert cut
    assert network.neighbourhood(["n0"], 1, 9)[0].inputs == ["t0"]
