"""Graphs inside of nodes: how often one runs, and a local function as a model of its own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir

from workbench.graph.domains import onnx_op
from workbench.graph.message import attribute_message
from workbench.graph.weights import constant_of, is_stripped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from workbench.graph.model import Model
    from workbench.graph.tensor import Tensor

__all__ = ["called_proto", "calls", "most_repeated", "repetitions", "subgraphs"]

ENDLESS = "the Loop has no end"

SCAN_WITHOUT_BATCH = 9
"""From this operator set on a Scan has no batch axis and no sequence lengths."""


def subgraphs(node: ir.Node) -> Iterator[tuple[str, ir.Graph]]:
    """Yield what an address calls each graph inside a node, and the graph."""
    for attribute in node.attributes.values():
        if attribute.is_ref():
            continue
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.name.removesuffix("_branch"), attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            for place, graph in enumerate(attribute.as_graphs()):
                yield f"{attribute.name}[{place}]", graph


def calls(model: Model, node: ir.Node) -> ir.Function | None:
    """Return the local function that a node calls, ``None`` where it calls none."""
    return model.ir_model.functions.get((node.domain, node.op_type, node.overload))


def repetitions(model: Model, node: ir.Node, tensors: Mapping[str, Tensor]) -> int | str:
    """Return how often the graph inside a node runs each time the node does, or why that is not known.

    A branch of an If counts as taken: 1. A Loop runs as often as its first input says, where that is a constant and no
    condition can end it earlier: the body hands on the condition that it was given, or a constant one. A Scan runs once
    for each element of the axis that it scans. Source: the operators Loop and Scan in ONNX's specification.

    Parameters
    ----------
    model
        The model.
    node
        If, Loop, Scan, or any other node with a subgraph.
    tensors
        What is known of shapes, by name.
    """
    op = onnx_op(node)
    if op == "If":
        return 1
    if op == "Loop":
        return _trips(node)
    if op == "Scan":
        return _steps(model, node, tensors)
    return f"how often the graph in a {node.op_type} runs is not known"


def most_repeated(model: Model) -> float:
    """Return how often the graph that runs most often does in one run of a model, as far as the model says.

    A loop inside of a loop runs as often as both together; one without an end infinitely often.
    """
    often: dict[str, float] = {}
    for address, node in model.nodes.items():
        if onnx_op(node) not in ("Loop", "Scan"):
            continue
        count = repetitions(model, node, model.tensors)
        around = max((times for outer, times in often.items() if address.startswith(f"{outer}/")), default=1.0)
        if isinstance(count, str):
            often[address] = around * (math.inf if count == ENDLESS else 1.0)
        else:
            often[address] = around * float(count)
    return max(often.values(), default=1.0)


def _trips(node: ir.Node) -> int | str:
    most, condition = (*node.inputs, None, None)[:2]
    start = True if condition is None else _scalar(condition)
    if start == 0:
        return 0
    body = node.attributes["body"].as_graph()
    if start is None or not _goes_on(body):
        return "the condition of the Loop is computed"
    if most is None:
        return ENDLESS
    count = _scalar(most)
    return "the number of iterations is computed" if count is None else max(count, 0)


def _goes_on(body: ir.Graph) -> bool:
    """Say whether a loop's body hands on the condition that it was given, or a constant that is true."""
    value = body.outputs[0]
    while (maker := value.producer()) is not None and onnx_op(maker) == "Identity" and maker.inputs:
        if maker.inputs[0] is None:
            break
        value = maker.inputs[0]
    return value is body.inputs[1] or bool(_scalar(value))


def _scalar(value: ir.Value) -> int | None:
    content = constant_of(value)
    if content is None or content.size != 1 or isinstance(content, ir.ExternalTensor) or is_stripped(content):
        return None
    array = content.numpy()
    return int(array.reshape(())) if array.dtype.kind in "biu" else None


def _steps(model: Model, node: ir.Node, tensors: Mapping[str, Tensor]) -> int | str:
    if model.opset < SCAN_WITHOUT_BATCH:
        return f"a Scan of operator set {model.opset} runs for each element of a batch"
    scanned = node.attributes["num_scan_inputs"].as_int()
    axes = list(node.attributes["scan_input_axes"].as_ints()) if "scan_input_axes" in node.attributes else []
    value = node.inputs[-scanned]
    shape = None if value is None else _shape(model, value, tensors)
    axis = axes[0] if axes else 0
    length = shape[axis] if shape and -len(shape) <= axis < len(shape) else None
    if isinstance(length, int):
        return length
    return "the length of the scanned axis is not known" + (f": {length}" if length else "")


def _shape(model: Model, value: ir.Value, tensors: Mapping[str, Tensor]) -> tuple[int | str | None, ...] | None:
    if (content := constant_of(value)) is not None:
        return tuple(content.shape.numpy())
    tensor = tensors.get(model.index.tensor(value))
    return None if tensor is None else tensor.shape


def called_proto(model: Model, function: ir.Function, node: ir.Node, tensors: Mapping[str, Tensor]) -> onnx.ModelProto:
    """Return what one call of a local function runs, as a model whose inputs have the shapes of the call.

    Attributes are those of the call; small constants are handed over, so that shapes that depend on them are known.
    """
    from workbench.graph.shapes import SMALL

    proto = onnx.ModelProto(ir_version=max(model.ir_model.ir_version, 8))
    body = ir.serde.serialize_function(function)
    versions = dict(model.ir_model.opset_imports) | dict(function.opset_imports)
    proto.opset_import.extend(onnx.helper.make_opsetid(*entry) for entry in sorted(versions.items()))
    proto.functions.extend(ir.serde.serialize_function(other) for other in model.ir_model.functions.values())
    graph = proto.graph
    graph.name = function.name
    attributes = {attribute.name: attribute for attribute in body.attribute_proto}
    attributes |= {name: attribute_message(attribute) for name, attribute in node.attributes.items()}
    graph.node.extend(_with_attributes(part, attributes) for part in body.node)
    for formal, actual in zip(function.inputs, (*node.inputs, *[None] * len(function.inputs)), strict=False):
        content = None if actual is None else constant_of(actual)
        if content is not None and content.size <= SMALL and not isinstance(content, ir.ExternalTensor):
            graph.initializer.append(ir.to_proto(content))
            graph.initializer[-1].name = str(formal.name)
            continue
        tensor = None if actual is None else tensors.get(model.index.tensor(actual))
        dtype, shape = (
            (0, None) if tensor is None or tensor.dtype is None else (ir.DataType[tensor.dtype], tensor.shape)
        )
        if content is not None:
            dtype, shape = content.dtype, tuple(content.shape.numpy())
        graph.input.append(onnx.helper.make_tensor_value_info(str(formal.name), int(dtype), shape))
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in body.output)
    return proto


def _with_attributes(node: onnx.NodeProto, attributes: Mapping[str, onnx.AttributeProto]) -> onnx.NodeProto:
    """Return a node of a function with the values of the call in place of references to them."""
    bound = onnx.NodeProto()
    bound.CopyFrom(node)
    del bound.attribute[:]
    for attribute in node.attribute:
        if not attribute.ref_attr_name:
            bound.attribute.append(attribute)
            for graph in (bound.attribute[-1].g, *bound.attribute[-1].graphs):
                parts = [_with_attributes(part, attributes) for part in graph.node]
                del graph.node[:]
                graph.node.extend(parts)
        elif (value := attributes.get(attribute.ref_attr_name)) is not None:
            bound.attribute.append(value)
            bound.attribute[-1].name = attribute.name
    return bound
