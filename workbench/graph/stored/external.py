"""Weights in a file beside the model: read when they are needed, and only as long as the file is what it was."""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import onnx
import onnx_ir as ir

from workbench.errors import ModelError
from workbench.graph.structure import graphs_of

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

__all__ = ["StoredWeight", "watch_weights"]

Stamp = tuple[int, int, int, int]
CHUNK = 2**24


class Writable(Protocol):
    """What takes bytes."""

    def write(self, content: bytes, /) -> object:
        """Take some more."""


class StoredWeight(ir.ExternalTensor):
    """A weight in a file that may be written anew while the model is open.

    It is read rather than mapped: where a mapped file is cut off, the operating system ends the process. Whoever holds
    the array shares it with all others; it is not kept here.

    Parameters
    ----------
    tensor
        The weight as it was loaded.
    """

    __slots__ = ("_shared", "_stamp")

    def __init__(self, tensor: ir.ExternalTensor) -> None:
        super().__init__(
            tensor.location,
            tensor.offset,
            tensor.length,
            tensor.dtype,
            shape=tensor.shape,
            name=tensor.name,
            doc_string=tensor.doc_string,
            metadata_props=dict(tensor.metadata_props),
            base_dir=tensor.base_dir,
        )
        self._stamp = self._look()
        self._shared: weakref.ref[npt.NDArray[Any]] | None = None

    def numpy(self) -> npt.NDArray[Any]:
        """Return the weight; read-only.

        Raises
        ------
        ModelError
            The file is not what it was when the model was opened.
        """
        array = None if self._shared is None else self._shared()
        if array is None:
            array = self._decoded(self._bytes())
            array.flags.writeable = False
            self._shared = weakref.ref(array)
        return array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.array(self.numpy(), dtype=dtype, copy=copy) if copy else self.numpy().__array__(dtype)

    def tobytes(self) -> bytes:
        """Return the weight's little-endian bytes; raises as `numpy` does."""
        return self._bytes().tobytes()

    def tofile(self, file: Writable) -> None:
        """Write the weight's little-endian bytes; raises as `numpy` does."""
        left = self._length or self.nbytes
        try:
            with open(self.path, "rb") as source:  # noqa: PTH123 - as above
                source.seek(self._offset or 0)
                while left:
                    self._check()
                    part = source.read(min(left, CHUNK))
                    if not part:
                        raise self._changed()
                    file.write(part)
                    left -= len(part)
        except FileNotFoundError as error:
            raise self._changed() from error
        self._check()

    def _bytes(self) -> npt.NDArray[np.uint8]:
        self._check()
        size = self._length or self.nbytes
        try:
            content = np.fromfile(self.path, np.uint8, count=size, offset=self._offset or 0)
        except OSError as error:
            raise self._changed() from error
        self._check()
        if content.size != size:
            raise self._changed()
        return content

    def _decoded(self, content: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        if self.dtype.bitwidth >= 8:
            array: npt.NDArray[Any] = content.view(self.dtype.numpy().newbyteorder("<")).reshape(self.shape.numpy())
            return array
        packed = onnx.TensorProto(data_type=self.dtype, dims=self.shape.numpy(), raw_data=content.tobytes())
        return np.array(ir.TensorProtoTensor(packed).numpy())

    def _look(self) -> Stamp | None:
        try:
            status = os.stat(self.path)  # noqa: PTH116 - for thousands of weights, and a string already
        except OSError:
            return None
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns

    def _check(self) -> None:
        if self._stamp is None or self._look() != self._stamp:
            raise self._changed()

    def _changed(self) -> ModelError:
        return ModelError(
            f"the file of weight {self.name!r} was changed while the model was open",
            where=self.path,
            fix="Open the model again.",
        )


def watch_weights(model: ir.Model, folder: Path) -> None:
    """Put a `StoredWeight` in the place of each weight of the main graph that lies in a file beside the model.

    What bodies, functions and attributes hold is a part of the message wherever the model is written, and is read at
    once: another folder has no such file.

    Parameters
    ----------
    model
        The model; it is changed.
    folder
        The model's own, which the files' names begin at.

    Raises
    ------
    ModelError
        A file is changed while it is read.
    """
    for _, graph in graphs_of(model):
        for value in graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                stored = _stored(value.const_value, folder)
                value.const_value = stored if graph is model.graph else _read(stored)
        for node in graph:
            for name, attribute in node.attributes.items():
                if attribute.is_ref():
                    continue
                if attribute.type == ir.AttributeType.TENSOR and isinstance(attribute.value, ir.ExternalTensor):
                    node.attributes[name] = ir.AttrTensor(name, _read(_stored(attribute.value, folder)))


def _stored(tensor: ir.ExternalTensor, folder: Path) -> StoredWeight:
    tensor.base_dir = folder
    return StoredWeight(tensor)


def _read(weight: StoredWeight) -> ir.TensorProtocol:
    return ir.Tensor(
        weight.numpy(),
        dtype=weight.dtype,
        name=weight.name,
        doc_string=weight.doc_string,
        metadata_props=dict(weight.metadata_props),
    )
