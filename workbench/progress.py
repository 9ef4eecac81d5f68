"""A progress bar in a terminal and in a notebook, and none where output is not a terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["progress"]

T = TypeVar("T")


def progress(items: Iterable[T], *, total: int | None, doing: str) -> Iterator[T]:
    """Yield the items, with a bar that goes away when they are done.

    Parameters
    ----------
    items
        What is worked through.
    total
        How many there are, ``None`` where unknown.
    doing
        What is being done, for example ``"calibrating"``.
    """
    # A text bar in notebooks too: tqdm's widget would be left behind as a blank cell in an exported page.
    from tqdm.std import tqdm

    notebook = _in_notebook()
    stream = sys.stdout if notebook else sys.stderr
    with tqdm(
        items, total=total, desc=doing, leave=False, disable=not (notebook or stream.isatty()), file=stream
    ) as bar:
        yield from bar


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and "IPKernelApp" in shell.config
