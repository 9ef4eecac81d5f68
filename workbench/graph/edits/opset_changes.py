"""What changed its meaning between operator sets, and ONNX's version converter carries over as it stands.

Seen in onnx 1.23: it gives Resize and Upsample the defaults of the new set, which sample elsewhere; it keeps Hardmax,
whose axis came to mean another thing, and GroupNormalization, whose scale and bias came to be one a channel. What an
operator before set 7 broadcasts from an axis on, it broadcasts from the first, or refuses, and the slopes of a PRelu,
one a channel, it leaves to be one a column.
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
    from collections.abc import Callable

    from workbench.graph.model import Model

    Change = Callable[[ir.Node, ir.Graph, Model, str], bool]

__all__ = ["revealed", "rewrite"]

HIDDEN = "workbench.hidden"
"""A domain of which the converter knows nothing, so that it leaves the node alone."""
RESAMPLE = "Resample"
"""Resize or Upsample, in that domain."""

NUMPY_LIKE = 7
"""The operator set from which on operators broadcast as NumPy does."""
BROADCAST = frozenset("Add And Div Equal Gemm Greater Less Mul Or PRelu Pow Sub Xor".split())
"""Operators that did so in a way of their own before."""
LAST = -1
"""The axis of those that name none."""


def rewrite(graph: ir.Model, model: Model, version: int) -> None:
    """Say in the model's own operator set what means the same in set `version`. Changes `graph`.

    Raises
    ------
    EditError
        An operator cannot be said so.
    """
    changes = _changes(model.opset, version)
    hides = False
    for prefix, part in graphs_of(graph):
        for node in list(part):
            change = None if node.domain else changes.get(node.op_type)
            if change is None or not change(node, part, model, prefix):
                continue
            node.domain, hides = HIDDEN, True
            for value in node.outputs:
                state(value, tensor_at(model, f"{prefix}{value.name}"))
    if hides:
        for imports in (graph.opset_imports, *(function.opset_imports for function in graph.functions.values())):
            imports[HIDDEN] = 1


def _changes(old: int, new: int) -> dict[str, Change]:
    """Return what changes which operators; a change says whether the converter must not see the node then."""
    changes: dict[str, Change] = {}
    if old < NUMPY_LIKE <= new:
        changes |= dict.fromkeys(BROADCAST, _align)
    if old < 9 <= new:
        changes["Scan"] = _refuse_scan
    if old < 10 <= new:
        changes["Upsample"] = _scales_as_input
    if old < 11 <= new:
        changes["Resize"] = _scales_as_input
    if old < 13 <= new:
        changes["Hardmax"] = _flatten_around
    if old < 21 <= new:
        changes["GroupNormalization"] = _one_a_channel
    return changes


def revealed(graph: ir.Model) -> None:
    """Make what `rewrite` hid from the converter operators of the new set. Changes `graph`."""
    for _, part in graphs_of(graph):
        for node in [node for node in part if node.domain == HIDDEN]:
            node.domain, resampled = "", node.op_type == RESAMPLE
            if resampled:
                node.op_type = "Resize"
            if not resampled or graph.opset_imports.get("", 0) < 11:
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


def _refuse_scan(node: ir.Node, _part: ir.Graph, _model: Model, prefix: str) -> bool:
    raise EditError(
        "a Scan of operator set 8 runs over a batch, which no later one does",
        where=f"{prefix}{node.name}",
        fix="Export the model again with operator set 9 or later.",
    )


def _scales_as_input(node: ir.Node, part: ir.Graph, _model: Model, _prefix: str) -> bool:
    """Make the scales of a Resize or Upsample its second input."""
    if len(node.inputs) < 2:
        scales = np.array(node.attributes.pop("scales").as_floats(), np.float32)
        node.resize_inputs(2)
        node.replace_input_with(1, add_constant(part, f"{node.name}/scales", scales))
    node.op_type = RESAMPLE
    return True


def _align(node: ir.Node, part: ir.Graph, model: Model, prefix: str) -> bool:
    """Give the second operand the axes behind its own that it is broadcast over."""
    axis = node.attributes.get_int("axis", LAST)
    for name in ("axis", "broadcast", "consumed_inputs"):
        node.attributes.pop(name, None)
    if node.op_type == "Gemm" or (axis == LAST and node.op_type != "PRelu"):
        return True  # along the last axes, as NumPy does
    operands = [value for value in node.inputs if value is not None]
    first, second = (tensor_at(model, f"{prefix}{value.name}").shape for value in operands)
    if first is None or second is None:
        raise EditError(
            "it broadcasts along an axis, and how many axes its operands have is unknown",
            where=f"{prefix}{node.name}",
            fix=f"Export the model again with operator set {NUMPY_LIKE} or later.",
        )
    if node.op_type == "PRelu":
        axis = 1  # one slope a channel, or one for all
    behind = len(first) - (axis % max(len(first), 1)) - len(second)
    if not second or behind < 1:
        return True
    axes = {"axes": list(range(len(second), len(second) + behind))}
    wide = add_node(part, "Unsqueeze", operands[1:], name=f"{node.name}/aligned", attributes=axes, before=node)
    node.replace_input_with(1, wide.outputs[0])
    return True


def _flatten_around(node: ir.Node, part: ir.Graph, _model: Model, _prefix: str) -> bool:
    """Hardmax took all axes from `axis` on as one; now it takes one."""
    source, result = node.inputs[0], node.outputs[0]
    if source is None:
        return False
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
    return False


def _one_a_channel(node: ir.Node, part: ir.Graph, model: Model, prefix: str) -> bool:
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
    return False
