"""Multiply-accumulates (MACs) of a node, one small rule an operator; what is unknown stays unknown."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from workbench.graph.domains import is_filled_in

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["has_rule", "macs_of"]

Shape = tuple[int, ...]


class Call(NamedTuple):
    """A node with the shapes of its inputs and outputs."""

    node: ir.Node
    inputs: list[Shape | None]
    outputs: list[Shape | None]


MOST_INPUTS = 9

Rule = Callable[[Call], "int | None"]


def macs_of(node: ir.Node, shape: Callable[[ir.Value | None], Shape | None]) -> int | None:
    """Return a node's multiply-accumulates.

    Counted are contractions, as in V. Sze et al., "Efficient Processing of Deep Neural Networks", Proc. IEEE 105 (12),
    2017, section III; with M x K times K x N taking M N K. Element-wise operators, reductions, pooling, normalization
    and whatever only moves data take none by this convention. An operator that is in no table is unknown.

    Parameters
    ----------
    node
        The node.
    shape
        Gives the shape of a value, ``None`` where it is unknown.

    Returns
    -------
    int or None
        ``None`` where the operator or a shape it depends on is unknown.
    """
    if not has_rule(node):
        return None
    rule = RULES.get(node.op_type)
    if rule is None:
        return 0
    if node.op_type in BY_ATTRIBUTES and is_filled_in(node):
        return None  # in a local function: what its call gives it is not known here
    inputs, outputs = ([shape(value) for value in values] for values in (node.inputs, node.outputs))
    # An invalid node may lack inputs; what is not there is unknown.
    return rule(Call(node, inputs + [None] * (MOST_INPUTS - len(inputs)), outputs + [None] * (not outputs)))


def has_rule(node: ir.Node) -> bool:
    """Say whether it is known how to count the multiply-accumulates of an operator, once its shapes are."""
    if node.domain in ("", "ai.onnx") and node.op_type in NO_MACS:
        return True
    return node.domain in ("", "ai.onnx", "com.microsoft") and node.op_type in RULES


def _conv(weight: int) -> Rule:
    """Return the rule of a convolution: each output element takes C_in / group * kernel size."""

    def rule(call: Call) -> int | None:
        w, y = call.inputs[weight], call.outputs[0]
        return None if w is None or y is None else math.prod(y) * math.prod(w[1:])

    return rule


def _conv_transpose(call: Call) -> int | None:
    """Each input element is multiplied with C_out / group * kernel size weights."""
    x, w = call.inputs[:2]
    return None if x is None or w is None else math.prod(x) * math.prod(w[1:])


def _matmul(second: int) -> Rule:
    """Return the rule of a matrix product: each output element takes K, the second-last axis of B."""

    def rule(call: Call) -> int | None:
        b, y = call.inputs[second], call.outputs[0]
        if not b or y is None:
            return None
        return math.prod(y) * (b[-1] if len(b) == 1 or _flag(call.node, "transB") else b[-2])

    return rule


def _gemm(call: Call) -> int | None:
    a, y = call.inputs[0], call.outputs[0]
    return None if not a or y is None else math.prod(y) * (a[0] if _flag(call.node, "transA") else a[1])


def _recurrent(gates: int) -> Rule:
    """Return the rule of RNN (1 gate), GRU (3) and LSTM (4).

    Each step takes gates * hidden * (input + hidden) a direction. Source: the equations of the operators in ONNX's
    specification; W is [directions, gates * hidden, input] and R [directions, gates * hidden, hidden].
    """

    def rule(call: Call) -> int | None:
        x, w, r = call.inputs[:3]
        if x is None or w is None or r is None or min(len(x), len(w), len(r)) < 3 or w[1] != gates * r[2]:
            return None
        return x[0] * x[1] * (math.prod(w) + math.prod(r))

    return rule


def _einsum(call: Call) -> int | None:
    """Two operands take the product of the lengths of all their labels."""
    left = call.node.attributes["equation"].as_string().replace(" ", "").split("->")[0].split(",")
    first, second = call.inputs[:2]
    if len(left) != 2 or "..." in "".join(left) or first is None or second is None:
        return None
    lengths = dict(zip("".join(left), (*first, *second), strict=True))
    return math.prod(lengths.values())


def _flag(node: ir.Node, name: str) -> bool:
    return name in node.attributes and bool(node.attributes[name].as_int())


RULES: dict[str, Rule] = {
    "Conv": _conv(1),
    "ConvInteger": _conv(1),
    "QLinearConv": _conv(3),
    "FusedConv": _conv(1),
    "ConvTranspose": _conv_transpose,
    "MatMul": _matmul(1),
    "FusedMatMul": _matmul(1),
    "MatMulInteger": _matmul(1),
    "QLinearMatMul": _matmul(3),
    "Gemm": _gemm,
    "Einsum": _einsum,
    "RNN": _recurrent(1),
    "GRU": _recurrent(3),
    "LSTM": _recurrent(4),
}
"""The rule of each operator that multiplies and accumulates."""

BY_ATTRIBUTES = frozenset({"Einsum", "FusedMatMul", "Gemm"})
"""Operators whose rule reads an attribute."""

NO_MACS = frozenset(
    """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Bernoulli BitShift
    BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil Celu Clip Compress Concat ConcatFromSequence
    Constant ConstantOfShape Cos Cosh CumSum DepthToSpace DequantizeLinear Div Dropout DynamicQuantizeLinear Elu
    Equal Erf Exp Expand EyeLike Flatten Floor Gather GatherElements GatherND Gelu GlobalAveragePool
    GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization HardSigmoid HardSwish
    Hardmax Identity If InstanceNormalization IsInf IsNaN LRN LayerNormalization LeakyRelu Less LessOrEqual Log
    LogSoftmax LpNormalization LpPool Max MaxPool MaxRoiPool MaxUnpool Mean MeanVarianceNormalization Min Mish
    Mod Mul Multinomial Neg NonMaxSuppression NonZero Not OneHot Optional OptionalGetElement OptionalHasElement
    Or PRelu Pad Pow QuantizeLinear RMSNormalization RandomNormal RandomNormalLike RandomUniform
    RandomUniformLike Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean
    ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize ReverseSequence RoiAlign Round Scatter
    ScatterElements ScatterND Selu SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert
    SequenceLength Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split
    SplitToSequence Sqrt Squeeze StringNormalizer Sub Sum Swish Tan Tanh ThresholdedRelu Tile TopK Transpose
    Trilu Unique Unsqueeze Upsample Where Xor
    """.split()
)
"""Operators without multiply-accumulates by the convention above."""
