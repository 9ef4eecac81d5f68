"""What the screen does that takes longer than a click: it runs beside the page, which hears the result."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from workbench.names import BackendName, Method
from workbench.precision.measuring import MeasureOptions
from workbench.session import Change, history_of
from workbench.views.app.forms import Forms
from workbench.views.app.points import compare_points
from workbench.views.app.tasks import Tasks
from workbench.views.kit import View, request

if TYPE_CHECKING:
    from collections.abc import Callable

    from workbench.session import Workbench

__all__ = ["Acts"]


class Acts(View):
    """What a page may ask for of one workbench.

    Parameters
    ----------
    wb
        The workbench.
    """

    def __init__(self, wb: Workbench) -> None:
        super().__init__(wb)
        self.workbench = wb
        self.forms = Forms(wb)
        self.tasks = Tasks(wb, lambda progress: self.tell("progress", progress=progress))
        self._prepared: object = None
        self._clicked: set[int] = set()

    @request(current=True)
    def _on_observe(self) -> None:
        """Run the calibration's samples once more, to see what flows; no step comes of it."""
        wb, history = self.workbench, history_of(self.workbench)

        def done(statistics: Any) -> None:
            history.measured = replace(history.measured, statistics=statistics)
            history.changes.tell(Change("ranges", "statistics"))

        samples, batch = history.measured.samples, history.measured.batch
        self._start("looking at the samples", lambda: wb.ranges.observe(samples, batch=batch), done)

    @request
    def _on_stop(self) -> None:
        self.tasks.stop()

    @request(current=True)
    def _on_prepare(self) -> None:
        def done(result: Any) -> None:
            self._prepared = self.workbench.model
            self._say(f"{len(result)} edits" if result else "nothing to prepare: the graph is as quantization wants it")
            self.draw()

        self._start("preparing", self.workbench.prepare, done)

    @request(current=True)
    def _on_calibrate(self, samples: str, preprocessing: str, method: Method, batch: int = 1) -> None:
        wb, reading = self.workbench, self.forms.read(samples, preprocessing)

        def work() -> object:
            return wb.calibrate(reading.source, method=method, batch=batch, preprocessing=reading.how)

        self._start("calibrating", work)

    @request(current=True)
    def _on_sensitivity(self) -> None:
        self._start("measuring sensitivity", self.workbench.sensitivity)

    @request(current=True)
    def _on_tune(self, preset: str = "") -> None:
        def work() -> object:
            if preset:
                self.workbench.plan.use(preset)
            return self.workbench.tune()

        self._start("tuning", work)

    @request(current=True)
    def _on_preset(self, name: str) -> None:
        self.workbench.plan.use(name)

    @request(current=True)
    def _on_search(
        self,
        goal: float,
        metric: Literal["sqnr_db", "top1_drop"] = "sqnr_db",
        labels: str = "",
        measure: BackendName | Literal["nothing"] = "nothing",
        builds: int = 8,
    ) -> None:
        """Search a plan: by bytes and MACs, or by engines that a backend builds and times."""
        engines = None if measure == "nothing" else MeasureOptions(measure, builds=builds)
        bound: Any = {"at_most" if metric == "top1_drop" else "at_least": goal}

        def work() -> object:
            result = self.workbench.plan.search(metric, **bound, labels=labels or None, measure=engines)
            if result.chosen.passed:
                self.workbench.tune()
            return result

        def done(result: Any) -> None:
            self._say(result.text().splitlines()[0] if not result.stopped else result.text().splitlines()[2])

        self._start("searching", work, done)

    @request(current=True)
    def _on_compare(self, samples: str = "", preprocessing: str = "", labels: str = "") -> None:
        wb = self.workbench
        source, how = self.forms.read(samples, preprocessing) if samples else (None, None)

        def work() -> object:
            wb.tune()
            return wb.compare(source, preprocessing=how, labels=labels or None, runs=0)

        self._start("comparing", work)

    @request(current=True)
    def _on_build(self) -> None:
        wb = self.workbench

        def work() -> object:
            wb.tune()
            return wb.engines.inspect(wb.build())

        self._start("building", work, lambda _: self._say("built on ONNX Runtime, which tells of this machine only"))

    @request(current=True)
    def _on_read(self, graph: str, profile: str = "") -> None:
        self.workbench.engines.read(graph, profile=profile or None)

    def _start(self, name: str, work: Callable[[], object], done: Callable[[Any], object] | None = None) -> None:
        clicked = len(self.workbench.recipe.steps)

        def finished(outcome: object) -> None:
            self._clicked |= set(range(clicked, len(self.workbench.recipe.steps)))
            with self._saying():
                if isinstance(outcome, Exception):
                    raise outcome
                if outcome is None:
                    self._say(f"{name} was stopped; nothing was changed")
                elif done is not None:
                    done(outcome)
            self.draw()

        self.tasks.start(name, work, finished)

    def _say(self, text: str) -> None:
        self.tell("done", text=text)

    @request(current=True)
    def _on_points(self, points: list[int]) -> None:
        """Measure two points of the recipe on the calibration's samples."""
        work = partial(compare_points, self.workbench, points)
        self._start("comparing", work, lambda rows: self.tell("points", rows=rows))
