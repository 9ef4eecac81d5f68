"""The graphs of the self-check: its verdicts of two machines compare only where both ran the same."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from workbench.runtime.small_graphs import (
    FLOATING,
    MULTIPLYING,
    QUANTIZED,
    SHAPE,
    floating_graph,
    floating_operators,
    quantized_graph,
)


def number(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def constant(tensor):
    """Return a constant in words; of many numbers their sums, which another order would change."""
    array = numpy_helper.to_array(tensor)
    numbers = array.astype(np.float64).ravel()
    if array.size <= 6:
        content = " ".join(number(one) for one in numbers.tolist())
    else:
        content = f"{numbers.sum():.3f} {(numbers * np.arange(array.size)).sum():.3f}"
    return f"{onnx.TensorProto.DataType.Name(tensor.data_type).lower()}{list(array.shape)}({content})"


def described(proto):
    """Return a graph in words: operators with their attributes and constants, in their order."""
    constants = {one.name: constant(one) for one in proto.graph.initializer}
    lines = []
    for node in proto.graph.node:
        inputs = [constants.get(name, name or "-") for name in node.input]
        inputs += [f"{one.name}={onnx.helper.get_attribute_value(one)}" for one in node.attribute]
        lines.append(f"{node.op_type}({', '.join(inputs)}) -> {', '.join(node.output)}")
    return lines


def test_the_graphs_of_floating_operators_are_these(snapshot):
    """What stands around the operator is that of the first."""
    told = {
        name: described(floating_graph(name, use, "fp32")) for name, use in floating_operators.__wrapped__().items()
    }
    shown = ["\n".join(told["Abs"])]
    for name, lines in list(told.items())[1:]:
        own = [line for line in lines if line not in told["Abs"]]
        shown.append(f"{name}: " + "; ".join(own))
    assert "\n".join(shown) == snapshot


@pytest.mark.parametrize("operator", MULTIPLYING)
def test_the_graphs_with_pairs_are_these(operator, snapshot):
    assert "\n".join(described(quantized_graph(operator, "int8"))) == snapshot


def test_pairs_of_other_types_reach_as_far():
    """A type's scale is the largest number over its limit; an unsigned type has its zero in the middle."""
    limits = {"int8": 127, "int16": 32767, "int4": 7, "fp8": 448, "fp8_e5m2": 57344}
    unsigned = {"uint8": 255, "uint16": 65535, "uint4": 15}
    middles = {"uint8": 128, "uint16": 32768, "uint4": 8}
    for kind in QUANTIZED:
        graph = quantized_graph("MaxPool", kind).graph
        scale, zero = (numpy_helper.to_array(one) for one in graph.initializer[:2])
        reach = float(scale) * limits[kind] if kind in limits else float(scale) * unsigned[kind] / 2
        assert reach == pytest.approx(1.03, rel=1e-6)
        assert float(zero.astype(np.float64)) == middles.get(kind, 0)


@pytest.mark.parametrize("precision", FLOATING)
def test_floating_point_comes_in_and_goes_out(precision):
    proto = floating_graph("Relu", floating_operators()["Relu"], precision)
    assert (proto.opset_import[0].version, proto.ir_version) == (22, 10)
    graph = proto.graph
    (x,), (y,) = graph.input, graph.output
    assert tuple(one.dim_value for one in x.type.tensor_type.shape.dim) == SHAPE
    assert (x.type.tensor_type.elem_type, y.type.tensor_type.elem_type) == (1, 1)
    assert {one.data_type for one in graph.initializer} == {FLOATING[precision]}
    casts = [onnx.helper.get_attribute_value(one.attribute[0]) for one in graph.node if one.op_type == "Cast"]
    assert casts == [FLOATING[precision], 1]
