"""What calibration saw, the thresholds that follow from it, and why some tensors have none."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from workbench.calibration import no_range, positive_amax, ranges
from workbench.errors import RecipeError, SelectorError
from workbench.recipe.steps import CalibrateStep

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from workbench.calibration import Statistics
    from workbench.names import Method
    from workbench.session.history import History

__all__ = ["NoRangeError", "calibration", "observed", "thresholds_of"]


class NoRangeError(SelectorError, KeyError):
    """A tensor without a range; also the `KeyError` that a mapping owes to whoever asks it."""

    __str__ = Exception.__str__  # KeyError's would quote the sentence

    def __init__(self, tensor: str, ranges: Collection[str]) -> None:
        some = f"Those with one are, for example, {', '.join(islice(ranges, 3))}." if ranges else "Calibrate first."
        super().__init__("this tensor has no range", where=tensor, fix=some)


def calibration(history: History) -> CalibrateStep:
    """Return the last calibration.

    Raises
    ------
    RecipeError
        Nothing was calibrated.
    """
    step = history.recipe.newest(CalibrateStep)
    if step is None:
        raise RecipeError("nothing was calibrated", where=history.source.name, fix="Calibrate: wb.calibrate(samples).")
    return step


def observed(history: History) -> Statistics:
    """Return what calibration saw.

    Raises
    ------
    RecipeError
        Nothing was calibrated here.
    """
    statistics = history.measured.statistics
    if statistics is None:
        raise RecipeError(
            "nothing was calibrated here, so there is nothing to show",
            where=history.source.name,
            fix="Calibrate first, or load statistics: wb.ranges.use_statistics(file).",
        )
    return statistics


def thresholds_of(
    statistics: Statistics, method: Method, percentile: float, overrides: Mapping[str, float | Method]
) -> tuple[dict[str, float], dict[str, str]]:
    """Return the threshold of every tensor that can have one, and why the others cannot.

    Raises
    ------
    SamplesError
        An override names no tensor that was observed, or is no positive number.
    """
    reasons = {name: reason for name, tensor in statistics.items() if (reason := no_range(tensor)) is not None}
    # A threshold that a person gives needs nothing to follow from.
    manual = {
        name: positive_amax(name, one)
        for name, one in overrides.items()
        if name in reasons and not isinstance(one, str)
    }
    others = {name: one for name, one in overrides.items() if name not in manual}
    usable = {name: tensor for name, tensor in statistics.items() if name not in reasons}
    chosen = ranges(usable, method, percentile=percentile, overrides=others)
    thresholds = {name: one.amax for name, one in chosen.items()} | manual
    in_order = {name: thresholds[name] for name in statistics if name in thresholds}
    return in_order, {name: reason for name, reason in reasons.items() if name not in manual}
