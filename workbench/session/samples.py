"""Samples as a session takes them: anything that can be opened, or what was calibrated on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from workbench.calibration import Preprocessing, open_samples
from workbench.errors import RecipeError

if TYPE_CHECKING:
    from workbench.calibration import Samples
    from workbench.session.history import History

__all__ = ["PreprocessingLike", "opened", "samples_for"]

PreprocessingLike: TypeAlias = Preprocessing | Mapping[str, Any] | str | None
"""Preprocessing itself, its fields as a recipe keeps them, or the command line's text."""


def opened(history: History, source: object, preprocessing: PreprocessingLike = None) -> Samples:
    """Open samples for the model as it is; see `workbench.calibration.open_samples`."""
    if isinstance(preprocessing, str):
        preprocessing = Preprocessing.parse(preprocessing)
    elif isinstance(preprocessing, Mapping):
        preprocessing = Preprocessing.of(preprocessing)
    return open_samples(source, history.state.model, preprocessing=preprocessing)


def samples_for(history: History, source: object, preprocessing: PreprocessingLike = None) -> tuple[Samples, int]:
    """Return samples to evaluate on, the calibration's where `source` is ``None``, and the calibration's batch.

    Raises
    ------
    RecipeError
        None are given, and nothing was calibrated here.
    """
    measured = history.measured
    data = measured.samples if source is None else opened(history, source, preprocessing)
    if data is None:
        raise RecipeError(
            "there are no samples to run", where=history.source.name, fix="Give some, or calibrate first."
        )
    return data, measured.batch
