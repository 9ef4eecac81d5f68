"""Write a model, in one file or with its weights in a second one beside it, and say what is written."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir

from workbench.errors import ModelError
from workbench.files import moved_into, write_bytes
from workbench.graph.message import to_message
from workbench.graph.shapes import skeleton_proto
from workbench.graph.structure import content_of, graphs_of, is_external
from workbench.graph.weights import bytes_of, is_stripped

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from workbench.graph.structure import Structure

__all__ = [
    "file_bytes",
    "file_content",
    "file_digest",
    "fits_one_file",
    "identity",
    "lean_proto",
    "save_model",
    "stored_bytes",
]

PROTOBUF_LIMIT = 2**31 - 1

_KEPT = 1 << 24
SMALL = 1024
"""Bytes up to which a weight stays in the model's file: shapes and axes, which everybody who reads a graph wants."""


def save_model(
    model: Structure, path: str | os.PathLike[str], *, external: bool | None = None, limit: int | None = None
) -> tuple[Path, ...]:
    """Write a model; the same model gives the same bytes on every machine.

    With external data the weights go, one after the other and none copied as a whole, to ``<path>.data``, which the
    model's file names by its relative path. Both files are written beside their places and renamed, the data first.

    Parameters
    ----------
    path
        The ``.onnx`` file.
    external
        Whether weights of over 1 KiB lie in a file of their own; where left out, only if one file cannot hold them.
    limit
        What one file holds, in bytes; protobuf's 2 GiB where left out.

    Returns
    -------
    tuple of Path
        What was written.

    Raises
    ------
    ModelError
        The graph without its weights is over the limit, or the model's own weights lie in the file to be written.
    OutputError
        A file cannot be written.
    """
    path = Path(path)
    limit = PROTOBUF_LIMIT if limit is None else limit
    if external is None:
        external = _size(model) > limit
    if not external:
        return (write_bytes(path, file_content(model)),)
    data = path.with_name(f"{path.name}.data")
    _refuse_own(model, data)
    graph = model.thaw()
    large = [v for v in graph.graph.initializers.values() if v.const_value is not None and v.const_value.nbytes > SMALL]
    large = [value for value in large if value.const_value is not None and _can_lie_beside(value.const_value)]
    for _, part in graphs_of(graph):
        for value in part.initializers.values():
            if value not in large and is_external(value) and value.const_value is not None:
                value.const_value = ir.Tensor(value.const_value.numpy(), name=value.name)
    with moved_into(data) as temporary:
        tensors = [value.const_value for value in large if value.const_value is not None]
        beside = ir.external_data.convert_tensors_to_external(tensors, temporary.parent, temporary.name)
        for value, tensor in zip(large, beside, strict=True):
            value.const_value = tensor
        proto = to_message(graph)
        if proto.ByteSize() > limit:
            raise ModelError(
                "over 2 GB without its weights, which one ONNX file cannot hold",
                where=model.name,
                fix="Fold its constants first: wb.edit('fold_constants').",
            )
        content = proto.SerializeToString(deterministic=True)
    return (write_bytes(path, content), data)


def fits_one_file(model: Structure) -> bool:
    """Say whether one ONNX file holds a model with its weights. Large weights are not read."""
    weights = sum(value.const_value.nbytes for value in model.initializers.values() if value.const_value is not None)
    if weights <= _KEPT:  # its message is kept, for whoever writes it next
        return model.proto.ByteSize() + weights <= PROTOBUF_LIMIT
    return _size(model) <= PROTOBUF_LIMIT


def file_bytes(model: Structure) -> int:
    """Return the bytes that `save_model` writes; a little more where the weights lie in a file of their own."""
    if not fits_one_file(model):
        return _size(model)
    proto, beside = lean_proto(model)
    for tensor in proto.graph.initializer:
        if tensor.name in beside:
            del tensor.external_data[:]
            tensor.ClearField("data_location")
    weights = 0
    for tensor in proto.graph.initializer:
        weight = beside.get(tensor.name)
        if isinstance(weight, ir.serde.TensorProtoTensor) and not weight.raw.HasField("raw_data"):
            weights += _framed(weight.raw.ByteSize())  # its numbers stand in a list of their type
        else:
            weights += _framed(tensor.ByteSize() + (_framed(weight.nbytes) if weight is not None else 0))
    del proto.graph.initializer[:]
    graph = proto.graph.ByteSize() + weights
    return proto.ByteSize() - _framed(proto.graph.ByteSize()) + _framed(graph)


def lean_proto(model: Structure) -> tuple[onnx.ModelProto, dict[str, ir.TensorProtocol]]:
    """Return a model's message without its larger weights, and those by name; nothing of them is read or copied.

    In the message such a weight is said to lie in a file ``memory``, which is how ONNX Runtime takes one that it is
    handed beside the message. All else of it is as in `Structure.proto`.
    """
    beside: dict[str, ir.TensorProtocol] = {}
    stated = []
    for name, value in model.ir_model.graph.initializers.items():
        weight = value.const_value
        small = weight is None or (weight.nbytes < SMALL and not isinstance(weight, ir.ExternalTensor))
        if weight is None or small or not _can_lie_beside(weight):
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


def _framed(length: int) -> int:
    """Return the bytes of a field of so many bytes: its tag, its length, itself."""
    return 1 + max(1, -(-length.bit_length() // 7)) + length


def file_content(model: Structure) -> bytes:
    """Return the content of a model's file; see `Model.to_bytes`."""
    weights = [value.const_value for value in model.initializers.values() if value.const_value is not None]
    size = sum(weight.nbytes for weight in weights)
    # A large message is made anew each time rather than kept: the graph holds the same weights.
    proto = (model.proto if size <= _KEPT else to_message(model.ir_model)) if size <= PROTOBUF_LIMIT else None
    if proto is not None and any(is_external(value) for value in model.initializers.values()):
        whole, proto = proto, onnx.ModelProto()
        proto.CopyFrom(whole)
        for tensor in proto.graph.initializer:
            if tensor.external_data:
                weight = ir.to_proto(ir.Tensor(content_of(model.initializers[tensor.name]).numpy(), name=tensor.name))
                tensor.CopyFrom(weight)
    if proto is None or proto.ByteSize() > PROTOBUF_LIMIT:
        raise ModelError(
            "over 2 GB, which one ONNX file cannot hold",
            where=model.name,
            fix="Save it with its weights beside it: model.save(path).",
        )
    return proto.SerializeToString(deterministic=True)


def stored_bytes(model: Structure) -> int:
    """Return the bytes of the files that a model was read from; what `save_model` would write where there are none."""
    values = [value for _, part in graphs_of(model.ir_model) for value in part.initializers.values()]
    weights = {Path(v.const_value.path) for v in values if isinstance(v.const_value, ir.ExternalTensor)}
    try:
        return sum(file.stat().st_size for file in (model.path, *weights)) if model.path else file_bytes(model)
    except OSError:  # they are gone meanwhile
        return file_bytes(model)


def file_digest(model: Structure) -> str:
    """Return the SHA-256 (hex) of a model's file, or `Model.digest` where its weights lie in a file of their own."""
    return hashlib.sha256(file_content(model)).hexdigest() if fits_one_file(model) else identity(model)


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
        if isinstance(weight, ir.ExternalTensor):
            weight.tofile(_Hashed(digest))
        else:
            digest.update(bytes_of(weight))
    return digest.hexdigest()


class _Hashed:
    """Takes a file's bytes piece by piece, so that a large weight is never in memory as a whole."""

    def __init__(self, digest: hashlib._Hash) -> None:
        self.write = digest.update


def _size(model: Structure) -> int:
    """Return the bytes of the file, a little more rather than less."""
    weights = ((name, v.const_value) for name, v in model.initializers.items() if v.const_value is not None)
    # Beside its numbers a weight has its name, its type and its lengths.
    stored = sum(_stored(weight) + len(name.encode()) + 16 * (len(weight.shape) + 2) for name, weight in weights)
    return stored + skeleton_proto(model).ByteSize()


def _stored(weight: ir.TensorProtocol) -> int:
    # Each text has its own length before it.
    return weight.nbytes + (6 * weight.size if isinstance(weight, ir.StringTensor) else 0)


def _can_lie_beside(weight: ir.TensorProtocol) -> bool:
    """Say whether a weight may lie in a file of its own: it has numbers, and ONNX keeps no text there."""
    return not isinstance(weight, ir.StringTensor) and not is_stripped(weight)


def _refuse_own(model: Structure, data: Path) -> None:
    for _, part in graphs_of(model.ir_model):
        for value in part.initializers.values():
            weight = value.const_value
            if isinstance(weight, ir.ExternalTensor) and Path(weight.path).resolve() == data.resolve():
                raise ModelError(
                    "the model's own weights lie in it and are read when they are needed",
                    where=data,
                    fix="Save under another name.",
                )
