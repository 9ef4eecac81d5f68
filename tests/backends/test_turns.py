"""Who is loaded when, takes turns with whom, leaves a race, and how two engines then compare."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.backends.onnxruntime.engine import OnnxRuntime
from workbench.backends.protocol import Timing, TimingOptions
from workbench.backends.turns import Ratio, Schedule, median_error_ms, ratio_of, take_turns
from workbench.engine.report import LayerTime
from workbench.errors import BackendError

MS = {"a": 1.0, "b": 2.0, "c": 1.001}


class Clock:
    """An engine that takes as long as its name says, and a hundredth more with every loading."""

    def __init__(self, journal, name, loading):
        self.journal, self.name, self.ms = journal, name, MS[name] * (1 + loading / 100)

    def turn(self, runs):
        self.journal.append(("turn", self.name))
        return (self.ms,) * runs, runs * self.ms / 1000

    def finish(self, schedule, beside):
        conditions = {"clock": str(schedule), "beside": list(beside)}
        return conditions, (LayerTime("l", 1.0, 1.0),), f"{self.name}.json"

    def close(self):
        self.journal.append(("close", self.name))


def clocks(journal, *, fails=None, noise=0.0):
    random = np.random.default_rng(0)

    def load(name, loading, schedule):
        journal.append(("load", name, loading, schedule))
        if fails == (name, loading):
            raise BackendError("no memory")
        clock = Clock(journal, name, loading)
        clock.ms *= 1 + noise * random.normal()
        return clock

    return load


def test_engines_are_loaded_ten_times_in_turning_order_and_median_and_error_follow():
    journal = []
    results = take_turns(["a", "b"], clocks(journal), Schedule.of(400))
    assert [name for what, name, *_ in journal if what == "load"] == ["a", "b", "b", "a"] * 5
    assert sum(what == "turn" for what, *_ in journal) == 2 * 10 * 2
    assert sum(what == "close" for what, *_ in journal) == 20
    for name, measured in results.items():
        assert len(measured.latencies_ms) == 400
        medians = measured.timing.conditions["placement_medians_ms"]
        assert medians == pytest.approx([MS[name] * (1 + loading / 100) for loading in range(10)])
        assert measured.timing.median_ms == pytest.approx(MS[name] * 1.045)
        assert median_error_ms(measured.timing) == pytest.approx(MS[name] * 0.0302765 / 10**0.5, rel=1e-4)
        assert measured.timing.conditions["beside"] == ["b" if name == "a" else "a"]
        assert "loaded anew 10 times" in measured.timing.conditions["clock"]
        assert measured.inspector == f"{name}.json"


def test_both_the_loading_and_the_turns_rotate_and_every_run_counts():
    journal = []
    results = take_turns(["a", "b", "c"], clocks(journal), Schedule(loadings=2, rounds=2, each=3))
    assert [f"{what} {name}" for what, name, *_ in journal] == [
        *("load a", "load b", "load c"),
        *("turn a", "turn b", "turn c", "turn b", "turn c", "turn a"),
        *("close a", "close b", "close c"),
        *("load b", "load c", "load a"),
        *("turn b", "turn c", "turn a", "turn c", "turn a", "turn b"),
        *("close b", "close c", "close a"),
    ]
    assert results["b"].latencies_ms == (2.0,) * 6 + (2.02,) * 6
    timing = results["b"].timing
    assert (timing.runs, timing.warm_up_runs) == (12, 4)
    assert timing.throughput == pytest.approx(12 / (6 * 2.0 + 6 * 2.02) * 1000)
    assert timing.conditions["beside"] == ["c", "a"]


def raced(offsets, kept=()):
    """How many loadings an engine stays in a race that is so much slower than the other in each."""

    def load(name, loading, _):
        clock = Clock([], "a", 0)
        clock.ms = 1.0 + (offsets[loading] if name == "other" else 0.0)
        return clock

    results = take_turns(["leader", "other"], load, Schedule(len(offsets), 1, 1), kept=kept)
    assert len(results["leader"].timing.conditions["placement_medians_ms"]) == len(offsets)
    return len(results["other"].timing.conditions["placement_medians_ms"])


def alternating(errors, loadings=6):
    """Return offsets that lie so many standard errors from 0 after four loadings."""
    deviations = np.array([-0.1, 0.1, -0.1, 0.1])
    standard_error = np.sqrt(np.sum(deviations**2) / 3) / np.sqrt(4)
    return errors * standard_error + np.tile(deviations, 2)[:loadings]


@pytest.mark.parametrize(
    ("offsets", "loadings"),
    [
        (alternating(10.3), 4),  # by Student's t 10.215 of four and 7.173 of five
        (alternating(10.1), 5),
        (alternating(6.0), 6),
        ([0.0] * 6, 6),
        ([0.1] * 6, 4),
        ([0.1] * 3, 3),
    ],
)
def test_an_engine_leaves_a_race_once_it_is_surely_behind_and_not_before_the_fourth_loading(offsets, loadings):
    assert raced(offsets) == loadings
    assert raced(offsets, kept=["other"]) == raced(offsets, kept=None) == len(offsets)


def test_the_fastest_of_a_race_does_not_leave_it():
    random, lost, took = np.random.default_rng(0), 0, []
    for _ in range(100):

        def load(name, *_):
            clock = Clock([], "a", 0)
            clock.ms = {"best": 1.0, "near": 1.005, "far": 1.2}[name] * random.normal(1.0, 0.01)
            return clock

        results = take_turns(["far", "near", "best"], load, Schedule(5, 1, 1), kept=())
        ran = {name: one.timing.runs for name, one in results.items()}
        lost += ran["best"] < 5
        took.append(ran["far"])
    assert lost == 0
    assert np.mean(took) < 4.2  # who is a fifth slower leaves when it may


def test_a_race_of_engines_that_all_fail_has_no_winner():
    def load(*_):
        raise BackendError("no memory")

    results = take_turns(["a", "b"], load, Schedule(5, 2, 1), kept=[])
    assert [one.error for one in results.values()] == ["no memory"] * 2


def timed(*medians):
    return Timing.of(np.ones(1), span_s=1.0, warm_up_runs=0, conditions={"placement_medians_ms": list(medians)})


def test_the_error_of_a_median_and_of_a_ratio_is_that_of_a_mean_over_loadings():
    few, more = timed(1.0, 2.0, 6.0), timed(2.0, 2.5, 3.0, 9.0)
    assert median_error_ms(few) == pytest.approx(np.sqrt((4 + 1 + 9) / 2 / 3))
    assert median_error_ms(timed(1.0, 3.0)) == pytest.approx(1.0)
    assert median_error_ms(timed(1.0)) is None
    assert median_error_ms(timed()) is None
    ratio = ratio_of(few, more)
    assert (ratio.value, ratio.loadings) == (pytest.approx((0.5 + 0.8 + 2.0) / 3), 3)
    assert ratio.error == pytest.approx(np.sqrt((0.6**2 + 0.3**2 + 0.9**2) / 2 / 3))
    assert ratio_of(more, few).loadings == 3
    assert ratio_of(timed(1.0, 3.0), timed(1.0, 1.0)).error == pytest.approx(1.0)
    assert ratio_of(timed(3.0), more) == Ratio(1.5, float("inf"), 1)
    assert str(Ratio(1.23456, 0.0128, 3)) == "1.235 ± 0.013"
    with pytest.raises(BackendError, match=r"not timed side by side\. Time them in one call"):
        ratio_of(timed(), more)


def test_two_engines_are_compared_loading_by_loading_so_that_a_drift_of_both_is_no_error():
    results = take_turns(["a", "b"], clocks([]), Schedule.of(400))
    ratio = ratio_of(results["b"].timing, results["a"].timing)
    assert (ratio.value, ratio.error, ratio.loadings) == (pytest.approx(2.0), pytest.approx(0.0, abs=1e-12), 10)
    assert median_error_ms(results["a"].timing) > 0.005  # while each alone drifts by a tenth


def test_who_is_surely_behind_leaves_the_race_and_the_reference_never():
    journal = []
    results = take_turns(["a", "b", "c"], clocks(journal, noise=0.01), Schedule.of(400), kept=["a"])
    loads = {name: sum(what == "load" and one == name for what, one, *_ in journal) for name in MS}
    assert loads == {"a": 10, "b": 4, "c": 10}
    assert len(results["b"].timing.conditions["placement_medians_ms"]) == 4
    assert results["b"].layers
    assert ratio_of(results["b"].timing, results["a"].timing).loadings == 4
    slow_reference = take_turns(["b", "a"], clocks([], noise=0.01), Schedule.of(400), kept=["b"])
    assert len(slow_reference["b"].timing.conditions["placement_medians_ms"]) == 10


def test_an_engine_that_fails_does_not_stop_the_others():
    results = take_turns(["c", "a"], clocks([], fails=("c", 2)), Schedule.of(40))
    assert results["c"].error.endswith("no memory")
    assert results["c"].timing is None
    assert list(results) == ["c", "a"]
    assert len(results["a"].latencies_ms) == 40
    assert results["a"].timing.conditions["beside"] == []
    with pytest.raises(AttributeError):
        ratio_of(results["c"].timing, results["a"].timing)


@pytest.mark.parametrize(
    ("runs", "shape"), [(1, (1, 1, 1)), (5, (5, 1, 1)), (10, (10, 1, 1)), (15, (10, 2, 1)), (401, (10, 2, 21))]
)
def test_few_runs_are_spread_over_fewer_loadings(runs, shape):
    assert Schedule.of(runs) == Schedule(*shape)
    assert str(Schedule.of(401)) == "engines take turns, 2 rounds of 21 runs each, and are loaded anew 10 times"
    assert Schedule.of(7, 3) == Schedule(3, 2, 2)


def test_engines_that_were_not_timed_side_by_side_are_not_compared(small_cnn):
    from workbench.graph.load import load_model

    backend = OnnxRuntime()
    engine = backend.build(load_model(small_cnn))
    alone = backend.time(engine, TimingOptions(runs=3, warm_up_s=0.0))
    with pytest.raises(BackendError, match="side by side"):
        ratio_of(alone, alone)
    result = backend.measure({"one": engine, "again": engine}, TimingOptions(runs=60, warm_up_s=0.01), loadings=3)
    ratio = ratio_of(result["again"].timing, result["one"].timing)
    assert ratio.loadings == 3
    assert 0.3 < ratio.value < 3
    assert {layer.name for layer in result["one"].layers} == {layer.name for layer in result["again"].layers} != set()
    assert result["one"].timing.conditions["backend"] == "onnxruntime"
