"""A model that bears the very names that a change of it would give."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from workbench.graph.load import from_proto

if TYPE_CHECKING:
    from workbench.graph.model import Model

SUM = "sum of all that have its names"


def added(before: Model, after: Model) -> tuple[set[str], set[str]]:
    """Names of tensors and of nodes that one model has and the other has not."""
    (tensors, nodes), (known_tensors, known_nodes) = _names(after), _names(before)
    return tensors - known_tensors, nodes - known_nodes


def taken(model: Model, tensors: set[str], nodes: set[str]) -> tuple[Model, float]:
    """The model with weights of these names and nodes of those; one more output is the sum, which is returned too."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    graph = proto.graph
    for value, name in enumerate(sorted(tensors), 1):
        graph.initializer.append(numpy_helper.from_array(np.float32(value), name))
    last = "none of these"
    graph.initializer.append(numpy_helper.from_array(np.float32(0), last))
    for position, name in enumerate(sorted(nodes)):
        graph.node.append(helper.make_node("Neg", [last], [f"negated {position}"], name))
    graph.node.append(helper.make_node("Sum", [*sorted(tensors), last], [SUM], SUM))
    graph.output.append(helper.make_tensor_value_info(SUM, TensorProto.FLOAT, []))
    return from_proto(proto), len(tensors) * (len(tensors) + 1) / 2


def _names(model: Model) -> tuple[set[str], set[str]]:
    tensors = {str(v.name) for node in model.nodes.values() for v in (*node.inputs, *node.outputs) if v is not None}
    return tensors | set(model.initializers), {str(node.name) for node in model.nodes.values()}
