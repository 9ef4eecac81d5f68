"""ONNX's shape inference, with the numbers that shapes are computed from followed as far as memory allows.

Where numbers are followed (``data_prop``), onnx 1.23 makes a message of 140 bytes for each element of a tensor of one
axis, floats included: a file of 200 bytes that states an axis of 2 ** 62, or makes a Range so long, takes all memory.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import onnx

from workbench.graph import native
from workbench.graph.flat import HOLDERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["infer_shapes"]

LONGEST = 2**22
"""The most elements of one axis that are followed."""
FARTHEST = 2**31
"""An axis beyond this length is no axis of a tensor, whatever its rank."""
MOST_LENGTHS = 64
MAKERS = frozenset({"ConstantOfShape", "Range"})
TO_THE_END = frozenset({"Clip", "Max", "Min", "Slice"})
"""Operators that read the largest integer for "no bound"."""


def infer_shapes(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Infer shapes; no numbers are followed in a model with a tensor that is too long for it.

    Raises
    ------
    InferenceError, RuntimeError, ValueError
        As `onnx.shape_inference.infer_shapes`.
    """
    if _may_be_long(proto.graph):
        plain = native.infer_shapes(proto)
        if any(map(_is_long, _stated(plain.graph))):
            return plain
    return native.infer_shapes(proto, data_prop=True)


def _may_be_long(graph: onnx.GraphProto) -> bool:
    """Say whether something in a graph states, or reads from a constant, a length that is very large or negative."""
    if any(map(_is_long, (*graph.input, *graph.value_info, *graph.output))):
        return True
    if any(len(tensor.dims) == 1 and tensor.dims[0] > LONGEST for tensor in graph.initializer):
        return True
    wide = {tensor.name for tensor in graph.initializer if _is_extreme(tensor)}
    for node in graph.node:
        if node.op_type in MAKERS or (wide and node.op_type not in TO_THE_END and not wide.isdisjoint(node.input)):
            return True
        if node.op_type == "Constant" and any(_is_extreme(one.t) for one in node.attribute if one.HasField("t")):
            wide.update(node.output)
        if node.op_type in HOLDERS and any(map(_may_be_long, _inner(node))):
            return True
    return False


def _stated(graph: onnx.GraphProto) -> Iterator[onnx.ValueInfoProto]:
    yield from (*graph.input, *graph.value_info, *graph.output)
    for node in graph.node:
        if node.op_type in HOLDERS:
            for inner in _inner(node):
                yield from _stated(inner)


def _is_long(value: onnx.ValueInfoProto) -> bool:
    lengths = [dim.dim_value for dim in value.type.tensor_type.shape.dim if dim.HasField("dim_value")]
    most = LONGEST if len(value.type.tensor_type.shape.dim) == 1 else FARTHEST
    return any(not 0 <= length <= most for length in lengths)


def _is_extreme(tensor: onnx.TensorProto) -> bool:
    if tensor.data_type != onnx.TensorProto.INT64 or tensor.external_data or math.prod(tensor.dims) > MOST_LENGTHS:
        return False
    try:
        lengths: Iterable[int] = onnx.numpy_helper.to_array(tensor).reshape(-1).tolist()
    except ValueError:  # a damaged one
        return False
    # Small negative numbers are axes, and "what is left over".
    return any(length < -MOST_LENGTHS or length > LONGEST for length in lengths)


def _inner(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs
