"""The queue and the counters of the field with their threads standing still and the clock too: each step by itself."""

from __future__ import annotations

import logging
import queue
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from workbench.calibration import Statistics
from workbench.errors import OptionError
from workbench.handoff.service import batching, field
from workbench.handoff.service.batching import Batcher, Batching, Job, Ran
from workbench.handoff.service.field import FieldStatistics
from workbench.handoff.service.request_error import RequestError


class Future:
    """What a client waits for."""

    def __init__(self, *, cancelled=False, done=False, loop=None):
        self.gone, self.ended, self.loop, self.outcome = cancelled, done, loop, None

    def cancelled(self):
        return self.gone

    def done(self):
        return self.ended

    def get_loop(self):
        return self.loop

    def set_result(self, result):
        self.outcome = result

    def set_exception(self, error):
        self.outcome = error


class Loop:
    """An event loop that does at once what it is told."""

    closed = False

    def is_closed(self):
        return self.closed

    def call_soon_threadsafe(self, function, *given):
        function(*given)

    def create_future(self):
        return Future(loop=self)


@pytest.fixture
def clock(monkeypatch):
    made = SimpleNamespace(now=5.0)
    made.monotonic = made.perf_counter = lambda: made.now
    monkeypatch.setattr(batching, "time", made)
    return made


@pytest.fixture
def still(monkeypatch, clock):
    """Make a batcher whose thread was begun by nobody, over an engine that doubles."""
    del clock
    threads = []

    def thread(**how):
        threads.append(how)
        return SimpleNamespace(start=lambda: None, join=threads.append)

    monkeypatch.setattr(batching, "threading", SimpleNamespace(Thread=thread, Lock=threading.Lock))

    def make(run=lambda feeds: {"y": 2 * feeds["x"]}, **how):
        made = Batcher(run, Batching(**how))
        made.threads, made.ran = threads, []
        made._on_run = made.ran.append
        return made

    return make


def job(rows=1, *, key="k", deadline=9.0, queued=0.0, loop=None, value=0.0, **future):
    return Job(
        {"x": np.full((rows, 2), value)}, rows, deadline, Future(loop=loop or Loop(), **future), (key,), queued=queued
    )


def test_requests_run_alone_unless_said_and_as_documented():
    assert Batching() == Batching(rows=1, wait_s=0.0, queued=256, sizes=None, quick_s=0.002)


def test_the_engine_has_a_thread_that_ends_with_the_program(still):
    batcher = still()
    assert batcher.threads == [{"target": batcher._work, "name": "engine", "daemon": True}]
    batcher.close()
    assert batcher.threads[1:] == [30.0]
    assert batcher._arriving.get_nowait() is None


def test_a_request_waits_until_it_is_taken_and_says_its_rows(still):
    batcher = still(queued=2, rows=4)
    jobs = [batcher.submit({"x": np.zeros((3, 2))}, 9.0, Loop(), rows=rows) for rows in (None, 3)]
    assert [one.rows for one in jobs] == [1, 3]
    assert jobs[0].key == (("x", "<f8", (2,)),)
    assert batcher.queued == 2
    assert batcher._take_in(batcher._arriving.get_nowait()) is False
    assert (batcher.queued, batcher._rows()) == (2, 1)
    with pytest.raises(RequestError, match=r"2 requests wait already\. Try again later") as caught:
        batcher.submit({"x": np.zeros(1)}, 9.0, Loop())
    assert (caught.value.status, caught.value.closing) == (503, False)
    assert batcher._next() == jobs[:1]
    assert (batcher.queued, batcher._waiting) == (1, {})
    assert batcher._take_in(None) is True


def test_rows_that_wait_are_those_of_the_first_key(still):
    batcher = still(rows=8)
    assert batcher._rows() == 0
    for one in (job(2, key="a"), job(5, key="b"), job(1, key="a")):
        batcher._take_in(one)
    assert batcher._rows() == 3


def test_who_waits_longest_is_next_with_others_of_its_key_up_to_the_most_rows(still):
    batcher = still(rows=4)
    a = [job(rows, key="a", queued=queued) for rows, queued in ((3, 2.0), (1, 0.5), (1, 0.6))]
    b = [job(5, key="b", queued=1.0), job(1, key="b", queued=9.0)]
    for one in (*a, *b):
        batcher._take_in(one)
    assert [batcher._next() for _ in range(4)] == [b[:1], a[:2], a[2:], b[1:]]
    assert batcher._next() == []
    assert batcher._count == 0


def test_who_is_gone_or_late_is_passed_over_and_the_next_is_taken(still, clock):
    loop = Loop()
    batcher = still(rows=2)
    jobs = [
        job(cancelled=True),
        job(deadline=4.9, queued=3.5, loop=loop),
        job(deadline=5.0),
        job(cancelled=True),
        job(deadline=4.0, loop=loop),
        job(),
    ]
    for one in jobs:
        batcher._take_in(one)
    assert batcher._next() == [jobs[2], jobs[5]]
    late = jobs[1].future.outcome
    assert (late.status, late.retry_after) == (504, 1)
    assert str(late).startswith("the deadline passed after 1500 ms in the queue. Give more time")
    assert jobs[4].future.outcome.status == 504
    assert clock.now == 5.0


class Arriving:
    """A queue that tells how long it was waited for."""

    def __init__(self, *jobs):
        self.jobs, self.asked = list(jobs), []

    def _next(self):
        if not self.jobs:
            raise queue.Empty
        return self.jobs.pop(0)

    def get(self, timeout=None):
        self.asked.append(timeout)
        return self._next()

    def get_nowait(self):
        self.asked.append("now")
        return self._next()


@pytest.mark.parametrize(
    ("how", "ended", "arriving", "asked", "ends"),
    [
        # Without a wait: the first is waited for, and what is there besides is taken.
        ({"rows": 4}, False, [job()], [None, "now"], False),
        ({"rows": 4, "wait_s": 0.5}, False, [job(), job(2)], [None, 0.5, 0.5], False),
        # Enough for a run waits for nobody.
        ({"rows": 3, "wait_s": 0.5}, False, [job(1), job(2)], [None, 0.5, "now"], False),
        ({"rows": 4, "wait_s": 0.5}, False, [job(), None, job()], [None, 0.5, "now", "now"], True),
        ({"rows": 4, "wait_s": 0.5}, False, [None], [None, "now"], True),
        ({"rows": 4}, True, [], ["now"], True),
    ],
)
def test_what_arrives_is_taken_in_until_there_is_enough_or_time_is_up(still, how, ended, arriving, asked, ends):
    batcher = still(**how)
    batcher._arriving = Arriving(*arriving)
    assert batcher._gather(ended=ended) is ends
    assert batcher._arriving.asked == asked
    assert batcher._count == sum(one is not None for one in arriving)


def test_the_thread_answers_what_waits_when_the_end_has_come(still):
    batcher = still(rows=1)
    jobs = [job(value=value) for value in (1.0, 2.0)]
    batcher._arriving = Arriving(*jobs, None)
    batcher._work()
    assert [one.future.outcome["y"].tolist() for one in jobs] == [[[2.0, 2.0]], [[4.0, 4.0]]]


def test_each_gets_its_own_rows_and_how_long_it_waited(still, clock):
    batcher = still(rows=8)
    jobs = [job(rows, value=value, queued=queued) for rows, value, queued in ((2, 1.0, 4.0), (1, 3.0, 4.5))]
    batcher._answer(jobs)
    assert [one.future.outcome["y"].tolist() for one in jobs] == [[[2.0, 2.0]] * 2, [[6.0, 6.0]]]
    assert [one.waited_s for one in jobs] == [1.0, 0.5]
    assert [(ran.rows, ran.seconds) for ran in batcher.ran] == [(3, 0.0)]
    assert clock.now == 5.0


@pytest.mark.parametrize(
    ("sizes", "rows", "ran"), [((4, 8), 3, 4), ((4, 8), 4, 4), ((4, 8), 5, 8), ((4, 8), 9, 9), (None, 3, 3)]
)
def test_a_batch_is_filled_up_with_its_last_row_to_the_next_size(still, sizes, rows, ran):
    seen = []
    batcher = still(lambda feeds: seen.append(feeds["x"]) or {"y": feeds["x"] + 1}, rows=16, sizes=sizes)
    x = np.arange(2.0 * rows).reshape(rows, 2)
    result = batcher._once({"x": x}, rows)
    np.testing.assert_array_equal(seen[0], np.concatenate([x, np.tile(x[-1], (ran - rows, 1))]))
    np.testing.assert_array_equal(result["y"], x + 1)
    assert (batcher.ran[0].rows, len(batcher.ran[0].feeds["x"])) == (rows, rows)


def test_pieces_of_a_large_request_count_their_own_rows(still):
    batcher = still(rows=2)
    batcher._in_pieces({"x": np.zeros((5, 2))}, 5)
    assert [ran.rows for ran in batcher.ran] == [2, 2, 1]


def test_a_request_is_quick_where_the_last_of_its_kind_was_no_slower_and_no_smaller(still):
    batcher, x = still(quick_s=0.5), np.zeros((2, 3))
    key = (("x", "<f8", (3,)),)
    for last, quick in (
        (None, False),
        ((key, 6, 0.5), True),
        ((key, 6, 0.501), False),
        ((key, 7, 0.1), True),
        ((key, 5, 0.1), False),
        (((("x", "<f8", (4,)),), 6, 0.1), False),
    ):
        batcher._last = last
        assert batcher._is_quick({"x": x}) is quick
    batcher._last = (key, 6, 0.1)
    assert batcher.run_at_once({"x": x})["y"].shape == (2, 3)
    assert batcher.ran[0].rows == 1


def test_who_has_an_answer_already_is_not_answered_again_and_the_next_is():
    first, second, third = (job(done=done) for done in (True, False, False))
    error = RuntimeError("x")
    batching._settle([(first, "a"), (second, "b"), (third, error)])
    assert [one.future.outcome for one in (first, second, third)] == [None, "b", error]


def test_nobody_is_told_by_a_loop_that_is_closed(still):
    loop, waiting = Loop(), job()
    waiting.future.loop = loop
    loop.closed = True
    still()._finish([(waiting, "a")])
    assert waiting.future.outcome is None
    loop.closed = False
    still()._finish([(waiting, "a")])
    assert waiting.future.outcome == "a"


# The field


@pytest.fixture
def watching(monkeypatch):
    """Make the counter of the field without a model, a file or a thread."""
    clock = SimpleNamespace(now=100.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(field, "time", clock)

    def make(every=1):
        made = object.__new__(FieldStatistics)
        made._every, made._runs, made._broken, made._session = every, 0, False, None
        made._waiting, made._saved, made.clock, made.counted = queue.Queue(), 100.0, clock, []
        made._on_counted = made.counted.append
        made.saves = []
        made._file = "f.npz"
        made.statistics = {}
        made.statistics = Saved(made.saves)
        return made

    return make


class Saved(dict):
    """Statistics that remember where they were saved."""

    def __init__(self, saves):
        super().__init__()
        self.saves = saves

    def save(self, file):
        self.saves.append(file)


@pytest.mark.parametrize(("every", "taken"), [(1, [0, 1, 2, 3, 4, 5, 6, 7]), (3, [0, 3, 6, 9]), (20, [0])])
def test_one_of_so_many_runs_is_taken_and_no_more_than_eight_wait(watching, every, taken):
    made = watching(every)
    for at in range(12):
        made(Ran(at, 0.0, {}))
    assert [made._waiting.get_nowait().rows for _ in range(made._waiting.qsize())] == taken


@pytest.mark.parametrize(("seconds", "saves"), [(60.0, 1), (60.5, 2)])
def test_what_is_counted_is_saved_once_a_minute_and_at_the_end(watching, seconds, saves):
    made = watching()

    def count(feeds, rows):
        made.counted.append((feeds, rows))
        made.clock.now += seconds

    made._count = count
    for entry in (Ran(3, 0.0, {"x": 1}), None):
        made._waiting.put(entry)
    made._work()
    assert made.counted == [({"x": 1}, 3)]
    assert made.saves == ["f.npz"] * saves
    assert made._saved == 100.0 + seconds


def test_after_a_failure_nothing_is_counted_or_saved_and_that_is_in_the_log(watching, caplog):
    made = watching()

    def fail(*_):
        raise OSError("the disk is full")

    made._count = fail
    for entry in (Ran(1, 0.0, {}), Ran(2, 0.0, {}), None):
        made._waiting.put(entry)
    with caplog.at_level(logging.ERROR):
        made._work()
    assert made.saves == []
    assert caplog.text.count("the statistics of the field end here; the service goes on") == 1
    assert "the disk is full" in caplog.text


def test_a_tensor_inside_is_counted_as_computed_and_an_input_as_sent(watching):
    made, seen = watching(), []
    for name in ("x", "inside"):
        made.statistics[name] = SimpleNamespace(
            update=lambda array, *, samples, name=name: seen.append((name, array, samples))
        )
    made._session = SimpleNamespace(run=lambda feeds: {"inside": f"of {feeds['x']}"})
    made._count({"x": "sent"}, 3)
    assert seen == [("x", "sent", 3), ("inside", "of sent", 3)]
    assert made.counted == [3]


@pytest.fixture
def unbegun(monkeypatch):
    """The threads that nobody began."""
    threads = []
    begun = SimpleNamespace(start=lambda: None)
    monkeypatch.setattr(field, "threading", SimpleNamespace(Thread=lambda **how: threads.append(how) or begun))
    return threads


def inputs(*names):
    return SimpleNamespace(inputs=[SimpleNamespace(name=name) for name in names])


def test_there_is_room_for_eight_runs_and_the_end_so_that_nobody_ever_waits(unbegun, tmp_path):
    made = FieldStatistics(inputs("x"), ["x"], tmp_path / "f.npz")
    assert (made._waiting.maxsize, made._every, made._session) == (8 + 1, 1, None)
    assert [how["daemon"] for how in unbegun] == [True]
    assert made._on_counted(3) is None
    for _ in range(9):
        made(Ran(1, 0.0, {}))
    assert made._waiting.qsize() == 8
    assert Statistics.load(tmp_path / "f.npz").keys() == {"x"}


@pytest.mark.usefixtures("unbegun")
@pytest.mark.parametrize("tensors", [["x"], ["x", "z", "w"], ["w", "v"]])
def test_a_file_goes_on_with_the_very_tensors_that_it_holds(tmp_path, tensors):
    model, file = inputs("x", "z", "w", "v"), tmp_path / "f.npz"
    FieldStatistics(model, ["x", "z"], file)
    FieldStatistics(model, ["z", "x"], file)
    with pytest.raises(OptionError, match=r"f\.npz holds statistics of other tensors; name another file"):
        FieldStatistics(model, tensors, file)
