"""Python's cyclic garbage collector, held back while many objects are made that all stay."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["collector_off", "collector_spared"]

_FROZEN_BY_PYTHON = 1000
"""More objects than any interpreter freezes by itself when it starts (3.12 does, 375 of them)."""

_sparing: list[bool] = []
"""One entry for each `collector_spared` that goes on: Python counts frozen objects by walking all of them."""


@contextmanager
def collector_off() -> Iterator[None]:
    """Hold the collector back: a graph of ten thousand nodes makes it walk a hundred thousand objects in vain.

    What was made meanwhile then counts as old, so that the collector does not walk it first thing afterwards. Where a
    program has frozen objects of its own, they stay frozen and this is left out.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            if not _sparing and gc.get_freeze_count() < _FROZEN_BY_PYTHON:
                gc.freeze()
                gc.unfreeze()
            gc.enable()


@contextmanager
def collector_spared() -> Iterator[None]:
    """Let the collector look only at what is made meanwhile: graph after graph, each garbage as the next is made.

    A graph refers to itself, so that its weights stay until the collector comes; it comes as often as otherwise, and
    does not walk all that was there before each time. Left out where a program has frozen objects of its own.
    """
    if _sparing or gc.get_freeze_count() >= _FROZEN_BY_PYTHON:
        yield
        return
    gc.collect()
    gc.freeze()
    _sparing.append(True)
    try:
        yield
    finally:
        _sparing.pop()
        gc.unfreeze()
