"""Where Q/DQ pairs go, rule by rule."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kit.networks import Net, network
from workbench.precision.lowering.lowering import activation_tensors, lower
from workbench.precision.operators.placement import activations, obstacle, residual_shortcut, weight_axis, weights
from workbench.precision.plan.plan import BEST_PRACTICE, PrecisionPlan

EVERYTHING = PrecisionPlan().with_rule("*", "int8")


def edges(model, plan=BEST_PRACTICE):
    return [(e.node, e.position, e.tensor) for e in activations(model, plan.resolve(model).nodes("int8"))]


def reason(model, op_type):
    address, node = next((a, n) for a, n in model.nodes.items() if n.op_type == op_type)
    return obstacle(model, address, node)


def test_a_residual_add_quantizes_the_shortcut_alone():
    model = network("residual")  # conv relu conv norm add(norm, x) relu
    add = next(node for node in model.nodes.values() if node.op_type == "Add")
    assert residual_shortcut(add) == 1
    assert [(position, tensor) for node, position, tensor in edges(model) if node == add.name] == [(1, "x")]


def test_of_two_convolved_branches_the_longer_one_is_the_main_one():
    model = network("conv", "residual_projection")
    add = next(node for node in model.nodes.values() if node.op_type == "Add")
    shortcut = add.inputs[residual_shortcut(add)].producer()
    assert shortcut.inputs[1].shape.numpy() == (4, 4, 1, 1)  # the projection


def test_the_main_branch_may_stand_on_either_side():
    net = Net()
    y = net.conv("x")
    model = net.model(net.op("Relu", net.op("Add", "x", y)))
    assert edges(model)[1:] == [("Add_1", 0, "x")]


def test_an_add_that_joins_no_convolution_stays_floating():
    net = Net()
    model = net.model(net.op("Add", net.op("Relu", "x"), net.op("Sigmoid", "x")))
    assert "no convolution" in reason(model, "Add")


def test_an_add_of_a_constant_stays_floating():
    net = Net()
    model = net.model(net.op("Add", net.conv("x"), net.weight(4, 1, 1)))
    assert "no convolution" in reason(model, "Add")


def test_a_convolution_that_somebody_else_reads_too_cannot_take_the_add_in():
    net = Net()
    y = net.conv("x")
    added = net.op("Add", y, "x")
    model = net.model(net.op("Mul", added, y))
    assert "no convolution" in reason(model, "Add")


def test_attention_quantizes_both_inputs_of_its_products_and_the_softmax():
    model = network("conv", head="attention")
    softmax = next(node for node in model.nodes.values() if node.op_type == "Softmax")
    tensors = [tensor for _, _, tensor in edges(model)]
    assert softmax.outputs[0].name in tensors
    products = [n for n in model.nodes.values() if n.op_type == "MatMul" and not n.inputs[1].is_initializer()]
    assert len(products) == 2
    for product in products:
        assert [position for node, position, _ in edges(model) if node == product.name] == [0, 1]


@pytest.mark.parametrize("op_type", ["Sub", "ReduceMean", "Pow", "Sqrt", "Div", "Mul", "Softmax", "Sigmoid"])
def test_normalization_softmax_and_elementwise_operators_stay_floating(op_type):
    model = network("conv", "sigmoid", head="attention")
    assert "gains nothing" in reason(model, op_type)


def test_a_tensor_that_several_layers_read_is_quantized_once():
    lowering = lower(network("two_readers"), BEST_PRACTICE.resolve(network("two_readers")), {"x": 1.0})
    assert lowering.activations == ("x",)
    assert len(lowering.weights) == 2


def test_a_weight_that_two_layers_share_is_quantized_once():
    model = network("shared_weight")
    resolution = BEST_PRACTICE.resolve(model)
    lowering = lower(model, resolution, dict.fromkeys(activation_tensors(model, resolution), 1.0))
    assert len(lowering.weights) == 1
    first, second = (node for node in lowering.model.nodes.values() if node.op_type == "Conv")
    assert first.inputs[1] is second.inputs[1]


def test_a_weight_that_is_read_along_two_axes_is_quantized_along_each():
    net = Net()
    weight = net.weight(64, 64)
    flat = net.op("Reshape", "x", net.constant(np.array([4, 64])))
    model = net.model(net.op("Gemm", net.op("MatMul", flat, weight), weight, transB=1))
    resolution = BEST_PRACTICE.resolve(model)
    outcome = lower(model, resolution, dict.fromkeys(activation_tensors(model, resolution), 1.0)).model
    axes = [n.attributes["axis"].as_int() for n in outcome.nodes.values() if "axis" in n.attributes]
    assert axes == [1, 0]
    assert len({name for name in outcome.initializers if name.endswith("/quantized")}) == 2


def test_weights_that_are_computed_are_no_weights():
    net = Net()
    kernel = net.op("Relu", net.weight(4, 4, 3, 3))
    model = net.model(net.op("Conv", "x", kernel, pads=[1, 1, 1, 1]))
    assert reason(model, "Conv") == "its weights are computed, not constant"


def test_a_bias_is_never_quantized():
    model = network("conv", "depthwise", head="gemm")
    assert all(edge.position == 1 for edge in weights(model, EVERYTHING.resolve(model).nodes("int8")) if edge.tensor)


@pytest.mark.parametrize(
    ("op_type", "attributes", "position", "axis"),
    [
        ("Conv", {}, 1, 0),
        ("ConvTranspose", {}, 1, 1),
        ("Gemm", {}, 1, 1),
        ("Gemm", {"transB": 1}, 1, 0),
        ("MatMul", {}, 1, 1),
        ("MatMul", {}, 0, None),
    ],
)
def test_scales_count_output_channels(op_type, attributes, position, axis):
    net = Net()
    shape = (4, 4, 3, 3) if op_type.startswith("Conv") else (8, 8)
    a = net.weight(8, 8) if position == 0 else "x"
    model = net.model(net.op(op_type, a, net.weight(*shape), **attributes))
    assert weight_axis(model.nodes[f"{op_type}_0"], position) == axis
