"""What changed its meaning between operator sets, and ONNX's version converter carries over as it stands.

Seen in onnx 1.23: it gives Resize and Upsample the defaults of the new set, which sample elsewhere; it keeps Hardmax,
whose axis came to mean another thing, and GroupNormalization, whose scale and bias came to be one a channel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from workbench.errors import EditError
from workbench.graph.edits.inside import state, tensor_at
from workbench.graph.edits.surgery import add_constant, add_node, constant_array, drop_unused
from workbench.graph.structure import graphs_of

if TYPE_CHECKING:
    from workbench.graph.model import Model

__all__ = ["revealed", "rewrite"]

HIDDEN = "workbench.hidden"
"""A domain of which the converter knows nothing, so that it leaves the node alone."""


def rewrite(graph: ir.Model, model: Model, version: int) -> None:
    """Say in the model's own operator set what means the same in set `version`. Changes `graph`.

    Raises
    ------
    EditError
        An operator cannot be said so.
    """
    for prefix, part in graphs_of(graph):
        for node in list(part):
            if node.domain:
                continue
            address = f"{prefix}{node.name}"
            if node.op_type == "Scan" and model.opset < 9 <= version:
                raise EditError(
                    "a Scan of operator set 8 runs over a batch, which no later one does",
                    where=address,
                    fix=f"Export the model again with operator set {version}.",
                )
            if node.op_type in _moved_samples(model.opset, version):
                _hide(node, part, model, prefix)
                for imports in (graph.opset_imports, *(f.opset_imports for f in graph.functions.values())):
                    imports[HIDDEN] = 1
            if node.op_type == "Hardmax" and model.opset < 13 <= version:
                _flatten_around(node, part)
            if node.op_type == "GroupNormalization" and model.opset < 21 <= version:
                _one_a_channel(node, part, model, prefix)


def revealed(graph: ir.Model) -> None:
    """Make what `rewrite` hid from the converter operators of the new set. Changes `graph`."""
    for _, part in graphs_of(graph):
        for node in [node for node in part if node.domain == HIDDEN]:
            node.domain, node.op_type = "", "Resize"
            if graph.opset_imports.get("", 0) < 11:
                continue
            # The first Resize, as Upsample did, samples at x / scale, and rounds down.
            node.attributes.add(ir.AttrString("coordinate_transformation_mode", "asymmetric"))
            if node.attributes.get_string("mode", "nearest") == "nearest":
                node.attributes.add(ir.AttrString("nearest_mode", "floor"))
            _, scales = node.inputs
            region = add_constant(part, f"{node.name}/region", np.zeros(0, np.float32))
            node.resize_inputs(3)
            node.replace_input_with(1, region)
            node.replace_input_with(2, scales)
    for imports in (graph.opset_imports, *(function.opset_imports for function in graph.functions.values())):
        imports.pop(HIDDEN, None)


def _moved_samples(old: int, new: int) -> tuple[str, ...]:
    """Return the operators whose next version samples elsewhere unless it is told where."""
    return (*(("Upsample",) if old < 10 <= new else ()), *(("Resize",) if old < 11 <= new else ()))


def _hide(node: ir.Node, part: ir.Graph, model: Model, prefix: str) -> None:
    """Keep a Resize or Upsample from the converter, with its scales as its second input."""
    if len(node.inputs) < 2:
        scales = np.array(node.attributes.pop("scales").as_floats(), np.float32)
        node.resize_inputs(2)
        node.replace_input_with(1, add_constant(part, f"{node.name}/scales", scales))
    for value in node.outputs:
        state(value, tensor_at(model, f"{prefix}{value.name}"))
    node.domain, node.op_type = HIDDEN, "Resample"


def _flatten_around(node: ir.Node, part: ir.Graph) -> None:
    """Hardmax took all axes from `axis` on as one; now it takes one."""
    source, result = node.inputs[0], node.outputs[0]
    if source is None:
        return
    axis = node.attributes.get_int("axis", 1)
    shape = add_node(part, "Shape", [source], name=f"{node.name}/shape", before=node)
    flat = add_node(part, "Flatten", [source], name=f"{node.name}/flat", attributes={"axis": axis}, before=node)
    node.replace_input_with(0, flat.outputs[0])
    node.attributes.add(ir.AttrInt64("axis", 1))
    following = part.node(part.index(node) + 1) if part.index(node) + 1 < len(part) else None
    back = add_node(part, "Reshape", [result, shape.outputs[0]], name=f"{node.name}/back", before=following)
    output, name = back.outputs[0], result.name
    for user, place in tuple(result.uses()):
        if user is not back:
            user.replace_input_with(place, output)
    output.type, output.shape = result.type, result.shape
    for place, value in enumerate(part.outputs):
        if value is result:
            part.outputs[place] = output
    result.shape = None
    result.name, output.name = output.name, name


def _one_a_channel(node: ir.Node, part: ir.Graph, model: Model, prefix: str) -> None:
    """Scale and bias were one a group; now they are one a channel."""
    groups = node.attributes.get_int("num_groups", 0)
    data = node.inputs[0]
    shape = None if data is None else tensor_at(model, f"{prefix}{data.name}").shape
    channels = shape[1] if shape is not None and len(shape) > 1 else None
    for place in (1, 2):
        value = node.inputs[place]
        numbers = constant_array(value)
        if numbers is None or value is None or not isinstance(channels, int) or numbers.size != groups:
            raise EditError(
                "its scale and bias are one a group and no constants, or its channels are unknown",
                where=f"{prefix}{node.name}",
                fix="From operator set 21 on they are one a channel: export the model again.",
            )
        wide = np.repeat(numbers, channels // groups)
        node.replace_input_with(place, add_constant(part, f"{value.name}/channels", wide))
        drop_unused(part, [value])
