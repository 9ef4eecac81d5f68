"""Inputs that count time along their first axis, which one takes for the batch."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from workbench.errors import SamplesWarning
from workbench.graph import onnx_op

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir

    from workbench.graph import Model

__all__ = ["warn_of_time"]

RECURRENT = ("GRU", "LSTM", "RNN")
ALIKE = frozenset(
    "Add BatchNormalization Cast Clip DequantizeLinear Div Dropout Elu Gelu Identity LeakyRelu MatMul Mul "
    "QuantizeLinear Relu Sigmoid Sub Tanh".split()
)
"""Operators whose result's first axis is that of their first input."""


def warn_of_time(model: Model) -> None:
    """Warn where samples that are stacked along a new first axis become steps of one sequence.

    A first axis of length 1 is no sequence: a model that is fed step by step.
    """
    for name, node in dict(_time_first(model)).items():
        shape = model.tensor(name).shape
        if shape and shape[0] != 1:
            warnings.warn(
                f"input {name!r}: {node!r} counts time along its first axis, along which samples are put one after the "
                f"other; where a sample is a sequence of its own, give it with all {len(shape)} axes",
                SamplesWarning,
                stacklevel=3,
            )


def _time_first(model: Model) -> Iterator[tuple[str, str]]:
    """Yield (input, node that runs along its first axis)."""
    for address, node in model.top_nodes.items():
        for value in map(_origin, _sequences(node)):
            if value is not None and value.is_graph_input():
                yield str(value.name), address


def _origin(value: ir.Value | None) -> ir.Value | None:
    """Return what a tensor's first axis comes from, ``None`` where it is made on the way."""
    while value is not None and (producer := value.producer()) is not None:
        value = producer.inputs[0] if onnx_op(producer) in ALIKE and producer.inputs else None
    return value


def _sequences(node: ir.Node) -> list[ir.Value | None]:
    """Return the inputs along whose first axis a node runs."""
    if onnx_op(node) in RECURRENT and not node.attributes.get_int("layout", 0):
        return list(node.inputs[:1])
    if onnx_op(node) != "Scan":
        return []
    count = node.attributes.get_int("num_scan_inputs", 0)
    axes = node.attributes.get_ints("scan_input_axes", [0] * count)
    return [value for value, axis in zip(node.inputs[len(node.inputs) - count :], axes, strict=False) if axis == 0]
