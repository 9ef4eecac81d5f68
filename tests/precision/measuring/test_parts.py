"""How a build and a timing end, and what a tuned model is held against: the backend is stood in for."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from onnx import helper

from tests.kit.models import model
from workbench.backends import BuildOptions, TimingOptions
from workbench.child import ChildError
from workbench.errors import BackendError
from workbench.precision.measuring import accuracy, work
from workbench.precision.measuring.accuracy import FIRST, GROWTH, NoisePrice
from workbench.precision.measuring.work import TimingTask, do

MODEL = model([helper.make_node("Relu", ["x"], ["y"], "r")], {"x": [2]}, {"y": [2]})


@pytest.fixture
def backend(monkeypatch):
    """What builds and times, and what it was asked."""
    made = SimpleNamespace(asked=[], fails=None, measured={}, held=0)

    def build(network, options, *, child):
        made.asked.append(("build", network.digest, options.timing_cache, child.timeout_s, made.held))
        if made.fails is not None:
            raise made.fails
        return "engine"

    def measure(engines, timing, *, loadings, kept):
        made.asked.append(("measure", dict(engines), timing.runs, loadings, kept, made.held))
        if isinstance(made.measured, Exception):
            raise made.measured
        return made.measured

    @contextmanager
    def alone(_):
        made.held += 1
        yield "a device"
        made.held -= 1

    made.build, made.measure = build, measure
    monkeypatch.setattr(work, "backend_named", lambda _: made)
    monkeypatch.setattr(work, "alone_on_device", alone)
    return made


def task(**more):
    content = {"model": MODEL.to_bytes(), "build": BuildOptions(), "limit_s": 9.0} | more
    return TimingTask("mine", content.pop("backend", "tensorrt"), TimingOptions(runs=5), **content)


def test_an_engine_is_built_and_where_that_is_asked_timed_beside_others(backend):
    built = do(task(loadings=0))
    assert (built.status, built.reason, built.engine, built.timing_s) == ("built", "it was not timed", "engine", 0.0)
    assert built.worker.startswith("a device, process ")
    assert (built.began, built.ended, built.cache) == (0.0, 0.0, None)
    backend.measured = {"mine": SimpleNamespace(error=None)}
    timed = do(task(loadings=3, beside={"other": "theirs"}, kept=("mine",)))
    assert (timed.status, timed.reason, timed.measured) == ("measured", None, backend.measured)
    assert timed.timing_s == timed.ended - timed.began >= 0
    assert backend.asked[-1] == ("measure", {"other": "theirs", "mine": "engine"}, 5, 3, ("mine",), 1)
    assert backend.asked[0] == ("build", MODEL.digest, None, 9.0, 1)


@pytest.mark.parametrize(("name", "held"), [("onnxruntime", 0), ("tensorrt", 1)])
def test_onnx_runtime_builds_while_others_time(backend, name, held):
    do(task(backend=name, loadings=0))
    assert backend.asked[0][-1] == held


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ChildError("late", kind="timeout"), "too slow"),
        (ChildError("dead", kind="crashed"), "failed"),
        (BackendError("refused"), "failed"),
    ],
)
def test_what_fails_while_it_is_built_is_a_result(backend, error, status):
    backend.fails = error
    done = do(task(loadings=3))
    assert (done.status, done.reason, done.engine) == (status, str(error), None)
    assert [one[0] for one in backend.asked] == ["build"]


def test_what_fails_while_it_is_timed_is_a_result(backend):
    backend.measured = BackendError("the GPU is lost")
    assert do(task(loadings=3)).reason == "not timed: the GPU is lost"
    backend.measured = {"mine": SimpleNamespace(error="wrong shape")}
    done = do(task(loadings=3))
    assert (done.status, done.reason) == ("failed", "it does not run: wrong shape")
    backend.measured = {"other": SimpleNamespace(error="not mine")}
    assert do(task(loadings=3)).status == "measured"


def test_where_nothing_is_to_be_built_others_are_timed(backend):
    alone = do(task(model=None, build=None, beside={"a": 1, "b": 2}, loadings=2))
    assert (alone.status, alone.engine) == ("measured", None)
    assert backend.asked == [("measure", {"a": 1, "b": 2}, 5, 2, None, 1)]


def test_another_host_has_a_timing_cache_of_its_own_that_comes_back(backend, tmp_path):
    near = BuildOptions(timing_cache=str(tmp_path / "timing.cache"))
    assert do(task(build=near, loadings=0)).cache is None
    assert backend.asked[-1][2] == str(tmp_path / "timing.cache")
    far = BuildOptions(timing_cache=str(tmp_path / "elsewhere/timing.cache"))
    back = do(task(build=far, cache=b"learnt", loadings=0))
    assert backend.asked[-1][2] != far.timing_cache
    assert back.cache == b"learnt"
    assert do(task(build=far, loadings=0)).cache is None


# The price of noise


def priced(monkeypatch, *, needs, noise=(1.0, 3.0)):
    """Prices that were tried, and what is charged: the goal is reached from a price on."""
    tried = []
    both = [SimpleNamespace(able=["a"]), SimpleNamespace(able=["b", "unknown"])]
    regions = SimpleNamespace(able=(0, 1), all=both, nodes_of=lambda int8: int8)
    monkeypatch.setattr(
        accuracy,
        "quick",
        lambda *_, **__: SimpleNamespace(
            errors=[SimpleNamespace(node=node, noise=value) for node, value in zip("ab", noise, strict=True)]
        ),
    )

    def cheapest(_, *, penalty, shared):
        assert not shared
        tried.append(penalty[0] / noise[0])
        return frozenset({0})

    monkeypatch.setattr(accuracy, "cheapest", cheapest)

    def without(_, move):
        return SimpleNamespace(passed=needs == 0 if move == "all in INT8" else tried[-1] >= needs)

    trials = SimpleNamespace(candidates=["a", "b"], without=without, model=None, ranges={}, resolution=None)
    price = NoisePrice(trials, regions, None, 1)
    costs = SimpleNamespace(saving_ms=lambda position: (8.0, -5.0)[position])
    return price, costs, tried


def test_noise_is_free_where_int8_everywhere_reaches_the_goal(monkeypatch):
    price, costs, tried = priced(monkeypatch, needs=0)
    assert price.penalty(costs) == {}
    assert tried == []


def test_the_price_rises_until_the_goal_is_reached_and_is_refined_once(monkeypatch):
    first = 0.1 * 8.0 / 4.0  # a tenth of what INT8 saves
    assert (FIRST, GROWTH) == (0.1, 4.0)
    price, costs, tried = priced(monkeypatch, needs=first * GROWTH)
    charged = price.penalty(costs)
    assert tried[:2] == pytest.approx([first, first * GROWTH])
    assert len(tried) == 2 + 3
    assert tried[2:] == pytest.approx([first * 2, first * 2**1.5, first * 2**1.75])
    assert charged == pytest.approx({0: first * GROWTH, 1: 3 * first * GROWTH})
    tried.clear()
    assert price.penalty(costs) == charged  # it begins where it ended, and refines nothing
    assert tried == pytest.approx([first * GROWTH])


def test_a_price_that_is_high_enough_at_once_is_lowered(monkeypatch):
    first = FIRST * 8.0 / 4.0
    price, costs, tried = priced(monkeypatch, needs=first / GROWTH)
    price.penalty(costs)
    assert tried[:2] == pytest.approx([first, first / GROWTH])
    assert len(tried) == 4
