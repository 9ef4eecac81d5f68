"""What a tuning did not do, and what to do next: nothing ends well by being silent."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from workbench.graph import WEIGHTED
from workbench.graph.cost import costs, has_rule
from workbench.graph.edits import EDITS
from workbench.names import QUANTIZED
from workbench.precision.plan import computes_on_integers
from workbench.recipe.steps import CalibrateStep, PlanStep

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
        floating = any(not math.isnan(output.sqnr_db) for output in low)
        search = f"let workbench search find the nodes to leave in floating point (--min-sqnr {LOW_SQNR:g}), "
        step = (
            f"{search if floating else ''}take --method mse if another was taken, or see wb.sensitivity()"
            if quantized
            else "try --preset bf16 or fp32, or rules for the nodes that need them"
        )
        worst = min(low, key=lambda output: 0.0 if math.isnan(output.sqnr_db) else output.sqnr_db)
        yield f"little is left of {_named(low)} ({worst}); {step}"
    settled = [output for output in comparison.outputs if output.became_finite]
    if settled:
        yield (
            f"of {_named(settled)} values were NaN or infinite and are finite: no SQNR counts them; "
            "see that nothing reads them, as behind a mask"
        )


def _is_low(output: OutputDifference) -> bool:
    return output.differing > LOW_AGREEMENT if math.isnan(output.sqnr_db) else output.sqnr_db < LOW_SQNR


def _nothing(wb: Workbench) -> Iterator[str]:
    resolution = wb.plan.resolve()
    decisions = list(resolution.decisions.values())
    asked = {rule.precision for rule in resolution.rules}
    before = [decision for decision in decisions if decision.own]
    integer = [decision for decision in before if computes_on_integers(decision.op_type)]
    if integer:
        yield (
            f"{_count(integer)} {'computes' if len(integer) == 1 else 'compute'} on integers by definition, which "
            "TensorRT has no operator for: tune the floating-point model that it was made of"
        )
    paired = [decision for decision in before if not computes_on_integers(decision.op_type)]
    if paired:
        offered = any(True for _ in EDITS["remove_qdq"].offers(wb.model, []))
        takes = "; the edit remove_qdq takes them out" if offered else ""
        its = "its" if len(paired) == 1 else "their"
        yield f"{_count(paired)} came quantized: {its} Q/DQ pairs stay as they are{takes}"
    quantizes = bool(asked & set(QUANTIZED))
    more, other = (" more", " other") if before else ("", "")
    if quantizes and not resolution.to_quantize():
        unquantized = [decision for decision in decisions if decision.requested in QUANTIZED and not decision.own]
        why = _reasons(unquantized) or _taken_back(wb) or "the rules select no other node that could be"
        yield f"nothing{more} was quantized: {why}"
    elif not resolution.rules:
        yield f"nothing{more} was quantized: {_without_rules(wb, decisions, other)}"
    elif not quantizes and asked - {"fp32"} and wb.tuned.digest == wb.model.digest:
        own = [d for d in decisions if d.precision == d.floating != "fp32" and d.requested == d.precision]
        why = _reasons(decisions) or "no node takes what its rules ask for"
        if own:
            why = f"{_count(own)} {'is' if len(own) == 1 else 'are'} {own[0].precision} already"
        yield f"the plan changed nothing: {why}"


def _taken_back(wb: Workbench) -> str:
    """Say who gave nodes that a rule quantizes back to floating point; empty where no rule selects one."""
    rules = wb.plan.rules
    idle = rules.idle(wb.model)
    if not any(rule.precision in QUANTIZED for at, rule in enumerate(rules.rules) if at not in idle):
        return ""
    if wb.recipe.newest(PlanStep) is None:
        return "later rules take all of it back to floating point"
    return "no plan with a node in 8 bits was found to reach the goal of the search"


def _without_rules(wb: Workbench, decisions: list[Decision], other: str) -> str:
    """Say why a plan to quantize has no rule for a model."""
    if any(decision.op_type in WEIGHTED for decision in decisions):
        return "the plan has no rule"
    table = costs(wb.model)
    others = [d for d in decisions if not d.own and table[d.node].macs != 0 and has_rule(wb.model.nodes[d.node])]
    if not others:
        return f"no{other} node of the model multiplies"
    multiply = "multiplies" if len(others) == 1 else "multiply"
    return f"{_count(others)} {multiply}, and of what multiplies {', '.join(WEIGHTED)} alone take Q/DQ pairs"


def _inside(wb: Workbench) -> Iterator[str]:
    left = [d for d in wb.plan.resolve().decisions.values() if any(reason.startswith(INSIDE) for reason in d.reasons)]
    some = [decision for decision in left if decision.op_type in WEIGHTED] or left
    if some:
        where = "inside of bodies (If, Loop, Scan, local functions)"
        yield f"{_count(some)} {where}: left as {'it is' if len(some) == 1 else 'they are'}"


def _calibrated(wb: Workbench) -> Iterator[str]:
    step = wb.recipe.newest(CalibrateStep)
    if step is not None and step.device is not None:
        yield f"calibrated on {step.device}"


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
