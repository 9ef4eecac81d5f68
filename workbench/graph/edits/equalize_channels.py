"""Give the channels of a tensor like ranges, so that one scale suits them all; the function stays the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from workbench.errors import EditError
from workbench.graph.domains import onnx_op
from workbench.graph.edits.base import BROADCASTS, Edit
from workbench.graph.edits.surgery import add_constant
from workbench.graph.naming import names_in

if TYPE_CHECKING:
    from workbench.graph.model import Model

__all__ = ["EqualizeChannels", "equalizable"]

Array = NDArray[np.float32]

HOMOGENEOUS = ("Relu", "LeakyRelu", "MaxPool", "AveragePool")
"""Operators with f(k x) = k f(x) for k > 0 in each channel."""


class EqualizeChannels(Edit):
    """Divide each channel of some tensors by a power of two, and multiply the weights that read it by the same.

    After M. Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section
    4.1. Powers of two change exponents alone, so the function stays the same to the last bit (short of subnormal
    numbers). Where a convolution makes the tensor, behind nothing but homogeneous operators, its weights and bias take
    the division; elsewhere, as behind SiLU, a multiplication is added, which compilers fuse with the operator before.
    Tensors of the main graph alone: calibration measures no others.

    Parameters
    ----------
    exponents
        Tensor to one exponent a channel (axis 1): channel c is divided by ``2 ** exponents[c]``.
    """

    do: Literal["equalize_channels"] = "equalize_channels"
    title: ClassVar[str] = "Equalize channels"
    oldest: ClassVar[int] = BROADCASTS
    exponents: dict[str, tuple[int, ...]]

    def requires(self, model: Model) -> None:
        for name, exponents in self.exponents.items():
            channels = equalizable(model, name)
            if channels != len(exponents):
                raise EditError(
                    "it is not read by convolutions with constant weights alone"
                    if channels is None
                    else f"{len(exponents)} exponents for {channels} channels",
                    where=f"tensor {name!r}",
                    fix="Leave it out, or measure the exponents on this model.",
                )

    def apply(self, graph: ir.Model, model: Model) -> list[str] | None:
        values = {str(v.name): v for node in graph.graph for v in node.outputs}
        values.update({str(v.name): v for v in graph.graph.inputs})
        notes = []
        for name, exponents in self.exponents.items():
            if not any(exponents):
                continue
            value, factors = values[name], np.exp2(np.array(exponents, np.float32))
            for reader, _ in value.uses():
                _scale_inputs(graph.graph, reader, factors)
            maker = _homogeneous_maker(value)
            if maker is None:
                _divide(graph.graph, value, factors)
            else:
                _scale_outputs(graph.graph, maker, np.reciprocal(factors))
            notes.append(f"equalized {name}: {'a multiplication added' if maker is None else f'into {maker.name}'}")
        return notes or None


def equalizable(model: Model, tensor: str) -> int | None:
    """Return how many channels a tensor has if all that reads it is convolutions with constant weights, else `None`."""
    value = next((v for node in model.top_nodes.values() for v in node.outputs if v.name == tensor), None)
    if value is None:
        value = next((v for v in model.ir_model.graph.inputs if v.name == tensor), None)
    if value is None or not value.uses() or value.is_graph_output():
        return None
    counts = {_channels_read(reader, position) for reader, position in value.uses()}
    return counts.pop() if len(counts) == 1 else None


def _channels_read(reader: ir.Node, position: int) -> int | None:
    weight = _constant(reader, 1)
    if onnx_op(reader) != "Conv" or position != 0 or weight is None:
        return None
    return int(weight.shape[1]) * _group(reader)


def _homogeneous_maker(value: ir.Value) -> ir.Node | None:
    """Return the convolution that makes a tensor behind nothing but homogeneous operators, each read only once."""
    while (maker := value.producer()) is not None:
        if onnx_op(maker) == "Conv" and _constant(maker, 1) is not None:
            biased = len(maker.inputs) > 2 and maker.inputs[2] is not None
            return maker if not biased or _constant(maker, 2) is not None else None
        before = maker.inputs[0] if maker.inputs else None
        if onnx_op(maker) not in HOMOGENEOUS or before is None or len(before.uses()) != 1 or before.is_graph_output():
            return None
        value = before
    return None


def _scale_inputs(graph: ir.Graph, reader: ir.Node, factors: Array) -> None:
    weight = _constant(reader, 1)
    if weight is None:
        return
    # A weight is [C_out, C_in / group, ...]: its rows fall into as many groups as the channels that it reads.
    group = _group(reader)
    rows, columns = weight.shape[:2]
    table = np.repeat(factors.reshape(group, columns), rows // group, axis=0)
    _replace(graph, reader, 1, weight * table.reshape(rows, columns, *[1] * (weight.ndim - 2)))


def _scale_outputs(graph: ir.Graph, maker: ir.Node, factors: Array) -> None:
    for position in (1, 2):
        array = _constant(maker, position)
        if array is not None:
            _replace(graph, maker, position, array * factors.reshape(-1, *[1] * (array.ndim - 1)))


def _divide(graph: ir.Graph, value: ir.Value, factors: Array) -> None:
    readers = list(value.uses())
    # The file need not state its shape; only convolutions read it, and their weights have as many axes.
    rank = next(weight.ndim for reader, _ in readers if (weight := _constant(reader, 1)) is not None)
    inverse = add_constant(graph, f"{value.name}/inverse", _kept(np.reciprocal(factors)).reshape(-1, *[1] * (rank - 2)))
    names = names_in(graph)
    multiply = ir.node("Mul", [value, inverse], name=names.node(f"{value.name}/equalize"))
    multiply.outputs[0].name = names.tensor(f"{value.name}/equalized")
    multiply.outputs[0].type = value.type
    maker = value.producer()
    if maker is None:
        graph.insert_before(graph[0], multiply)
    else:
        graph.insert_after(maker, multiply)
    for reader, position in readers:
        reader.replace_input_with(position, multiply.outputs[0])


def _constant(node: ir.Node, position: int) -> Array | None:
    value = node.inputs[position] if len(node.inputs) > position else None
    if value is None or not value.is_initializer() or value.const_value is None:
        return None
    array = value.const_value.numpy()
    return array if array.dtype == np.float32 else None


def _group(node: ir.Node) -> int:
    return int(node.attributes["group"].as_int()) if "group" in node.attributes else 1


def _replace(graph: ir.Graph, node: ir.Node, position: int, array: Array) -> None:
    """Give a node a weight of its own; the old one stays for its other readers."""
    old = node.inputs[position]
    if old is None:
        return
    alone = len(old.uses()) == 1 and not old.is_graph_output()
    if not alone:
        node.replace_input_with(position, add_constant(graph, f"{old.name}/{node.name}", _kept(array)))
        return
    # Nobody else reads it, so its name goes on.
    name = str(old.name)
    tensor = ir.Tensor(_kept(array), name=name)
    graph.initializers.pop(name)
    new = ir.Value(name=name, const_value=tensor, type=ir.TensorType(tensor.dtype), shape=ir.Shape(tensor.shape))
    graph.initializers.add(new)
    node.replace_input_with(position, new)


def _kept(array: Array) -> Array:
    return np.asarray(array, np.float32, order="C")
