"""What compilers refuse node by node in a floating-point type that ONNX allows, as it was seen.

Each row was found by letting TensorRT-RTX 1.7.1 parse and build ONNX's own test models of every operator, each in FP32,
FP16 and BF16, for sm75 to sm120: a row is what it takes in FP32 and refuses in the other type. TensorRT 10 and 11 share
its parser. Rows of ONNX Runtime are of its kernels on a processor (1.32).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.precision.targets import TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_ir as ir

    from workbench.names import Floating

__all__ = ["LIMITS", "Limit", "limit_of"]

TENSORRT = tuple(name for name, target in TARGETS.items() if target.parser == "tensorrt")
EVERYWHERE = (*TENSORRT, "onnxruntime")


@dataclass(frozen=True)
class Limit:
    """What some compilers refuse.

    Parameters
    ----------
    operators
        The operators.
    types
        The floating-point types in which they are refused.
    compilers
        Names of targets; see `workbench.precision.targets.TARGETS`.
    reason
        Why, for people.
    concerns
        Which nodes of these operators; all of them where left out.
    """

    operators: frozenset[str]
    types: tuple[Floating, ...]
    compilers: tuple[str, ...]
    reason: str
    concerns: Callable[[ir.Node], bool] | None = None


def limit_of(node: ir.Node, floating: Floating, compiler: str | None) -> str | None:
    """Return why a compiler refuses a node in a floating-point type, ``None`` where it is not known to.

    Parameters
    ----------
    node
        The node.
    floating
        The type that it is to be computed in.
    compiler
        The target's name; ``None`` for whatever may come, which every limit is kept for.
    """
    for limit in LIMITS:
        if node.op_type not in limit.operators or floating not in limit.types:
            continue
        meant = limit.concerns is None or limit.concerns(node)
        if meant and (compiler is None or compiler in limit.compilers):
            return limit.reason.format(floating=floating, op=node.op_type)
    return None


def _reduces(node: ir.Node) -> bool:
    return "reduction" in node.attributes and node.attributes["reduction"].as_string() != "none"


def _peepholes(node: ir.Node) -> bool:
    return len(node.inputs) > 7 and node.inputs[7] is not None


BUILT = "TensorRT-RTX 1.7 builds no {floating} {op}"

LIMITS = (
    Limit(frozenset({"ConvTranspose", "GRU"}), ("bf16",), TENSORRT, BUILT),
    Limit(
        frozenset({"HardSwish", "LpNormalization", "LpPool", "Mish"}),
        ("bf16",),
        TENSORRT,
        "TensorRT's parser takes {op} in fp32 and fp16 alone",
    ),
    Limit(frozenset({"Celu"}), ("fp16", "bf16"), TENSORRT, "TensorRT's parser takes {op} in fp32 alone"),
    Limit(
        frozenset({"LSTM"}),
        ("fp16", "bf16"),
        TENSORRT,
        "TensorRT's parser mixes fp32 into a {floating} LSTM with peepholes",
        _peepholes,
    ),
    Limit(
        frozenset({"MeanVarianceNormalization"}),
        ("fp16", "bf16"),
        EVERYWHERE,
        "ONNX defines {op} by a function that holds fp32 numbers, and compilers refuse the mixture",
    ),
    Limit(
        frozenset({"ScatterElements", "ScatterND"}),
        ("fp16",),
        ("onnxruntime", *TENSORRT),
        "ONNX Runtime has {op} with a reduction in fp32 alone",
        _reduces,
    ),
)
"""The limits, in the order in which they are asked."""
