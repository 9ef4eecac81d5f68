"""What a measured search builds next and takes in the end, on engines made by hand: nothing is built."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from workbench.backends import BuildOptions, Engine, Timing, TimingOptions
from workbench.engine import LayerTime
from workbench.errors import BackendError
from workbench.precision.measuring import search as module
from workbench.precision.measuring.candidates import Candidate
from workbench.precision.measuring.options import MeasureOptions
from workbench.precision.measuring.result import Point
from workbench.precision.measuring.search import _Search
from workbench.precision.measuring.work import Done
from workbench.precision.placement import PlacementCosts, Region, Regions
from workbench.precision.placement.proposing import Placement
from workbench.precision.search.goal import Goal, Score
from workbench.progress import Stopped

SQNR, DROP = Goal("sqnr_db", at_least=20), Goal("top1_drop", at_most=1, labels=np.zeros(2, np.int64))
MODEL = SimpleNamespace(name="m", to_bytes=lambda: b"model", top_nodes={})


def engine(name):
    return Engine("tensorrt", name.encode(), {})


def measured(medians, **conditions):
    values = {"placement_medians_ms": list(medians), "device": "NVIDIA L4", **conditions}
    timing = Timing.of(np.array(medians), span_s=1.0, warm_up_runs=1, conditions=values)
    return SimpleNamespace(timing=timing, error=None, inspector='{"Layers": ["a"]}', layers=(LayerTime("a", 1.0),))


def trial(name="plan", *, passed=True, figure=30.0):
    return SimpleNamespace(plan=name, ranges={"t": 1.0}, passed=passed, measured=Score(figure, 0.0, figure))


class Runner:
    """Stands for who builds and times: every engine takes what `medians` says, two loadings each."""

    best, stopped, over, seconds = "", False, False, 3.0

    def __init__(self, medians, builds_left):
        self.medians, self.builds_left, self.ran, self.called, self.agreement = medians, builds_left, [], [], None
        self.waiting = []

    def limit_s(self):
        return 60.0

    def run(self, tasks):
        self.ran += tasks
        results = {}
        for task in tasks:
            names = [*task.beside, *([task.name] if task.model and task.loadings else [])]
            timed = {name: measured(self.medians[name]) for name in names if task.loadings}
            made = None if task.model is None or task.name not in self.medians else engine(task.name)
            self.builds_left -= task.model is not None
            results[task.name] = Done("built" if made else "failed", None if made else "no memory", made, timed)
        return results

    def aside(self, task):
        self.waiting.append(task)

    def settle(self):
        return self.run(self.waiting)

    def call(self, function, *arguments):
        self.called.append((function.__name__, *arguments))
        if isinstance(self.agreement, Exception):
            raise self.agreement
        return self.agreement


class Maker:
    """Stands for who lowers models."""

    model = MODEL

    def __init__(self, options):
        self.weak, self._floating, self.ranges = False, options.floating, []

    def floating(self):
        return self.of("all floating", self._floating, "FP16 everywhere", "floating")

    def implicit(self):
        return replace(self.of(None, "implicit-int8", "implicit", "implicit"), plan=None)

    def of(self, plan, name, move, kind, *, ranges=None):
        self.ranges.append(ranges)
        return Candidate(name, move, kind, plan, MODEL, BuildOptions())

    def with_options(self, candidate, name, move, **changed):
        return replace(candidate, name=name, kind="options", move=move, build=BuildOptions(**changed))


def searching(*, medians=None, builds_left=9, goal=SQNR, backend="tensorrt", **options):
    asked = MeasureOptions(backend, **{"loadings": 2, **options})
    every = {"fp16": (2.0, 2.0), "fp32": (2.0, 2.0), "int8": (1.0, 1.0), **(medians or {})}
    trials = SimpleNamespace(
        candidates=["c"],
        all=[],
        without=lambda nodes, _: trial(f"without {nodes}"),
        everything=lambda _: trial("everything"),
    )
    store = SimpleNamespace(content=lambda _: None, resumed=4)
    return _Search(Maker(asked), Runner(every, builds_left), store, goal, trials, "samples", 3, asked)


def known(made, *points):
    """Let the search know engines that were timed beside floating point."""
    for each in points:
        made._ledger.points[each.name] = each
        if each.ratio is not None:
            made._ledger.measured[each.name] = measured(made._runner.medians.get(each.name, (2 * each.ratio,) * 2))
    return made


def point(name, ratio, kind="placement", *, plan="plan", int8=(), build=None, **more):
    candidate = Candidate(name, f"move of {name}", kind, plan, MODEL, build or BuildOptions(), frozenset(int8))
    status = "failed" if ratio is None else "measured"
    defaults = {"error": 0.01, "compared": True, "engine": engine(name), "latency_ms": ratio and 2 * ratio}
    return Point(candidate, status, ratio=ratio, **{**defaults, **more})


FLOATING, WHOLE = point("fp16", 1.0, "floating"), point("int8", 0.5, "int8")


# How many builds, and for what


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"builds": 12}, 2),
        ({"builds": 5}, 1),
        ({"builds": 9, "tuned_builds": 4}, 3),
        ({"builds": 2}, 0),
        ({"builds": 12, "tuned_builds": 0}, 0),
        ({"builds": 12, "backend": "onnxruntime"}, 0),
    ],
)
def test_a_third_of_the_builds_at_most_is_kept_for_other_build_options(options, kept):
    assert searching(**options)._reserved == kept


@pytest.mark.parametrize(
    ("asked", "weak", "left", "due"),
    [(True, True, 1, True), (True, True, 0, False), (False, True, 5, False), (True, False, 5, False)],
)
def test_implicit_int8_is_built_once_where_a_weakly_typed_builder_is_asked_for_it(asked, weak, left, due):
    made = searching(implicit=asked, builds_left=left)
    made._maker.weak = weak
    assert [one.name for one in made._implicit()] == ["implicit-int8"] * due
    assert known(made, point("implicit-int8", 0.4, "implicit", plan=None, engine=None))._implicit() == []


@pytest.mark.parametrize(
    ("executor", "left", "aside"),
    [
        (None, 9, []),
        (object(), 9, ["implicit-int8"]),
        (object(), 3, ["implicit-int8"]),
        (object(), 2, []),
    ],
)
def test_a_search_begins_with_floating_point_and_int8_everywhere_side_by_side(executor, left, aside):
    made = searching(implicit=True, executor=executor, builds_left=left, medians={"implicit-int8": (0.8, 0.8)})
    made._maker.weak = True
    made._first_two()
    *builds, last = made._runner.ran
    assert [task.name for task in builds] == ["fp16", "int8"]
    assert [(task.name, task.loadings) for task in made._runner.waiting] == [(name, 0) for name in aside]
    assert (made._implicit() == []) == bool(aside or left == 2)
    assert (last.name, list(last.beside)) == ("comparison of 2", ["fp16", "int8"])
    points = made._ledger.points
    assert [(p.candidate.plan, p.ratio, p.figure) for p in (points["fp16"], points["int8"])] == [
        ("all floating", 1.0, 30.0),
        ("everything", 0.5, 30.0),
    ]
    assert points["fp16"].candidate.trial.plan == "without ['c']"
    assert made._maker.ranges[:2] == [None, {"t": 1.0}]


def test_without_an_engine_in_floating_point_there_is_no_search():
    made = searching()
    del made._runner.medians["fp16"]
    with pytest.raises(BackendError, match=r"^m: fp16 was not measured: no memory\. Without an engine in floating"):
        made._first_two()
    assert [task.name for task in made._runner.ran] == ["fp16", "int8"]  # nothing to compare with
    stopped = searching()
    stopped._runner.run = lambda _: {}
    stopped._runner.stopped = True
    with pytest.raises(BackendError, match="fp16 was not measured: it was stopped before"):
        stopped._first_two()


# Placements


def regions(count=4, able=None):
    able = range(count) if able is None else able
    names = [f"r{at}" for at in range(count)]
    return Regions(
        tuple(Region(name, (name,), (name,) if at in able else (), True, name) for at, name in enumerate(names)), ()
    )


def worth(monkeypatch, made, expected, *, failing=(), able=(0, 1, 2)):
    """Return what is worth building where placements are expected to take so many milliseconds."""
    seen = {}
    placements = [Placement(frozenset({at}), f"move {at}", ms) for at, ms in enumerate(expected)]

    def proposals(costs, *, penalty, tried):
        seen.update(costs=costs, penalty=penalty, tried=tried)
        return placements

    monkeypatch.setattr(module, "proposals", proposals)
    monkeypatch.setattr(module, "with_neutral", lambda _, int8: int8 | {9})
    accuracy = SimpleNamespace(
        penalty=lambda _: {0: 0.25}, of=lambda int8, move: trial(move, passed=not int8 & set(failing))
    )
    return made._worth_building(regions(able=able), accuracy, "costs"), seen


def test_what_is_built_next_is_expected_to_be_fast_and_reaches_the_goal(monkeypatch):
    made = known(searching(), FLOATING, WHOLE, point("placement-1", 0.6, int8=(1, 9)))
    chosen, seen = worth(monkeypatch, made, [0.5, 0.75, 1.0], failing={1})
    assert [(one.name, one.move, one.plan, one.kind) for one in chosen] == [
        ("placement-2", "move 0", "move 0", "placement"),
        ("placement-3", "move 2", "move 2", "placement"),
    ]
    assert [(one.int8, one.expected, one.trial.plan) for one in chosen] == [
        ({0, 9}, 0.25, "move 0"),  # of two milliseconds in floating point
        ({2, 9}, 0.5, "move 2"),
    ]
    assert seen["tried"] == {frozenset(), frozenset({0, 1, 2}), frozenset({1})}
    assert (seen["costs"], seen["penalty"]) == ("costs", {0: 0.25})
    assert made._maker.ranges == [{"t": 1.0}] * 2


def test_a_placement_that_could_not_be_built_is_none_of_the_two_that_are_built_whatever_is_expected(monkeypatch):
    failed = [replace(point(f"placement-{at}", None, int8=(at,)), status="failed") for at in (1, 2)]
    chosen, seen = worth(monkeypatch, known(searching(), FLOATING, WHOLE, *failed), [9.0, 9.0, 9.0])
    assert [one.name for one in chosen] == ["placement-3", "placement-4"]
    assert frozenset({2}) in seen["tried"]


@pytest.mark.parametrize(
    ("expected", "before", "count"),
    [
        ([1.03, 1.03, 1.03], 0, 3),  # INT8 everywhere takes a millisecond
        ([1.03, 1.03, 1.04], 0, 2),
        ([9.0, 9.0, 9.0], 0, 2),  # two are built whatever is expected of them
        ([9.0, 9.0, 9.0], 1, 1),
        ([9.0, 9.0, 9.0], 2, 0),
        ([0.5] * 9, 0, 4),
    ],
)
def test_a_round_has_four_builds_at_most_and_none_that_is_expected_to_be_slower(monkeypatch, expected, before, count):
    made = known(searching(), FLOATING, WHOLE, *(point(f"placement-{at}", 3.0, int8=(at,)) for at in range(before)))
    assert len(worth(monkeypatch, made, expected)[0]) == count


# Of 12 builds two are kept for other options.
@pytest.mark.parametrize(("left", "implicit", "count"), [(5, False, 3), (6, False, 4), (6, True, 3), (3, True, 0)])
def test_a_round_leaves_builds_for_other_options_and_for_implicit_int8(monkeypatch, left, implicit, count):
    made = known(searching(builds_left=left, implicit=implicit), FLOATING, WHOLE)
    made._maker.weak = True
    assert len(worth(monkeypatch, made, [0.5] * 9)[0]) == count


def test_no_more_placements_are_evaluated_than_there_is_time_for(monkeypatch):
    made = known(searching(), FLOATING, WHOLE)
    made._runner.over = True
    assert worth(monkeypatch, made, [0.5] * 9)[0] == []


def test_what_the_first_two_engines_foretell_is_the_fastest_of_them_and_of_what_is_built_next():
    candidates = [replace(point(f"placement-{at}", None).candidate, expected=ms) for at, ms in ((1, 0.4), (2, 0.3))]
    made = known(searching(), FLOATING, WHOLE, point("placement-0", 0.1))
    for chosen, name in (([], "int8"), (candidates[:1], "placement-1"), (candidates, "placement-2")):
        made._predict(chosen)
        assert made._predicted == name
    slow = known(searching(), FLOATING, replace(WHOLE, ratio=1.5))
    slow._predict([replace(candidates[0], expected=None)])
    assert slow._predicted == "fp16"


def test_a_round_races_against_the_fastest_and_is_learnt_of(monkeypatch):
    made = known(searching(medians={"placement-1": (0.5, 0.5)}), FLOATING, WHOLE)
    assert made._round() is False  # nothing was learnt yet
    assert made._predicted == "int8"
    learnt, worthy = [], [[replace(point("placement-1", None).candidate, expected=0.25)], []]
    monkeypatch.setattr(made, "_learn", lambda: learnt.append(len(made._ledger.points)))
    monkeypatch.setattr(made, "_worth_building", lambda *_: worthy.pop(0))
    made._model = ("regions", "accuracy", "costs")
    assert made._round() is True
    (task,) = made._runner.ran
    assert (task.name, list(task.beside), learnt) == ("placement-1", ["fp16", "int8"], [3])
    assert made._predicted == "int8"  # said once
    assert made._round() is False
    assert made._rivals() == ["fp16", "placement-1"]
    assert known(searching(), FLOATING)._rivals() == ["fp16"]


def test_rounds_are_made_until_none_is_worth_it_or_only_the_builds_for_options_are_left():
    for rounds, left, expected in ((3, 9, 3), (9, 5, 3)):
        made, seen = searching(builds_left=left), []
        made._first_two = lambda made=made: known(made, FLOATING, WHOLE)
        made._learn = lambda seen=seen: seen.append("learn")
        made._try_options = lambda seen=seen: seen.append("options")
        made._finish = lambda: "found"

        def once(made=made, seen=seen, rounds=rounds):
            seen.append("round")
            made._runner.builds_left -= 1
            return seen.count("round") < rounds

        made._round = once
        assert made.run() == "found"
        assert seen == ["learn", *["round"] * expected, "options"]


def test_an_evaluation_that_is_stopped_ends_a_search_with_what_was_measured():
    made = searching()
    made._first_two = lambda: known(made, FLOATING, WHOLE)
    made._learn = raising(Stopped())
    made._runner.agreement = Stopped()
    found = made.run()
    assert (found.chosen.name, found.figure_on_engine) == ("int8", None)
    assert found.notes == (
        "the results of int8 were not compared: it was stopped",
        "stopped before all builds were made",
    )


def raising(error):
    def do(*_):
        raise error

    return do


def test_where_int8_everywhere_was_not_measured_nothing_is_placed():
    made = searching()
    del made._runner.medians["int8"]
    made._runner.agreement = SimpleNamespace(worst_sqnr_db=25.0)
    found = made.run()
    assert found.notes[0] == "INT8 everywhere was not measured, so there is nothing to place: no memory"
    assert (found.chosen.name, found.reason) == (
        "fp16",
        "stay in FP16: INT8 everywhere was not measured: no memory",
    )
    assert (found.predicted, found.costs, found.resumed, found.seconds) == (None, (), 4, 3.0)


def test_engines_whose_layers_are_not_timed_place_nothing_and_other_options_are_tried_all_the_same(monkeypatch):
    made = searching(medians={"int8-level-5": (0.9, 0.9), "implicit-int8": (1.5, 1.5)}, implicit=True)
    made._maker.weak = True
    made._runner.agreement = SimpleNamespace(worst_sqnr_db=25.0)
    monkeypatch.setattr(module, "what_limits", lambda *_: ())
    monkeypatch.setattr(made, "_learn", raising(AssertionError("layers were not timed")))
    plain = made._ledger.compare

    def compare(names, **options):
        plain(names, **options)
        made._ledger.measured["int8"].layers = ()

    monkeypatch.setattr(made._ledger, "compare", compare)
    monkeypatch.setattr(made, "_with_graphs", lambda *_: None)
    result = made.run()
    assert result.notes == ("int8: its layers' times are not told, so that nothing can be placed by them",)
    built = [task.name for task in made._runner.ran if task.model]
    assert built == ["fp16", "int8", "implicit-int8", "int8-level-5"]
    assert result.chosen.name == "int8-level-5"


def test_implicit_int8_that_is_built_aside_is_in_the_last_comparison(monkeypatch):
    made = searching(implicit=True, executor=object(), medians={"implicit-int8": (0.8, 0.8), "int8-level-5": (1, 1)})
    made._maker.weak = True
    made._runner.agreement = SimpleNamespace(worst_sqnr_db=25.0)
    monkeypatch.setattr(made, "_place", made._try_options)
    monkeypatch.setattr(made, "_with_graphs", lambda *_: None)
    points = {p.name: p for p in made.run().points}
    assert [task.name for task in made._runner.ran] == [
        *("fp16", "int8", "comparison of 2", "int8-level-5", "implicit-int8"),
        *("comparison of 4", "comparison of 4 as CUDA graphs", "int8 again"),
    ]
    assert (points["implicit-int8"].ratio, points["implicit-int8"].compared) == (0.4, True)


# Other build options


def test_the_fastest_plan_is_built_with_other_options_that_it_has_not_already():
    ways = {"placement-1-level-5": {"optimization_level": 5, "timing_iterations": 4}}
    ways["placement-1-one-stream"] = {"aux_streams": 0}

    def tried(build=None, **options):
        medians = {"placement-1": (0.5, 0.5), **dict.fromkeys(ways, (0.5, 0.5))}
        made = known(searching(medians=medians, **options), FLOATING, WHOLE, point("placement-1", 0.25, build=build))
        made._ledger.measured["placement-1"].timing.conditions["aux_streams"] = 2
        made._try_options()
        return {task.name: task.build for task in made._runner.ran}, made

    both, made = tried()
    assert {name: Candidate("", "", "options", None, None, build).ways for name, build in both.items()} == ways
    assert [made._ledger.points[name].candidate.kind for name in ways] == ["options"] * 2
    assert list(made._runner.ran[0].beside) == ["fp16", "placement-1"]
    assert list(tried(tuned_builds=1)[0]) == ["placement-1-level-5"]
    assert list(tried(builds_left=1)[0]) == ["placement-1-level-5"]
    assert list(tried(BuildOptions(aux_streams=0))[0]) == ["placement-1-level-5"]
    assert list(tried(BuildOptions(optimization_level=5))[0]) == list(ways)
    assert tried(tuned_builds=0)[0] == tried(builds_left=0)[0] == tried(backend="onnxruntime")[0] == {}


# The end


def test_the_fastest_four_beside_floating_point_and_int8_everywhere_are_compared_last():
    medians = {f"placement-{at}": (0.5 + at / 10,) * 2 for at in range(6)}
    made = known(searching(medians=medians), FLOATING, WHOLE)
    known(made, *(point(name, ms[0] / 2, compared=False) for name, ms in reversed(medians.items())))
    made._runner.agreement = SimpleNamespace(worst_sqnr_db=25.0)
    found = made._finish()
    last, again, *graphs = made._runner.ran
    assert list(last.beside) == ["fp16", "int8", *(f"placement-{at}" for at in range(4))]
    assert (again.name, list(again.beside), again.loadings) == ("placement-0 again", ["fp16", "placement-0"], 2)
    assert [task.name for task in graphs] == ["comparison of 3 as CUDA graphs"]
    assert (found.chosen.name, found.chosen.ratio, found.figure_on_engine) == ("placement-0", 0.25, 25.0)
    assert found.chosen.pays is None
    assert [p.pays.verdict for p in found.points if p.name in ("fp16", "placement-0")] == ["not measured", "pays"]
    assert found.pays.ratio == 0.25
    assert found.goal is SQNR
    alone = known(searching(), FLOATING, WHOLE)
    alone._runner.agreement, alone._runner.stopped = SimpleNamespace(worst_sqnr_db=25.0), True
    assert alone._finish().notes == ("stopped before all builds were made",)
    assert alone._runner.ran == []  # both were compared already


def test_several_workers_time_cuda_graphs_beside_the_last_comparison():
    made = known(searching(medians={"placement-1": (0.5, 0.5)}, executor=object()), FLOATING, WHOLE)
    known(made, point("placement-1", 0.25))
    made._runner.agreement = SimpleNamespace(worst_sqnr_db=25.0)
    notes = made._finish().notes
    last = ["comparison of 3", "comparison of 3 as CUDA graphs", "placement-1 again"]
    assert [task.name for task in made._runner.ran] == last
    assert notes[-1] == "as CUDA graphs it takes 0.250 of fp16"
    assert notes[0] == "as a CUDA graph placement-1 takes 0.5000 ms, 0% less, for launching its kernels"


class Noisy(Runner):
    """Engines that all take four fifths of the time of floating point, in loadings that are 2 % off at random."""

    def __init__(self, generator, true):
        super().__init__({}, 9)
        self._generator, self._true = generator, true

    def run(self, tasks):
        for task in tasks:
            for name in task.beside:
                true = 2.0 if name == "fp16" else 2.0 * self._true
                self.medians[name] = true * (1 + 0.02 * self._generator.standard_normal(8))
        return super().run(tasks)


def found_by(made, runner, count=5):
    made._runner = made._ledger._runner = runner
    known(made, FLOATING, *(point(f"placement-{at}", 0.8, compared=False) for at in range(count)))
    runner.agreement = SimpleNamespace(worst_sqnr_db=25.0)
    return made._finish()


def test_what_is_told_of_the_fastest_is_what_did_not_choose_it():
    """Of four equal engines the fastest had luck: half a hundredth where it was chosen, and none where it is told."""
    generator = np.random.default_rng(1)
    told, chosen_by = [], []
    for _ in range(100):
        runner = Noisy(generator, 0.8)
        made = searching(backend="tensorrt", timing=TimingOptions(cuda_graph=True))
        again = made._ledger.compare_again
        made._ledger.compare_again = lambda name, points=made._ledger.points, again=again: (
            chosen_by.append(points[name].ratio) or again(name)
        )
        found = found_by(made, runner)
        told.append(found.pays.ratio)
        assert found.pays.ratio == found.chosen.ratio
    error = np.std(told, ddof=1) / 10
    assert abs(np.mean(told) - 0.8) < 3 * error < 0.005
    assert np.mean(chosen_by) < 0.8 - 5 * error


def test_floating_point_stays_where_the_fastest_is_no_faster_when_it_is_timed_again():
    made = searching(timing=TimingOptions(cuda_graph=True))

    class Lucky(Runner):
        def run(self, tasks):
            self.medians |= {"placement-0": (2.0, 2.02) if tasks[0].name.endswith("again") else (1.6, 1.6)}
            return super().run(tasks)

    found = found_by(made, Lucky({"fp16": (2.0, 2.0), "placement-1": (1.7, 1.7)}, 9), count=2)
    before = "placement-0 took 0.800 ± 0.000 of its time where it was the fastest of 2, and 1.005 ± 0.005 timed again"
    assert (found.chosen.name, found.reason) == ("fp16", f"stay in FP16: {before}")
    assert (found.pays.verdict, found.pays.ratio) == ("within the error", pytest.approx(1.005))


def test_a_figure_that_cannot_be_taken_again_is_said_to_flatter():
    made = searching(timing=TimingOptions(cuda_graph=True))
    made._ledger.compare_again = lambda _: False
    found = found_by(
        made, Runner({"fp16": (2.0, 2.0), "placement-0": (1.6, 1.6), "placement-1": (1.7, 1.7)}, 9), count=2
    )
    assert found.chosen.name == "placement-0"
    luck = "placement-0 is the fastest of 2 in the loadings that chose it, which flatters it a little"
    assert luck in found.notes


@pytest.mark.parametrize(
    ("options", "stopped", "graphs"),
    [
        ({}, False, True),
        ({}, True, False),
        ({"backend": "onnxruntime"}, False, False),
        ({"timing": TimingOptions(cuda_graph=True)}, False, False),
    ],
)
def test_engines_are_timed_as_cuda_graphs_where_they_were_not_and_can_be(options, stopped, graphs):
    made = searching(**options)
    made._runner.stopped = stopped
    assert made._graphs == graphs


def chosen_of(made, *figures):
    """Choose where engines, in the order in which they run on the samples, compute with these figures."""
    left = list(figures)
    made._on_engine = lambda _: left.pop(0)
    chosen, reason, figure = made._choose()
    assert left == []
    return chosen.name, reason, figure


def test_of_engines_that_are_as_fast_the_simplest_is_taken():
    medians = {"placement-1": (0.88, 0.89), "placement-2": (0.84, 0.8), "int8": (1.2, 1.2), "tuned": (0.8, 0.8)}
    kinds = {"int8": "int8", "tuned": "options"}
    points = [
        point(name, sum(ms) / 4, kinds.get(name, "placement"), error=0.025) for name, ms in reversed(medians.items())
    ]
    made = known(searching(medians=medians), FLOATING, *points)
    # INT8 everywhere takes 1.5 of the fastest, the placements 1.106 ± 0.006 and 1.025 ± 0.025.
    assert chosen_of(made, 25.0) == (
        "placement-2",
        "0.410 ± 0.025 of the time of FP16; tuned is no faster within the error",
        25.0,
    )
    only = known(searching(medians={"int8": (1.0, 1.0)}), FLOATING, WHOLE, point("placement-1", 0.1, compared=False))
    assert chosen_of(only, None) == ("int8", "0.500 ± 0.010 of the time of FP16", None)


def test_an_engine_that_misses_the_goal_by_itself_is_not_taken():
    made = known(searching(medians={"placement-1": (0.5, 0.5)}), FLOATING, WHOLE, point("placement-1", 0.25))
    assert chosen_of(made, 19.96, 21.0) == ("int8", "0.500 ± 0.010 of the time of FP16", 21.0)
    note = "placement-1 is not taken: its engine computes with sqnr_db 19.96, which misses the goal"
    assert made._notes == [note]
    assert [made._ledger.points[name].passed for name in ("placement-1", "int8")] == [False, True]


def test_floating_point_is_taken_whatever_its_engine_computes():
    slow = known(searching(medians={"int8": (3.2, 3.3)}), FLOATING, replace(WHOLE, ratio=1.625, error=0.125))
    reason = "stay in FP16: the fastest in INT8 (int8) takes 1.625 ± 0.125 of its time"
    assert chosen_of(slow, 1.0) == ("fp16", reason, 1.0)
    none = known(searching(), FLOATING, replace(WHOLE, passed=False))
    reason = "stay in FP16: nothing in INT8 was measured that reaches the goal"
    assert chosen_of(none, None) == ("fp16", reason, None)
    assert known(searching(), replace(FLOATING, compared=False))._choose()[1:] == (
        "stay in FP16: nothing else reaches the goal",
        None,
    )


@pytest.mark.parametrize(
    ("goal", "agreement", "figure"),
    [
        (SQNR, SimpleNamespace(worst_sqnr_db=12.5), 12.5),
        (DROP, SimpleNamespace(accuracy=SimpleNamespace(drop=0.75)), 0.75),
        (DROP, SimpleNamespace(accuracy=None), None),
    ],
)
def test_an_engine_runs_on_the_samples_for_what_the_goal_is_about(goal, agreement, figure):
    made = searching(goal=goal)
    made._runner.agreement = agreement
    assert made._on_engine(WHOLE) == figure
    assert made._runner.called == [("agreement", b"model", engine("int8"), "samples", goal.labels, 3)]
    with_batch = searching(goal=goal, batch=8)
    with_batch._runner.agreement = agreement
    with_batch._on_engine(WHOLE)
    assert with_batch._runner.called[0][-1] == 8


def test_what_an_engine_computes_is_not_always_known():
    made = searching()
    made._runner.agreement = BackendError("the GPU is lost")
    assert made._on_engine(WHOLE) is None
    assert made._notes == ["the results of int8 were not compared: the GPU is lost"]
    assert made._on_engine(replace(WHOLE, engine=None)) is None
    assert searching(goal=Goal(len, at_least=1))._on_engine(WHOLE) is None
    assert len(made._runner.called) == 1


def test_what_was_learnt_of_regions_and_borders_is_said():
    floating, int8 = {0: 1.0, 1: 2.0, 2: 0.5, 3: 7.0}, {0: 0.75, 1: 1.0, 2: 0.625, 3: 1.0}
    costs = PlacementCosts(regions(able=(0, 1, 2)), floating, int8, 0.004, 3e-9, into=1.25, out_of=0.5)
    told = costs.sentences()
    assert told == (
        "3 regions can be INT8: saving 1.2500 ms in some, losing 0.1250 in others",
        "a conversion takes 0.0040 ms and 0.0030 ms a million numbers, times 1.25 into INT8 and 0.50 out of it",
    )
    refused = replace(costs, closed=frozenset({2, 0})).sentences()
    assert refused == (*told, "no kernel in INT8 before floating point: r0, r2")


def test_engines_in_int8_everywhere_teach_of_all_regions_and_placements_of_theirs(monkeypatch):
    made = known(searching(medians={"placement-1": (0.5, 0.5), "tuned": (0.4, 0.4)}), FLOATING, WHOLE)
    known(made, point("placement-1", 0.25, int8=(1, 2)), point("tuned", 0.2, "options", int8=(3,)))
    known(made, point("placement-2", None), point("placement-4", 0.3, int8=(1,)))
    made._ledger.measured["placement-4"].layers = ()  # on several streams: it tells nothing of regions
    lacking = "m: no kernel computes r1 + r9 as one. Give the nodes behind it INT8 as well."
    known(made, replace(point("placement-3", None), status="failed", reason=lacking))
    seen = []
    monkeypatch.setattr(module, "fusion_map", lambda report, _: f"map of {report.name}")
    monkeypatch.setattr(module, "regions_of", lambda _, able, first: (seen.append((able, first)), regions())[1])
    monkeypatch.setattr(module, "observed", lambda report, fusion, _, int8, ms: (report.name, fusion, set(int8), ms))
    monkeypatch.setattr(module, "PlacementCosts", SimpleNamespace(of=lambda _, seen, closed: (*seen, closed)))
    told = [
        ("fp16", "map of fp16", set(), 2.0),
        ("int8", "map of int8", {0, 1, 2, 3}, 1.0),
        ("placement-1", "map of placement-1", {1, 2}, 0.5),
        {1},
    ]
    told = tuple(told)
    first = made._learn()
    assert first[2] == told
    ((able, engines),) = seen
    assert (able, [(report.name, fusion) for report, fusion in engines]) == (
        ["c"],
        [("fp16", "map of fp16"), ("int8", "map of int8")],
    )
    again = made._learn()
    assert (again[0], again[1], again[2]) == (first[0], first[1], told)
    assert len(seen) == 1  # regions are those of the first two engines
    assert math.isclose(made._ledger.points["fp16"].latency_ms, 2.0)
