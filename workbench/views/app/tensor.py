"""The distribution in the inspector: one view that shows whichever tensor is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.calibration import at
from workbench.errors import RecipeError
from workbench.views.calibration import ThresholdView
from workbench.views.kit import PART

if TYPE_CHECKING:
    from workbench.calibration import Range, TensorStatistics
    from workbench.session import Workbench

__all__ = ["AppThreshold"]


class AppThreshold(ThresholdView):
    """The distribution of one tensor after the other.

    Parameters
    ----------
    wb
        The workbench, in which a threshold that is set is a step.
    """

    _esm, _css = PART, ""

    def __init__(self, wb: Workbench) -> None:
        super().__init__("", None, wb.set_range, read=self._seen, session=wb)
        self.workbench = wb

    def _seen(self) -> tuple[TensorStatistics, Range]:
        ranges = self.workbench.ranges
        if ranges.statistics is None:
            raise RecipeError("nothing was calibrated", where=self.workbench.source.name)
        seen = ranges.statistics[self.name]
        return seen, at(seen, ranges.get(self.name, seen.amax), method=ranges.origins.get(self.name, "minmax"))

    def is_observed(self) -> bool:
        """Say whether something was seen of the tensor that is shown."""
        statistics = self.workbench.ranges.statistics
        return statistics is not None and self.name in statistics

    def show(self, tensor: str) -> None:
        """Show another tensor."""
        if tensor != self.name:
            self.name = tensor
            self.draw()

    def scene_state(self) -> dict[str, Any]:
        """Return the distribution; nothing where there is none."""
        return super().scene_state() if self.is_observed() else {}

    def mark_state(self) -> dict[str, Any]:
        """Return the figures of the threshold in force."""
        return super().mark_state() if self.is_observed() else {}
