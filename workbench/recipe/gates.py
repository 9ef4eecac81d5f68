"""Gates: conditions that a tuned model has to meet, checked against what was measured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from workbench.evaluate import Comparison
    from workbench.recipe.document import Gate

__all__ = ["Verdict", "check_gates"]


@dataclass(frozen=True)
class Verdict:
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


def check_gates(gates: Iterable[Gate], comparison: Comparison) -> list[Verdict]:
    """Check every gate against a comparison."""
    return [_check(gate, _measured(gate.metric, comparison), comparison.nonfinite) for gate in gates]


def _check(gate: Gate, value: float | None, nonfinite: int) -> Verdict:
    if gate.metric != "latency_ratio" and nonfinite:
        return Verdict(str(gate), value, passed=False, reason=f"{nonfinite} values became NaN or infinite")
    return Verdict(str(gate), value, value is not None and gate.holds(value))


def _measured(metric: str, comparison: Comparison) -> float | None:
    if metric == "top1_drop":
        return None if comparison.accuracy is None else comparison.accuracy.drop
    if metric == "latency_ratio":
        before, after = comparison.original_latency, comparison.tuned_latency
        return None if before is None or after is None else after.median_ms / before.median_ms
    return None if math.isnan(comparison.worst_sqnr_db) else comparison.worst_sqnr_db
