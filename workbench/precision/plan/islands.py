"""Why a node of an FP16 or BF16 region is left in FP32: one small rule each."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from workbench.calibration import FP16_MAX
from workbench.precision.operators import limit_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import onnx_ir as ir

    from workbench.graph import Model
    from workbench.names import Floating

__all__ = ["LARGE_SUM", "RULES", "NarrowNode", "island", "not_built"]

LARGE_SUM = 1024
"""Sums of more values than this are left in FP32: with 11 bits of mantissa a running sum of 2048 ones stands still."""

LOST = 2.0**-9
"""Relative rounding error (RMS) of a weight in FP16 beyond which it counts as lost: well above 2^-11, the most that
rounding does to normal numbers."""

PART = 2**20
"""Numbers of a weight that are looked at together."""

STEEP = frozenset({"Exp", "Log", "LogSoftmax", "Pow", "Reciprocal", "Softmax", "Softplus", "Sqrt"})
SUMMED = frozenset(
    """
    CumSum GroupNormalization InstanceNormalization LayerNormalization LpNormalization MeanVarianceNormalization
    RMSNormalization ReduceL2 ReduceLogSum ReduceLogSumExp ReduceProd ReduceSumSquare
    """.split()
)
REDUCTIONS = frozenset({"GlobalAveragePool", "ReduceL1", "ReduceMean", "ReduceSum"})


@dataclass(frozen=True)
class NarrowNode:
    """A node that is to be computed in FP16 or BF16.

    Parameters
    ----------
    model, node
        The node, in its model.
    floating
        ``fp16`` or ``bf16``.
    overflow
        Tensors in which calibration saw values beyond `FP16_MAX`, with the largest magnitude.
    normalizations
        See `workbench.precision.plan.patterns.written_out_normalizations`.
    compiler
        The target's name, where one is known.
    """

    model: Model
    node: ir.Node
    floating: Floating
    overflow: Mapping[str, float]
    normalizations: Mapping[ir.Node, str] = field(default_factory=dict)
    compiler: str | None = None


def island(site: NarrowNode) -> str | None:
    """Return why a node is left in FP32, ``None`` where it need not be."""
    return next((reason for rule in RULES if (reason := rule(site)) is not None), None)


def not_built(site: NarrowNode) -> str | None:
    """Keep what the compiler has no kernel for. No rule can be taken so literally that it would build."""
    return limit_of(site.node, site.floating, site.compiler)


def helps_normalize(site: NarrowNode) -> str | None:
    """Keep a normalization that is written out in single operators together, as if it were one."""
    division = site.normalizations.get(site.node)
    return None if division is None else f"it is part of the normalization around {division!r}"


def steep(site: NarrowNode) -> str | None:
    """Keep exponentials, powers, roots and reciprocals: a small error of the input is a large one of the result."""
    if site.node.op_type not in STEEP:
        return None
    return f"{site.node.op_type} needs the range and precision of fp32"


def normalizes(site: NarrowNode) -> str | None:
    """Keep normalizations and sums of squares: what is summed leaves FP16's range first."""
    if site.node.op_type not in SUMMED:
        return None
    return f"{site.node.op_type} sums squares or exponentials, which needs the range and precision of fp32"


def sums_many(site: NarrowNode) -> str | None:
    """Keep sums over many values."""
    if site.node.op_type not in REDUCTIONS:
        return None
    read, result = (
        site.model.tensor(str(v.name)).static_shape for v in (site.node.inputs[0], site.node.outputs[0]) if v
    )
    if read is None or result is None:
        return f"{site.node.op_type} sums a number of values that is not known"
    count = math.prod(read) // max(math.prod(result), 1)
    return f"{site.node.op_type} sums {count} values, more than {LARGE_SUM}" if count > LARGE_SUM else None


def overflows(site: NarrowNode) -> str | None:
    """Keep what reached values beyond 65504: FP16 would make them infinite. BF16 has the range of FP32."""
    if site.floating != "fp16":
        return None
    for value in (*site.node.inputs, *site.node.outputs):
        if value is not None and (peak := site.overflow.get(str(value.name))) is not None:
            return f"tensor {value.name!r} reaches {peak:.4g} in calibration, and fp16 ends at {FP16_MAX:.0f}"
    return None


def loses_weights(site: NarrowNode) -> str | None:
    """Keep what has constants beyond FP16's range, or so small that FP16 has few bits or none for them."""
    if site.floating != "fp16":
        return None
    for value in site.node.inputs:
        if value is None or not value.is_initializer() or value.const_value is None:
            continue
        if value.const_value.dtype.name != "FLOAT":
            continue
        reason = _lost(value.const_value)
        if reason is not None:
            return f"its constant {value.name!r} {reason}"
    return None


def _lost(weight: ir.TensorProtocol) -> str | None:
    """Return what FP16 would lose of a weight, looked at once however many nodes read it and plans are resolved."""
    if weight not in _LOST_OF:
        _LOST_OF[weight] = _lost_of(weight.numpy().reshape(-1))
    return _LOST_OF[weight]


def _lost_of(values: np.ndarray[tuple[int], np.dtype[np.float32]]) -> str | None:
    peak, lost, whole = 0.0, 0.0, 0.0
    # Copies in twice the size are made of a part at a time, for a weight may be most of the memory.
    for start in range(0, values.size, PART):
        part = values[start : start + PART].astype(np.float64)
        finite = part[np.isfinite(part)]
        peak = max(peak, float(np.abs(finite).max(initial=0.0)))
        if peak > FP16_MAX:
            continue
        lost += float(((finite - finite.astype(np.float16)) ** 2).sum())
        whole += float((finite**2).sum())
    if peak > FP16_MAX:
        return f"holds {peak:.4g}, and fp16 ends at {FP16_MAX:.0f}"
    small = whole > 0 and math.sqrt(lost / whole) > LOST
    return f"is so small ({peak:.3g} at most) that fp16 has too few bits for it" if small else None


RULES: tuple[Callable[[NarrowNode], str | None], ...] = (
    helps_normalize,
    steep,
    normalizes,
    sums_many,
    overflows,
    loses_weights,
)
"""The rules, in the order in which they are asked."""

_LOST_OF: WeakKeyDictionary[ir.TensorProtocol, str | None] = WeakKeyDictionary()
