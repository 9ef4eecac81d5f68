"""A progress bar in a terminal and in a notebook, and none where output is not a terminal."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["progress"]

T = TypeVar("T")

REFRESH_S = 0.2


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


def _line(items: Iterable[T], total: int | None, doing: str) -> Iterator[T]:
    """Update one output of the cell: no widget, which an exported page could not show, and no trail of lines."""
    from IPython.display import display

    def said(count: int, end: str = "") -> dict[str, str]:
        return {"text/plain": f"{doing}: {count}{'' if total is None else f' of {total}'}{end}"}

    start = shown = time.perf_counter()
    handle = display(said(0), raw=True, display_id=True)
    count = 0
    for item in items:
        yield item
        count += 1
        if time.perf_counter() - shown > REFRESH_S:
            shown = time.perf_counter()
            handle.update(said(count), raw=True)
    handle.update(said(count, f", done in {time.perf_counter() - start:.1f} s"), raw=True)


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and "IPKernelApp" in shell.config
