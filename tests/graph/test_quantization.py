"""Quantization that stands in a graph: types, and what a pair multiplies by."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from tests.kit.models import constant, model
from workbench.graph.quantization import MOVES, pair_factor, quantized_source, quantized_type


def value(array=None, *, dtype=None):
    """A constant, or a tensor of a type that is stated."""
    if array is None:
        return ir.Value(name="v", type=None if dtype is None else ir.TensorType(dtype))
    return ir.node("Constant", [], {"value": ir.tensor(np.asarray(array))}).outputs[0]


def quantize(*inputs, op="QuantizeLinear", domain="", **attributes):
    return ir.node(op, [value(), *inputs], attributes, domain=domain)


def test_the_type_is_that_of_the_zero_point_or_what_is_said_or_eight_bits():
    scale, zero = value(np.float32(1)), value(np.int8(0))
    assert quantized_type(quantize(scale)) == ir.DataType.UINT8
    assert quantized_type(quantize(scale, None)) == ir.DataType.UINT8
    assert quantized_type(quantize(scale, zero)) == ir.DataType.INT8
    assert quantized_type(quantize(scale, value(dtype=ir.DataType.FLOAT8E4M3FN))) == ir.DataType.FLOAT8E4M3FN
    assert quantized_type(quantize(scale, output_dtype=0)) == ir.DataType.UINT8
    assert quantized_type(quantize(scale, output_dtype=21)) == ir.DataType.UINT4
    assert quantized_type(quantize(scale, zero, output_dtype=21)) == ir.DataType.INT8


def dequantize(source, *inputs, domain=""):
    return ir.node("DequantizeLinear", [source, value(np.float32(1)), *inputs], domain=domain)


def test_the_type_before_a_dequantization_is_that_of_what_it_reads():
    assert quantized_type(dequantize(value(np.array([1, 2], np.int8)))) == ir.DataType.INT8
    assert quantized_type(dequantize(value(dtype=ir.DataType.INT16))) == ir.DataType.INT16
    assert quantized_type(dequantize(value(dtype=ir.DataType.INT16), value(np.int8(0)))) == ir.DataType.INT8
    assert quantized_type(dequantize(value())) is None
    assert quantized_type(dequantize(None)) is None
    # What is between the two need not be stated.
    made = quantize(value(np.float32(1)), output_dtype=ir.DataType.INT4.value).outputs[0]
    assert quantized_type(dequantize(made)) == ir.DataType.INT4
    assert quantized_type(dequantize(ir.node("Relu", [value()]).outputs[0])) is None


def test_a_file_need_not_state_the_type_in_between():
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], "q"),
        helper.make_node("DequantizeLinear", ["q", "s"], ["y"], "dq"),
    ]
    loaded = model(nodes, {"x": [2]}, {"y": [2]}, [constant("s", 0.5, "float32"), constant("z", 3, "int8")])
    assert [quantized_type(node) for node in loaded.nodes.values()] == [ir.DataType.INT8] * 2


def test_a_tensor_comes_out_of_the_pair_before_it_through_moves_of_numbers():
    pair = dequantize(value(np.array([1], np.int8)))
    moved = pair.outputs[0]
    for op in sorted(MOVES):
        moved = ir.node(op, [moved, value(np.int64(1))]).outputs[0]
    assert len(MOVES) == 13
    assert quantized_source(moved) is pair
    assert quantized_source(ir.node("Reshape", [value(), pair.outputs[0]]).outputs[0]) is None
    assert quantized_source(ir.node("Relu", [pair.outputs[0]]).outputs[0]) is None
    assert quantized_source(ir.node("Cast", [pair.outputs[0]], domain="own").outputs[0]) is None
    assert quantized_source(ir.node("Identity", []).outputs[0]) is None
    assert quantized_source(ir.node("Identity", [None]).outputs[0]) is None
    assert quantized_source(value()) is quantized_source(None) is None
    runtimes = dequantize(value(), domain="com.microsoft")
    assert quantized_source(runtimes.outputs[0]) is runtimes
    others = dequantize(value(), domain="own")
    assert quantized_source(others.outputs[0]) is None


def factor(first, second, before=None, after=None):
    scales = [None if one is None else value(np.asarray(one, np.float32)) for one in (first, second)]
    zeros = [[] if one is None else [value(np.asarray(one))] for one in (before, after)]
    q = ir.node("QuantizeLinear", [value(), scales[0], *zeros[0]])
    dq = ir.node("DequantizeLinear", [value(), scales[1], *zeros[1]])
    return pair_factor(q, dq)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (0.5, 2.0, 4.0),
        ([0.5, 2.0, 4.0], [1.0, 1.0, 12.0], [2.0, 0.5, 3.0]),
        ([0.5, 2.0], [0.5, 2.0], [1.0, 1.0]),
    ],
)
def test_a_pair_multiplies_each_channel_by_one_scale_over_the_other(first, second, expected):
    actual = factor(first, second)
    np.testing.assert_array_equal(actual, expected)
    assert (actual.dtype, actual.shape) == (np.float64, np.shape(expected))


def test_a_factor_is_known_where_both_scales_and_zero_points_agree_in_form():
    assert factor([0.5], 0.5) is None
    assert factor(0.5, 1.0, np.int8(3), np.int8(3)) == 2
    assert factor(0.5, 1.0, np.int8(3), np.int8(4)) is None
    assert factor(0.5, 1.0, np.int8(0)) == 2
    assert factor(0.5, 1.0, None, np.uint8(0)) == 2
    assert factor(0.5, 1.0, None, np.uint8(128)) is None
    assert factor(0.5, 1.0, [[1, 2]], [1, 2]) == 2
    assert factor(0.5, None) is factor(None, 0.5) is None
    np.testing.assert_array_equal(factor(None, None), np.ones(()))
