"""A model as ONNX Runtime takes it: with more outputs, and with its weights beside the message rather than in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir

from workbench.errors import BackendError
from workbench.graph import lean_proto

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.graph import Model

__all__ = ["output_names", "serialized", "without_weights"]

_ALIGNED = 16  # bytes, as NumPy's own memory is at least
_SHARED_TYPES = frozenset(map(np.dtype, ("f2", "f4", "f8", "i1", "u1", "i4", "i8")))


def serialized(model: Model, outputs: Sequence[str]) -> bytes:
    """Return a model's message with these tensors among its outputs.

    Raises
    ------
    BackendError
        There is no such tensor.
    """
    # Two messages in a row are one, in which repeated fields follow on: the outputs come after the model's own.
    return model.to_bytes() + _more_outputs(model, outputs).SerializeToString()


def without_weights(model: Model, outputs: Sequence[str]) -> tuple[bytes, dict[str, np.ndarray[Any, Any]]]:
    """Return the same, and apart from it the weights, which need not be written and read again then.

    For a ResNet-50 this makes a session ready in half the time.
    """
    skeleton, beside = lean_proto(model)
    # What no node takes, ONNX Runtime drops before it looks for it.
    taken = {name for node in skeleton.graph.node for name in node.input}
    taken -= {value.name for value in skeleton.graph.input}
    weights = {}
    for tensor in skeleton.graph.initializer:
        if tensor.name not in beside:
            continue
        array = beside[tensor.name].numpy()
        if array.dtype not in _SHARED_TYPES or tensor.name not in taken:
            tensor.CopyFrom(ir.to_proto(ir.Tensor(array, dtype=beside[tensor.name].dtype, name=tensor.name)))
            continue
        # Inside a message they start anywhere, and weights that are not aligned cost a tenth of every run.
        aligned = array.flags.c_contiguous and not array.ctypes.data % _ALIGNED
        weights[tensor.name] = array if aligned else np.array(array, order="C")
    skeleton.MergeFrom(_more_outputs(model, outputs))
    return skeleton.SerializeToString(), weights


def output_names(model: Model) -> list[str]:
    """Return the names of a model's outputs; not of model.outputs, for which shapes would have to be inferred."""
    return [str(value.name) for value in model.ir_model.graph.outputs]


def _more_outputs(model: Model, names: Sequence[str]) -> onnx.ModelProto:
    present = {str(value.name) for node in model.top_nodes.values() for value in node.outputs}
    present |= {str(value.name) for value in model.ir_model.graph.inputs}
    own = set(output_names(model))
    more = onnx.ModelProto()
    for name in dict.fromkeys(names):
        if name in own:
            continue
        if name not in present:
            raise BackendError("there is no such tensor", where=name, fix="See wb.graph.tensors().")
        output, dtype = more.graph.output.add(name=name), model.tensor(name).dtype
        if dtype is not None:
            output.type.tensor_type.elem_type = onnx.TensorProto.DataType.Value(dtype)
    return more
