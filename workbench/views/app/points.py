"""Two points of a recipe against each other: what each makes, and how far it is from the source."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from workbench.display import counted
from workbench.errors import RecipeError
from workbench.evaluate import sqnr_text
from workbench.session import Workbench, history_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workbench.evaluate import Comparison

__all__ = ["compare_points"]


def compare_points(
    wb: Workbench,
    points: Sequence[int],
    samples: str | None = None,
    preprocessing: str | None = None,
    labels: str | None = None,
) -> list[list[str]]:
    """Return a table of figures: a heading, then one row a figure and one column a point.

    Parameters
    ----------
    wb
        The workbench, which stays as it is.
    points
        How many steps of its recipe each point has.
    samples, preprocessing
        What to run; the calibration's samples where left out.
    labels
        One class index a sample, for the row of the top-1 accuracy.

    Raises
    ------
    RecipeError
        There is no such point, or nothing was calibrated, so that there is nothing to run.
    """
    steps = wb.recipe.steps
    outside = next((point for point in points if not 0 <= point <= len(steps)), None)
    if outside is not None:
        raise RecipeError(f"there is no point {outside}", where=wb.source.name, fix=f"Take one of 0 to {len(steps)}.")
    measured = [
        _at(wb, point).compare(samples, preprocessing=preprocessing, labels=labels, runs=10) for point in points
    ]
    heads = [f"after {counted(point, 'step')}" if point else "as opened" for point in points]
    return [["", *heads], *([name, *(of(one) for one in measured)] for name, of in FIGURES.items())]


def _at(wb: Workbench, point: int) -> Workbench:
    recipe = wb.recipe.model_copy(update={"steps": wb.recipe.steps[:point], "tuned": None})
    there = Workbench(wb.source, recipe=recipe)
    history_of(there).measured = history_of(wb).measured
    if not there.plan.rules.rules and not there.ranges:
        # Nothing to quantize with: what is compared is what the edits made of it.
        there.plan.set("*", "fp32")
    return there


def _sqnr(one: Comparison) -> str:
    return "—" if math.isnan(one.worst_sqnr_db) else sqnr_text(one.worst_sqnr_db)


def _top1(one: Comparison) -> str:
    return "—" if one.accuracy is None else f"{one.accuracy.tuned:.2%}"


def _latency(one: Comparison) -> str:
    return "—" if one.tuned_latency is None else f"{one.tuned_latency.median_ms:.2f} ms"


FIGURES: dict[str, Callable[[Comparison], str]] = {
    "SQNR, worst output": _sqnr,
    "top-1": _top1,
    "time on this processor": _latency,
    "bytes": lambda one: f"{one.tuned_bytes:,}",
}
