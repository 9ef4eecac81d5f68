"""A model that is nothing but its inputs: what samples are checked against where there is no model, but an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onnx import TensorProto, helper

from workbench.errors import BackendError
from workbench.graph.load import from_proto

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from workbench.graph.model import Model

__all__ = ["model_of_inputs"]

IR_VERSION = 10


def model_of_inputs(inputs: Iterable[Mapping[str, Any]]) -> Model:
    """Return a model that has these inputs, and hands each on as it is.

    Parameters
    ----------
    inputs
        Name, element type as ONNX spells it, and shape of each; an axis without a known length has a name, or ``None``.

    Raises
    ------
    BackendError
        Something of an input is missing.
    """
    entries, outputs, nodes = [], [], []
    try:
        for tensor in inputs:
            kind, shape = TensorProto.DataType.Value(tensor["dtype"]), tensor["shape"]
            entries.append(helper.make_tensor_value_info(tensor["name"], kind, shape))
            outputs.append(helper.make_tensor_value_info(f"{tensor['name']}/handed on", kind, shape))
            nodes.append(helper.make_node("Identity", [entries[-1].name], [outputs[-1].name], entries[-1].name))
        graph = helper.make_graph(nodes, "inputs", entries, outputs)
    except (KeyError, TypeError, ValueError) as error:
        raise BackendError(f"the inputs of an engine cannot be read: {error}", fix="Build the engine again.") from error
    opset = helper.make_opsetid("", 21)
    return from_proto(helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION))
