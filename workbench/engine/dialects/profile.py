"""Per-layer times: the profile JSON of trtexec (TensorRT and TensorRT-RTX alike), and profilers that print lines."""

from __future__ import annotations

import re
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from workbench.engine.dialects.numbers import measured
from workbench.engine.report import LayerTime
from workbench.errors import ReportError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["read_profile", "read_profile_log"]

_LINE = re.compile(r"(\d+(?:\.\d+)?) ?(us|ms) -> (.+)$", re.MULTILINE)


def read_profile(rows: Sequence[Any], where: str) -> tuple[int | None, list[LayerTime]]:
    """Read `[{"count": N}, {"name", "timeMs", "averageMs", "medianMs", "percentage"}, ...]`.

    `timeMs` (the sum over all inferences) and `percentage` may be absent, and so may `averageMs` beside `timeMs`.

    Returns
    -------
    count, times
        Profiled inferences, and times in the file's order.

    Raises
    ------
    ReportError
        A row has no name, or no time that can be read.
    """
    count = next((row["count"] for row in rows if isinstance(row.get("count"), int)), None)
    times = []
    for index, row in enumerate(rows):
        if "name" not in row:
            if set(row) - {"count"}:
                raise ReportError(f"entry {index} has no layer name", where=where, fix="Export the profile again")
            continue
        average = measured(row.get("averageMs"))
        if average is None and (total := measured(row.get("timeMs"))) is not None and count:
            average = total / count
        if average is None:
            raise ReportError(f"layer {row['name']!r} has no time", where=where, fix="Export the profile again")
        times.append(LayerTime(str(row["name"]), average, measured(row.get("medianMs"))))
    if not times:
        raise ReportError("the profile has no layers", where=where, fix="Profile at least one inference")
    return count, times


def read_profile_log(text: str, where: str) -> tuple[int | None, list[LayerTime]]:
    """Read lines that end in `12.3us -> layer name`; a layer printed several times is averaged over its lines.

    Raises
    ------
    ReportError
        There is no such line.
    """
    seen: dict[str, list[float]] = {}
    for value, unit, name in _LINE.findall(text):
        seen.setdefault(name.strip(), []).append(float(value) / (1000 if unit == "us" else 1))
    if not seen:
        raise ReportError("no `12.3us -> layer` line in this log", where=where, fix="Give a profiler's log")
    counts = {len(values) for values in seen.values()}
    times = [LayerTime(name, fmean(values), median(values)) for name, values in seen.items()]
    return (counts.pop() if len(counts) == 1 else None), times
