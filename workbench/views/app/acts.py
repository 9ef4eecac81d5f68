"""What the screen does that takes longer than a click: it runs beside the page, which hears the result."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from workbench.display import counted
from workbench.graph.edits import Edit
from workbench.names import BackendName, Method
from workbench.precision.measuring import MeasureOptions
from workbench.session import Change, history_of, keeper_of
from workbench.views.app.forms import Forms
from workbench.views.app.points import compare_points
from workbench.views.app.tasks import Tasks
from workbench.views.kit import View, request

if TYPE_CHECKING:
    from collections.abc import Callable

    from workbench.calibration import Statistics
    from workbench.precision.search import SearchResult
    from workbench.session import Workbench

__all__ = ["Acts"]

OBSERVED = Change("ranges", "statistics")


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
        self._prepared: list[list[Edit]] = []
        """The edits of recipes after which nothing is to be prepared, or where a person took that back."""
        self._clicked: set[int] = set()

    @request(current=True)
    def _on_observe(self) -> None:
        """Run the calibration's samples once more, to see what flows; no step comes of it."""
        history = history_of(self.workbench)
        self._start("looking at the samples", self._observe, lambda _: history.changes.tell(OBSERVED))

    def _observe(self) -> Statistics:
        history = history_of(self.workbench)
        seen = self.workbench.ranges.observe(history.measured.samples, batch=history.measured.batch)
        history.measured = replace(history.measured, statistics=seen)
        return seen

    @request
    def _on_stop(self) -> None:
        self.tasks.stop()

    @request(current=True)
    def _on_prepare(self) -> None:
        def done(result: Any) -> None:
            self._prepared.append(self.workbench.recipe.of_kind(Edit))
            nothing = "nothing to prepare: the graph is as quantization wants it"
            self._say(counted(len(result), "edit") if result else nothing)
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
        """Search a plan: by bytes and MACs, or by engines that a backend builds and times.

        Engines are kept beside the notebook: after a restart the same search builds none of them again.
        """
        history = history_of(self.workbench)
        keeper = keeper_of(history)
        folder = None if keeper is None else keeper.engines
        engines = None if measure == "nothing" else MeasureOptions(measure, builds=builds, folder=folder)
        bound: Any = {"at_most" if metric == "top1_drop" else "at_least": goal}

        def work() -> object:
            if history.measured.statistics is None and history.measured.samples is not None:
                self._observe()  # what a recipe that was gone on with has not seen, and ranges are chosen by
            result = self.workbench.plan.search(metric, **bound, labels=labels or None, measure=engines)
            if result.chosen.passed:
                self.workbench.tune()
            return result

        def done(result: SearchResult) -> None:
            resumed = 0 if result.measured is None else result.measured.resumed
            more = f"; {counted(resumed, 'measurement')} known from {folder.name}" if folder and resumed else ""
            self._say(result.text().splitlines()[2 if result.stopped else 0] + more)

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
    def _on_points(self, points: list[int], samples: str = "", labels: str = "") -> None:
        """Measure two points of the recipe, on the calibration's samples where no others are named."""
        source, how = self.forms.read(samples, "") if samples else (None, None)
        work = partial(compare_points, self.workbench, points, source, how, labels or None)
        self._start("comparing", work, lambda rows: self.tell("points", rows=rows))
