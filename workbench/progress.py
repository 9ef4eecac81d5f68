"""A progress bar in a terminal and in a notebook, and none where output is not a terminal."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["phases", "progress"]

T = TypeVar("T")

REFRESH_S = 0.2
DELAY_S = 1.0


def progress(items: Iterable[T], *, total: int | None, doing: str) -> Iterator[T]:
    """Yield the items, and show how far it is.

    In a terminal a bar that goes away when all is done; in a notebook one line that ends saying how long it took.

    Parameters
    ----------
    items
        What is worked through.
    total
        How many there are, ``None`` where unknown.
    doing
        What is being done, for example ``"calibrating"``.
    """
    if _in_notebook():
        yield from _line(items, total, doing)
        return
    from tqdm.std import tqdm

    hidden = not sys.stderr.isatty()
    with tqdm(items, total=total, desc=doing, leave=False, disable=hidden, file=sys.stderr) as bar:
        yield from bar


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
    if _in_notebook():
        yield _shown_phases(doing)
        return
    from tqdm.std import tqdm

    form = "{desc} {percentage:3.0f}%|{bar}| {elapsed}"
    hidden = not sys.stderr.isatty()
    shown = time.perf_counter() + DELAY_S - REFRESH_S
    with tqdm(
        total=1.0, desc=doing, leave=False, disable=hidden, file=sys.stderr, bar_format=form, delay=DELAY_S
    ) as bar:

        def show(phase: str, done: float) -> None:
            nonlocal shown
            now = time.perf_counter()
            if now - shown >= REFRESH_S:
                shown = now
                bar.n = done
                bar.set_description(f"{doing}: {phase}")

        yield show


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


def _line(items: Iterable[T], total: int | None, doing: str) -> Iterator[T]:
    """Update one output of the cell: no widget, which an exported page could not show, and no trail of lines."""
    from IPython.display import display

    def bundle(count: int, end: str = "") -> dict[str, str]:
        return {"text/plain": f"{doing}: {count}{'' if total is None else f' of {total}'}{end}"}

    start = shown = time.perf_counter()
    handle = display(bundle(0), raw=True, display_id=True)
    count = 0
    for item in items:
        yield item
        count += 1
        if time.perf_counter() - shown > REFRESH_S:
            shown = time.perf_counter()
            handle.update(bundle(count), raw=True)
    handle.update(bundle(count, f", done in {time.perf_counter() - start:.1f} s"), raw=True)


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and "IPKernelApp" in shell.config
