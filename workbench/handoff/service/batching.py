"""Requests that wait for the same engine are run together, where the model's rows are independent of each other.

One thread runs the engine. It takes what waits as soon as it is free, so that batches grow by themselves with the load
and a lone request waits for nobody; `Batching.wait_s` lets it wait longer for more. Only requests of one shape are put
together, and no answer depends on which others were: a batch that fails is run again one by one.

A request that is alone need not even wake that thread: where the engine is quick, it is run at once by whoever asks,
which for a small model is a fifth of its time.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.errors import WorkbenchError
from workbench.handoff.service.request_error import RequestError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    Feeds = Mapping[str, NDArray[Any]]
    Results = dict[str, NDArray[Any]]

__all__ = ["Batcher", "Batching", "Job", "Ran"]


@dataclass(frozen=True)
class Batching:
    """How requests are put together.

    Parameters
    ----------
    rows
        The most rows of a run; 1 where every request runs alone.
    wait_s
        How long the first of a batch waits for others, though the engine is free.
    queued
        How many requests may wait.
    sizes
        The only batches that the engine takes, ascending; others are filled up with the last row. None: all do.
    quick_s
        A request that is alone is run by whoever asks, where the last run, of the same or a larger shape, took no
        longer. So long the event loop stands still; whoever comes meanwhile would wait for the engine anyway.
    """

    rows: int = 1
    wait_s: float = 0.0
    queued: int = 256
    sizes: tuple[int, ...] | None = None
    quick_s: float = 0.002


@dataclass(slots=True)
class Job:
    """A request that waits for its results.

    Parameters
    ----------
    feeds
        Input name to array.
    rows
        How long the first axis is, where the model batches.
    deadline
        `time.monotonic` after which nobody wants the answer.
    future
        Is given the results, in its own event loop.
    key
        Jobs of equal keys may be run together.
    """

    feeds: Feeds
    rows: int
    deadline: float
    future: asyncio.Future[Results]
    key: tuple[Any, ...]
    queued: float = field(default_factory=time.perf_counter)
    waited_s: float = 0.0


@dataclass(frozen=True)
class Ran:
    """A run of the engine, for those who count.

    Parameters
    ----------
    rows
        Rows of requests in it.
    seconds
        How long it took.
    feeds
        What was run.
    """

    rows: int
    seconds: float
    feeds: Feeds


class Batcher:
    """The thread that runs an engine, and the queue before it.

    Parameters
    ----------
    run
        Runs once: input name to array, output name to array.
    batching
        How requests are put together.
    on_run
        Is told of each run, in the engine's thread.
    """

    def __init__(
        self, run: Callable[[Feeds], Results], batching: Batching, on_run: Callable[[Ran], None] = lambda _: None
    ) -> None:
        self._run = run
        self.batching = batching
        self._on_run = on_run
        self._arriving: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._waiting: OrderedDict[tuple[Any, ...], deque[Job]] = OrderedDict()
        self._count = 0
        self._open = True
        self._engine = threading.Lock()
        self._last: tuple[tuple[Any, ...], int, float] | None = None
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    @property
    def queued(self) -> int:
        """How many requests wait."""
        return self._arriving.qsize() + self._count

    def submit(self, feeds: Feeds, deadline: float, loop: asyncio.AbstractEventLoop, *, rows: int | None = None) -> Job:
        """Put a request into the queue.

        Raises
        ------
        RequestError
            503: the queue is full, or the service ends.
        """
        if not self._open:
            raise RequestError(
                503, "the service ends", fix="Ask another one, or try again.", retry_after=1, closing=True
            )
        if self.queued >= self.batching.queued:
            raise RequestError(
                503,
                f"{self.batching.queued} requests wait already",
                fix="Try again later, send several rows in one request, or raise --queue.",
                retry_after=1,
            )
        job = Job(feeds, 1 if rows is None else rows, deadline, loop.create_future(), _key(feeds))
        self._arriving.put(job)
        return job

    def run_at_once(self, feeds: Feeds, *, rows: int | None = None) -> Results | None:
        """Run a request here and now, if nothing waits or runs and the last run says that it takes no time.

        Returns
        -------
        dict or None
            The results; ``None`` where it has to be submitted.

        Raises
        ------
        RequestError
            400: the model cannot run it.
        """
        if not self._is_quick(feeds) or self.batching.wait_s or self.queued or not self._open:
            return None
        if not self._engine.acquire(blocking=False):
            return None
        try:
            return self._in_pieces(feeds, 1 if rows is None else rows)
        except WorkbenchError as error:
            raise _failed(error) from error
        finally:
            self._engine.release()

    def _is_quick(self, feeds: Feeds) -> bool:
        if self._last is None:
            return False
        key, size, seconds = self._last
        return seconds <= self.batching.quick_s and _size(feeds) <= size and _key(feeds) == key

    def close(self, timeout_s: float = 30.0) -> None:
        """Run what waits, and end the thread."""
        self._open = False
        self._arriving.put(None)
        self._thread.join(timeout_s)

    def _work(self) -> None:
        ended = False
        while not ended or self._count:
            ended = self._gather(ended=ended)
            batch = self._next()
            if batch:
                self._answer(batch)

    def _gather(self, *, ended: bool) -> bool:
        """Take in what has arrived, and where nothing waits what arrives next; say whether the end has."""
        if not self._count and not ended:
            ended = self._take_in(self._arriving.get())
        until = time.monotonic() + self.batching.wait_s
        while True:
            left = 0.0 if ended or self._rows() >= self.batching.rows else until - time.monotonic()
            try:
                job = self._arriving.get(timeout=left) if left > 0 else self._arriving.get_nowait()
            except queue.Empty:
                return ended
            ended = self._take_in(job) or ended

    def _rows(self) -> int:
        return sum(job.rows for job in next(iter(self._waiting.values()), ()))

    def _take_in(self, job: Job | None) -> bool:
        if job is None:
            return True
        self._waiting.setdefault(job.key, deque()).append(job)
        self._count += 1
        return False

    def _next(self) -> list[Job]:
        """Take the jobs of the next run: those that wait longest, of one key; give up those that nobody waits for."""
        if not self._waiting:
            return []
        key = min(self._waiting, key=lambda k: self._waiting[k][0].queued)
        jobs, rows = self._waiting[key], 0
        batch: list[Job] = []
        now = time.monotonic()
        while jobs and (not batch or rows + jobs[0].rows <= self.batching.rows):
            job = jobs.popleft()
            self._count -= 1
            if job.future.cancelled():
                continue
            if now > job.deadline:
                self._finish([(job, _late(job))])
                continue
            batch.append(job)
            rows += job.rows
        if not jobs:
            del self._waiting[key]
        return batch

    def _answer(self, batch: list[Job]) -> None:
        start = time.perf_counter()
        for job in batch:
            job.waited_s = start - job.queued
        try:
            with self._engine:
                results = self._computed(batch)
        except Exception as error:  # noqa: BLE001 - whatever a backend raises: the thread must not end
            if len(batch) > 1:
                for job in batch:
                    self._answer([job])
                return
            self._finish([(batch[0], _failed(error))])
            return
        self._finish(list(zip(batch, results, strict=True)))

    def _computed(self, batch: list[Job]) -> list[Results]:
        if len(batch) == 1:
            job = batch[0]
            return [self._in_pieces(job.feeds, job.rows)]
        feeds = {name: np.concatenate([job.feeds[name] for job in batch]) for name in batch[0].feeds}
        results = self._in_pieces(feeds, sum(job.rows for job in batch))
        ends = np.cumsum([job.rows for job in batch])
        return [
            {name: array[end - job.rows : end] for name, array in results.items()}
            for job, end in zip(batch, ends, strict=True)
        ]

    def _in_pieces(self, feeds: Feeds, rows: int) -> Results:
        """Run feeds of any number of rows: those beyond the most in runs of their own."""
        most = self.batching.rows
        if rows <= most or most == 1:
            return self._once(feeds, rows)
        pieces = [
            self._once({name: array[i : i + most] for name, array in feeds.items()}, min(most, rows - i))
            for i in range(0, rows, most)
        ]
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}

    def _once(self, feeds: Feeds, rows: int) -> Results:
        size = next((size for size in self.batching.sizes or () if size >= rows), rows)
        filled = feeds
        if size != rows:
            filled = {name: np.concatenate([a, np.repeat(a[-1:], size - rows, 0)]) for name, a in feeds.items()}
        start = time.perf_counter()
        results = self._run(filled)
        seconds = time.perf_counter() - start
        self._last = _key(feeds), _size(feeds), seconds
        self._on_run(Ran(rows, seconds, feeds))
        return results if size == rows else {name: array[:rows] for name, array in results.items()}

    def _finish(self, outcomes: Sequence[tuple[Job, Results | Exception]]) -> None:
        loop = outcomes[0][0].future.get_loop()
        if not loop.is_closed():
            loop.call_soon_threadsafe(_settle, outcomes)


def _key(feeds: Feeds) -> tuple[Any, ...]:
    # Arrays of a text's type cannot be compared by it, yet are of one.
    return tuple((name, array.dtype.str, array.shape[1:]) for name, array in feeds.items())


def _size(feeds: Feeds) -> int:
    return sum(array.size for array in feeds.values())


def _settle(outcomes: Sequence[tuple[Job, Results | Exception]]) -> None:
    for job, outcome in outcomes:
        if job.future.done():
            continue
        if isinstance(outcome, Exception):
            job.future.set_exception(outcome)
        else:
            job.future.set_result(outcome)


def _late(job: Job) -> RequestError:
    waited = (time.perf_counter() - job.queued) * 1e3
    return RequestError(
        504,
        f"the deadline passed after {waited:.0f} ms in the queue",
        fix="Give more time (the parameter timeout, in microseconds), or send fewer requests at once.",
        retry_after=1,
    )


def _failed(error: Exception) -> Exception:
    if isinstance(error, WorkbenchError):
        return RequestError(
            400, f"the model cannot run this: {error.what}", fix="Check the shapes and values of the inputs."
        )
    return error
