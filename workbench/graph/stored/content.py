"""What a model's file holds, piece by piece: large weights are handed out where they lie, and not copied."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import onnx_ir as ir

from workbench.errors import ModelError
from workbench.graph.message import to_message
from workbench.graph.stored.wire import put_together
from workbench.graph.structure import content_of, is_external
from workbench.graph.weights import bytes_of, is_stripped

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx

    from workbench.graph.structure import Structure

__all__ = [
    "KEPT",
    "PROTOBUF_LIMIT",
    "SMALL",
    "can_lie_beside",
    "file_content",
    "identity",
    "lean_proto",
    "length_of",
    "pieces",
    "pour",
]

PROTOBUF_LIMIT = 2**31 - 1

KEPT = 1 << 24
"""Bytes of weights up to which a model's message is kept for whoever writes it next."""
SMALL = 1024
"""Bytes up to which a weight stays in the model's file: shapes and axes, which everybody who reads a graph wants."""

Piece = bytes | memoryview | ir.TensorProtocol
Written = bytes | memoryview


def file_content(model: Structure) -> bytes:
    """Return the content of a model's file; see `Model.to_bytes`."""
    content: list[Written] = []
    for piece in pieces(model):
        pour(piece, content.append)
    return b"".join(content)


def pieces(model: Structure) -> list[Piece]:
    """Return what a model's file holds: parts of its message, and between them large weights as the model has them.

    A message is made of copies, of each weight two or three. A large model has no memory for those.

    Raises
    ------
    ModelError
        The model is over 2 GB, which one file cannot hold.
    """
    weights = [value.const_value for value in model.initializers.values() if value.const_value is not None]
    if sum(weight.nbytes for weight in weights) <= KEPT and not any(map(is_external, model.initializers.values())):
        parts: list[Piece] = [model.proto.SerializeToString(deterministic=True)]
    else:
        proto, beside = lean_proto(model, _is_apart)
        places = {}
        for place, tensor in enumerate(proto.graph.initializer):
            if tensor.name not in beside:
                continue
            del tensor.external_data[:]
            tensor.ClearField("data_location")
            if isinstance(beside[tensor.name], ir.ExternalTensor):
                tensor.ClearField("doc_string")
                del tensor.metadata_props[:]
            places[place] = beside[tensor.name]
        parts = put_together(proto.SerializeToString(deterministic=True), places)
    if sum(map(length_of, parts)) > PROTOBUF_LIMIT:
        raise ModelError(
            "over 2 GB, which one ONNX file cannot hold",
            where=model.name,
            fix="Save it with its weights beside it: model.save(path).",
        )
    return parts


def length_of(piece: Piece) -> int:
    """Return the bytes of a piece; a weight is not read."""
    return len(piece) if isinstance(piece, (bytes, memoryview)) else piece.nbytes


def pour(piece: Piece, write: Callable[[Written], object]) -> None:
    """Write a piece; a weight in a file of its own is read a part at a time."""
    if isinstance(piece, (bytes, memoryview)):
        write(piece)
    elif isinstance(piece, ir.ExternalTensor):
        piece.tofile(_Sink(write))
    else:
        write(bytes_of(piece))


class _Sink:
    """What takes bytes, as a file."""

    def __init__(self, write: Callable[[Written], object]) -> None:
        self.write = write


def _is_apart(weight: ir.TensorProtocol) -> bool:
    """Say whether a weight is no message already: such a one is written as it was read, in whatever field."""
    return can_lie_beside(weight) and not isinstance(weight, ir.serde.TensorProtoTensor)


def can_lie_beside(weight: ir.TensorProtocol) -> bool:
    """Say whether a weight may lie in a file of its own: it has numbers, and ONNX keeps no text there."""
    return not isinstance(weight, ir.StringTensor) and not is_stripped(weight)


def lean_proto(
    model: Structure, may_leave: Callable[[ir.TensorProtocol], bool] = can_lie_beside
) -> tuple[onnx.ModelProto, dict[str, ir.TensorProtocol]]:
    """Return a model's message without its larger weights, and those by name; nothing of them is read or copied.

    In the message such a weight is said to lie in a file ``memory``, which is how ONNX Runtime takes one that it is
    handed beside the message. All else of it is as in `Structure.proto`.

    Parameters
    ----------
    may_leave
        Which weights of over 1 KiB are left out; all that can lie beside a message where it is not given.
    """
    beside: dict[str, ir.TensorProtocol] = {}
    stated = []
    for name, value in model.ir_model.graph.initializers.items():
        weight = value.const_value
        small = weight is None or (weight.nbytes < SMALL and not isinstance(weight, ir.ExternalTensor))
        if weight is None or small or not may_leave(weight):
            stated.append(value)
            continue
        beside[name] = weight
        stated.append(_in_memory(value, weight))
    return to_message(_with_weights(model.ir_model, stated)), beside


def _in_memory(value: ir.Value, weight: ir.TensorProtocol) -> ir.Value:
    """Return a stand-in for a weight that says nothing of its numbers but where they lie."""
    name = str(value.name)
    place = ir.ExternalTensor(
        "memory",
        0,
        weight.nbytes,
        weight.dtype,
        shape=ir.Shape(weight.shape.numpy()),
        name=name,
        doc_string=weight.doc_string,
        metadata_props=dict(weight.metadata_props),
    )
    standing = ir.Value(
        name=name,
        shape=value.shape,
        type=value.type,
        doc_string=value.doc_string,
        const_value=place,
        metadata_props=dict(value.metadata_props),
    )
    standing.meta.update(value.meta)
    return standing


def _with_weights(source: ir.Model, weights: Sequence[ir.Value]) -> ir.Model:
    """Return a model with other weights, to be written and no more: its nodes are the source's own."""
    graph = source.graph
    view = ir.GraphView(
        graph.inputs,
        graph.outputs,
        nodes=graph,
        initializers=weights,
        doc_string=graph.doc_string,
        opset_imports=graph.opset_imports,
        name=graph.name,
        metadata_props=graph.metadata_props,
    )
    return ir.Model(
        view,  # type: ignore[arg-type]
        ir_version=source.ir_version,
        producer_name=source.producer_name,
        producer_version=source.producer_version,
        domain=source.domain,
        model_version=source.model_version,
        doc_string=source.doc_string,
        functions=tuple(source.functions.values()),
        metadata_props=source.metadata_props,
        device_configurations=source.device_configurations,
    )


def identity(model: Structure) -> str:
    """Return a SHA-256 (hex) over a graph and its weights.

    The message without weights is hashed first, in protobuf's deterministic form, then each weight's name, dtype,
    shape and little-endian bytes. So the same model has one identity with weights inside or beside the file.
    """
    skeleton, _ = lean_proto(model)
    del skeleton.graph.initializer[:]
    digest = hashlib.sha256(skeleton.SerializeToString(deterministic=True))
    for name, value in model.initializers.items():
        weight = content_of(value)
        digest.update(f"\0{name}\0{weight.dtype.name}\0{tuple(weight.shape)}\0".encode())
        pour(weight, digest.update)
    return digest.hexdigest()
