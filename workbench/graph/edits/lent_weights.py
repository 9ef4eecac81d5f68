"""Weights of a model while onnx-graphsurgeon has it: read when they are asked for, never seen by its writer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx_graphsurgeon.exporters.onnx_exporter import dtype_to_onnx
from onnx_graphsurgeon.ir.tensor import LazyValues

from workbench.errors import EditError
from workbench.graph.weights import bytes_of, is_stripped

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

__all__ = ["Stub", "Weight", "held"]

Array = np.ndarray[Any, np.dtype[Any]]


class Weight(LazyValues):  # type: ignore[misc]  # onnx_graphsurgeon has no types
    """A weight that is read when the function asks for its numbers."""

    def __init__(self, content: ir.TensorProtocol) -> None:
        self.content = content
        self.shape = list(content.shape.numpy())
        self.nbytes = content.nbytes
        self.dtype = np.dtype(object) if content.dtype == ir.DataType.STRING else content.dtype.numpy()

    @property
    def tensor(self) -> onnx.TensorProto:
        """The weight as a message, for a function that writes the graph itself."""
        external = isinstance(self.content, ir.ExternalTensor)
        return ir.to_proto(ir.Tensor(self.load(), name=self.content.name) if external else self.content)

    def load(self) -> Array:
        """Return the numbers, as the function's own copy."""
        if is_stripped(self.content):
            raise EditError("it was stripped: it has no numbers", where=self.content.name, fix="Restore the weights.")
        return np.array(self.content.numpy())


class Stub(LazyValues):  # type: ignore[misc]
    """Stands for a weight while the graph is written: GraphSurgeon's writer never sees its numbers."""

    def __init__(self, constant: gs.Constant) -> None:
        self.values = held(constant)
        self.shape = list(self.values.shape)
        if isinstance(self.values, Weight):
            self.kind = int(self.values.content.dtype)
        elif isinstance(self.values, LazyValues):
            self.kind = self.values.tensor.data_type
        elif constant._export_dtype is not None:  # noqa: SLF001 - `export_dtype` is that of the numbers then
            self.kind = dtype_to_onnx(constant.export_dtype)
        else:
            # GraphSurgeon 0.6.1 takes FLOAT8E4M3FNUZ for FLOAT8E4M3FN.
            self.kind = int(ir.DataType.from_numpy(self.values.dtype))

    @property
    def tensor(self) -> onnx.TensorProto:
        """The weight as a message without numbers."""
        return onnx.TensorProto(data_type=self.kind, dims=self.shape)

    def content(self, name: str, before: ir.TensorProtocol | None) -> ir.TensorProtocol:
        """Return the weight; the very one it was before where its numbers are the same."""
        if isinstance(self.values, Weight):
            return self.values.content
        if isinstance(self.values, LazyValues):
            tensor: ir.TensorProtocol = ir.from_proto(self.values.tensor)
        else:
            dtype = ir.DataType(self.kind)
            array = np.asarray(self.values, order="C")
            tensor = ir.Tensor(array.astype(dtype.numpy(), copy=False), name=name)
        return before if before is not None and _is_equal(before, tensor) else tensor


def held(constant: gs.Constant) -> Any:
    """Return what a constant holds: its numbers, or what would read them."""
    return constant._values  # noqa: SLF001 - reading `values` would load them


def _is_equal(one: ir.TensorProtocol, other: ir.TensorProtocol) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape or is_stripped(one) != is_stripped(other):
        return False
    return is_stripped(one) or bytes_of(one) == bytes_of(other)
