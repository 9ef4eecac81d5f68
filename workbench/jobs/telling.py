"""How a job tells a CI system what happened to what it checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from workbench.handoff.ci import Case

__all__ = ["tell_ci"]


def tell_ci(
    title: str,
    cases: Sequence[Case],
    *,
    junit_file: Path | None,
    summary: Path | None,
    notes: Iterable[str] = (),
) -> tuple[Path, ...]:
    """Write what was checked where a CI system looks for it; return what was written."""
    if junit_file is None and summary is None:
        return ()
    from workbench.files import write_text
    from workbench.handoff.ci import cases_table, junit

    files = []
    if junit_file is not None:
        files.append(write_text(junit_file, junit(title, cases)))
    if summary is not None:
        files.append(write_text(summary, cases_table(title, cases, notes)))
    return tuple(files)
