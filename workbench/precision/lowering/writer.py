"""The hand that writes: Q/DQ pairs, Casts and converted constants, each made once and shared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from workbench.errors import PrecisionError
from workbench.graph import content_of, share_names
from workbench.precision.lowering.quantize import STORED, quantize_weight, representable, scale_of
from workbench.precision.operators import OPSET_FOR_SCALES, OWN_TYPES, TYPES, weight_axis

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.graph import Tensor
    from workbench.names import Floating, Quantized

__all__ = ["WeightStorage", "Writer"]

WeightStorage = Literal["int8", "float"]


class Writer:
    """Writes precision into a graph that it may change.

    Parameters
    ----------
    model
        The graph.
    storage
        Whether quantized weights are stored as 8-bit numbers or as they were.
    tensors
        What is known of the graph's tensors; a file need not state their types.
    """

    def __init__(self, model: ir.Model, storage: WeightStorage, tensors: Mapping[str, Tensor]) -> None:
        self._graph = model.graph
        self._tensors = tensors
        self._fresh = share_names(model)
        self._opset = model.opset_imports.get("", 0)
        self._storage = storage
        self._nodes = {node.name: node for node in model.graph}
        self._types: dict[ir.Value, Floating] = {}
        self._names: dict[ir.Value, str] = {}
        self._converted: dict[tuple[ir.Value, Floating], ir.Value] = {}
        self._pairs: dict[tuple[ir.Value, Quantized, Floating], ir.Value] = {}
        self._weights: dict[tuple[ir.Value, int | None, Quantized, Floating], ir.Value] = {}
        self._paired: set[str] = set()
        self._stems: set[str] = set()
        self.activations: list[str] = []
        self.weights: list[str] = []

    # What tensors are

    def set_type(self, value: ir.Value, floating: Floating, *, keep: bool = True) -> None:
        """Give a tensor another floating-point type; of a model's output that keeps its own, a Cast makes it again."""
        name = str(value.name)
        self._types[value] = floating
        self._names[value] = name
        value.type = ir.TensorType(TYPES[floating])
        if not keep or not value.is_graph_output():
            return
        value.name = self._fresh.tensor(f"{name}/{TYPES[floating].name.lower()}")
        cast = ir.node("Cast", [value], {"to": ir.DataType.FLOAT}, name=self._fresh.node(f"{name}/Cast"))
        restored = cast.outputs[0]
        restored.name, restored.shape, restored.type = name, value.shape, ir.TensorType(ir.DataType.FLOAT)
        producer = value.producer()
        if producer is not None:
            self._graph.insert_after(producer, cast)
        for position, output in enumerate(self._graph.outputs):
            if output is value:
                self._graph.outputs[position] = restored
        self._converted[value, "fp32"] = restored

    def _type(self, value: ir.Value) -> Floating:
        """Return the type that a tensor has in the graph: the one it was given, else its own."""
        if value in self._types:
            return self._types[value]
        tensor = self._tensors.get(str(value.name))
        stated = value.dtype.name if value.dtype is not None else tensor.dtype if tensor is not None else None
        return OWN_TYPES.get(stated or "", "fp32")

    # What nodes read

    def read_as(self, address: str, position: int, floating: Floating) -> None:
        """Let one input of a node read its tensor in a floating-point type."""
        node = self._nodes[address]
        value = _value(node, position)
        node.replace_input_with(position, self._as(value, floating))
        self._drop(value)

    def quantize_activation(
        self, address: str, position: int, amax: float, quantized: Quantized = "int8", floating: Floating = "fp32"
    ) -> None:
        """Let one input of a node read its tensor through a Q/DQ pair, made at its first use."""
        node = self._nodes[address]
        value = _value(node, position)
        key = (value, quantized, floating)
        if key not in self._pairs:
            self._pairs[key] = self._pair(value, amax, quantized, floating)
        node.replace_input_with(position, self._pairs[key])

    def quantize_weight(
        self,
        address: str,
        position: int,
        quantized: Quantized = "int8",
        floating: Floating = "fp32",
        *,
        per_channel: bool = True,
    ) -> None:
        """Let one input of a node read its weight quantized."""
        node = self._nodes[address]
        value = _value(node, position)
        key = (value, weight_axis(node, position) if per_channel else None, quantized, floating)
        if key not in self._weights:
            self._weights[key] = self._quantized_weight(node, *key)
            self.weights.append(str(value.name))
        node.replace_input_with(position, self._weights[key])
        self._drop(value)

    # How it is written

    def _as(self, value: ir.Value, floating: Floating) -> ir.Value:
        """Return a tensor in a floating-point type: itself, a converted constant, or a Cast's result."""
        if self._type(value) == floating:
            return value
        if (value, floating) not in self._converted:
            name = f"{self._names.get(value, value.name)}/{TYPES[floating].name.lower()}"
            if value.is_initializer():
                content = content_of(value).numpy()
                self._converted[value, floating] = self._constant(name, content, TYPES[floating])
            else:
                cast = ir.node("Cast", [value], {"to": TYPES[floating]}, name=self._fresh.node(f"{name}/Cast"))
                self._place(value, cast)
                output = cast.outputs[0]
                output.name = self._fresh.tensor(name)
                output.shape, output.type = value.shape, ir.TensorType(TYPES[floating])
                self._converted[value, floating] = output
        return self._converted[value, floating]

    def _pair(self, value: ir.Value, amax: float, quantized: Quantized, floating: Floating) -> ir.Value:
        """Write a Q/DQ pair. It reads the type that its tensor has, and makes the type that its reader wants.

        So it is itself the Cast between the two. That needs scales in both types (operator set 19), and a scale that
        FP16 can hold; otherwise the pair is in FP32, with Casts around it where they are needed: a Cast behind a pair
        hides it from the layer, so that is the last resort.
        """
        name = self._names.get(value, str(value.name))
        source: Floating = self._type(value)
        if self._opset >= OPSET_FOR_SCALES and not representable(amax, quantized, source, divides=True):
            value, source = self._as(value, "fp32"), "fp32"
        narrow: Floating = floating if source == "fp32" else source
        mixed = source != floating and "fp32" not in (source, floating)
        whole = not mixed and self._opset >= OPSET_FOR_SCALES and representable(amax, quantized, narrow)
        if not whole and narrow != "fp32":
            pair = self._pair_in_fp32(value, amax, quantized)
            self._types[pair] = "fp32"
            return self._as(pair, floating)
        stem = self._stem(name, quantized, floating)
        scale = scale_of(amax, quantized, narrow)
        scales = [self._constant(f"{stem}/scale", scale, TYPES[floating])]
        if source != floating:
            scales.insert(0, self._constant(f"{stem}/scale/{TYPES[source].name.lower()}", scale, TYPES[source]))
        return self._write_pair(value, stem, quantized, scales[0], scales[-1])

    def _pair_in_fp32(self, value: ir.Value, amax: float, quantized: Quantized) -> ir.Value:
        key: tuple[ir.Value, Quantized, Floating] = (value, quantized, "fp32")
        if key not in self._pairs:
            stem = self._stem(self._names.get(value, str(value.name)), quantized, "fp32")
            scale = self._constant(f"{stem}/scale", scale_of(amax, quantized), ir.DataType.FLOAT)
            self._pairs[key] = self._write_pair(self._as(value, "fp32"), stem, quantized, scale, scale)
        return self._pairs[key]

    def _write_pair(
        self, value: ir.Value, stem: str, quantized: Quantized, scale: ir.Value, scale_back: ir.Value
    ) -> ir.Value:
        zero_point = self._constant(f"{stem}/zero_point", np.zeros((), np.int8), STORED[quantized])
        quantize = self._node("QuantizeLinear", stem, value, scale, zero_point, axis=None)
        dequantize = self._node("DequantizeLinear", stem, quantize.outputs[0], scale_back, zero_point, axis=None)
        self._place(value, quantize, dequantize)
        return dequantize.outputs[0]

    def _stem(self, name: str, quantized: Quantized, floating: Floating) -> str:
        """Name a pair after its tensor; a second one for other readers after its types too."""
        if name in self._paired:
            return f"{name}/{quantized}/{floating}"
        self._paired.add(name)
        self.activations.append(name)
        return name

    def _quantized_weight(
        self, node: ir.Node, value: ir.Value, axis: int | None, quantized: Quantized, floating: Floating
    ) -> ir.Value:
        # A weight that two kinds of node read along different axes is quantized once an axis.
        first = not any(other is value for other, *_ in self._weights)
        stem = str(value.name) if first else f"{value.name}/{axis}"
        if stem in self._stems:
            stem = f"{stem}/{quantized}/{floating}"
        self._stems.add(stem)
        stored: Floating = floating if self._opset >= OPSET_FOR_SCALES else "fp32"
        q, scale = quantize_weight(content_of(value).numpy(), axis, quantized, stored)
        scales = self._constant(f"{stem}/scale", scale, TYPES[stored])
        zero_points = self._constant(f"{stem}/zero_point", np.zeros(scale.shape, np.int8), STORED[quantized])
        if self._storage == "int8":
            source = self._constant(f"{stem}/quantized", q, STORED[quantized])
        else:
            # The weight is float32, and so is the scale that it is divided by: the same numbers as stored ones.
            value = self._as(value, "fp32")
            exact = scales if stored == "fp32" else self._constant(f"{stem}/scale/float", scale, ir.DataType.FLOAT)
            quantize = self._node("QuantizeLinear", stem, value, exact, zero_points, axis=axis)
            self._graph.insert_before(node, quantize)
            source = quantize.outputs[0]
        dequantize = self._node("DequantizeLinear", stem, source, scales, zero_points, axis=axis)
        self._graph.insert_before(node, dequantize)
        return self._as(dequantize.outputs[0], floating) if stored != floating else dequantize.outputs[0]

    def _place(self, value: ir.Value, *nodes: ir.Node) -> None:
        """Insert nodes right behind what makes a tensor."""
        producer = value.producer()
        if producer is None:
            self._graph.insert_before(self._graph[0], nodes)
        else:
            self._graph.insert_after(producer, nodes)

    def _drop(self, value: ir.Value) -> None:
        """Remove a constant that nothing reads any more."""
        if value.is_initializer() and not value.uses() and not value.is_graph_output():
            self._graph.initializers.pop(str(value.name), None)
            if value.is_graph_input():
                self._graph.inputs.remove(value)

    def _node(
        self,
        op_type: Literal["QuantizeLinear", "DequantizeLinear"],
        stem: str,
        source: ir.Value,
        scale: ir.Value,
        zero_point: ir.Value,
        *,
        axis: int | None,
    ) -> ir.Node:
        attributes = {} if axis is None else {"axis": axis}
        name = self._fresh.node(f"{stem}/{op_type}")
        node = ir.node(op_type, [source, scale, zero_point], attributes, name=name)
        suffix = "quantized" if op_type == "QuantizeLinear" else "dequantized"
        node.outputs[0].name = self._fresh.tensor(f"{stem}/{suffix}")
        return node

    def _constant(self, name: str, array: npt.NDArray[Any], dtype: ir.DataType) -> ir.Value:
        name = self._fresh.tensor(name)
        tensor = ir.Tensor(np.asarray(array).astype(dtype.numpy(), copy=False), name=name)
        value = ir.Value(name=name, const_value=tensor, type=ir.TensorType(dtype), shape=ir.Shape(array.shape))
        self._graph.initializers.add(value)
        return value


def _value(node: ir.Node, position: int) -> ir.Value:
    value = node.inputs[position]
    if value is None:
        raise PrecisionError(f"input {position} is missing", where=node.name)
    return value
