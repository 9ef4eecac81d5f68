"""Interpreters of our own, each for one request, started when they are needed or, where that is known, before.

Python, what it imports and a compiler's library take a tenth of a second to load. Where a child is sure to be asked for
something, it loads them while its parent still reads the model.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["boot", "booted_ahead", "load_ahead"]

_BOOT = (
    "import pickle, sys; sys.path[:], ahead = pickle.load(sys.stdin.buffer); "
    "from workbench.child import serve; serve(ahead)"
)

_waiting: list[tuple[object, subprocess.Popen[bytes]]] = []


@contextlib.contextmanager
def booted_ahead(*modules: str) -> Iterator[None]:
    """Start an interpreter for the next request in this block, and let it import modules until that comes.

    Nothing is lost where none comes, or where one of the modules cannot be imported: that is told when it is asked for.
    """
    waiting = _surroundings(), _started(modules)
    _waiting.append(waiting)
    try:
        yield
    finally:
        if waiting in _waiting:
            _waiting.remove(waiting)
            _end(waiting[1])


def boot() -> subprocess.Popen[bytes]:
    """Return an interpreter that waits for its request; one that was started ahead, unless it has seen another world.

    Its standard output is unbuffered, so that it holds what was said before a crash, and errors go there, too.
    """
    while _waiting:
        surroundings, process = _waiting.pop()
        if surroundings == _surroundings() and process.poll() is None:
            return process
        _end(process)
    return _started(())


def load_ahead(modules: tuple[str, ...]) -> None:
    """In the child: import what it was started for."""
    for name in modules:
        with contextlib.suppress(Exception):  # it is imported again where it is used, and fails there
            importlib.import_module(name)


def _started(ahead: tuple[str, ...]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(  # noqa: S603 - our own interpreter and our own code
        [sys.executable, "-u", "-X", "faulthandler", "-c", _BOOT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    if process.stdin is not None:
        with contextlib.suppress(OSError):  # it died; its exit status tells the story
            pickle.dump((list(sys.path), ahead), process.stdin)
            process.stdin.flush()
    return process


def _surroundings() -> object:
    """Return what a process has of the one that starts it."""
    try:
        folder = Path.cwd()
    except FileNotFoundError:  # it was removed
        folder = None
    return os.getpid(), list(sys.path), dict(os.environ), folder


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
