"""Work that is done before it is asked for, so that whoever asks does not wait: in order, and only so far ahead."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from workbench.runtime import usable_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

__all__ = ["ahead", "each_ahead"]

Source = TypeVar("Source")
Item = TypeVar("Item")


def ahead(items: Iterable[Item], depth: int) -> Generator[Item, None, None]:
    """Go through items that a thread of its own makes, at most `depth` of them before they are asked for."""
    rest = iter(items)
    # One thread makes them all, one after another.
    with ThreadPoolExecutor(1, "ahead") as pool:
        waiting = deque(pool.submit(next, rest) for _ in range(depth))
        try:
            while True:
                try:
                    item = waiting.popleft().result()
                except StopIteration:
                    return
                waiting.append(pool.submit(next, rest))
                yield item
        finally:
            for one in waiting:
                one.cancel()


def each_ahead(make: Callable[[Source], Item], sources: Iterable[Source]) -> Iterator[Item]:
    """Go through what is made of each of some things, by several threads at once.

    At first one is made, then two, up to twice as many as there are threads: who wants only the first pays for one.

    Parameters
    ----------
    make
        Leaves the interpreter for most of its time.
    sources
        What it is called with.
    """
    workers = usable_cores()
    rest = iter(sources)
    window = 1
    with ThreadPoolExecutor(workers, "ahead") as pool:
        waiting = deque(pool.submit(make, one) for one in islice(rest, window))
        try:
            while waiting:
                result = waiting.popleft().result()
                window = min(2 * window, 2 * workers)
                yield result
                waiting.extend(pool.submit(make, one) for one in islice(rest, window - len(waiting)))
        finally:
            for one in waiting:
                one.cancel()
