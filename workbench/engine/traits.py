"""What a layer does, in which precision it computes, and whether on Tensor Cores, from what the inspector tells."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from workbench.engine.report import Layer

__all__ = [
    "IDLE_KINDS",
    "ConvShape",
    "LayerPrecision",
    "conv_shape",
    "kind_of_layer",
    "layer_precision",
    "myelin_ops",
    "tensor_cores",
]

IDLE_KINDS = {"reformat", "noop", "constant", "control"}
"""Kinds of layers that compute nothing."""
_KINDS = (
    ("control", r"shape_call|signal|wait|trainstation|memset"),
    ("constant", r"^constant$"),
    ("noop", r"^noop$"),
    ("qdq", r"quantize"),
    ("conv", r"conv"),
    ("matmul", r"gemm|matmul|matrixmultiply|matrix_multiply|fullyconnected|attention|mha"),
    ("pool", r"pool|reduce"),
    ("softmax", r"softmax"),
    ("pointwise", r"pointwise|elementwise|activation|unary|^scale$|^pwn"),
    ("cast", r"^cast$"),
    ("slice", r"slice|padding"),
    ("shuffle", r"shuffle|transpose|gather|concat|memcpy|copy"),
    ("myelin", r"myelin|kgen|fusion|foreign"),
)
# Myelin spells its kernels' operations in CamelCase, cut to four letters: __myl_CastReshCast_myl5_6.
_MYELIN_POINTWISE = frozenset(
    {"Abs", "Add", "Clip", "Div", "Erf", "Exp", "Gelu", "Max", "Min", "Mul", "Neg", "Pow", "Relu", "Sigm", "Silu"}
    | {"Sqrt", "Sub", "Tanh", "Where"}
)
_MYELIN_MOVES = frozenset({"Resh", "Tran", "Trans", "Move", "Copy", "Conc", "Slic", "Repl", "Broa"})
_MYELIN_KINDS = (
    ("shuffle", _MYELIN_MOVES),
    ("cast", _MYELIN_MOVES | {"Cast"}),
    ("qdq", frozenset({"Quan", "Dequ", "Cast"})),
    ("pointwise", _MYELIN_POINTWISE | {"Cast"}),
)
_TENSOR_CORE = re.compile(
    r"tensor\d+x\d+x\d+|tensorop|[hi]mma|gmma|warpgroup|[hsi](?:884|1688|16816|8816|16832)",
    re.IGNORECASE,
)
_NO_TENSOR_CORE = re.compile(r"ffma|simt|scudnn|sgemm|dp4a|icudnn_int8x4|direct_group|dfma|hfma", re.IGNORECASE)
_OPERANDS = re.compile(r"(?:^|_)(i8|f16|bf16|e4m3|e5m2|e2m1|f32)(?:i8|f16|bf16|e4m3|e5m2|e2m1|f32)_")
_OPERAND_TYPES = {
    "i8": "int8",
    "f16": "fp16",
    "bf16": "bf16",
    "e4m3": "fp8",
    "e5m2": "fp8",
    "e2m1": "fp4",
    "f32": "fp32",
}
_WORDS = (
    ("int8", r"int8|i8816|i16832|imma"),
    ("fp16", r"h884|h1688|h16816|hmma|fp16"),
    ("fp32", r"scudnn|sgemm|fp32"),
)


_CLOSED = "a whole graph compiled by Myelin, and the file does not tell of the kernels in it"


class LayerPrecision(NamedTuple):
    """A precision and what tells it; `name` is None where nothing does."""

    name: str | None
    evidence: str


class ConvShape(NamedTuple):
    """Channels and groups of a convolution; None where they are not told."""

    in_channels: int | None
    out_channels: int | None
    groups: int

    @property
    def depthwise(self) -> bool:
        """Whether every input channel is a group of its own."""
        return self.groups > 1 and self.in_channels == self.groups


def kind_of_layer(layer: Layer) -> str:
    """Return "conv", "matmul", "pool", "softmax", "pointwise", "reformat", "qdq", "cast", "slice", "shuffle", ...

    "myelin" is a fused kernel of several operations, "control" one that moves no data (signal, wait, shape_call), and
    "unknown" a type that is not known here or not told.
    """
    kind = (layer.type or "").lower()
    if kind == "reformat":
        return "qdq" if layer.origin == "QDQ" else "reformat"
    ops = myelin_ops(layer)
    for name, kernels in _MYELIN_KINDS:
        if ops and ops <= kernels:
            return name
    if "ForeignNode[" in layer.name:
        return "myelin"
    texts = [text for text in (kind, (layer.parameter_type or "").lower()) if text]
    return next((name for text in texts for name, pattern in _KINDS if re.search(pattern, text)), "unknown")


def myelin_ops(layer: Layer) -> frozenset[str]:
    """Return the operations in the name of a Myelin kernel, as it spells them; empty for other layers."""
    match = re.match(r"__myl_([A-Za-z]+?)_", layer.base_name)
    return frozenset(re.findall(r"[A-Z][a-z]*", match[1])) if match else frozenset()


def layer_precision(layer: Layer) -> LayerPrecision:
    """Return the precision a layer computes in.

    Convolutions and matrix products: the data type of the first input, TF32 where the tactic's name says so; where
    the input's type is not told, that of the operands in the tactic's name, then that of the weights. Other layers: the
    first input with a known type, else the first output. Nothing is assumed where nothing is told, nor of a whole graph
    that Myelin compiled into one layer.
    """
    inputs = [tensor.dtype for tensor in layer.inputs]
    tactic = layer.tactic or ""
    if "ForeignNode[" in layer.name:
        # Hundreds of nodes in kernels of their own: what comes in says nothing of what they compute in.
        return LayerPrecision(_tactic_precision(tactic), f"tactic {tactic}" if tactic else _CLOSED)
    if kind_of_layer(layer) in {"conv", "matmul"}:
        if inputs and inputs[0] is not None:
            if inputs[0] == "fp32" and "tf32" in tactic.lower():
                return LayerPrecision("tf32", f"tactic {tactic}")
            return LayerPrecision(inputs[0], f"its first input is {layer.inputs[0].format.short}")
        if (name := _tactic_precision(tactic)) is not None:
            return LayerPrecision(name, f"tactic {tactic}")
        weights = next((w.dtype for w in layer.weights if w.role.endswith("Weights")), None)
        return LayerPrecision(weights, f"its weights are {weights}") if weights else LayerPrecision(None, "not told")
    for where, tensors in (("input", layer.inputs), ("output", layer.outputs)):
        tensor = next((tensor for tensor in tensors if tensor.dtype is not None), None)
        if tensor is not None:
            return LayerPrecision(tensor.dtype, f"its {where} is {tensor.format.short}")
    return LayerPrecision(None, "not told")


def _tactic_precision(tactic: str) -> str | None:
    text = tactic.lower()
    if "tf32" in text:
        return "tf32"
    if operands := _OPERANDS.search(text):
        return _OPERAND_TYPES[operands[1]]
    return next((name for name, pattern in _WORDS if text and re.search(pattern, text)), None)


def tensor_cores(layer: Layer) -> bool | None:
    """Return whether a tactic's name says that it runs on Tensor Cores; None where it does not tell."""
    tactic = layer.tactic or ""
    if _TENSOR_CORE.search(tactic):
        return True
    return False if _NO_TENSOR_CORE.search(tactic) else None


def conv_shape(layer: Layer) -> ConvShape:
    """Return channels and groups of a convolution; of a depthwise-separable pair those of the pointwise one."""
    attributes = layer.attributes

    def first(key: str) -> int | None:
        values = (attributes.get(prefix + key) for prefix in ("", "Conv", "PointWiseConv"))
        return next((value for value in values if isinstance(value, int) and 0 <= value < 2**31), None)

    dims = layer.inputs[0].dims if layer.inputs else None
    channels = dims[1] if dims and len(dims) > 1 and dims[1] > 0 else None
    return ConvShape(channels, first("OutMaps"), first("Groups") or 1)
