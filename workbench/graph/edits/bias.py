"""Split a convolution's bias off as an Add, or merge such an Add into the convolution."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from workbench.graph.domains import onnx_op
from workbench.graph.edits.base import BROADCASTS
from workbench.graph.edits.surgery import add_constant, add_node, constant_array, drop_unused, lengths_of, redirect
from workbench.graph.edits.wide import WideEdit

if TYPE_CHECKING:
    import onnx_ir as ir

    from workbench.graph.edits.wide import Area

__all__ = ["MergeBias", "SplitBias"]

CONVOLUTIONS = ("Conv", "ConvTranspose")
Array = np.ndarray[tuple[int, ...], np.dtype[np.generic]]


class SplitBias(WideEdit):
    """Turn Conv with a constant bias into Conv and Add."""

    do: Literal["split_bias"] = "split_bias"
    title: ClassVar[str] = "Split the bias off"
    oldest: ClassVar[int] = BROADCASTS

    @classmethod
    def fits(cls, node: ir.Node) -> bool:
        return _stored_bias(node) is not None

    def sweep(self, area: Area) -> list[str] | None:
        split = 0
        for _, part, node in area:
            if (stored := _stored_bias(node)) is not None:
                _split(node, part, *stored)
                split += 1
        return [f"split the bias off {split} convolutions"] if split else None


def _stored_bias(node: ir.Node) -> tuple[Array, int] | None:
    """Return the constant bias of a convolution, and how many axes its weight has."""
    if onnx_op(node) not in CONVOLUTIONS or len(node.inputs) < 3:
        return None
    numbers, lengths = constant_array(node.inputs[2]), lengths_of(node.inputs[1])
    return None if numbers is None or lengths is None else (numbers, len(lengths))


def _split(node: ir.Node, part: ir.Graph, numbers: Array, rank: int) -> None:
    bias = node.inputs[2]
    result = node.outputs[0]
    following = next((use.node for use in result.uses() if use.node.graph is part), None)
    column = add_constant(part, f"{node.name}_bias", numbers.reshape(-1, *[1] * (rank - 2)))
    add = add_node(part, "Add", [result, column], name=f"{node.name}_add", before=following)
    name, total = result.name, add.outputs[0]
    for user, place in tuple(result.uses()):
        if user is not add:
            user.replace_input_with(place, total)
    total.type, total.shape = result.type, result.shape
    if result.is_graph_output():
        for place, value in enumerate(part.outputs):
            if value is result:
                part.outputs[place] = total
    # Whoever knows the result by its name finds it behind the bias, as before.
    result.name, total.name = total.name, name
    node.resize_inputs(2)
    drop_unused(part, [bias])


class MergeBias(WideEdit):
    """Merge an Add of one constant a channel into the convolution before it.

    The convolution's result must go nowhere else. A bias that the convolution has already is added to.
    """

    do: Literal["merge_bias"] = "merge_bias"
    title: ClassVar[str] = "Merge Add into the bias"

    @classmethod
    def fits(cls, node: ir.Node) -> bool:
        return _bias_of(node) is not None

    def sweep(self, area: Area) -> list[str] | None:
        merged = 0
        for _, part, node in area:
            if (bias := _bias_of(node)) is not None:
                _merge(node, *bias, part)
                merged += 1
        return [f"merged {merged} Adds into the convolutions before them"] if merged else None


def _bias_of(add: ir.Node) -> tuple[ir.Node, Array] | None:
    """Return the convolution before an Add, and what it adds to each channel, where the two can merge."""
    if onnx_op(add) != "Add" or len(add.inputs) != 2:
        return None
    for source, other in (add.inputs, add.inputs[::-1]):
        layer = None if source is None else source.producer()
        numbers = constant_array(other)
        if source is None or layer is None or numbers is None or onnx_op(layer) not in CONVOLUTIONS:
            continue
        if layer.graph is not add.graph or len(source.uses()) != 1 or source.is_graph_output():
            continue
        lengths = lengths_of(layer.inputs[1])
        if lengths is None or (len(layer.inputs) > 2 and constant_array(layer.inputs[2]) is None):
            continue
        rank, channels = len(lengths), _channels(layer, lengths)
        shape = (1,) * (rank - numbers.ndim) + numbers.shape
        if len(shape) == rank and shape[0] == 1 and shape[1] in (1, channels) and set(shape[2:]) <= {1}:
            return layer, np.broadcast_to(numbers.reshape(-1), (channels,))
    return None


def _channels(layer: ir.Node, lengths: tuple[int, ...]) -> int:
    group = layer.attributes["group"].as_int() if "group" in layer.attributes else 1
    return lengths[0] if layer.op_type == "Conv" else lengths[1] * group


def _merge(add: ir.Node, layer: ir.Node, numbers: Array, part: ir.Graph) -> None:
    old = layer.inputs[2] if len(layer.inputs) > 2 else None
    before = constant_array(old)
    total = (
        numbers if before is None else (numbers.astype(np.float64) + before.astype(np.float64)).astype(numbers.dtype)
    )
    inputs = (old, *add.inputs)
    layer.resize_inputs(3)
    layer.replace_input_with(2, add_constant(part, f"{layer.name}_bias", total))
    result, source = add.outputs[0], layer.outputs[0]
    name = result.name
    redirect(result, source, part)
    part.remove(add, safe=True)
    source.name = name
    drop_unused(part, inputs)
