"""An engine's layers as an ONNX file, to be looked at in any viewer of ONNX; no runtime can run it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import onnx
from onnx import TensorProto, helper

from workbench.engine.traits import kind_of_layer, layer_precision

if TYPE_CHECKING:
    from workbench.engine.report import EngineReport, EngineTensor, Layer

__all__ = ["DOMAIN", "engine_onnx"]

DOMAIN = "engine.layers"
"""The operator domain of the layers: they are what a compiler made, and no ONNX operators."""

_TYPES = {
    "fp32": TensorProto.FLOAT,
    "tf32": TensorProto.FLOAT,
    "fp16": TensorProto.FLOAT16,
    "bf16": TensorProto.BFLOAT16,
    "fp8": TensorProto.FLOAT8E4M3FN,
    "int8": TensorProto.INT8,
    "uint8": TensorProto.UINT8,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "bool": TensorProto.BOOL,
}


def engine_onnx(report: EngineReport, profile: int = 0) -> onnx.ModelProto:
    """Return one node a layer, joined by the tensors that the inspector names, each with its type and shape if told.

    A node's attributes hold what is known of the layer: kind, precision, formats, tactic, milliseconds, source nodes.
    A tensor that several layers write (parts of one buffer) has a number behind its name from the second on.

    Parameters
    ----------
    profile
        The optimization profile whose layers are written.
    """
    layers = [layer for layer in report.layers if layer.profile == profile]
    tensors: dict[str, EngineTensor] = {}
    written: dict[str, int] = {}
    nodes = []
    for layer in layers:
        outputs = []
        for tensor in layer.outputs:
            written[tensor.name] = count = written.get(tensor.name, 0) + 1
            name = tensor.name if count == 1 else f"{tensor.name} ({count})"
            outputs.append(name)
            tensors[name] = tensor
        tensors |= {tensor.name: tensor for tensor in layer.inputs if tensor.name not in tensors}
        nodes.append(_node(layer, outputs))
    read = {name for node in nodes for name in node.input}
    produced = {name for node in nodes for name in node.output}
    named = {binding.name for binding in report.bindings if binding.mode == "output"}
    graph = helper.make_graph(
        nodes,
        report.name,
        [_value(name, tensors[name]) for name in tensors if name in read - produced],
        [_value(name, tensors[name]) for name in tensors if name in produced and (name in named or name not in read)],
        value_info=[_value(name, tensors[name]) for name in tensors if name in read & produced - named],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(DOMAIN, 1)], producer_name="workbench")
    model.doc_string = f"Layers of an engine, read from {report.dialect}; not a model that can be run."
    return model


def _node(layer: Layer, outputs: list[str]) -> onnx.NodeProto:
    attributes = {
        "kind": kind_of_layer(layer),
        "precision": layer_precision(layer).name,
        "inputs": ", ".join(tensor.format.short for tensor in layer.inputs),
        "outputs": ", ".join(tensor.format.short for tensor in layer.outputs),
        "tactic": layer.tactic,
        "milliseconds": layer.ms,
        "weight_bytes": layer.weight_bytes,
        "source_nodes": " + ".join(layer.sources),
    }
    # What is not told is not an attribute.
    attributes = {name: value for name, value in attributes.items() if value not in {None, ""}}
    op_type = re.sub(r"\W+", "_", layer.type or "unknown").strip("_") or "unknown"
    inputs = [tensor.name for tensor in layer.inputs]
    node = helper.make_node(op_type, inputs, outputs, name=layer.name, domain=DOMAIN)
    node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
    return node


def _value(name: str, tensor: EngineTensor) -> onnx.ValueInfoProto:
    kind = _TYPES.get(tensor.dtype or "", TensorProto.UNDEFINED)
    dims = None if tensor.dims is None else [size if size >= 0 else None for size in tensor.dims]
    return helper.make_tensor_value_info(name, kind, dims)
