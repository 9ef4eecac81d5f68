"""A tensor's distribution with a threshold to drag; what is dragged goes to a function, which may write a recipe."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.views.calibration.histogram import STYLES, DistributionChart, distribution_chart
from workbench.views.kit import Pictured, answered

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from workbench.calibration import Range, Target, TensorStatistics
    from workbench.views.kit import ThemeName

__all__ = ["ThresholdView"]


@dataclass
class ThresholdView(Pictured):
    """The distribution of one tensor, live where there is a kernel, and the same as a picture everywhere.

    Parameters
    ----------
    name, tensor
        The tensor and what calibration saw of it.
    chosen
        The range in force; it follows what is dragged.
    on_change
        Called with the tensor's name and the new threshold whenever a person sets one.
    read
        Returns the range in force, where that may change elsewhere (by an undo): asked before anything is shown, and in
        IPython after each cell that runs.
    """

    name: str
    tensor: TensorStatistics = field(repr=False)
    chosen: Range
    on_change: Callable[[str, float], object] = field(repr=False)
    read: Callable[[], Range] | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls,
        name: str,
        tensor: TensorStatistics,
        on_change: Callable[[str, float], object],
        *,
        read: Callable[[], Range] | None = None,
        target: Target = "int8",
    ) -> ThresholdView:
        """Return a view of the range in force; of that of least mean squared error where there is none to be read."""
        chosen = distribution_chart(name, tensor, target=target).chosen if read is None else read()
        return cls(name, tensor, chosen, on_change, read)

    @property
    def chart(self) -> DistributionChart:
        """The picture with the threshold in force."""
        self.refresh()
        chart = distribution_chart(self.name, self.tensor, target=self.chosen.target)
        return replace(chart, chosen=self.chosen)

    def svg(self, theme: ThemeName = "auto") -> str:
        """Return the picture as an SVG document."""
        return self.chart.svg(theme)

    def png(self, theme: ThemeName = "light") -> bytes:
        """Return the picture as a PNG."""
        return self.chart.png(theme)

    def set(self, amax: float) -> None:
        """Take a new threshold and pass it on, as dragging does.

        Raises
        ------
        SamplesError
            If it is not a positive number.
        """
        from workbench.calibration import ranges

        chosen = ranges({self.name: self.tensor}, target=self.chosen.target, overrides={self.name: amax})[self.name]
        self.on_change(self.name, chosen.amax)
        self.chosen = chosen

    def refresh(self) -> None:
        """Take over the range in force."""
        if self.read is not None:
            self.chosen = self.read()

    def info(self) -> dict[str, Any]:
        """Return the figures of the threshold in force, as the widget shows them."""
        return {
            "amax": self.chosen.amax,
            "clipped": self.chosen.clipped,
            "scale": self.chosen.scale,
            "unit": "step" if self.chosen.target == "int8" else "scale",
            "sqnr": f"{self.chosen.sqnr_db:.1f} dB",
        }

    def tell(self, message: Mapping[str, Any]) -> None:
        """Send the page a message; the page of a threshold shows none."""

    @answered
    def handle(self, request: Mapping[str, Any]) -> None:
        """Do what the page asks for: move the threshold."""
        if request.get("kind") == "threshold":
            self.set(float(request["amax"]))

    def widget(self) -> Any:
        """Return the live widget."""
        chart = self.chart
        methods = [
            {
                "method": r.method,
                "amax": r.amax,
                "sqnr": f"{r.sqnr_db:.1f} dB",
                "color": STYLES[r.method][0],
                "dashes": " ".join(str(2 * n) for n in STYLES[r.method][1]) or "none",
            }
            for r in chart.ranges
        ]
        data = {"name": self.name, "edges": chart.edges.tolist(), "counts": chart.counts.tolist(), "methods": methods}
        widget = _widget_class()(data=data, info=self.info())

        def received(_: object, content: object, __: object) -> None:
            self.handle(content)
            widget.info = self.info()

        def follow(*_: object) -> None:
            self.refresh()
            widget.info = self.info()

        widget.on_msg(received)
        if self.read is not None:
            after_each_cell(follow)
        return widget


def after_each_cell(function: Callable[..., None]) -> None:
    """Have a function called after each cell that IPython runs; elsewhere, do nothing."""
    from IPython.core.getipython import get_ipython

    shell = get_ipython()  # type: ignore[no-untyped-call, unused-ignore]
    if shell is not None:
        shell.events.register("post_run_cell", function)


@cache
def _widget_class() -> Any:
    import anywidget
    import traitlets

    class ThresholdWidget(anywidget.AnyWidget):  # type: ignore[misc, unused-ignore]
        _esm = Path(__file__).with_name("threshold.js")
        _css = Path(__file__).with_name("threshold.css")
        data = traitlets.Dict().tag(sync=True)
        info = traitlets.Dict().tag(sync=True)

    return ThresholdWidget
