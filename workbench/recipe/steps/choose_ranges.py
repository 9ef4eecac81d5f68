"""Ranges picked anew from statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from workbench.names import Method
from workbench.recipe.parts import FileReference
from workbench.recipe.steps.base import RangesStep

if TYPE_CHECKING:
    from collections.abc import Callable

    from workbench.recipe.state import State

__all__ = ["ChooseStep"]


class ChooseStep(RangesStep):
    """Ranges picked anew from statistics that were there already.

    Parameters
    ----------
    method, percentile
        How thresholds were picked from the statistics.
    overrides
        Another method, or a threshold, for some tensors.
    statistics
        The file of the statistics; ``None`` where they are those of the calibration before.
    ranges, sha256, unranged
        As for `CalibrateStep`.
    """

    do: Literal["choose_ranges"] = "choose_ranges"
    method: Method
    percentile: float | None = None
    overrides: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)] | Method] = Field(default_factory=dict)
    statistics: FileReference | None = None
    ranges: dict[str, float]
    sha256: str = ""
    unranged: dict[str, str] | None = None

    @property
    def origins(self) -> dict[str, str]:
        """Where each range comes from."""
        manual = {name: one if isinstance(one, str) else "manual" for name, one in self.overrides.items()}
        return {**dict.fromkeys(self.ranges, self.method), **manual}

    def apply_to(self, state: State) -> State:
        """Return the state with the ranges, and without those that tensors cannot have."""
        return super().apply_to(state).without_ranges(self.unranged or {})

    def moved(self, move: Callable[[str], str]) -> ChooseStep:
        """Return the step with the path of its file given to `move`."""
        if self.statistics is None:
            return self
        return self.model_copy(update={"statistics": self.statistics.moved(move)})
