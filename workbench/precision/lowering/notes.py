"""What an engineer should know of a lowered model, a sentence each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.graph import qdq_op, quantized_type
from workbench.names import QUANTIZED
from workbench.precision.operators import own_type
from workbench.precision.plan import NO_RANGE, left_in_fp32, literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from workbench.graph import Model
    from workbench.names import Floating
    from workbench.precision.plan import Resolution

__all__ = ["notes_on"]

NOBODY_LOOKED = (
    "no calibration looked for values beyond 65504, which FP16 cannot hold; calibrate with overflow=True to find them"
)

SOME_PRODUCTS = (
    "{} of {} matrix products are quantized: TensorRT 8 then computes what hangs together with them in FP32, and on an "
    "H200 a ViT built so took 1.6 to 2 times FP16's time; quantize all of them or none"
)

WITHOUT_RANGE = (
    "{} in floating point: {}; if that is meant, say so (wb.plan.set('name:{}', '{}')) or give the rule a threshold "
    "(amax), else look for the sample that does it"
)

BEYOND = "the model's own {} (node {!r}) needs sm{} or newer, and the target is {}; edit remove_qdq takes it out"

TOO_WIDE = (
    "TensorRT-RTX builds no FP32 matrix product for sm{}, in INT8 over FP32 neither, and the plan leaves {} so, {!r} "
    "the first: take the preset fp16 or int8+fp16"
)

SINCE: Mapping[str, int] = {"INT4": 80, "FLOAT8E4M3FN": 89, "FLOAT4E2M1": 100}
"""Types of the model's own quantization, each with the first compute capability that has them (times ten).

Sources: TensorRT's support matrix, and what TensorRT-RTX 1.7.1 says of each on sm75 to sm121; see
`workbench.backends.verdict.tensor_types`.
"""

TURING = 75
TURING_LACKS = frozenset({"GRU", "Gemm", "LSTM", "MatMul", "RNN"})
"""What TensorRT-RTX 1.7.1 does not build in FP32 for sm75: of 164 operators it was tried on."""


def notes_on(model: Model, resolution: Resolution, types: Mapping[str, Floating]) -> tuple[str, ...]:
    """Return the notes.

    Parameters
    ----------
    model
        The model before it was lowered.
    resolution
        The plan, resolved on it.
    types
        The floating-point type of each node in the lowered graph.
    """
    return (
        *_not_looked_for(model, resolution, types),
        *_partly_quantized(resolution),
        *_without_range(resolution),
        *_beyond_target(model, resolution, types),
    )


def _not_looked_for(model: Model, resolution: Resolution, types: Mapping[str, Floating]) -> Iterator[str]:
    if resolution.overflow is None and any(
        kind == "fp16" and own_type(model, model.nodes[node]) is None for node, kind in types.items()
    ):
        yield NOBODY_LOOKED


def _partly_quantized(resolution: Resolution) -> Iterator[str]:
    """Warn of matrix products of which TensorRT 8 gets some quantized."""
    products = [d.precision in QUANTIZED for d in resolution.decisions.values() if d.op_type == "MatMul"]
    if left_in_fp32(resolution) and not all(products):
        yield SOME_PRODUCTS.format(sum(products), len(products))


def _without_range(resolution: Resolution) -> Iterator[str]:
    """Name what stays floating since a tensor held NaN or infinity in calibration, or nothing at all."""
    left = [d for d in resolution.decisions.values() if any(NO_RANGE in reason for reason in d.reasons)]
    if left:
        first, names = left[0], ", ".join(repr(decision.node) for decision in left)
        reason = next(reason for reason in first.reasons if NO_RANGE in reason)
        yield WITHOUT_RANGE.format(names, reason, literal(first.node), first.floating)


def _beyond_target(model: Model, resolution: Resolution, types: Mapping[str, Floating]) -> Iterator[str]:
    """Name what the model itself asks of a GPU that has it not, and no plan can take from it."""
    target = resolution.target
    if target is None or target.capability is None:
        return
    reasons: dict[str, str] = {}
    for address, node in model.nodes.items():
        kind = quantized_type(node) if qdq_op(node) else None
        if kind is not None and SINCE.get(kind.name, 0) > target.capability:
            reasons.setdefault(kind.name, address)
    for name, address in reasons.items():
        yield BEYOND.format(name, address, SINCE[name], target)
    if target.name == "rtx" and target.capability <= TURING:
        wide = [node for node, d in resolution.decisions.items() if d.op_type in TURING_LACKS and types[node] == "fp32"]
        if wide:
            yield TOO_WIDE.format(target.capability, len(wide), wide[0])
