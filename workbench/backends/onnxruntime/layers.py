"""The nodes of ONNX Runtime's optimized graph in the words of TensorRT's inspector."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import onnx

__all__ = ["layers_of"]

_WORDS = {
    "float": "FP32",
    "float16": "FP16",
    "bfloat16": "BF16",
    "int8": "Int8",
    "uint8": "UInt8",
    "int32": "Int32",
    "int64": "Int64",
    "bool": "Bool",
}
_ONNX = {1: "float", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 16: "bfloat16"}
_NUMPY = {"float32": "float"}
_WEIGHT_ROLES = ("Weights", "Bias")
_BLOCKED = "com.microsoft.nchwc"


def layers_of(
    proto: onnx.ModelProto,
    shapes: Mapping[str, Sequence[Mapping[str, Sequence[int]]]],
    feeds: Mapping[str, np.ndarray[Any, np.dtype[Any]]],
    sources: Mapping[str, Sequence[str]],
) -> list[dict[str, Any]]:
    """Describe each node.

    Parameters
    ----------
    proto
        The optimized graph, every node named.
    shapes
        Node name to type and shape of each output, as the profiler reports them: ``[{"float": [1, 8]}]``.
    feeds
        What the graph was run on.
    sources
        Node name to source nodes.

    Returns
    -------
    list of dict
        In the order of the graph, with the keys of TensorRT's inspector.
    """
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    tensors: dict[str, dict[str, Any]] = {
        name: _tensor(name, _NUMPY.get(array.dtype.name, array.dtype.name), array.shape, blocked=False)
        for name, array in feeds.items()
    }
    layers = []
    for node in proto.graph.node:
        results = shapes.get(node.name, [])
        for position, name in enumerate(output for output in node.output if output):
            kind, shape = (
                next(iter(results[position].items()), (None, None)) if position < len(results) else (None, None)
            )
            blocked = node.domain == _BLOCKED and node.op_type != "ReorderOutput"
            tensors[name] = _tensor(name, kind, shape, blocked=blocked)
        layer: dict[str, Any] = {
            "Name": node.name,
            "LayerType": node.op_type,
            "Domain": node.domain,
            "Inputs": [tensors.get(n, {"Name": n}) for n in node.input if n and n not in constants],
            "Outputs": [tensors[n] for n in node.output if n],
            "Metadata": "".join(f"[ONNX Layer: {source}]" for source in sources.get(node.name, ())),
        }
        layer |= _constants(node, constants)
        if "Conv" in node.op_type:
            layer |= _convolution(node, constants)
        layers.append(layer)
    return layers


def _tensor(name: str, kind: str | None, shape: Sequence[int] | None, *, blocked: bool) -> dict[str, Any]:
    # Blocked tensors are told with their padded shape, so their bytes count like those of linear ones.
    layout = "NCHWc, channels in blocks, padded as linear" if blocked else "Row major linear"
    fields: dict[str, Any] = {"Name": name, "Location": "Host"}
    if kind is not None:
        fields["Format/Datatype"] = f"{layout} {_WORDS.get(kind, kind)}"
    if shape is not None:
        fields["Dimensions"] = [int(size) for size in shape]
    return fields


def _constants(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> dict[str, Any]:
    """Describe constant operands: the first is the weights, the second the bias, others count as further weights."""
    fields: dict[str, Any] = {}
    for position, tensor in enumerate(constants[name] for name in node.input if name in constants):
        role = _WEIGHT_ROLES[position] if position < len(_WEIGHT_ROLES) else f"Operand{position}Weights"
        kind = _ONNX.get(tensor.data_type, "")
        fields[role] = {"Type": _WORDS.get(kind, kind), "Count": math.prod(tensor.dims)}
    return fields


def _convolution(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> dict[str, Any]:
    attributes = {attribute.name: attribute for attribute in node.attribute}
    fields: dict[str, Any] = {}
    for key, name in (("Kernel", "kernel_shape"), ("Stride", "strides"), ("Dilation", "dilations")):
        if name in attributes:
            fields[key] = list(attributes[name].ints)
    if "pads" in attributes:
        pads = list(attributes["pads"].ints)
        fields["PrePadding"], fields["PostPadding"] = pads[: len(pads) // 2], pads[len(pads) // 2 :]
    fields["Groups"] = attributes["group"].i if "group" in attributes else 1
    weights = next((constants[name] for name in node.input[1:] if name in constants), None)
    if weights is not None and weights.dims and node.op_type in ("Conv", "FusedConv"):
        fields["OutMaps"] = int(weights.dims[0])
    if "activation" in attributes:
        fields["Activation"] = attributes["activation"].s.decode().upper()
    return fields
