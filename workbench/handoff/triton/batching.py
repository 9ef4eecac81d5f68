"""How many requests Triton puts into one run, how long they wait for each other, and how many runs go side by side.

All three follow from what `workbench bench` measured at several batches. Where nothing was measured, Triton's own
defaults stay, and that is said.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import ReportError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

__all__ = ["DEFAULT_MOST", "BatchPoint", "DynamicBatching", "choose_batching", "read_curve"]

DEFAULT_MOST = 8
"""The largest batch of the default optimization profile; see `workbench.backends.profiles.default_range`."""
NEAR = 0.95
"""Of the best throughput: the smallest batch that reaches it is the largest worth waiting for."""
RISING = 1.1
"""Throughput of the last batch over the one before, from which on the GPU is not full yet."""


@dataclass(frozen=True)
class BatchPoint:
    """One measured batch: samples a run, and its median latency in milliseconds."""

    batch: int
    median_ms: float

    @property
    def throughput(self) -> float:
        """Samples a second, one run after the other."""
        return 1e3 * self.batch / self.median_ms


@dataclass(frozen=True)
class DynamicBatching:
    """What was chosen.

    Parameters
    ----------
    most
        Samples a run at most; 0 where the model has no batch to speak of, as Triton has it.
    delay_us
        How long a request may wait for others, in microseconds; ``None`` leaves Triton's default, not at all.
    instances
        Runs side by side on each GPU.
    tuned
        The batch that an engine is best tuned for.
    why
        Where the numbers come from, a sentence each.
    """

    most: int
    delay_us: int | None = None
    instances: int = 1
    tuned: int = 1
    why: tuple[str, ...] = ()

    @property
    def dynamic(self) -> bool:
        """Whether requests are put together."""
        return self.most > 1


def read_curve(
    folders: Iterable[str | os.PathLike[str]], model: str, *, variant: str = "qdq"
) -> tuple[BatchPoint, ...]:
    """Read what `workbench bench` measured of a model at several batches.

    Parameters
    ----------
    folders
        Its results, one or several.
    model
        The model's name: that of its file, to which bench adds ``-bN`` where it measures several batches.
    variant
        Which of the measured variants is served.

    Returns
    -------
    tuple of Point
        By batch; of several measurements of one batch the fastest.

    Raises
    ------
    ReportError
        A folder holds no such results, or nothing of the model was measured.
    """
    best: dict[int, float] = {}
    others: set[str] = set()
    for folder in map(Path, folders):
        for row in _rows(folder / "results.json"):
            name, batch, median = row.get("model"), row.get("batch"), row.get("median_ms")
            if row.get("variant") != variant or not isinstance(batch, int) or not isinstance(median, float | int):
                continue
            if re.sub(r"-b\d+$", "", str(name)) != model:
                others.add(str(name))
            elif median > 0:
                best[batch] = min(median, best.get(batch, median))
    if not best:
        others_named = f"; they are of {', '.join(sorted(others))}" if others else ""
        raise ReportError(
            f"nothing was measured of {model} as {variant} with a fixed batch{others_named}",
            where=", ".join(map(str, folders)),
            fix=f"Measure it: workbench bench {model}.onnx --batch 1,8,32 --out FOLDER.",
        )
    return tuple(BatchPoint(batch, best[batch]) for batch in sorted(best))


def _rows(file: Path) -> list[dict[str, object]]:
    reason = "it is something else"
    try:
        content = json.loads(file.read_text("utf-8"))
        if str(content["schema"]).startswith("workbench-bench/") and all(
            isinstance(row, dict) for row in content["rows"]
        ):
            return list(content["rows"])
    except OSError as error:
        reason = error.strerror or str(error)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = str(error) or type(error).__name__
    raise ReportError(
        f"not what workbench bench writes: {reason}", where=file, fix="Name the folder given to it as --out."
    )


def choose_batching(curve: tuple[BatchPoint, ...], *, batches: bool, limit: int | None = None) -> DynamicBatching:
    """Choose how requests are put together.

    Parameters
    ----------
    curve
        What was measured, by batch; empty where nothing was.
    batches
        Whether the model takes any batch.
    limit
        The largest batch that the engine takes; any where left out.
    """
    if not batches:
        why = "The model has no free batch that all inputs and outputs share, so each request is a run of its own."
        return DynamicBatching(0, why=(why,))
    if not curve:
        most = min(DEFAULT_MOST, limit or DEFAULT_MOST)
        why = (
            f"No batch was measured: up to {most} requests are put together as they come, none waits for others, and "
            "one run goes at a time. Measure: workbench bench --batch 1,8,32, and hand over again with --bench."
        )
        return DynamicBatching(most, tuned=most, why=(why,))
    return _from(curve, limit)


def _from(curve: tuple[BatchPoint, ...], limit: int | None) -> DynamicBatching:
    usable = tuple(point for point in curve if limit is None or point.batch <= limit) or curve[:1]
    best = max(point.throughput for point in usable)
    knee = next(point for point in usable if point.throughput >= NEAR * best)
    first = usable[0]
    rates = ", ".join(f"{point.batch}: {point.throughput:.0f}" for point in usable)
    why = [f"Measured samples a second by batch: {rates}."]
    if knee.batch == 1:
        why.append("A larger batch gains less than a twentieth, so requests are not put together.")
        return DynamicBatching(1, why=tuple(why))
    why.append(
        f"{knee.batch} is the smallest batch that reaches {NEAR:.0%} of the best, so no more are put together; a "
        f"request waits for others as long at most as a run of {first.batch} takes ({first.median_ms:.3f} ms)."
    )
    rising = knee is usable[-1] and len(usable) > 1 and knee.throughput >= RISING * usable[-2].throughput
    why.append(
        "Throughput still rises at the largest batch measured, so two runs go side by side."
        if rising
        else "Throughput no longer rises at the largest batch measured: the GPU is full, and one run goes at a time."
    )
    delay = round(1e3 * first.median_ms)
    return DynamicBatching(knee.batch, delay_us=delay, instances=2 if rising else 1, tuned=knee.batch, why=tuple(why))
