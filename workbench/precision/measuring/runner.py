"""Runs tasks: within builds and seconds, through the journal, on an executor, until it is told to stop."""

from __future__ import annotations

import time
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, wait
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from workbench.display import counted
from workbench.errors import BackendError, WorkbenchError
from workbench.precision.measuring.cluster import NO_WORKER_S, Here, missing_s, result_of
from workbench.precision.measuring.work import Done, do
from workbench.progress import report_best, stopping

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    from workbench.precision.measuring.options import MeasureOptions
    from workbench.precision.measuring.store import Store
    from workbench.precision.measuring.work import TimingTask

__all__ = ["Runner"]

P = ParamSpec("P")
T = TypeVar("T")

BUILD_LIMIT_S = 3600.0
SHORTEST_BUILD_S = 5.0
SLOWER_THAN_BEFORE = 4.0
"""A build may take so many times what the longest one took, where there is a budget."""
POLL_S = 0.2

COMPARED_LAST = 12
"""Engines in the last comparisons, those that are timed again and those as CUDA graphs among them."""
RUNNING_S = 10.0
"""What running the chosen engine on the samples may take."""


class Runner:
    """What a search does its tasks with.

    Parameters
    ----------
    options
        Builds, seconds, executor, when to stop.
    store
        What was done before, and where what is done is kept.
    show
        Is told of progress: a sentence, and what is done of all, 0 to 1.
    """

    def __init__(self, options: MeasureOptions, store: Store, show: Callable[[str, float], None]) -> None:
        self._options, self._store, self._show = options, store, show
        self._executor = options.executor or Here()
        self._began = time.monotonic()
        self._longest_s = 0.0
        self._loading_s = 0.0
        self._spare: list[TimingTask] = []
        self._aside: dict[Future[Done], TimingTask] = {}
        self._settled: dict[str, Done] = {}
        self.builds = 0
        self.best = ""
        self.stopped = False
        self._alone = False

    @property
    def seconds(self) -> float:
        """How long it has been going on."""
        return time.monotonic() - self._began

    @property
    def builds_left(self) -> int:
        """How many more engines may be built."""
        return 0 if self.over else max(0, self._options.builds - self.builds - len(self._spare) - len(self._aside))

    @property
    def over(self) -> bool:
        """Whether no more is to be begun: it was stopped, or a build would not leave the time to measure."""
        return self.stopped_now() or self._seconds_to_build() < max(SHORTEST_BUILD_S, 0.7 * self._longest_s)

    def limit_s(self) -> float:
        """Return the seconds that one more build may take."""
        if self._options.budget_s is None:
            return BUILD_LIMIT_S
        grown = max(60.0, SLOWER_THAN_BEFORE * self._longest_s) if self._longest_s else BUILD_LIMIT_S
        return max(min(self._seconds_to_build(), grown), SHORTEST_BUILD_S)

    def _seconds_to_build(self) -> float:
        if self._options.budget_s is None:
            return float("inf")
        last = COMPARED_LAST * self._options.loadings * self._loading_s
        return self._options.budget_s - self.seconds - last - RUNNING_S

    def run(self, tasks: Sequence[TimingTask]) -> dict[str, Done]:
        """Do some tasks; what was not done because of a stop is missing.

        Raises
        ------
        BackendError
            The executor cannot work: a worker of a pool died and is not replaced, or a scheduler ended.
        """
        results: dict[str, Done] = {}
        futures: dict[Future[Done], TimingTask] = {}
        try:
            for task in tasks:
                stored = self._store.done_before(task)
                if stored is not None:
                    self._take(task, stored, results)
                elif task.model is None or not self.over:
                    self._tell(task)
                    futures[future := self._submit(do, task)] = task
                    if future.done():  # done here, at once: the next may not have the time any more
                        self._finish(futures, future, results)
            if results:
                self._begin_spare()
            self._wait(futures, results)
        except KeyboardInterrupt:
            self._interrupted()
        finally:
            for future in futures:
                future.cancel()
        return results

    def aside(self, task: TimingTask) -> None:
        """Have a task done that nothing waits for before `settle`: it is begun when a worker has finished another."""
        stored = self._store.done_before(task)
        if stored is None:
            self._spare.append(task)
        else:
            self._take(task, stored, self._settled)

    def settle(self) -> dict[str, Done]:
        """Wait for what was set aside; what was not done because of a stop, or for want of time, is missing."""
        try:
            self._begin_spare()
            self._wait(self._aside, self._settled)
        except KeyboardInterrupt:
            self._interrupted()
        finally:
            for future in self._aside:
                future.cancel()
        return self._settled

    def _wait(self, futures: dict[Future[Done], TimingTask], results: dict[str, Done]) -> None:
        """Wait for some tasks, and take what comes of those that were set aside meanwhile."""
        while futures and not self.stopped_now():
            done = wait({*futures, *self._aside}, timeout=POLL_S, return_when=FIRST_COMPLETED).done
            if not done:
                self._look_for_workers()
            for future in done:
                if future in futures:
                    self._finish(futures, future, results)
                    self._begin_spare()
                else:
                    self._finish(self._aside, future, self._settled)

    def _begin_spare(self) -> None:
        while self._spare and not self.over:
            task = self._spare.pop(0)
            self._aside[self._submit(do, task)] = task

    def _interrupted(self) -> None:
        self.stopped = True
        self._options.tell("stopped: going on with what was measured")

    def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function where tasks are done; BackendError where that has ended."""
        try:
            return result_of(self._executor, self._submit(function, *args, **kwargs))
        except (BrokenExecutor, CancelledError) as error:
            raise _ended(function.__name__) from error

    def _submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        try:
            return self._executor.submit(function, *args, **kwargs)
        except Exception as error:  # whatever a pool of any kind raises that is closed
            raise _ended(function.__name__) from error

    def stopped_now(self) -> bool:
        """Say whether somebody asked for an end."""
        event = self._options.stop
        self.stopped = self.stopped or stopping() or (event is not None and event.is_set())
        return self.stopped

    def _look_for_workers(self) -> None:
        """Say that there is none, and stop where none comes."""
        missing = missing_s(self._executor)
        if missing and not self._alone:
            self._options.tell(f"no worker is left: waiting {NO_WORKER_S:.0f} s for another")
        self._alone = missing > 0
        if missing >= NO_WORKER_S:
            self.stopped = True
            self._options.tell("no worker came: ending with what was measured")

    def _finish(self, futures: dict[Future[Done], TimingTask], future: Future[Done], results: dict[str, Done]) -> None:
        task = futures.pop(future)
        try:
            done = future.result()
        except WorkbenchError:
            raise
        except (BrokenExecutor, CancelledError) as error:
            raise _ended(task.name) from error
        except Exception as error:  # noqa: BLE001 - whatever a pool of any kind makes of a worker that failed
            # It says nothing of the task, which is begun anew where the search is.
            self._take(task, Done("failed", f"its worker failed: {type(error).__name__}: {error}"), results)
            return
        self._store.add(task, done)
        self._take(task, done, results)

    def _take(self, task: TimingTask, done: Done, results: dict[str, Done]) -> None:
        results[task.name] = done
        if task.model is not None:
            self.builds += 1
            if task.build is None or task.build.dynamic_range is None:  # implicit INT8 is built but once, and slowly
                self._longest_s = max(self._longest_s, done.build_s)
        if done.timing_s and task.beside:
            engines = len(task.beside) + (task.model is not None)
            self._loading_s = max(self._loading_s, done.timing_s / (engines * task.loadings))
        took = f"built in {done.build_s:.0f} s, timed in {done.timing_s:.0f} s"
        self._options.tell(f"{task.name}: {done.status}" + (f" ({done.reason})" if done.reason else f", {took}"))

    def _tell(self, task: TimingTask) -> None:
        left = f"{counted(max(0, self._options.builds - self.builds), 'build')} left"
        if self._options.budget_s is not None:
            left += f", {max(0.0, self._options.budget_s - self.seconds):.0f} s left"
        best = f"; best so far: {self.best}" if self.best and not report_best(self.best) else ""
        self._show(f"{task.name}, {left}{best}", min(1.0, self.builds / self._options.builds))


def _ended(where: str) -> BackendError:
    return BackendError(
        "what builds and times has ended: a worker of the pool died, or the scheduler",
        where=where,
        fix="Begin again: what was measured is in the folder.",
    )
