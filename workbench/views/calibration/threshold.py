"""A tensor's distribution with a threshold to drag; what is dragged goes to a function, which may write a recipe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.calibration import sweep
from workbench.errors import SelectorError
from workbench.views.calibration.histogram import STYLES, DistributionChart, distribution_chart
from workbench.views.kit import View, page, request

if TYPE_CHECKING:
    from collections.abc import Callable

    from workbench.calibration import Range, TensorStatistics
    from workbench.names import Quantized
    from workbench.session import Workbench
    from workbench.views.kit import Pictured

__all__ = ["ThresholdView"]

CURVE = 160
"""Thresholds of which a page knows the cost; between them it interpolates."""
InForce = tuple["TensorStatistics", "Range"]


class ThresholdView(View):
    """The distribution of one tensor, live where there is a kernel, and the same as a picture everywhere.

    Parameters
    ----------
    name
        The tensor.
    tensor
        What calibration saw of it; `read` tells where left out.
    on_change
        Called with the tensor's name and the new threshold whenever a person sets one.
    read
        Returns what was seen and the range in force, asked whenever something is shown; without it the range is that of
        least mean squared error until a person sets another.
    target
        The grid that SQNR and step are of.
    session
        The workbench that is shown.
    """

    _esm, _css = page(*(Path(__file__).with_name(f"threshold.{kind}") for kind in ("js", "css")))

    def __init__(
        self,
        name: str,
        tensor: TensorStatistics | None,
        on_change: Callable[[str, float], object],
        *,
        read: Callable[[], InForce] | None = None,
        target: Quantized = "int8",
        session: Workbench | None = None,
    ) -> None:
        super().__init__(session)
        self.name, self.on_change = name, on_change
        self._in_force: InForce | None = None
        if tensor is not None:
            self._in_force = tensor, distribution_chart(name, tensor, target=target).chosen
        self._read = read

    def __repr__(self) -> str:
        return f"<ThresholdView {self.name}: {self.chosen.amax:.5g}>"

    @property
    def tensor(self) -> TensorStatistics:
        """What calibration saw."""
        return self._now()[0]

    @property
    def chosen(self) -> Range:
        """The range in force."""
        return self._now()[1]

    @property
    def chart(self) -> DistributionChart:
        """The picture with the threshold in force."""
        tensor, chosen = self._now()
        return replace(distribution_chart(self.name, tensor, target=chosen.target), chosen=chosen)

    def still(self) -> Pictured:
        """Return the picture that stands for the view."""
        return self.chart

    def set(self, amax: float) -> None:
        """Take a new threshold and pass it on, as dragging does.

        Raises
        ------
        SamplesError
            If it is not a positive number.
        """
        from workbench.calibration import ranges

        tensor, before = self._now()
        chosen = ranges({self.name: tensor}, target=before.target, overrides={self.name: amax})[self.name]
        self.on_change(self.name, chosen.amax)
        self._in_force = tensor, chosen
        self.mark()

    def _now(self) -> InForce:
        if self._read is not None:
            self._in_force = self._read()
        if self._in_force is None:
            raise SelectorError("there is no tensor to show", where=self.name)
        return self._in_force

    def scene_state(self) -> dict[str, Any]:
        """Return the distribution and the methods' thresholds."""
        chart = self.chart
        methods = [
            {
                "method": one.method,
                "amax": one.amax,
                "sqnr": f"{one.sqnr_db:.1f} dB",
                "clipped": one.clipped,
                "color": STYLES[one.method][0],
                "dashes": " ".join(str(2 * n) for n in STYLES[one.method][1]) or "none",
            }
            for one in chart.ranges
        ]
        state = {"name": self.name, "edges": chart.edges.tolist(), "counts": chart.counts.tolist(), "methods": methods}
        return state | {"curve": self._curve(float(np.abs(chart.edges).max()))}

    def _curve(self, reach: float) -> list[list[float | None]]:
        """Return thresholds with what each clips and its SQNR, so that a page can tell while one is dragged."""
        tensor, chosen = self._now()
        if not tensor.finite or not tensor.second_moment:
            return []
        amax = np.geomspace(reach / 1000, reach, CURVE)
        clipped, sqnr = sweep(tensor, amax, target=chosen.target)
        finite = np.where(np.isfinite(sqnr), sqnr, np.nan)
        rows = np.stack([amax, clipped, finite], axis=1).tolist()
        return [[None if one != one else one for one in row] for row in rows]  # noqa: PLR0124 - JSON has no NaN

    def mark_state(self) -> dict[str, Any]:
        """Return the figures of the threshold in force."""
        chosen = self.chosen
        return {
            "amax": chosen.amax,
            "clipped": chosen.clipped,
            "scale": chosen.scale,
            "unit": "step" if chosen.target == "int8" else "scale",
            "sqnr": f"{chosen.sqnr_db:.1f} dB",
        }

    @request
    def _on_threshold(self, amax: float) -> None:
        self.set(amax)
