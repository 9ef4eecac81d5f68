"""Gates: conditions that a tuned model has to meet, checked against what was measured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.names import Metric
from workbench.recipe.parts import Part

if TYPE_CHECKING:
    from collections.abc import Iterable

    from workbench.evaluate import Comparison

__all__ = ["Gate", "GateResult", "check_gates"]


class Gate(Part):
    """A condition that the tuned model has to meet.

    Parameters
    ----------
    metric
        ``top1_drop`` (percentage points), ``sqnr_db`` (of the worst output) or ``latency_ratio`` (tuned / original,
        medians on the backend that measured them).
    at_most, at_least
        The bound; exactly one of them.
    """

    metric: Metric
    at_most: float | None = None
    at_least: float | None = None

    def __str__(self) -> str:
        bound = f"<= {self.at_most:g}" if self.at_most is not None else f">= {self.at_least:g}"
        return f"{self.metric} {bound}"

    def holds(self, value: float) -> bool:
        """Say whether a measured value meets the bound; NaN never does."""
        above = self.at_least is None or value >= self.at_least
        return above and (self.at_most is None or value <= self.at_most)


@dataclass(frozen=True)
class GateResult:
    """What became of one gate.

    Parameters
    ----------
    gate
        The condition, as text.
    value
        What was measured; `None` where nothing was.
    passed
        Whether the condition holds; what was not measured does not pass, and no condition on numbers does where values
        became NaN or infinite.
    reason
        Why it does not pass, where the value does not say it.
    """

    gate: str
    value: float | None
    passed: bool
    reason: str = ""

    def __str__(self) -> str:
        value = "not measured" if self.value is None else f"{self.value:.3g}"
        why = f" ({self.reason})" if self.reason else ""
        return f"{self.gate}: {value}, {'passed' if self.passed else 'FAILED'}{why}"


def check_gates(gates: Iterable[Gate], comparison: Comparison) -> list[GateResult]:
    """Check every gate against a comparison."""
    return [_check(gate, _measured(gate.metric, comparison), comparison.nonfinite) for gate in gates]


def _check(gate: Gate, value: float | None, nonfinite: int) -> GateResult:
    if gate.metric != "latency_ratio" and nonfinite:
        return GateResult(str(gate), value, passed=False, reason=f"{nonfinite} values became NaN or infinite")
    return GateResult(str(gate), value, value is not None and gate.holds(value))


def _measured(metric: str, comparison: Comparison) -> float | None:
    if metric == "top1_drop":
        return None if comparison.accuracy is None else comparison.accuracy.drop
    if metric == "latency_ratio":
        before, after = comparison.original_latency, comparison.tuned_latency
        return None if before is None or after is None else after.median_ms / before.median_ms
    return None if math.isnan(comparison.worst_sqnr_db) else comparison.worst_sqnr_db
