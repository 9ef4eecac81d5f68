"""What was checked, one case each: the common form of JUnit XML and of summaries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from workbench.recipe import GateResult

__all__ = ["Case", "gate_cases"]


@dataclass(frozen=True)
class Case:
    """One thing that was checked.

    Parameters
    ----------
    group, name
        What it belongs to, and what it is.
    passed
        `None` where it was not checked.
    message
        What was found, in a few words.
    details
        All that is known of it.
    seconds
        How long it took.
    """

    group: str
    name: str
    passed: bool | None
    message: str = ""
    details: str = ""
    seconds: float = 0.0


def gate_cases(group: str, verdicts: Iterable[GateResult]) -> list[Case]:
    """Return what happened to gates as cases."""
    return [
        Case(group, one.gate, one.passed, f"{one.value_text}, {one.outcome}", one.conditions or str(one))
        for one in verdicts
    ]
