"""GitHub-flavoured Markdown, for a job's summary or a comment on a merge request."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from workbench.handoff.ci.cases import Case

__all__ = ["cases_table", "markdown_table"]

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&@!])")
MARKS = {True: "✅", False: "❌", None: "⏭️"}


def cases_table(title: str, cases: Sequence[Case], notes: Iterable[str] = ()) -> str:
    """Return cases as a section with a table, what failed first, and a sentence for each note."""
    failed = sum(case.passed is False for case in cases)
    passed = sum(case.passed is True for case in cases)
    counts = f"**{failed} failed**, {passed} passed" if failed else f"{passed} passed"
    skipped = len(cases) - failed - passed
    ordered = sorted(cases, key=lambda case: (case.passed is not False, case.passed is None))
    rows = [(MARKS[case.passed], case.group, case.name, case.message) for case in ordered]
    lines = [f"## {plain(title)}", "", counts + (f", {skipped} not checked" if skipped else ""), ""]
    lines += [markdown_table(("", "of", "what", "result"), rows), ""] if rows else []
    lines += [f"- {plain(note)}" for note in notes]
    return "\n".join(lines).rstrip() + "\n"


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; whatever names hold, it is text and not markup."""
    lines = [head, ["---"] * len(head), *([plain(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plain(text: str) -> str:
    """Return a text that Markdown shows as it is, on one line."""
    return " ".join(_SPECIAL.sub(r"\\\1", text).split())
