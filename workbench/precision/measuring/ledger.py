"""Engines of a search: what was asked for, what happened to it, and how fast it is beside floating point."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from workbench.backends import median_error_ms, ratio_of
from workbench.engine import load_report
from workbench.precision.measuring.result import Point
from workbench.precision.measuring.work import TimingTask
from workbench.precision.placement import Pays

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from workbench.backends import Measured, Timing
    from workbench.engine import EngineReport
    from workbench.precision.measuring.candidates import Candidate
    from workbench.precision.measuring.options import MeasureOptions
    from workbench.precision.measuring.runner import Runner
    from workbench.precision.measuring.store import Store
    from workbench.precision.measuring.work import Done

__all__ = ["Ledger"]


class Ledger:
    """Builds and times candidates, and knows what came of them.

    Parameters
    ----------
    runner
        Runs tasks.
    store
        Where timing caches lie.
    options
        How engines are timed; its floating-point type is the name of what the others are compared with.
    """

    def __init__(self, runner: Runner, store: Store, options: MeasureOptions) -> None:
        self._runner, self._store, self._options = runner, store, options
        self.points: dict[str, Point] = {}
        self._aside: dict[str, Candidate] = {}
        self.measured: dict[str, Measured] = {}
        self._beside: dict[str, Timing] = {}  # floating point, as it took turns with each engine

    @property
    def floating(self) -> str:
        """The name of the candidate in floating point."""
        return self._options.floating

    def eligible(self) -> list[Point]:
        """Return what may be taken: measured, reaching the goal, and with a graph that asks for it."""
        return [p for p in self.points.values() if p.ratio is not None and p.passed and p.candidate.plan is not None]

    def tells_of_layers(self, name: str) -> bool:
        """Say whether the layers of an engine were timed, which they are not where it runs on several streams."""
        return bool(self.measured[name].layers)

    def report(self, name: str) -> EngineReport:
        """Return what an engine is made of, with the times of its layers where those were told."""
        measured = self.measured[name]
        return load_report(measured.inspector or "", profile=measured.layers or None, name=name)

    def best(self) -> Point:
        """Return the fastest of what may be taken."""
        return min(self.eligible(), key=lambda p: p.ratio or math.inf)

    def build(self, candidates: Sequence[Candidate], beside: Sequence[str] = ()) -> None:
        """Build candidates; each races against some engines that are there, floating point among them."""
        tasks = [self._task(each, beside) for each in candidates]
        done = self._runner.run(tasks)
        for each in candidates:
            self._note(each, done.get(each.name))
        best = self.best() if self.eligible() else None
        if best is not None:
            self._runner.best = f"{best.name}, {best.ratio or 1.0:.3f} of {self.floating}"

    def build_aside(self, candidate: Candidate) -> None:
        """Have a candidate built that nothing waits for before `settle`; it is timed in the last comparison alone."""
        self._aside[candidate.name] = candidate
        self._runner.aside(self._task(candidate, ()))

    def settle(self) -> None:
        """Wait for what is built aside, and note what came of it."""
        done = self._runner.settle() if self._aside else {}
        while self._aside:
            name, candidate = self._aside.popitem()
            self._note(candidate, done.get(name))

    def knows(self, name: str) -> bool:
        """Say whether a candidate is built, was, or could not be."""
        return name in self.points or name in self._aside

    def compare(self, names: Sequence[str], *, also_as_graphs: bool = False) -> None:
        """Time engines that are there already side by side, over all loadings; replayed as CUDA graphs at once, too."""
        plain = self._comparison(names, cuda_graph=self._options.timing.cuda_graph)
        graphs = [self._comparison(names, cuda_graph=True)] if also_as_graphs else []
        done = self._runner.run([plain, *graphs])
        for name, one in _by_engine(plain, done).items():
            self._take(name, one, compared=True)
        for task in graphs:
            self._take_graphs(_by_engine(task, done))

    def compare_again(self, name: str) -> bool:
        """Time an engine anew beside floating point, in loadings that did not choose it; say whether that was done."""
        task = self._comparison([self.floating, name], cuda_graph=self._options.timing.cuda_graph)
        task = replace(task, name=f"{name} again")
        done = _by_engine(task, self._runner.run([task]))
        if any(one[each].timing is None for each, one in done.items()):
            return False
        for each, one in done.items():
            self._take(each, one, compared=True)
        return bool(done)

    def compare_as_graphs(self, names: Sequence[str]) -> None:
        """Time engines replayed as CUDA graphs too."""
        task = self._comparison(names, cuda_graph=True)
        self._take_graphs(_by_engine(task, self._runner.run([task])))

    def _take_graphs(self, side_by_side: Mapping[str, Mapping[str, Measured]]) -> None:
        timings = {name: one[name].timing for name, one in side_by_side.items()}
        base = timings.get(self.floating)
        for name, timing in timings.items():
            if timing is not None:
                ratio = None if base is None else ratio_of(timing, base).value
                self.points[name] = replace(self.points[name], graph_ms=timing.median_ms, graph_ratio=ratio)

    def as_fast(self, point: Point, fastest: Point) -> bool:
        """Say whether an engine is as fast as the fastest, within the error."""
        mine, its = self._timing(point.name), self._timing(fastest.name)
        if point.name == fastest.name or mine is None or its is None:
            return point.name == fastest.name
        ratio = ratio_of(mine, its)
        return ratio.value <= 1 or not ratio.certain

    def pays(self, chosen: Point) -> Pays:
        """Compare what was chosen with floating point; where that was, the fastest of the others."""
        others = [p for p in self.eligible() if p.candidate.kind != "floating"]
        if chosen.name == self.floating and others:
            chosen = min(others, key=lambda p: p.ratio or math.inf)
        return self.of(chosen.name)

    def of(self, name: str) -> Pays:
        """Compare an engine with the one in floating point."""
        mine, base = self._timing(name), self._beside.get(name, self._timing(self.floating))
        if mine is None or base is None or name == self.floating:
            return Pays(reason=self.none_in_int8())
        return Pays.of(mine, {self.floating: base})

    def none_in_int8(self) -> str:
        """Say that nothing in INT8 can be taken, and why; where the search had to end, that it may go on."""
        whole = next((p for p in self.points.values() if p.candidate.kind == "int8"), None)
        if whole is not None and whole.status in {"failed", "too slow"}:
            return f"INT8 everywhere was not measured: {(whole.reason or whole.status).rstrip('.')}"
        runner, sentence = self._runner, "nothing in INT8 was measured that reaches the goal"
        if runner.builds_left:
            return sentence
        if runner.stopped:
            return f"{sentence} before it was stopped; let the search go on"
        used, more = ("the time was", "seconds") if runner.over else ("builds were", "builds")
        return f"{sentence} before {used} used up; give the search more {more}"

    def _timing(self, name: str) -> Timing | None:
        measured = self.measured.get(name)
        return None if measured is None else measured.timing

    def _task(self, candidate: Candidate, beside: Sequence[str]) -> TimingTask:
        cache = candidate.build.timing_cache
        return TimingTask(
            candidate.name,
            self._options.backend,
            self._options.timing,
            candidate.model.to_bytes(),
            candidate.build,
            beside={name: engine for name in beside if (engine := self.points[name].engine) is not None},
            loadings=max(2, self._options.loadings // 2) if beside else 0,
            kept=(self.floating,) if beside else None,
            limit_s=self._runner.limit_s(),
            cache=self._store.content(cache) if self._options.executor is not None else None,
        )

    def _comparison(self, names: Sequence[str], *, cuda_graph: bool) -> TimingTask:
        there = {name: engine for name in names if (engine := self.points[name].engine) is not None}
        name = f"comparison of {len(there)}" + (" as CUDA graphs" if cuda_graph else "")
        timing = replace(self._options.timing, cuda_graph=cuda_graph)
        return TimingTask(name, self._options.backend, timing, beside=there, loadings=self._options.loadings)

    def _note(self, candidate: Candidate, done: Done | None) -> None:
        """Write down what happened to a candidate, and how it compares where it was timed beside floating point."""
        trial = candidate.trial
        point = Point(
            candidate,
            "skipped",
            "it was stopped before" if self._runner.stopped else "there was no time left",
            figure=None if trial is None else trial.measured.figure,
            passed=trial is None or trial.passed,
        )
        if done is not None:
            point = replace(point, status=done.status, reason=done.reason, engine=done.engine, build_s=done.build_s)
        self.points[candidate.name] = point
        if done is not None and done.measured:
            self._take(candidate.name, done.measured, compared=False)

    def _take(self, name: str, measured: Mapping[str, Measured], *, compared: bool) -> None:
        floating, mine = measured.get(self.floating), measured.get(name)
        if mine is None or mine.timing is None:
            if mine is not None:
                self.points[name] = replace(self.points[name], status="failed", reason=mine.error)
            return
        base = mine.timing
        if floating is not None and floating.timing is not None:
            base = self._beside[name] = floating.timing
        ratio = ratio_of(mine.timing, base)
        self.measured[name] = mine
        self.points[name] = replace(
            self.points[name],
            status="measured",
            reason=None,
            ratio=ratio.value,
            error=ratio.error,
            latency_ms=mine.timing.median_ms,
            latency_error_ms=median_error_ms(mine.timing),
            compared=compared,
        )


def _by_engine(task: TimingTask, done: Mapping[str, Done]) -> dict[str, Mapping[str, Measured]]:
    """Return what came of a comparison, for each of its engines; nothing where it was not done."""
    one = done.get(task.name)
    return dict.fromkeys(task.beside, one.measured) if one is not None and one.measured else {}
