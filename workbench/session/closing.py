"""What a tuning did not do, and what to do next: nothing ends well by being silent."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from workbench.graph import file_digest
from workbench.precision.plan import QUANTIZED
from workbench.recipe.steps import CalibrateStep

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from workbench.evaluate import Comparison, OutputDifference
    from workbench.precision.plan import Decision
    from workbench.session.workbench import Workbench

__all__ = ["LOW_AGREEMENT", "LOW_SQNR", "remarks"]

LOW_SQNR = 20.0
"""In dB: below it the error of an output has more than a hundredth of its power."""
LOW_AGREEMENT = 0.1
"""The same for whole numbers: the share of values that differ."""

MOST_REASONS = 3
INSIDE = "it is inside a subgraph or function"
MULTIPLYING = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def remarks(wb: Workbench, comparison: Comparison) -> tuple[str, ...]:
    """Return what to know of the result, a sentence each, most serious first.

    Values that became NaN, outputs of which little is left, plans that changed nothing, nodes inside of bodies that
    stay as they are, what was compared if not the source, and the GPU that ran the samples. Edits that nobody checked
    are in `Workbench.advice`.
    """
    return (*_poor(wb, comparison), *_nothing(wb), *_inside(wb), *_about(comparison), *_calibrated(wb))


def _poor(wb: Workbench, comparison: Comparison) -> Iterator[str]:
    quantized = bool(wb.plan.resolve().to_quantize())
    broken = [output for output in comparison.outputs if output.nonfinite]
    if broken:
        step = (
            "look for weights and samples that are not finite"
            if quantized
            else "FP16 ends at 65504: calibrate with overflow=True on such samples, or take --preset bf16"
        )
        yield f"of {_named(broken)} values became NaN or infinite; {step}"
    low = [output for output in comparison.outputs if not output.nonfinite and _is_low(output)]
    if low:
        step = (
            f"let workbench search find the nodes to leave in floating point (--min-sqnr {LOW_SQNR:g}), try another "
            "--method (entropy, percentile, minmax), or see wb.sensitivity()"
            if quantized
            else "try --preset bf16 or fp32, or rules for the nodes that need them"
        )
        worst = min(low, key=lambda output: 0.0 if math.isnan(output.sqnr_db) else output.sqnr_db)
        yield f"little is left of {_named(low)} ({worst}); {step}"


def _is_low(output: OutputDifference) -> bool:
    return output.differing > LOW_AGREEMENT if math.isnan(output.sqnr_db) else output.sqnr_db < LOW_SQNR


def _nothing(wb: Workbench) -> Iterator[str]:
    resolution = wb.plan.resolve()
    decisions = list(resolution.decisions.values())
    asked = {rule.precision for rule in resolution.rules}
    before = [decision for decision in decisions if decision.own]
    if before:
        yield (
            f"{_count(before)} came quantized: {'its' if len(before) == 1 else 'their'} Q/DQ pairs stay as they are; "
            "the edit remove_qdq takes them out"
        )
    quantizes = bool(asked & set(QUANTIZED))
    if quantizes and not resolution.to_quantize():
        unquantized = [decision for decision in decisions if decision.requested in QUANTIZED and not decision.own]
        more = " more" if before else ""
        yield f"nothing{more} was quantized: {_reasons(unquantized) or 'the rules select no other node that could be'}"
    elif not resolution.rules:
        multiplies = any(decision.op_type in MULTIPLYING for decision in decisions)
        yield f"nothing was quantized: {'the plan has no rule' if multiplies else 'no node of the model multiplies'}"
    elif not quantizes and asked - {"fp32"} and file_digest(wb.tuned) == file_digest(wb.model):
        own = [d for d in decisions if d.precision == d.floating != "fp32" and d.requested == d.precision]
        why = _reasons(decisions) or "no node takes what its rules ask for"
        if own:
            why = f"{_count(own)} {'is' if len(own) == 1 else 'are'} {own[0].precision} already"
        yield f"the plan changed nothing: {why}"


def _inside(wb: Workbench) -> Iterator[str]:
    left = [d for d in wb.plan.resolve().decisions.values() if any(reason.startswith(INSIDE) for reason in d.reasons)]
    some = [decision for decision in left if decision.op_type in MULTIPLYING] or left
    if some:
        where = "inside of bodies (If, Loop, Scan, local functions)"
        yield f"{_count(some)} {where}: left as {'it is' if len(some) == 1 else 'they are'}"


def _calibrated(wb: Workbench) -> Iterator[str]:
    steps = wb.recipe.of_kind(CalibrateStep)
    if steps and steps[-1].device is not None:
        yield f"calibrated on {steps[-1].device}"


def _about(comparison: Comparison) -> Iterator[str]:
    if comparison.note:
        yield comparison.note


def _reasons(decisions: Iterable[Decision]) -> str:
    """Return the most frequent reasons: ``2 MatMul: ...; 1 Conv: ...``."""
    counts = Counter((d.op_type, reason) for d in decisions for reason in d.reasons[:1])
    reasons = [f"{count} {op}: {reason}" for (op, reason), count in counts.most_common(MOST_REASONS)]
    more = len(counts) - len(reasons)
    return "; ".join([*reasons, *([f"and {more} more reasons"] if more > 0 else [])])


def _count(decisions: list[Decision]) -> str:
    ops = Counter(decision.op_type for decision in decisions).most_common(MOST_REASONS)
    kinds = ", ".join(f"{count} {op}" for op, count in ops)
    return f"{len(decisions)} {'node' if len(decisions) == 1 else 'nodes'} ({kinds})"


def _named(outputs: list[OutputDifference]) -> str:
    return f"output{'s' if len(outputs) > 1 else ''} {', '.join(output.name for output in outputs[:MOST_REASONS])}"
