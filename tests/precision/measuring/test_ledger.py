"""What engines are asked for, and how they compare: the builder and the clock are stood in for."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from workbench.backends import BuildOptions, Engine, Timing, TimingOptions
from workbench.precision.measuring.candidates import Candidate
from workbench.precision.measuring.ledger import Ledger
from workbench.precision.measuring.options import MeasureOptions
from workbench.precision.measuring.result import Point
from workbench.precision.placement import Pays

MODEL = SimpleNamespace(to_bytes=lambda: b"model")
ENGINE = Engine("tensorrt", b"", {})


def timing(*medians):
    conditions = {"backend": "tensorrt", "version": "10", "device": "H200", "placement_medians_ms": list(medians)}
    return Timing.of(np.array(medians), span_s=1.0, warm_up_runs=1, conditions=conditions)


def measured(*medians, error=None):
    return SimpleNamespace(timing=timing(*medians) if medians else None, error=error)


def candidate(name, kind="int8", **more):
    return Candidate(name, f"move of {name}", kind, more.pop("plan", "plan"), MODEL, BuildOptions(**more))


class Runner:
    """Stands for who builds and times."""

    best, stopped, over, builds_left = "", False, False, 5

    def __init__(self):
        self.rounds, self.done = [], {}

    def limit_s(self):
        return 7.0

    def run(self, tasks):
        self.rounds.append(list(tasks))
        return self.done


def built(**medians):
    return SimpleNamespace(
        status="built",
        reason=None,
        engine=ENGINE,
        build_s=2.0,
        measured={name: measured(*each) for name, each in medians.items()},
    )


@pytest.fixture
def bench():
    """Makes a ledger of engines that are there, not measured yet, and who builds for it."""

    def make(*there, **options):
        runner = Runner()
        store = SimpleNamespace(content=lambda path: f"content of {path}".encode())
        ledger = Ledger(runner, store, MeasureOptions("tensorrt", **options))
        runner.done = {name: built() for name in there}
        ledger.build([candidate(name, "floating" if name == "fp16" else "int8") for name in there])
        runner.rounds.clear()
        return ledger, runner

    return make


def compared(bench, **medians):
    """Return a ledger of engines that were timed side by side."""
    ledger, runner = bench(*medians)
    there = [name for name, each in medians.items() if each]
    runner.done = {
        f"comparison of {len(medians)}": SimpleNamespace(measured={name: measured(*medians[name]) for name in there})
    }
    ledger.compare(list(medians))
    return ledger


@pytest.mark.parametrize(("loadings", "raced"), [(2, 2), (5, 2), (7, 3), (8, 4)])
def test_a_new_engine_races_over_half_the_loadings_against_those_that_are_there(bench, loadings, raced):
    ledger, runner = bench("fp16", "a", loadings=loadings, timing=TimingOptions(runs=9))
    ledger.points["gone"] = SimpleNamespace(engine=None, ratio=None)
    runner.done = {}
    ledger.build([candidate("new", timing_cache="cache")], beside=["fp16", "gone"])
    ((task,),) = runner.rounds
    assert (task.name, task.backend, task.model, task.build.timing_cache) == ("new", "tensorrt", b"model", "cache")
    assert (dict(task.beside), task.loadings, task.kept) == ({"fp16": ENGINE}, raced, ("fp16",))
    assert (task.limit_s, task.cache, task.timing.runs) == (7.0, None, 9)
    ledger.build([candidate("alone")])
    assert (runner.rounds[1][0].loadings, runner.rounds[1][0].kept, runner.rounds[1][0].beside) == (0, None, {})


def test_to_another_machine_goes_what_a_timing_cache_holds(bench):
    ledger, runner = bench(executor=object())
    ledger.build([candidate("new", timing_cache="there")])
    assert runner.rounds[0][0].cache == b"content of there"


def test_the_fastest_that_may_be_taken_is_told_of(bench):
    ledger, runner = bench("fp16")
    assert runner.best == ""
    runner.done = {"a": built(fp16=(2.0, 2.0), a=(1.0, 1.5)), "b": built(fp16=(2.0, 2.0), b=(0.2, 0.2))}
    ledger.build([candidate("a"), candidate("b", plan=None)], beside=["fp16"])
    assert runner.best == "a, 0.625 of fp16"  # no graph asks for the other one
    a = ledger.points["a"]
    assert (a.status, a.engine, a.build_s, a.ratio, a.compared) == ("measured", ENGINE, 2.0, 0.625, False)
    assert (a.latency_ms, a.latency_error_ms) == (1.25, pytest.approx(0.25))
    assert a.error == pytest.approx(0.125)


def test_engines_are_compared_as_they_run_and_as_cuda_graphs(bench):
    ledger, runner = bench("fp16", "a", "b")
    plain = SimpleNamespace(measured={"fp16": measured(2.0, 2.0), "a": measured(1.0, 1.0), "b": measured(3.0, 3.0)})
    graphs = SimpleNamespace(measured={"fp16": measured(1.0, 1.0), "a": measured(0.75, 0.75), "b": measured()})
    runner.done = {"comparison of 3": plain, "comparison of 3 as CUDA graphs": graphs}
    ledger.compare(["fp16", "a", "b"], also_as_graphs=True)
    assert [[task.timing.cuda_graph for task in each] for each in runner.rounds] == [[False, True]]
    assert {name: (p.ratio, p.graph_ms, p.graph_ratio) for name, p in ledger.points.items()} == {
        "fp16": (1.0, 1.0, 1.0),
        "a": (0.5, 0.75, 0.75),
        "b": (1.5, None, None),
    }
    assert all(point.compared for point in ledger.points.values())


def test_what_was_compared_may_be_timed_as_cuda_graphs_later_without_floating_point_too(bench):
    ledger, runner = bench("fp16", "a", timing=TimingOptions(cuda_graph=True))
    runner.done = {"comparison of 1 as CUDA graphs": SimpleNamespace(measured={"a": measured(0.75)})}
    ledger.compare_as_graphs(["a"])
    assert [task.name for (task,) in runner.rounds] == ["comparison of 1 as CUDA graphs"]
    assert (ledger.points["a"].graph_ms, ledger.points["a"].graph_ratio) == (0.75, None)
    ledger.compare(["fp16", "a"])
    assert [task.timing.cuda_graph for task in runner.rounds[1]] == [True]


@pytest.mark.parametrize(
    ("medians", "same"),
    [
        ([1.0, 1.5], True),
        ([1.2, 1.7, 1.2, 1.7], True),
        ([1.2, 1.7, 1.7, 1.7], False),
        ([1.2, 1.4], True),  # three errors of two loadings are nothing
        ([0.5, 0.75], True),
        ([1.001] * 2, False),
    ],
)
def test_an_engine_is_as_fast_as_another_within_the_error(bench, medians, same):
    ledger = compared(bench, fp16=[1.0] * len(medians), a=medians)
    assert ledger.as_fast(ledger.points["a"], ledger.points["fp16"]) == same


def test_what_was_not_timed_is_as_fast_as_itself_alone(bench):
    ledger = compared(bench, fp16=[1.0, 1.0], a=[])
    points = ledger.points
    asked = [("a", "a"), ("a", "fp16"), ("fp16", "a"), ("fp16", "fp16")]
    assert [ledger.as_fast(points[one], points[other]) for one, other in asked] == [True, False, False, True]


def test_whether_int8_pays_is_asked_of_what_was_chosen_or_of_the_fastest_beside_floating_point(bench):
    ledger = compared(bench, fp16=[2.0, 2.0], a=[1.5, 1.5], b=[1.0, 1.0], c=[3.0, 3.0])
    assert [ledger.pays(ledger.points[name]).ratio for name in ("a", "b", "c", "fp16")] == [0.75, 0.5, 1.5, 0.5]
    assert ledger.pays(ledger.points["a"]).against == "fp16"
    alone = compared(bench, fp16=[2.0, 2.0])
    assert alone.pays(alone.points["fp16"]) == Pays(reason="nothing in INT8 was measured that reaches the goal")
    ends = [
        ({"stopped": True, "over": True}, "it was stopped; let the search go on"),
        ({"over": True}, "the time was used up; give the search more seconds"),
        ({}, "builds were used up; give the search more builds"),
    ]
    for state, end in ends:
        vars(alone._runner).update(builds_left=0, stopped=False, over=False)
        vars(alone._runner).update(state)
        sentence = f"nothing in INT8 was measured that reaches the goal before {end}"
        assert alone.none_in_int8() == sentence
    alone.points["a"] = Point(candidate("a"), "too slow", "60 s were not enough.")
    assert alone.none_in_int8() == "INT8 everywhere was not measured: 60 s were not enough"
    without = compared(bench, fp16=[], a=[1.0, 1.0])
    assert without.of("a").ratio is None
    assert without.points["a"].ratio == 1.0


def test_an_engine_is_compared_with_floating_point_as_it_took_turns_with_it(bench):
    """Floating point is timed anew with others, perhaps at another clock: the ratio stays that of one sitting."""
    ledger, runner = bench("fp16")
    runner.done = {"a": built(fp16=[2.0, 2.0], a=[1.0, 1.0])}
    ledger.build([candidate("a")], beside=["fp16"])
    runner.done = {"comparison of 1": SimpleNamespace(measured={"fp16": measured(4.0, 4.0)})}
    ledger.compare(["fp16"])
    assert (ledger.points["a"].ratio, ledger.of("a").ratio) == (0.5, 0.5)


def test_what_is_timed_again_takes_the_figures_of_those_loadings_or_keeps_its_own(bench):
    ledger = compared(bench, fp16=[2.0, 2.0], a=[1.0, 1.0])
    runner = ledger._runner
    runner.rounds.clear()
    for lost in ({}, {"a again": SimpleNamespace(measured={"fp16": measured(2.0), "a": SimpleNamespace(timing=None)})}):
        runner.done = lost
        assert not ledger.compare_again("a")
        assert (ledger.points["a"].ratio, ledger.points["a"].status) == (0.5, "measured")
    runner.done = {"a again": SimpleNamespace(measured={"fp16": measured(2.0, 2.0), "a": measured(1.2, 1.2)})}
    assert ledger.compare_again("a")
    assert (ledger.points["a"].ratio, ledger.of("a").ratio) == (0.6, 0.6)
    assert {tuple(task.beside) for (task,) in runner.rounds} == {("fp16", "a")}
