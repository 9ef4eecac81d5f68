"""What is known of every tensor before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir

from workbench.graph.model import Model, Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["infer", "skeleton_proto"]

# Shape inference needs the values of small integer tensors (shapes, axes), never those of real weights.
SMALL = 1024


def skeleton_proto(model: Model) -> onnx.ModelProto:
    """Return the model as a message whose large weights are graph inputs without content."""
    source = model.proto
    proto = onnx.ModelProto()
    proto.CopyFrom(source)
    listed = {value.name for value in proto.graph.input}
    kept: list[onnx.TensorProto] = []
    for tensor in source.graph.initializer:
        if _elements(tensor.dims) <= SMALL and not tensor.external_data:
            kept.append(tensor)
        elif tensor.name not in listed:
            proto.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)
    return proto


def infer(model: Model) -> dict[str, Tensor]:
    """Infer shape and dtype of every tensor of the main graph.

    Runs `onnx.shape_inference` with data propagation. Where inference cannot finish (a custom operator, a contradiction
    in the file) what the file itself says is kept, and the rest stays unknown.

    Returns
    -------
    dict
        Tensor name to `Tensor`; symbolic axes keep their names.
    """
    proto = skeleton_proto(model)
    try:
        proto = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        # The checker's view of the file is a separate question; here unknown simply stays unknown.
        proto = model.proto
    found = {value.name: _tensor(value) for value in (*proto.graph.input, *proto.graph.value_info, *proto.graph.output)}
    for name, weight in model.initializers.items():
        content = weight.const_value
        if content is not None:
            found[name] = Tensor(name, tuple(int(n) for n in content.shape if isinstance(n, int)), content.dtype.name)
    for node in model.top_nodes.values():
        for output in node.outputs:
            if output.name and output.name not in found:
                found[output.name] = Tensor(output.name, None, None)
    return found


def _tensor(value: onnx.ValueInfoProto) -> Tensor:
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type"):
        return Tensor(value.name, None, None)
    dtype = ir.DataType(kind.elem_type).name if kind.elem_type else None
    if not kind.HasField("shape"):
        return Tensor(value.name, None, dtype)
    return Tensor(value.name, tuple(_dim(dim) for dim in kind.shape.dim), dtype)


def _dim(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    if dim.HasField("dim_value"):
        return int(dim.dim_value)
    return str(dim.dim_param) or None


def _elements(dims: Iterable[int]) -> int:
    count = 1
    for length in dims:
        count *= length
    return count
