"""ONNX's shape inference, with the numbers that shapes are computed from followed as far as memory allows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import onnx

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["infer_shapes"]

FILLERS = frozenset({"ConstantOfShape", "Expand", "Pad", "Tile"})
MOST_LENGTHS = 64
HOLDERS = frozenset({"If", "Loop", "Scan", "SequenceMap"})

LONGEST = 2**20
"""In onnx 1.23 each number that is followed takes 140 bytes: a file of 200 bytes could ask for all memory."""


def infer_shapes(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Infer shapes; no numbers are followed in a model with a very long Range or ConstantOfShape.

    Raises
    ------
    InferenceError, RuntimeError, ValueError
        As `onnx.shape_inference.infer_shapes`.
    """
    followed = not _fills_much(proto.graph) and not (_ranges(proto.graph) and _is_long(proto))
    return onnx.shape_inference.infer_shapes(proto, data_prop=followed)


def _fills_much(graph: onnx.GraphProto) -> bool:
    """Say whether a constant length is very large, or negative where it must not be."""
    nodes = [node for node in graph.node if node.op_type in FILLERS or node.op_type in ("Constant", *HOLDERS)]
    lengths = {name for node in nodes if node.op_type in FILLERS for name in node.input[:2]}
    stored = [tensor for tensor in graph.initializer if tensor.name in lengths]
    stored += [one.t for node in nodes if lengths & {*node.output} for one in node.attribute if one.HasField("t")]
    negative = {name for node in nodes if node.op_type == "ConstantOfShape" for name in node.input}
    if any(_is_extreme(tensor, 0 if tensor.name in negative else -LONGEST) for tensor in stored):
        return True
    return any(_fills_much(inner) for node in nodes for inner in _inner(node))


def _is_extreme(tensor: onnx.TensorProto, least: int) -> bool:
    if tensor.data_type != onnx.TensorProto.INT64 or tensor.external_data or math.prod(tensor.dims) > MOST_LENGTHS:
        return False
    try:
        lengths = onnx.numpy_helper.to_array(tensor)
    except (ValueError, TypeError):
        return False
    return bool(lengths.size) and not least <= lengths.min() <= lengths.max() <= LONGEST


def _ranges(graph: onnx.GraphProto) -> set[str]:
    """Return what the Range nodes of a graph, and of those inside of it, make."""
    found: set[str] = set()
    for node in graph.node:
        if node.op_type == "Range":
            found.update(node.output)
        if node.op_type in HOLDERS:
            for inner in _inner(node):
                found |= _ranges(inner)
    return found


def _inner(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _is_long(proto: onnx.ModelProto) -> bool:
    made = onnx.shape_inference.infer_shapes(proto).graph
    return _has_long(made, _ranges(made))


def _has_long(graph: onnx.GraphProto, ranges: set[str]) -> bool:
    for value in (*graph.value_info, *graph.output):
        dims = value.type.tensor_type.shape.dim
        if value.name in ranges and any(dim.dim_value > LONGEST for dim in dims):
            return True
    return any(_has_long(inner, ranges) for node in graph.node for inner in _inner(node))
