"""Why a node cannot be computed in 8 bits, and which of its operands get a pair, reason by reason."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.kit.models import model, weight
from tests.kit.networks import Net
from workbench.precision.operators import activations, obstacle, residual_convolution, weights
from workbench.precision.operators.placement import Edge, residual_shortcut

NODE, INFO = helper.make_node, helper.make_tensor_value_info
WEIGHTS = [weight("w", 4, 4), weight("v", 4, 4), weight("bias", 4)]


def why(node, precision="int8", *, inputs=None, more=(), arrays=WEIGHTS, **options):
    domains = options.pop("domains", ())
    network = model([*more, node], inputs or {"x": [2, 4]}, {"y": None}, arrays, opset=19, domains=domains)
    return obstacle(network, "n", network.nodes["n"], precision, **options)


@pytest.mark.parametrize(
    ("node", "precision", "reason"),
    [
        (NODE("MatMul", ["x", "w"], ["y"], "n"), "int8", None),
        (NODE("MatMul", ["x", "w"], ["y"], "n"), "fp8", None),
        (NODE("MatMul", ["w", "x"], ["y"], "n"), "int8", None),
        (NODE("MatMul", ["w", "v"], ["y"], "n"), "int8", "all its operands are constants"),
        (NODE("Gemm", ["x", "w", "bias"], ["y"], "n"), "int8", None),
        (NODE("GlobalAveragePool", ["x"], ["y"], "n"), "int8", None),
        (
            NODE("GlobalAveragePool", ["x"], ["y"], "n"),
            "fp8",
            "FP8 is for what multiplies; TensorRT has no FP8 GlobalAveragePool",
        ),
        (NODE("Add", ["x", "x"], ["y"], "n"), "fp8", "FP8 is for what multiplies; TensorRT has no FP8 Add"),
        (
            NODE("Add", ["x", "w"], ["y"], "n"),
            "int8",
            "it joins no convolution with a shortcut, so INT8 would only add conversions",
        ),
        (NODE("Softmax", ["x"], ["y"], "n"), "int8", "TensorRT gains nothing from Q/DQ around Softmax"),
    ],
)
def test_a_node_is_computed_in_8_bits_unless_something_stands_against_it(node, precision, reason):
    assert why(node, precision) == reason


def test_only_weights_are_quantized_where_there_is_one():
    reason = "only weights are to be quantized, and it has none"
    assert why(NODE("MatMul", ["x", "w"], ["y"], "n"), weight_only=True) is None
    assert why(NODE("MatMul", ["w", "x"], ["y"], "n"), weight_only=True) is None
    assert why(NODE("MatMul", ["x", "x"], ["y"], "n"), weight_only=True) == reason
    assert why(NODE("Gemm", ["x", "x", "bias"], ["y"], "n"), weight_only=True) == reason  # a bias is no weight
    assert why(NODE("GlobalAveragePool", ["x"], ["y"], "n"), weight_only=True) == reason


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (TensorProto.FLOAT16, None),
        (TensorProto.DOUBLE, "its input 'x' is double, and Q/DQ is written for float32 and float16 graphs"),
        (TensorProto.INT32, "its input 'x' is int32, and Q/DQ is written for float32 and float16 graphs"),
    ],
)
def test_pairs_are_written_for_float32_and_float16(kind, reason):
    dtype = np.float16 if kind == TensorProto.FLOAT16 else np.float32
    arrays = [numpy_helper.from_array(np.ones((4, 4), dtype), "w")]
    assert why(NODE("MatMul", ["x", "w"], ["y"], "n"), inputs={"x": (kind, [2, 4])}, arrays=arrays) == reason


def test_what_is_nobodys_or_of_another_domain_is_left_alone():
    of_others = "it is com.microsoft.MatMul, of which nothing is known"
    node = NODE("MatMul", ["x", "w"], ["y"], "n", domain="com.microsoft")
    assert why(node, domains=["com.microsoft"]) == of_others
    local = helper.make_function(
        "own", "Twice", ["a"], ["b"], [NODE("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 19)]
    )
    network = model(
        [NODE("Twice", ["x"], ["y"], "n", domain="own")],
        {"x": [2]},
        {"y": [2]},
        opset=19,
        domains=["own"],
        functions=[local],
    )
    reason = "it is own.Twice, a local function, which is left as it is"
    assert obstacle(network, "n", network.nodes["n"]) == reason
    branch = helper.make_graph(
        [NODE("MatMul", ["r", "w"], ["o"], "inner")], "b", [], [INFO("o", TensorProto.FLOAT, None)]
    )
    nodes = [NODE("Relu", ["x"], ["r"], "relu"), NODE("If", ["f"], ["y"], "if", then_branch=branch, else_branch=branch)]
    flag = numpy_helper.from_array(np.array(True), "f")
    inside = model(nodes, {"x": [2, 4]}, {"y": None}, [weight("w", 4, 4), flag])
    address = next(each for each in inside.nodes if each.endswith("inner"))
    reason = "it is inside a subgraph or function, whose tensors calibration does not see"
    assert obstacle(inside, address, inside.nodes[address]) == reason


def test_computed_weights_are_products_operands_but_no_convolutions():
    computed = NODE("Relu", ["w"], ["k"], "relu")
    assert why(NODE("MatMul", ["x", "k"], ["y"], "n"), more=[computed]) is None
    image = {"x": [1, 4, 4, 4]}
    kernel = [weight("w", 4, 4, 1, 1)]
    for op in ("Conv", "ConvTranspose"):
        node = NODE(op, ["x", "k"], ["y"], "n")
        assert why(node, inputs=image, more=[computed], arrays=kernel) == "its weights are computed, not constant"


def test_pairs_are_of_operands_and_of_a_shortcut_and_weights_of_constants():
    net = Net()
    a = net.conv("x")  # Conv_0
    b = net.op("Add", net.op("Relu", a), net.conv(a))  # Relu_1, Conv_2, Add_3
    pool = net.op("GlobalAveragePool", b)  # 4
    flat = net.op("Flatten", pool)  # 5
    net.op("Gemm", flat, net.weight(3, 4), net.weight(3), transB=1)  # 6
    network = net.model(net.op("MatMul", "t6", net.op("Transpose", "t6", perm=[1, 0])))  # 7, 8
    names = ["Conv_0", "Conv_2", "Add_3", "GlobalAveragePool_4", "Gemm_6", "MatMul_8"]
    assert list(activations(network, names)) == [
        Edge("Conv_0", 0, "x"),
        Edge("Conv_2", 0, "t0"),
        Edge("Add_3", 0, "t1"),
        Edge("GlobalAveragePool_4", 0, "t3"),
        Edge("Gemm_6", 0, "t5"),
        Edge("MatMul_8", 0, "t6"),
        Edge("MatMul_8", 1, "t7"),
    ]
    assert list(weights(network, names)) == [Edge("Conv_0", 1, "w0"), Edge("Conv_2", 1, "w2"), Edge("Gemm_6", 1, "w4")]
    assert residual_convolution(network.nodes["Add_3"]).name == "Conv_2"


def residual(build):
    """The shortcut's position of the Add that a function ends a network with."""
    net = Net()
    network = net.model(net.op("Relu", net.op("Add", *build(net))))
    add = next(node for node in network.nodes.values() if node.op_type == "Add")
    return residual_shortcut(add)


@pytest.mark.parametrize(
    ("build", "position"),
    [
        (lambda net: ("x", net.conv("x")), 0),
        (lambda net: (net.conv("x"), "x"), 1),
        (lambda net: (net.norm(net.conv("x")), "x"), 1),
        (lambda net: (net.op("Identity", net.conv("x")), "x"), 1),
        (lambda net: (net.op("Relu", net.conv("x")), "x"), None),  # something stands between
        (lambda net: ("x", net.op("Relu", "x")), None),
        (lambda net: (net.conv(net.conv("x")), net.conv("x")), 1),  # the longer branch is the main one
        (lambda net: (net.conv("x"), net.conv(net.conv("x"))), 0),
        (lambda net: (net.conv("x"), net.conv("x")), 1),  # the first on a tie
        (lambda net: (net.conv("x"), net.weight(4, 1, 1)), None),
    ],
)
def test_the_shortcut_is_what_does_not_end_in_a_convolution_or_the_shorter_branch(build, position):
    assert residual(build) == position


def test_a_convolution_that_is_an_output_or_read_twice_takes_nothing_in():
    nodes = [NODE("Conv", ["x", "k"], ["c"], "conv"), NODE("Add", ["c", "x"], ["y"], "add")]
    kernel = [weight("k", 4, 4, 1, 1)]
    shape = [1, 4, 2, 2]
    outputs = ({"y": shape}, {"y": shape, "c": shape})
    found = [model(nodes, {"x": shape}, each, kernel).nodes["add"] for each in outputs]
    assert [residual_shortcut(node) for node in found] == [1, None]
    assert residual_convolution(found[1]) is None
    twice = NODE("Add", ["c", "c"], ["y"], "add")
    assert residual_shortcut(model([nodes[0], twice], {"x": shape}, {"y": shape}, kernel).nodes["add"]) is None
