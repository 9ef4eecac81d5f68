"""Write a model, in one file or with its weights in a second one beside it, and say what is written."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import onnx_ir as ir

from workbench.errors import ModelError
from workbench.files import moved_into, write_bytes
from workbench.graph.message import to_message
from workbench.graph.shapes import skeleton_proto
from workbench.graph.stored import KEPT, PROTOBUF_LIMIT, SMALL, can_lie_beside, identity, length_of, pieces, pour
from workbench.graph.structure import graphs_of, is_external

if TYPE_CHECKING:
    import os

    from workbench.graph.structure import Structure

__all__ = ["file_bytes", "file_digest", "fits_one_file", "save_model", "stored_bytes"]


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
        with moved_into(path) as temporary, temporary.open("wb") as file:
            for piece in pieces(model):
                pour(piece, file.write)
        return (path,)
    data = path.with_name(f"{path.name}.data")
    _refuse_own(model, data)
    graph = model.thaw()
    large = [v for v in graph.graph.initializers.values() if v.const_value is not None and v.const_value.nbytes > SMALL]
    large = [value for value in large if value.const_value is not None and can_lie_beside(value.const_value)]
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
    if weights <= KEPT:  # its message is kept, for whoever writes it next
        return model.proto.ByteSize() + weights <= PROTOBUF_LIMIT
    return _size(model) <= PROTOBUF_LIMIT


def file_bytes(model: Structure) -> int:
    """Return the bytes that `save_model` writes; a little more where the weights lie in a file of their own."""
    if not fits_one_file(model):
        return _size(model)
    return sum(map(length_of, pieces(model)))


def stored_bytes(model: Structure) -> int:
    """Return the bytes of the files that a model was read from; what `save_model` would write where there are none."""
    return file_bytes(model) if model.read_bytes is None else model.read_bytes


def file_digest(model: Structure) -> str:
    """Return the SHA-256 (hex) of a model's file, or `Model.digest` where its weights lie in a file of their own."""
    if not fits_one_file(model):
        return identity(model)
    digest = hashlib.sha256()
    for piece in pieces(model):
        pour(piece, digest.update)
    return digest.hexdigest()


def _size(model: Structure) -> int:
    """Return the bytes of the file, a little more rather than less."""
    weights = ((name, v.const_value) for name, v in model.initializers.items() if v.const_value is not None)
    # Beside its numbers a weight has its name, its type and its lengths.
    stored = sum(_stored(weight) + len(name.encode()) + 16 * (len(weight.shape) + 2) for name, weight in weights)
    return stored + skeleton_proto(model).ByteSize()


def _stored(weight: ir.TensorProtocol) -> int:
    # Each text has its own length before it.
    return weight.nbytes + (6 * weight.size if isinstance(weight, ir.StringTensor) else 0)


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
