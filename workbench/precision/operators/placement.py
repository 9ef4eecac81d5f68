"""Where Q/DQ pairs go, one small rule each.

What TensorRT makes of a graph with Q/DQ pairs depends on where they stand, down to whether there is an engine at all.
The rules here are those that keep its fusions: Conv+BatchNormalization+Relu in one INT8 kernel, and Conv+Add+Relu with
the shortcut read as INT8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.graph import WEIGHTED, content_of, onnx_op, quantized_source
from workbench.precision.operators.scalable import unscalable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import onnx_ir as ir

    from workbench.graph import Model
    from workbench.names import Precision

__all__ = [
    "POOLS",
    "Edge",
    "activations",
    "obstacle",
    "residual_convolution",
    "residual_shortcut",
    "weight_axis",
    "weights",
]

OPERANDS = (0, 1)
"""The inputs of those that are multiplied. A constant one is a weight, wherever it stands."""

POOLS = ("AveragePool", "GlobalAveragePool", "MaxPool")
"""Operators that can stay in INT8 between two that multiply."""

PASSING = ("BatchNormalization", "Identity")
"""Operators that TensorRT fuses into the convolution before them, so that the pair counts as one."""


@dataclass(frozen=True)
class Edge:
    """One input of one node.

    Parameters
    ----------
    node
        The node's address.
    position
        Which of its inputs.
    tensor
        The tensor it reads there.
    """

    node: str
    position: int
    tensor: str


def obstacle(
    model: Model, address: str, node: ir.Node, precision: Precision = "int8", *, weight_only: bool = False
) -> str | None:
    """Return why a node cannot be computed in INT8 or FP8, or ``None`` where it can."""
    if address not in model.top_nodes:
        return "it is inside a subgraph or function, whose tensors calibration does not see"
    if not onnx_op(node):
        local = (node.domain, node.op_type, node.overload) in model.ir_model.functions
        kind = "a local function, which is left as it is" if local else "of which nothing is known"
        return f"it is {node.domain}.{node.op_type}, {kind}"
    if node.op_type not in (*WEIGHTED, *POOLS, "Add"):
        return f"TensorRT gains nothing from Q/DQ around {node.op_type}"
    if precision == "fp8" and node.op_type not in WEIGHTED:
        return f"FP8 is for what multiplies; TensorRT has no FP8 {node.op_type}"
    if weight_only and (node.op_type not in WEIGHTED or not any(_constant(value) for value in node.inputs[:2])):
        return "only weights are to be quantized, and it has none"
    if node.op_type == "Add" and residual_shortcut(node) is None:
        return "it joins no convolution with a shortcut, so INT8 would only add conversions"
    quantized = next((v for v in node.inputs if v is not None and quantized_source(v) is not None), None)
    if quantized is not None:
        return f"its input {quantized.name!r} is quantized already, and nothing is quantized twice"
    if node.op_type in ("Conv", "ConvTranspose") and not _constant(node.inputs[1]):
        return "its weights are computed, not constant"
    operands = [value for value in node.inputs[: len(OPERANDS)] if value is not None]
    if all(_constant(value) for value in operands):
        return "all its operands are constants"
    return next((reason for value in operands if (reason := _unsuitable(model, value)) is not None), None)


def _unsuitable(model: Model, value: ir.Value) -> str | None:
    """Return why an operand cannot be quantized, ``None`` where it can."""
    floating = model.tensor(str(value.name)).dtype
    if floating not in ("FLOAT", "FLOAT16", None):
        return f"its input {value.name!r} is {floating.lower()}, and Q/DQ is written for float32 and float16 graphs"
    reason = unscalable(content_of(value)) if _constant(value) else None
    return None if reason is None else f"its weight {value.name!r} {reason}"


def activations(model: Model, addresses: Iterable[str]) -> Iterator[Edge]:
    """Yield the inputs that get an activation Q/DQ when these nodes are INT8.

    Parameters
    ----------
    model
        The model to be lowered.
    addresses
        Nodes that get INT8, all free of obstacles.
    """
    for address in addresses:
        node = model.top_nodes[address]
        if node.op_type == "Add":
            shortcut = residual_shortcut(node)
            positions: tuple[int, ...] = () if shortcut is None else (shortcut,)
        else:
            positions = OPERANDS if node.op_type in WEIGHTED else (0,)
        for position in positions:
            value = node.inputs[position]
            if value is not None and value.name and not _constant(value):
                yield Edge(address, position, value.name)


def weights(model: Model, addresses: Iterable[str]) -> Iterator[Edge]:
    """Yield the constant inputs that get weight quantization when these nodes are INT8. Biases never do.

    TensorRT adds the bias in the accumulator's precision itself; its parser refuses an INT32 bias behind a
    DequantizeLinear.
    """
    for address in addresses:
        node = model.top_nodes[address]
        if node.op_type not in WEIGHTED:
            continue
        for position in OPERANDS:
            value = node.inputs[position]
            if value is not None and value.name and _constant(value):
                yield Edge(address, position, value.name)


def weight_axis(node: ir.Node, position: int) -> int | None:
    """Return the axis of a weight that counts output channels, ``None`` for one scale for the whole weight.

    One scale an output channel costs nothing at run time: it scales the accumulator. That is so for a right-hand side
    only, and for a MatMul's where it has two dimensions.
    """
    if position != 1:
        return None
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1
    if node.op_type == "Gemm":
        return 0 if "transB" in node.attributes and node.attributes["transB"].as_int() else 1
    value = node.inputs[position]
    shape = None if value is None or value.const_value is None else value.const_value.shape
    return 1 if shape is not None and len(shape) == 2 else None


def residual_shortcut(node: ir.Node) -> int | None:
    """Return which input of an Add is the shortcut of a residual block, ``None`` where it is no such block.

    TensorRT fuses the Add into the convolution that ends the main branch if nothing else reads that convolution's
    result; the other input then is read as INT8. Where both inputs end in such a convolution (a block with a
    projection) the main branch is the longer one, the first on a tie.
    """
    if onnx_op(node) != "Add" or len(node.inputs) != 2 or any(value is None for value in node.inputs):
        return None
    if any(_constant(value) for value in node.inputs):
        return None
    convolutions = [_ends_convolution(value) for value in node.inputs]
    if convolutions == [None, None]:
        return None
    if None in convolutions:
        return convolutions.index(None)
    return 0 if _branch_length(node, 1) > _branch_length(node, 0) else 1


def residual_convolution(node: ir.Node) -> ir.Node | None:
    """Return the convolution that a residual Add is fused into, ``None`` where it joins none."""
    shortcut = residual_shortcut(node)
    return None if shortcut is None else _ends_convolution(node.inputs[1 - shortcut])


def _ends_convolution(value: ir.Value | None) -> ir.Node | None:
    """Return the convolution whose result this is, if nothing else reads it."""
    while value is not None and len(value.uses()) == 1 and not value.is_graph_output():
        producer = value.producer()
        if producer is None:
            return None
        if onnx_op(producer) in ("Conv", "ConvTranspose"):
            return producer
        if onnx_op(producer) not in PASSING:
            return None
        value = producer.inputs[0]
    return None


def _branch_length(node: ir.Node, position: int) -> int:
    """Count the convolutions from an Add's input back to the first tensor that several nodes read."""
    length = 0
    value = node.inputs[position]
    while value is not None and len(value.uses()) == 1 and (producer := value.producer()) is not None:
        length += onnx_op(producer) in ("Conv", "ConvTranspose")
        value = producer.inputs[0] if producer.inputs else None
    return length


def _constant(value: ir.Value | None) -> bool:
    return value is not None and value.is_initializer()
