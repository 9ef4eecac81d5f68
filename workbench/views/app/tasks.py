"""What takes longer than a click, done beside the page: how far it is, the best so far, and an end that keeps it."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

from workbench.errors import WorkbenchError
from workbench.progress import Stopped, watched
from workbench.session import history_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from workbench.session import Workbench

__all__ = ["Task", "Tasks"]

REFRESH_S = 0.2
BEAT_S = 0.6
"""After so long without news the page is told that it goes on."""


class Task:
    """One thing that is being done; a `Watcher` of its progress.

    Parameters
    ----------
    name
        What is being done, for example ``"calibrating"``.
    tell
        Takes what a page shows of it.
    """

    def __init__(self, name: str, tell: Callable[[dict[str, Any]], None]) -> None:
        self.name, self._tell = name, tell
        self._began = self._heard_at = time.perf_counter()
        self._shown_at = 0.0
        self._message: dict[str, Any] = {"doing": name, "count": "", "share": None, "left": None}
        self._phases: dict[str, tuple[float, float, float]] = {}
        """By what is being done: when it began, how much was done then, and how much is now."""
        self._best = ""
        self._stop = threading.Event()

    def step(self, doing: str, done: float, total: float | None) -> None:
        """Hear how far it is, and tell the page at most five times a second."""
        now = time.perf_counter()
        left = self._left(doing, done, total, now)
        if now - self._shown_at < REFRESH_S:
            return
        share = None if not total else min(1.0, done / total)
        count = "" if total == 1.0 else f"{done:g}" if total is None else f"{done:g} of {total:g}"
        self._message = {"doing": doing, "count": count, "share": share, "left": left}
        self._heard_at = now
        self._show(now)

    def _left(self, doing: str, done: float, total: float | None, now: float) -> float | None:
        """Return the seconds left by what this very thing took so far: a search measures and prepares in between."""
        name = doing.partition(":")[0]
        began, first, last = self._phases.get(name, (now, done, done))
        if done < last:
            began, first = now, done
        self._phases[name] = began, first, done
        return (now - began) / (done - first) * (total - done) if total and done > first else None

    def beat(self) -> None:
        """Tell that it goes on, where nothing was heard of it for a while."""
        now = time.perf_counter()
        if now - self._shown_at >= BEAT_S:
            self._show(now)

    def _show(self, now: float) -> None:
        self._shown_at = now
        left = self._message["left"]
        # What takes longer than it seemed to has no time left to tell.
        left = None if left is None or left < now - self._heard_at else round(left - (now - self._heard_at), 1)
        self._tell(self._message | {"left": left, "spent": round(now - self._began, 1), "best": self._best})

    def best(self, text: str) -> None:
        """Hear of the best found so far."""
        self._best = text

    def stopping(self) -> bool:
        """Say whether it is to end now."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Ask for an end; what was computed stays."""
        self._stop.set()


class Tasks:
    """One task at a time, in a thread; where there is no event loop, at once.

    Parameters
    ----------
    wb
        Whose recipe it works on: meanwhile nobody else changes that.
    tell
        Takes what a page shows of progress; called from the thread.
    """

    def __init__(self, wb: Workbench, tell: Callable[[dict[str, Any] | None], None]) -> None:
        self._history = history_of(wb)
        self._tell = tell
        self.running: Task | None = None

    def start(self, name: str, work: Callable[[], object], done: Callable[[object], None]) -> None:
        """Do something; `done` is called with the result, ``None`` where it was stopped, or an error.

        Raises
        ------
        WorkbenchError
            Something is being done already.
        """
        if self.running is not None:
            raise WorkbenchError(f"{self.running.name} is under way", fix="Wait for it, or press Stop.")
        task = self.running = Task(name, self._tell)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._finish(done, self._outcome(task, work, None))
            return

        def run() -> None:
            outcome = self._outcome(task, work, loop)
            loop.call_soon_threadsafe(self._finish, done, outcome)

        def beat() -> None:
            if self.running is task:
                task.beat()
                loop.call_later(BEAT_S, beat)

        loop.call_later(BEAT_S, beat)
        threading.Thread(target=run, name=f"workbench: {name}", daemon=True).start()

    def stop(self) -> None:
        """Ask for an end."""
        if self.running is not None:
            self.running.stop()

    def _outcome(self, task: Task, work: Callable[[], object], loop: asyncio.AbstractEventLoop | None) -> object:
        post = None if loop is None else loop.call_soon_threadsafe
        try:
            with self._history.claimed(task.name, post), watched(task):
                return work()
        except Stopped:
            return None
        except Exception as error:  # noqa: BLE001 - the page says it
            return error

    def _finish(self, done: Callable[[object], None], outcome: object) -> None:
        self.running = None
        self._tell(None)
        done(outcome)
