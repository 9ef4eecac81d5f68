"""Times of whole inferences: trtexec --exportTimes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.engine.dialects.numbers import measured
from workbench.engine.report import RunTimes
from workbench.errors import ReportError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["read_timing", "timing_of"]


def read_timing(rows: Sequence[Any], where: str) -> RunTimes:
    """Read one entry an inference; GPU compute time (`computeMs`) counts, not the copies to and from the device.

    Throughput is inferences over the span from the first start to the last end of compute.

    Raises
    ------
    ReportError
        An entry has no `computeMs`, or one that is no time.
    """
    times = _column(rows, "computeMs")
    if times is None:
        fix = "Export it again with trtexec --exportTimes"
        raise ReportError("an entry has no `computeMs` that is a time", where=where, fix=fix)
    starts, ends = _column(rows, "startComputeMs"), _column(rows, "endComputeMs")
    span = max(ends) - min(starts) if starts and ends else 0.0
    return timing_of(times, throughput=1000 * len(times) / span if span > 0 else None)


def _column(rows: Sequence[Any], key: str) -> list[float] | None:
    """Return one number a row, ``None`` where a row has none."""
    numbers = [measured(row.get(key)) if isinstance(row, dict) else None for row in rows]
    values = [number for number in numbers if number is not None]
    return values if values and len(values) == len(numbers) else None


def timing_of(times_ms: Sequence[float], throughput: float | None = None) -> RunTimes:
    """Summarize measured times in milliseconds; percentiles by linear interpolation."""
    values = np.asarray(times_ms, dtype=np.float64)
    p90, p95, p99 = (float(value) for value in np.percentile(values, (90, 95, 99)))
    statistics = {
        "min": float(values.min()),
        "max": float(values.max()),
        "mean": float(values.mean()),
        "median": float(np.median(values)),
        "p90": p90,
        "p95": p95,
        "p99": p99,
    }
    return RunTimes(statistics, iterations=len(values), throughput=throughput)
