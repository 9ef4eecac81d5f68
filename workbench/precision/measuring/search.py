"""Find the fastest plan that reaches a goal, by engines that were built and timed.

1. Two builds: floating point, and INT8 everywhere. Their layers' times, brought to regions of the graph, and the
   conversions in them make a model of regions and borders; it says what to expect of any placement of INT8.
   Where several workers build, one that is free builds implicit INT8 from then on.
2. Rounds of builds: the placements that are expected to be fastest and reach the goal on ONNX Runtime. They race
   against floating point and the fastest so far; their engines teach the model what borders really cost.
3. Other build options on the fastest plan, for some of the builds.
4. The last comparison: floating point, INT8 everywhere and the fastest few in turns, over all loadings. The fastest is
   taken, where simpler ones are not as fast within the error, and its engine is run on the samples.
5. Once more floating point and the one that was taken: the fastest of several had luck, too, in the loadings that
   chose it. What is told of it is what it takes in these; where it is no faster there, floating point stays.

How many builds a round has does not depend on how many workers there are, so that the result does not either.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from workbench.backends.verdict import without_kernel
from workbench.engine import fusion_map
from workbench.errors import BackendError, WorkbenchError
from workbench.precision.measuring.accuracy import NoisePrice
from workbench.precision.measuring.bound import what_limits
from workbench.precision.measuring.candidates import Candidate, Maker
from workbench.precision.measuring.ledger import Ledger
from workbench.precision.measuring.result import MeasuredResult, Point
from workbench.precision.measuring.runner import Runner
from workbench.precision.measuring.store import open_store
from workbench.precision.measuring.ways import ways_of
from workbench.precision.measuring.work import agreement
from workbench.precision.placement import PlacementCosts, Regions, observed, proposals, regions_of, with_neutral
from workbench.progress import Stopped, phases

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from workbench.calibration import Samples
    from workbench.graph import Model
    from workbench.precision.measuring.options import MeasureOptions
    from workbench.precision.measuring.store import Store
    from workbench.precision.placement import Pays
    from workbench.precision.search import Goal, Trials
    from workbench.precision.targets import Target

__all__ = ["measured_search"]

ROUND = 4
"""Engines built in a round, before the model of borders learns from them; an even number suits two GPUs."""

WORTH = 1.03
"""A placement is built if the model expects at most this much over the fastest engine so far."""

LEAST_PLACEMENTS = 2
"""So many are built whatever the model expects: it may be wrong, and measured engines decide."""

FINALISTS = 4
"""Engines in the last comparison besides floating point, INT8 everywhere and implicit INT8."""

INT8 = "int8"

SIMPLE = ("floating", "int8", "placement", "options")
"""Kinds of candidates, those first that are taken where others are no faster."""


def measured_search(
    model: Model,
    samples: Samples,
    goal: Goal,
    trials: Trials,
    options: MeasureOptions,
    *,
    target: Target | None = None,
    overflow: Mapping[str, float] | None = None,
    unranged: Mapping[str, str] | None = None,
    batch: int = 1,
) -> MeasuredResult:
    """Find the fastest plan that reaches a goal.

    Parameters
    ----------
    model
        The model after its edits.
    samples
        What accuracy is measured on.
    goal
        What is asked for.
    trials
        Evaluates plans on ONNX Runtime; its plan says which nodes may be INT8, its ranges how.
    options
        The backend, and how much of it.
    target, overflow, unranged
        What plans are resolved with; see `PrecisionPlan.resolve`.
    batch
        Samples a run for a model of dynamic batch.

    Raises
    ------
    BackendError
        The backend cannot build here, or not even floating point could be built and timed.
    """
    with open_store(options.folder, options.capabilities()) as store, phases(f"measuring {model.name}") as show:
        maker = Maker(
            options.batched(model), trials.ranges, options, store, target=target, overflow=overflow, unranged=unranged
        )
        runner = Runner(options, store, show)
        search = _Search(maker, runner, store, goal, trials, samples, batch, options)
        return search.run()


class _Search:
    def __init__(
        self,
        maker: Maker,
        runner: Runner,
        store: Store,
        goal: Goal,
        trials: Trials,
        samples: Samples,
        batch: int,
        options: MeasureOptions,
    ) -> None:
        self._maker, self._runner, self._store, self._options = maker, runner, store, options
        self._goal, self._trials, self._samples, self._batch = goal, trials, samples, batch
        self._ledger = Ledger(runner, store, options)
        self._model: tuple[Regions, NoisePrice, PlacementCosts] | None = None
        self._predicted: str | None = None
        self._notes: list[str] = []

    def run(self) -> MeasuredResult:
        """Do it all."""
        self._first_two()
        int8 = self._ledger.points[INT8]
        if int8.ratio is None:
            self._notes.append(f"INT8 everywhere was not measured, so there is nothing to place: {int8.reason}")
        else:
            try:
                self._place()
            except Stopped:  # within an evaluation: what was measured before is a result
                self._runner.stopped = True
        return self._finish()

    def _place(self) -> None:
        """Look for what is faster than floating point and INT8 everywhere."""
        untold = [name for name in (self._ledger.floating, INT8) if not self._ledger.tells_of_layers(name)]
        if untold:
            self._notes.append(f"{untold[0]}: its layers' times are not told, so that nothing can be placed by them")
        else:
            self._learn()
            while self._runner.builds_left > self._reserved and self._round():
                pass
        if implicit := self._implicit():
            self._ledger.build(implicit, beside=self._rivals())
        self._try_options()

    # Two engines to begin with

    def _first_two(self) -> None:
        plain = self._trials.without(self._trials.candidates, "nothing in INT8")
        everything = self._trials.everything("all in INT8")
        floating = replace(self._maker.floating(), trial=plain)
        whole = self._maker.of(everything.plan, INT8, "INT8 everywhere by the plan", "int8", ranges=everything.ranges)
        first = [floating, replace(whole, trial=everything)]
        if self._options.executor is not None and self._runner.builds_left > len(first):
            for one in self._implicit():
                self._ledger.build_aside(one)
        self._ledger.build(first)
        point = self._ledger.points[floating.name]
        if point.engine is not None:
            self._ledger.compare([each.name for each in first])
            point = self._ledger.points[floating.name]
        if point.ratio is None:
            needs = "Without an engine in floating point nothing can be compared"
            more = "give it more seconds" if self._runner.over and not self._runner.stopped else "see the reason"
            raise BackendError(
                f"{floating.name} was not measured: {point.reason or 'it was stopped'}",
                where=self._maker.model.name,
                fix=f"{needs}; {more}.",
            )

    # Rounds of placements

    @property
    def _reserved(self) -> int:
        """Builds that are kept for other build options."""
        if self._options.backend == "onnxruntime":
            return 0
        return min(self._options.tuned_builds, self._options.builds // 3)

    def _learn(self) -> tuple[Regions, NoisePrice, PlacementCosts]:
        """Make the model of regions and borders of all engines that were measured."""
        points = self._ledger.points.values()
        placed = [p for p in points if p.ratio is not None and p.candidate.kind in ("floating", "int8", "placement")]
        placed = [p for p in placed if self._ledger.tells_of_layers(p.name)]
        reports = {p.name: self._ledger.report(p.name) for p in placed}
        engines = {p.name: (reports[p.name], fusion_map(reports[p.name], p.candidate.model)) for p in placed}
        if self._model is None:
            first = [engines[self._ledger.floating], engines[INT8]]
            regions = regions_of(self._maker.model, self._trials.candidates, first)
            accuracy = NoisePrice(self._trials, regions, self._samples, self._batch)
        else:
            regions, accuracy, _ = self._model
        everywhere = frozenset(range(len(regions.all)))
        base = self._ledger.points[self._ledger.floating].latency_ms or 1.0
        seen = [
            observed(
                *engines[p.name],
                regions,
                everywhere if p.candidate.kind == "int8" else p.candidate.int8,
                base * (p.ratio or 1.0),
            )
            for p in placed
        ]
        refused = [p.reason or "" for p in points if p.candidate.kind == "placement" and p.status == "failed"]
        closed = frozenset[int]().union(*(regions.alike(without_kernel(reason)) for reason in refused))
        self._model = regions, accuracy, PlacementCosts.of(regions, seen, closed)
        return self._model

    def _round(self) -> bool:
        """Build the placements that are expected to be fastest; False where none is worth it."""
        chosen = self._worth_building(*self._model) if self._model is not None else []
        if self._predicted is None:
            self._predict(chosen)
        if not chosen:
            return False
        self._ledger.build([*chosen, *self._implicit()], beside=self._rivals())
        self._learn()
        return True

    def _implicit(self) -> list[Candidate]:
        """Return implicit INT8, once: it says nothing of placements, and a budget may end in its long build."""
        due = self._options.implicit and self._maker.weak and self._runner.builds_left > 0
        candidates = [self._maker.implicit()] if due else []
        return [one for one in candidates if not self._ledger.knows(one.name)]

    def _worth_building(self, regions: Regions, accuracy: NoisePrice, costs: PlacementCosts) -> list[Candidate]:
        every = frozenset(regions.able)
        placed = [p for p in self._ledger.points.values() if p.candidate.kind == "placement"]
        before = [p.candidate.int8 & every for p in placed]
        failed = sum(p.status == "failed" for p in placed)
        base = self._ledger.points[self._ledger.floating].latency_ms or 1.0
        fastest = base * min(p.ratio or math.inf for p in self._ledger.eligible())
        most = min(ROUND, self._runner.builds_left - self._reserved) - len(self._implicit())
        chosen: list[Candidate] = []
        for one in proposals(costs, penalty=accuracy.penalty(costs), tried={frozenset(), every, *before}):
            built = len(before) + len(chosen)
            if len(chosen) == most or (one.expected_ms > WORTH * fastest and built - failed >= LEAST_PLACEMENTS):
                break
            trial = accuracy.of(one.int8, one.move)
            if self._runner.over:  # evaluations take time, too
                break
            if trial.passed:
                name = f"placement-{built + 1}"
                candidate = self._maker.of(trial.plan, name, one.move, "placement", ranges=trial.ranges)
                neutral = with_neutral(costs, one.int8)
                chosen.append(replace(candidate, int8=neutral, trial=trial, expected=one.expected_ms / base))
        return chosen

    def _predict(self, chosen: Sequence[Candidate]) -> None:
        """Say what the first two engines alone make one expect to be fastest."""
        points = self._ledger.eligible()
        expected = {p.name: p.ratio or math.inf for p in points if p.candidate.kind in ("floating", "int8")}
        expected |= {each.name: each.expected or math.inf for each in chosen}
        self._predicted = min(expected, key=expected.__getitem__)

    def _rivals(self) -> list[str]:
        return list(dict.fromkeys([self._ledger.floating, self._ledger.best().name]))

    def _try_options(self) -> None:
        """Build the fastest plan with other build options."""
        if self._options.backend == "onnxruntime" or not self._options.tuned_builds:
            return
        best = self._ledger.best().candidate
        timing = self._ledger.measured[best.name].timing
        streams = 0 if timing is None else int(timing.conditions.get("aux_streams", 0))
        count = min(self._options.tuned_builds, self._runner.builds_left)
        tried = [
            self._maker.with_options(best, f"{best.name}-{way.name}", way.move, **way.options)
            for way in ways_of(best.model, best.build, streams)[:count]
        ]
        if tried:
            self._ledger.build(tried, beside=self._rivals())

    # The end

    def _finish(self) -> MeasuredResult:
        ledger = self._ledger
        ledger.settle()
        kinds = ("floating", "int8", "implicit")
        always = [p.name for p in ledger.points.values() if p.candidate.kind in kinds and p.engine is not None]
        others = sorted((p for p in ledger.eligible() if p.name not in always), key=lambda p: p.ratio or math.inf)
        if others:
            finalists = [*always, *(p.name for p in others[:FINALISTS])]
            ledger.compare(finalists, also_as_graphs=self._graphs and self._options.executor is not None)
        chosen, reason, figure = self._choose()
        chosen, reason, pays = self._confirmed(chosen, reason)
        self._with_graphs(always, chosen.name)
        return MeasuredResult(
            self._goal,
            tuple(replace(point, pays=ledger.of(name)) for name, point in ledger.points.items()),
            ledger.points[chosen.name],
            reason,
            pays,
            trials=tuple(self._trials.all),
            predicted=self._predicted,
            costs=() if self._model is None else self._model[2].sentences(),
            figure_on_engine=figure,
            seconds=self._runner.seconds,
            resumed=self._store.resumed,
            notes=(*self._notes, *(["stopped before all builds were made"] if self._runner.stopped else [])),
        )

    def _choose(self) -> tuple[Point, str, float | None]:
        """Take the fastest, or a simpler one that is as fast within the error; its engine must reach the goal too."""
        pool = [p for p in self._ledger.eligible() if p.compared]
        while pool:
            fastest = min(pool, key=lambda p: p.ratio or math.inf)
            near = [p for p in pool if self._ledger.as_fast(p, fastest)]
            chosen = min(near, key=lambda p: (SIMPLE.index(p.candidate.kind), p.ratio or math.inf))
            figure = self._on_engine(chosen)
            if chosen.name == self._ledger.floating or figure is None or self._goal.holds(figure):
                return chosen, self._because(chosen, fastest), figure
            shortfall = f"{self._goal.name} {figure:.4g}, which misses the goal"
            self._notes.append(f"{chosen.name} is not taken: its engine computes with {shortfall}")
            self._ledger.points[chosen.name] = replace(chosen, passed=False)
            pool.remove(chosen)
        kind = self._ledger.floating.upper()
        return self._ledger.points[self._ledger.floating], f"stay in {kind}: nothing else reaches the goal", None

    def _confirmed(self, chosen: Point, reason: str) -> tuple[Point, str, Pays]:
        """Return what was taken with figures that did not choose it, or floating point where it is no faster then."""
        ledger = self._ledger
        rivals = [p for p in ledger.points.values() if p.compared and p.candidate.kind not in ("floating", "implicit")]
        if chosen.name == ledger.floating or len(rivals) < 2:
            return chosen, reason, ledger.pays(chosen)
        if self._runner.stopped or not ledger.compare_again(chosen.name):
            luck = f"is the fastest of {len(rivals)} in the loadings that chose it, which flatters it a little"
            self._notes.append(f"{chosen.name} {luck}")
            return chosen, reason, ledger.pays(chosen)
        again, floating = ledger.points[chosen.name], ledger.points[ledger.floating]
        if ledger.as_fast(floating, again):
            before = f"{chosen.name} took {chosen.ratio_text} of its time where it was the fastest of {len(rivals)}"
            stay = f"stay in {ledger.floating.upper()}: {before}, and {again.ratio_text} timed again"
            return floating, stay, ledger.of(again.name)
        return again, again.ratio_text + reason.removeprefix(chosen.ratio_text), ledger.pays(again)

    def _because(self, chosen: Point, fastest: Point) -> str:
        kind = self._ledger.floating.upper()
        if chosen.candidate.kind == "floating":
            rivals = [p for p in self._ledger.eligible() if p.candidate.kind != "floating"]
            if not rivals:
                return f"stay in {kind}: {self._ledger.none_in_int8()}"
            near = min(rivals, key=lambda p: p.ratio or math.inf)
            return f"stay in {kind}: the fastest in INT8 ({near.name}) takes {near.ratio_text} of its time"
        share = f"{chosen.ratio_text} of the time of {kind}"
        return share if chosen.name == fastest.name else f"{share}; {fastest.name} is no faster within the error"

    def _on_engine(self, point: Point) -> float | None:
        """Return what the goal is about, of an engine itself; None where it is not one of the known metrics."""
        if point.engine is None or not isinstance(self._goal.metric, str):
            return None
        try:
            figures = self._runner.call(
                agreement,
                self._maker.model.to_bytes(),
                point.engine,
                self._samples,
                self._goal.labels,
                self._options.batch or self._batch,
            )
        except (Stopped, WorkbenchError) as error:
            reason = "it was stopped" if isinstance(error, Stopped) else error
            self._notes.append(f"the results of {point.name} were not compared: {reason}")
            return None
        if self._goal.metric == "top1_drop":
            return None if figures.accuracy is None else figures.accuracy.drop
        return figures.worst_sqnr_db

    @property
    def _graphs(self) -> bool:
        """Whether engines are to be timed as CUDA graphs as well; several workers time them so beside the others."""
        plain = self._options.backend == "onnxruntime" or self._options.timing.cuda_graph
        return not plain and not self._runner.stopped

    def _with_graphs(self, always: Sequence[str], chosen: str) -> None:
        """Time the engines that matter as CUDA graphs too: what launching kernels costs."""
        if not self._graphs:
            return
        if self._ledger.points[chosen].graph_ms is None:
            self._ledger.compare_as_graphs(list(dict.fromkeys([*always, chosen])))
        point, timing = self._ledger.points[chosen], self._ledger.measured[chosen].timing
        if timing is not None:
            report, device = self._ledger.report(chosen), str(timing.conditions.get("device"))
            self._notes += what_limits(chosen, report, device, timing.median_ms, point.graph_ms)
        if point.graph_ratio is not None:
            self._notes.append(f"as CUDA graphs it takes {point.graph_ratio:.3f} of {self._ledger.floating}")
