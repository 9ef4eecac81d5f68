"""Tasks are done within builds and seconds, through the journal, until an end is asked for: by a clock made by hand."""

from __future__ import annotations

import threading
from concurrent.futures import BrokenExecutor, CancelledError, Future, ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from tests.kit.awaited import PATIENCE_S
from workbench.backends import BuildOptions, TimingOptions
from workbench.errors import BackendError
from workbench.precision.measuring import runner as module
from workbench.precision.measuring.cluster import Here
from workbench.precision.measuring.options import MeasureOptions
from workbench.precision.measuring.runner import Runner
from workbench.precision.measuring.work import Done, TimingTask
from workbench.progress import watched


class Clock:
    """Stands for the wall clock: it goes on only where a test lets it."""

    now = 100.0

    def monotonic(self):
        return self.now


class Kept:
    """Stands for the store: what came of tasks before, by their names, and what is kept of new ones."""

    def __init__(self):
        self.before, self.added = {}, []

    def done_before(self, asked):
        return self.before.get(asked.name)

    def add(self, asked, done):
        self.added.append((asked.name, done.status))


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


@pytest.fixture
def bench(clock):
    """Makes a runner; `said` and `shown` hold what was told, `store` what is kept."""

    def make(**options):
        said, shown, store = [], [], Kept()
        asked = MeasureOptions("onnxruntime", **{"builds": 5, "loadings": 4, "say": said.append, **options})
        runner = Runner(asked, store, lambda text, share: shown.append((text, share)))
        return SimpleNamespace(runner=runner, store=store, said=said, shown=shown, clock=clock)

    return make


def task(name, *, model=b"model", beside=0, loadings=0, build=None):
    engines = {f"engine {at}": at for at in range(beside)}
    return TimingTask(name, "onnxruntime", TimingOptions(), model, build or BuildOptions(), engines, loadings)


def did(bench, *tasks, **done):
    """Let tasks be known to the store with the same outcome."""
    for each in tasks:
        bench.store.before[each.name] = Done("built", **done)
    return bench.runner.run(tasks)


def test_without_a_budget_a_build_may_take_an_hour_and_only_their_number_is_limited(bench):
    made = bench(builds=3)
    assert (made.runner.builds_left, made.runner.over, made.runner.limit_s()) == (3, False, 3600.0)
    did(made, task("a"), task("b"), task("timing", model=None), build_s=1e6, timing_s=1e6)
    assert (made.runner.builds, made.runner.builds_left) == (2, 1)
    did(made, task("c"), task("d"))
    assert (made.runner.builds, made.runner.builds_left, made.runner.over) == (4, 0, False)
    made.clock.now = 142.5
    assert made.runner.seconds == 42.5


@pytest.mark.parametrize(
    ("longest", "budget", "passed", "over"),
    [
        (0, 30, 15, False),  # ten seconds are for running the engine; five are the shortest build
        (0, 30, 15.5, True),
        (7, 30, 15, False),  # 0.7 of the longest build are 4.9 seconds
        (10, 30, 13, False),
        (10, 30, 13.5, True),
    ],
)
def test_no_build_is_begun_for_which_too_little_of_the_budget_is_left(bench, longest, budget, passed, over):
    made = bench(budget_s=budget)
    did(made, task("first"), build_s=longest)
    made.clock.now += passed
    assert (made.runner.over, made.runner.builds_left) == (over, 0 if over else 4)


@pytest.mark.parametrize(
    ("longest", "budget", "limit"),
    [
        (0, 1000, 990),
        (0, 10_000, 3600),
        (10, 10_000, 60),
        (15, 10_000, 60),
        (20, 10_000, 80),
        (20, 70, 60),
        (20, 12, 5),
    ],
)
def test_with_a_budget_a_build_may_take_four_times_the_longest_and_at_least_a_minute(bench, longest, budget, limit):
    made = bench(budget_s=budget)
    did(made, task("shorter"), build_s=longest / 2)
    did(made, task("longest"), build_s=longest)
    did(made, task("again"), build_s=longest / 4)
    assert made.runner.limit_s() == limit


def test_implicit_int8_is_no_measure_of_how_long_a_build_takes(bench):
    made = bench(budget_s=10_000)
    did(made, task("plain"), build_s=20)
    did(made, task("implicit", build=BuildOptions(dynamic_range=4.0)), build_s=500)
    did(made, TimingTask("no options", "onnxruntime", TimingOptions(), b"model"), build_s=30)
    assert (made.runner.limit_s(), made.runner.builds) == (120, 3)


@pytest.mark.parametrize(
    ("timed", "seconds", "left"),
    [
        (task("comparison", model=None, beside=3, loadings=5), 30, 990 - 12 * 4 * 2),
        (task("race", beside=2, loadings=5), 30, 990 - 12 * 4 * 2),
        (task("alone", loadings=5), 30, 990 - 12 * 4 * 1),
        (task("comparison", model=None, beside=3, loadings=5), 0, 990),
    ],
)
def test_what_the_last_comparison_takes_is_kept_from_builds(bench, timed, seconds, left):
    """Twelve engines, as often loaded as is asked for, by the longest that one loading took."""
    made = bench(budget_s=1000)
    did(made, timed, timing_s=seconds)
    did(made, task("quicker", model=None, beside=3, loadings=5), timing_s=seconds / 2)
    assert made.runner.limit_s() == left


def test_what_is_done_is_kept_and_what_the_journal_knows_is_not_done_again(bench, monkeypatch):
    done = []

    def do(asked):
        done.append(asked.name)
        return Done("measured", build_s=2.4, timing_s=3.6)

    monkeypatch.setattr(module, "do", do)
    made = bench(budget_s=60)
    made.store.before["known"] = Done("failed", "no memory")
    results = made.runner.run([task("known"), task("new")])
    assert {name: one.status for name, one in results.items()} == {"known": "failed", "new": "measured"}
    assert (done, made.store.added) == (["new"], [("new", "measured")])
    assert made.said == ["known: failed (no memory)", "new: measured, built in 2 s, timed in 4 s"]
    assert made.shown == [("new, 4 builds left, 60 s left", 0.2)]
    made.runner.best = "int8, 0.500 of fp32"
    made.clock.now += 8
    made.runner.run([task("third")])
    assert made.shown[-1] == ("third, 3 builds left, 52 s left; best so far: int8, 0.500 of fp32", 0.4)


def test_how_much_is_left_is_never_less_than_nothing(bench, monkeypatch):
    monkeypatch.setattr(module, "do", lambda _: Done("measured"))
    made = bench(builds=2, budget_s=20)
    did(made, *(task(f"{at}") for at in range(3)))
    made.clock.now += 100
    results = made.runner.run([task("build"), task("timing", model=None)])
    assert list(results) == ["timing"]  # what only times is done all the same
    assert made.shown == [("timing, 0 builds left, 0 s left", 1.0)]
    one = bench(builds=4)
    did(one, *(task(f"{at}") for at in range(3)))
    one.runner.run([task("last")])
    assert one.shown == [("last, 1 build left", 0.75)]


def test_a_task_that_is_done_at_once_counts_before_the_next_is_begun(bench, monkeypatch):
    made = bench(budget_s=30)

    def do(_):
        made.clock.now += 20
        return Done("measured")

    monkeypatch.setattr(module, "do", do)
    assert list(made.runner.run([task("first"), task("second")])) == ["first"]


def test_a_pool_does_all_tasks_in_whatever_order(bench, monkeypatch):
    second = threading.Event()

    def do(asked):
        if asked.name == "first":
            assert second.wait(PATIENCE_S)
        else:
            second.set()
        return Done("measured", asked.name)

    monkeypatch.setattr(module, "do", do)
    with ThreadPoolExecutor(2) as pool:
        results = bench(executor=pool).runner.run([task("first"), task("second")])
    assert {name: one.reason for name, one in results.items()} == {"first": "first", "second": "second"}


def test_what_is_set_aside_is_begun_by_who_has_finished_and_waited_for_in_the_end(bench, monkeypatch):
    release, begun = threading.Event(), threading.Event()
    order = []

    def do(asked):
        order.append(asked.name)
        if asked.name == "spare":
            begun.set()
            assert release.wait(30)
        if asked.name == "long":
            assert begun.wait(30)
        return Done("built", asked.name)

    monkeypatch.setattr(module, "do", do)
    with ThreadPoolExecutor(2) as pool:
        made = bench(executor=pool)
        made.runner.aside(task("spare"))
        assert (order, made.runner.builds_left) == ([], 4)
        assert set(made.runner.run([task("short"), task("long")])) == {"short", "long"}
        assert (sorted(order), made.runner.builds, made.runner.builds_left) == (["long", "short", "spare"], 2, 2)
        assert set(made.runner.run([task("next")])) == {"next"}
        release.set()
        assert {name: done.reason for name, done in made.runner.settle().items()} == {"spare": "spare"}
    assert (made.runner.builds, made.runner.builds_left) == (4, 1)
    assert ("spare", "built") in made.store.added


def test_what_is_set_aside_may_be_known_or_never_begun(bench, monkeypatch):
    monkeypatch.setattr(module, "do", lambda asked: Done("built", asked.name))
    made = bench()
    made.store.before["spare"] = Done("built", "before")
    made.runner.aside(task("spare"))
    assert made.runner.settle()["spare"].reason == "before"
    stop = threading.Event()
    stopped = bench(stop=stop)
    stopped.runner.aside(task("spare"))
    stop.set()
    assert stopped.runner.settle() == {}
    held = Never()
    waiting = bench(executor=held, stop=threading.Event())
    waiting.runner.aside(task("spare"))
    monkeypatch.setattr(waiting.runner, "stopped_now", iter([False, False, True]).__next__)
    assert waiting.runner.settle() == {}
    assert held.held[0].cancelled()


class Never(Here):
    """Holds tasks that never end."""

    def __init__(self):
        self.held = []

    def submit(self, _fn, /, *_args, **_kwargs):
        self.held.append(Future())
        return self.held[-1]


def test_after_an_end_was_asked_for_nothing_is_begun_or_waited_for(bench):
    stop, pool = threading.Event(), Never()
    made = bench(executor=pool, stop=stop)
    assert not made.runner.stopped_now()

    class Told(Kept):
        def done_before(self, asked):
            if asked.name == "second":
                stop.set()

    made.runner._store = Told()
    assert made.runner.run([task("first"), task("second")]) == {}
    assert [one.cancelled() for one in pool.held] == [True]
    stop.clear()
    assert made.runner.stopped_now()  # asked for once is asked for
    assert (made.runner.stopped, made.runner.over, made.runner.builds_left) == (True, True, 0)


def test_who_watches_may_end_it(bench):
    made = bench()
    with watched(SimpleNamespace(stopping=lambda: True, step=print, best=print)):
        assert made.runner.over
    assert made.runner.stopped


def test_an_interrupt_keeps_what_there_is(bench, monkeypatch):
    def do(asked):
        if asked.name == "second":
            raise KeyboardInterrupt
        return Done("measured")

    monkeypatch.setattr(module, "do", do)
    made = bench()
    assert list(made.runner.run([task("first"), task("second"), task("third")])) == ["first"]
    assert made.runner.stopped
    assert made.said[-1] == "stopped: going on with what was measured"


def test_a_task_whose_worker_failed_is_a_result_and_a_pool_that_broke_is_an_end(bench, monkeypatch):
    def failing(error):
        def do(_):
            raise error

        monkeypatch.setattr(module, "do", do)
        return bench()

    made = failing(OSError("no space"))
    results = made.runner.run([task("a")])
    assert (results["a"].status, results["a"].reason) == ("failed", "its worker failed: OSError: no space")
    assert made.store.added == []  # another worker may do it
    ended = "what builds and times has ended: a worker of the pool died, or the scheduler. Begin again: what was"
    for error in (BrokenExecutor(), CancelledError()):
        with pytest.raises(BackendError, match=f"^a: {ended}"):
            failing(error).runner.run([task("a")])
    with pytest.raises(BackendError, match=r"^refused"):
        failing(BackendError("refused")).runner.run([task("a")])


def test_a_call_is_made_where_tasks_are_done(bench):
    assert bench().runner.call(divmod, 17, 5) == (3, 2)
    with pytest.raises(ZeroDivisionError):
        bench().runner.call(divmod, 17, 0)


def test_a_pool_that_is_closed_is_an_end_in_one_line(bench):
    with ThreadPoolExecutor(1) as pool:
        made = bench(executor=pool)
    for asked in (lambda: made.runner.run([task("a")]), lambda: made.runner.call(divmod, 17, 5)):
        with pytest.raises(BackendError, match=r"what builds and times has ended: .* or the scheduler"):
            asked()
    cancelled = bench(executor=Never())
    cancelled.runner._executor.submit = lambda *_: (future := Future(), future.cancel())[0]
    with pytest.raises(BackendError, match=r"^divmod: what builds and times has ended"):
        cancelled.runner.call(divmod, 17, 5)
