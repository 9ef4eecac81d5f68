"""Which precision a node of a quantized model has already, by what it reads."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.kit.models import model, weight
from workbench.precision.plan.own import computes_on_integers, own_precision, quantizes

NODE = helper.make_node
WEIGHTS = [
    numpy_helper.from_array(np.float32(0.1), "s"),
    numpy_helper.from_array(np.int8(0), "z"),
    helper.make_tensor("w8", TensorProto.INT8, [4, 4], [1] * 16),
    helper.make_tensor("f8", TensorProto.FLOAT8E4M3FN, [4, 4], [1] * 16),
    weight("w", 4, 4),
    numpy_helper.from_array(np.float32(2), "c"),
]
PAIRS = [
    NODE("QuantizeLinear", ["x", "s", "z"], ["q"], "q"),
    NODE("DequantizeLinear", ["q", "s", "z"], ["d"], "d"),
    NODE("DequantizeLinear", ["w8", "s", "z"], ["i"], "i"),
    NODE("DequantizeLinear", ["f8", "s"], ["f"], "f"),
    NODE("Transpose", ["i"], ["moved"], "moved"),
    NODE("Relu", ["d"], ["relu"], "relu"),
]


def own(op, *inputs, **attributes):
    last = NODE(op, list(inputs), ["y"], "last", **attributes)
    return own_precision(model([*PAIRS, last], {"x": [4, 4]}, {"y": [4, 4]}, WEIGHTS, opset=21).nodes["last"])


@pytest.mark.parametrize(
    ("op", "inputs", "precision"),
    [
        ("MatMul", ("d", "i"), "int8"),
        ("MatMul", ("d", "moved"), "int8"),
        ("MatMul", ("d", "f"), "int8"),  # of two kinds the first operand's
        ("MatMul", ("f", "i"), "fp8"),
        ("Gemm", ("d", "i", "c"), "int8"),  # a bias has no say
        ("MatMul", ("d", "w"), None),
        ("MatMul", ("x", "i"), None),
        ("MatMul", ("d", "relu"), None),
        ("Add", ("d", "x"), "int8"),  # a shortcut
        ("Add", ("x", "d"), "int8"),
        ("Add", ("x", "f"), "fp8"),
        ("Add", ("x", "x"), None),
        ("Add", ("x", "moved"), None),  # moved, it is no shortcut
        ("Mul", ("d", "i"), "int8"),
        ("Mul", ("f", "d"), "fp8"),
        ("Mul", ("d", "c"), "int8"),  # of what is computed
        ("Mul", ("d", "x"), None),
        ("Relu", ("x",), None),
        ("Relu", ("d",), "int8"),
        ("MatMulInteger", ("q", "w8"), "int8"),
        ("DynamicQuantizeLinear", ("d",), None),
        ("QuantizeLinear", ("d", "s", "z"), None),
    ],
)
def test_a_node_is_quantized_where_what_it_multiplies_or_computes_on_is(op, inputs, precision):
    assert own(op, *inputs) == precision


@pytest.mark.parametrize(
    ("op", "integers", "quantized"),
    [
        ("QLinearConv", True, True),
        ("QLinearMatMul", True, True),
        ("QGemm", True, True),
        ("ConvInteger", True, True),
        ("MatMulInteger", True, True),
        ("MatMulIntegerToFloat", True, True),
        ("DequantizeLinear", False, True),
        ("QuantizeLinear", False, False),
        ("QLinear", False, False),
        ("ConvIntegers", False, False),
        ("Conv", False, False),
    ],
)
def test_some_operators_compute_on_integers_by_their_definition(op, integers, quantized):
    assert (computes_on_integers(op), quantizes(op)) == (integers, quantized)
