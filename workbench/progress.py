"""A progress bar in a terminal and in a notebook, and none where output is not a terminal."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = [
    "Stopped",
    "Watcher",
    "in_notebook",
    "is_attended",
    "phases",
    "progress",
    "report",
    "report_best",
    "stoppable",
    "stopping",
    "watched",
]

T = TypeVar("T")


class Stopped(Exception):  # noqa: N818 - it is no error
    """Somebody who watches asked for an end, and what is done cannot end early with a result."""


class Watcher(Protocol):
    """Who watches something that takes long, in place of a bar."""

    def step(self, doing: str, done: float, total: float | None) -> None:
        """Hear how far it is."""

    def best(self, text: str) -> None:
        """Hear of the best found so far."""

    def stopping(self) -> bool:
        """Say whether it is to end now."""


_WATCHER: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextlib.contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Tell a watcher of all progress within, in this thread."""
    token = _WATCHER.set(watcher)
    try:
        yield
    finally:
        _WATCHER.reset(token)


def report(doing: str, done: float, total: float | None, best: str = "") -> None:
    """Tell whoever watches, if somebody does, how far it is and what is the best so far, if that is news."""
    watcher = _WATCHER.get()
    if watcher is not None:
        watcher.step(doing, done, total)
        if best:
            watcher.best(best)


def report_best(best: str) -> bool:
    """Tell whoever watches of the best so far; False where nobody does."""
    watcher = _WATCHER.get()
    if watcher is not None:
        watcher.best(best)
    return watcher is not None


def stopping() -> bool:
    """Say whether somebody who watches asks for an end of what ends early with a result."""
    watcher = _WATCHER.get()
    return watcher is not None and watcher.stopping()


def stoppable(items: Iterable[T]) -> Iterator[T]:
    """Yield the items; `Stopped` where somebody who watches asks for an end."""
    for item in items:
        if stopping():
            raise Stopped
        yield item


REFRESH_S = 0.2
DELAY_S = 1.0


def progress(
    items: Iterable[T],
    *,
    total: int | None,
    doing: str,
    amount: Callable[[T], int] = lambda _: 1,
    partial: bool = False,
) -> Iterator[T]:
    """Yield the items, and show how far it is.

    In a terminal a bar that goes away when all is done; in a notebook one line that ends saying how long it took.
    Where somebody watches (`watched`), that one is told instead, and may end it.

    Parameters
    ----------
    items
        What is worked through.
    total
        How many there are, ``None`` where unknown.
    doing
        What is being done, for example ``"calibrating"``.
    amount
        How many of `total` an item is.
    partial
        Whether what came of the items so far is a result too: ended early, there are no more items then.

    Raises
    ------
    Stopped
        It was ended early, and not even one item is done, or what came of some is no result.
    """
    watcher = _WATCHER.get()
    if watcher is not None:
        yield from _watched(items, total, doing, amount, watcher, partial=partial)
        return
    if in_notebook():
        yield from _line(items, total, doing, amount)
        return
    if not sys.stderr.isatty():
        yield from items
        return
    from tqdm.std import tqdm

    with tqdm(total=total, desc=doing, leave=False, file=sys.stderr, mininterval=REFRESH_S) as bar:
        for item in items:
            yield item
            bar.update(amount(item))


@contextlib.contextmanager
def phases(doing: str) -> Iterator[Callable[[str, float], None]]:
    """Show how far something is that reports what it is doing, and how much of that is done.

    Parameters
    ----------
    doing
        What is being done as a whole, for example ``"building resnet50"``.

    Yields
    ------
    callable
        Takes the name of a phase and what is done of it, from 0 to 1. It shows nothing within the first second.
    """
    watcher = _WATCHER.get()
    if watcher is not None:
        yield lambda phase, done: watcher.step(f"{doing}: {phase}", done, 1.0)
        return
    if in_notebook():
        yield _shown_phases(doing)
        return
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    from tqdm.std import tqdm

    form = "{desc} {percentage:3.0f}%|{bar}| {elapsed}"
    shown = time.perf_counter() + DELAY_S - REFRESH_S
    with tqdm(total=1.0, desc=doing, leave=False, file=sys.stderr, bar_format=form, delay=DELAY_S) as bar:

        def show(phase: str, done: float) -> None:
            nonlocal shown
            now = time.perf_counter()
            if now - shown >= REFRESH_S:
                shown = now
                bar.n = done
                bar.set_description(f"{doing}: {phase}")

        yield show


def _watched(
    items: Iterable[T],
    total: int | None,
    doing: str,
    amount: Callable[[T], int],
    watcher: Watcher,
    *,
    partial: bool,
) -> Iterator[T]:
    done = 0
    watcher.step(doing, done, total)
    for item in items:
        if watcher.stopping():
            if partial and done:
                return
            raise Stopped(doing)
        yield item
        done += amount(item)
        watcher.step(doing, done, total)


def _shown_phases(doing: str) -> Callable[[str, float], None]:
    """Update one output of the cell, made once it takes long enough to be told."""
    from IPython.display import display

    start = shown = time.perf_counter()
    handle: Any = None

    def show(phase: str, done: float) -> None:
        nonlocal shown, handle
        now = time.perf_counter()
        if now - start < DELAY_S or now - shown < REFRESH_S:
            return
        shown = now
        bundle = {"text/plain": f"{doing}: {phase}, {done:.0%}, {now - start:.0f} s"}
        if handle is None:
            handle = display(bundle, raw=True, display_id=True)
        else:
            handle.update(bundle, raw=True)

    return show


def _line(items: Iterable[T], total: int | None, doing: str, amount: Callable[[T], int]) -> Iterator[T]:
    """Update one output of the cell: no widget, which an exported page could not show, and no trail of lines."""
    from IPython.display import display

    def bundle(count: int, end: str = "") -> dict[str, str]:
        return {"text/plain": f"{doing}: {count}{'' if total is None else f' of {total}'}{end}"}

    start = shown = time.perf_counter()
    handle = display(bundle(0), raw=True, display_id=True)
    count = 0
    for item in items:
        yield item
        count += amount(item)
        if time.perf_counter() - shown > REFRESH_S:
            shown = time.perf_counter()
            handle.update(bundle(count), raw=True)
    handle.update(bundle(count, f", done in {time.perf_counter() - start:.1f} s"), raw=True)


def in_notebook() -> bool:
    """Say whether this runs in the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and "IPKernelApp" in shell.config


def is_attended() -> bool:
    """Say whether somebody may look at what a cell shows while its kernel runs.

    papermill and ``nbconvert --execute`` ask no questions of a person (``allow_stdin`` of the messaging protocol), and
    what they keep is read without a kernel. Voila runs cells the same way, for somebody who looks.
    """
    if not in_notebook() or "VOILA_REQUEST_URL" in os.environ:
        return True
    kernel = getattr(sys.modules["IPython"].get_ipython(), "kernel", None)
    asked: dict[str, Any] = getattr(kernel, "get_parent", dict)()
    return bool(asked.get("content", {}).get("allow_stdin", True))
