"""Counts of outcomes, as a table."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.conformance.steps import Outcome

COLUMNS = ("held", "refused", "fault")
ORDER = ("open", "save and reload", "prepare", "edit", "convert", "calibrate", "preset", "check", "guard")


def count(found: Mapping[str, Sequence[Outcome]]) -> dict[str, Counter[str]]:
    """Return how often each step ended how; ``far`` counts presets whose numbers are far from the original's."""
    counts: dict[str, Counter[str]] = {}
    for outcomes in found.values():
        for outcome in outcomes:
            if outcome.status == "skipped":
                continue
            here = counts.setdefault(outcome.step, Counter())
            here[outcome.status] += 1
            here["far"] += outcome.far
    return counts


def markdown(counts: Mapping[str, Counter[str]]) -> str:
    """Return the counts as a table in Markdown."""
    rows = ["| step | tried | held | refused, with its reason | fault |", "| --- | ---: | ---: | ---: | ---: |"]
    for step in sorted(counts, key=_place):
        here = counts[step]
        numbers = [here[name] for name in COLUMNS]
        rows.append(f"| {step} | {sum(numbers)} | {' | '.join(map(str, numbers))} |")
    edits = [counts[step] for step in counts if step.startswith("edit ")]
    total = [sum(here[name] for here in edits) for name in COLUMNS]
    rows.append(f"| all offered edits | {sum(total)} | {' | '.join(map(str, total))} |")
    return "\n".join(rows)


def _place(step: str) -> tuple[int, str]:
    return ORDER.index(next(word for word in ORDER if step.startswith(word))), step
