"""What of a model stays when it is trained again: its structure, without what training changes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import onnx_ir as ir

from workbench.graph.weights import bytes_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workbench.graph.structure import Structure

__all__ = ["structure_digest"]

SMALL = 1024
"""Bytes up to which INT64 numbers are structure: shapes, axes, indices."""


def structure_digest(model: Structure) -> str:
    """Return a SHA-256 (hex) that two trainings of one network share, and two networks do not.

    In it are nodes with their names, operators, edges and attributes, names, types and shapes of inputs, outputs and
    weights, and small constants of whole numbers. What a weight holds is not, nor who exported the file.
    """
    digest = hashlib.sha256()
    for line in _lines(model):
        digest.update(f"{line}\0".encode())
    return digest.hexdigest()


def _lines(model: Structure) -> Iterator[str]:
    yield repr(sorted(model.ir_model.opset_imports.items()))
    for prefix, graph in model.graphs:
        for kind, values in (("in", graph.inputs), ("out", graph.outputs)):
            yield f"{kind} {prefix} " + repr([(v.name, *_type(v)) for v in values])
        for name, value in graph.initializers.items():
            yield f"weight {prefix}{name} {_content(value.const_value)}"
        for node in graph:
            edges = [None if v is None else v.name for v in node.inputs], [v.name for v in node.outputs]
            attributes = sorted((name, _attribute(one)) for name, one in node.attributes.items())
            yield f"node {prefix}{node.name} {node.domain} {node.op_type} {node.overload} {edges} {attributes}"


def _type(value: ir.Value) -> tuple[str, list[str] | None]:
    # By name and as text: how enumerations and shapes print is not the same in all versions of Python and onnx-ir.
    lengths = None if value.shape is None else [str(length) for length in value.shape]
    return "" if value.dtype is None else value.dtype.name, lengths


def _attribute(attribute: ir.Attr) -> str:
    if attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS):
        return "graph"  # its nodes have lines of their own
    if attribute.type == ir.AttributeType.TENSOR:
        return _content(attribute.as_tensor())
    value = attribute.value
    plain = list(value) if isinstance(value, (list, tuple)) else value
    return f"{attribute.type.name} {attribute.ref_attr_name or repr(plain)}"


def _content(tensor: ir.TensorProtocol | None) -> str:
    if tensor is None:
        return "nothing"
    content = f"{tensor.dtype.name} {list(tensor.shape)}"
    whole = tensor.dtype == ir.DataType.INT64 and tensor.nbytes <= SMALL
    return content + (f" {bytes_of(tensor).hex()}" if whole else "")
