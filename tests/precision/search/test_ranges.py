"""The ways to choose ranges that a search tries."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from tests.kit.networks import network
from workbench.calibration import Statistics, TensorStatistics, ranges
from workbench.precision.search import ranges as module
from workbench.precision.search.ranges import CALIBRATED, MIXED, try_ways, ways_to_choose


def test_every_method_is_a_way_and_the_best_of_them_for_each_tensor(monkeypatch):
    model = network("conv", "two_readers")  # Conv_0 reads x, and two others read t0
    statistics = Statistics({"x": TensorStatistics(), "t0": TensorStatistics(), "broken": TensorStatistics()})
    values = np.random.default_rng(0).standard_t(2, 5000).astype(np.float32)
    statistics["x"].update(values)
    statistics["t0"].update(values[:2000] * 3)
    statistics["broken"].update(np.float32([np.nan]))
    calibrated = {"x": 7.0, "t0": 8.0, "other": 9.0}
    nodes = ["Conv_0", "Conv_1", "Conv_2"]
    trials = SimpleNamespace(model=model, candidates=nodes, ranges=calibrated, resolution="rules")
    asked = []

    def noises(network, candidates, ways, samples, *, batch, resolution):
        asked.append((network, candidates, samples, batch, resolution))
        table = {way: {"Conv_0": 1.0, "Conv_1": 1.0, "Conv_2": 1.0} for way in ways}
        table["percentile 99.9"] |= {"Conv_0": 0.5}
        table["entropy"] |= {"Conv_1": 0.1, "Conv_2": 1.5}
        table["mse"] |= {"Conv_1": 0.9, "Conv_2": 0.6}  # least for both together
        return table

    monkeypatch.setattr(module, "local_noises", noises)
    ways = ways_to_choose(trials, statistics, "samples", 3)
    assert asked == [(model, trials.candidates, "samples", 3, "rules")]
    usable = {name: statistics[name] for name in ("x", "t0")}
    expected = {
        CALIBRATED: {},
        "minmax": ranges(usable, "minmax"),
        **{f"percentile {p:g}": ranges(usable, "percentile", percentile=p) for p in (99.9, 99.99, 99.999)},
        "entropy": ranges(usable, "entropy"),
        "mse": ranges(usable, "mse"),
    }
    assert set(ways) == {*expected, MIXED}
    for way, chosen in expected.items():
        assert ways[way] == calibrated | {name: one.amax for name, one in chosen.items()}
    mixed = {"x": ways["percentile 99.9"]["x"], "t0": ways["mse"]["t0"], "other": 9.0}
    assert ways[MIXED] == mixed
    assert len({way["x"] for way in ways.values()}) >= 5


@pytest.mark.parametrize(
    ("demoted", "slower", "plan"),
    [
        ((), (), "everything in INT8"),
        (("a", "b"), (), "2 in floating point"),
        (("a",), ("a", "c"), "2 in floating point"),
    ],
)
def test_a_plan_is_tried_with_every_way_and_the_best_goes_on(demoted, slower, plan):
    tried = []

    def without(nodes, move):
        tried.append((nodes, move, trials.ranges))
        return trials.ranges["merit"]

    trials = SimpleNamespace(slower=frozenset(slower), ranges={}, without=without, merit=lambda trial: trial)
    ways = {"one": {"merit": 2}, "two": {"merit": 5}, "three": {"merit": 3}}
    assert try_ways(trials, ways, demoted) == 5
    assert tried == [(demoted, f"{plan}, ranges: {way}", these) for way, these in ways.items()]
    assert trials.ranges == ways["two"]
