"""The first run of a graph, in a process of its own: what kills that process must not kill a notebook.

ONNX Runtime is native code. A graph that nobody ran before may make it crash, abort or take all memory, and with it
dies the kernel that holds an afternoon's work. So a lowered graph is made a session of and run once elsewhere, by a
helper that stays for the next one; what it refuses in words is left to be refused here.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from workbench.child import ChildError, death

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

__all__ = ["Attempt", "attempt", "serve"]

_BOOT = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from workbench.runtime.first_run import serve; serve()"
)
_READY = b"ready\n"


class Attempt(NamedTuple):
    """All that a session is made of, and what it is to be run on.

    Parameters
    ----------
    content
        The model's message.
    entries
        Session options by name.
    disabled
        Optimizers that are switched off.
    outputs
        Tensors to return.
    feeds
        Input name to array.
    """

    content: bytes
    entries: Mapping[str, str]
    disabled: Sequence[str]
    outputs: Sequence[str]
    feeds: Mapping[str, npt.NDArray[Any]]


_survived: set[bytes] = set()
_lock = threading.Lock()
_helper: _Helper | None = None


def attempt(wanted: Attempt, name: str) -> None:
    """Make a session and run it once in another process; nothing happens where that was done before.

    Parameters
    ----------
    wanted
        What to run.
    name
        The model's name, for the message.

    Raises
    ------
    ChildError
        The process died.
    """
    global _helper  # noqa: PLW0603 - one helper for the life of a process, in which a session is made now and then
    parts = (repr(sorted(wanted.entries.items())), repr(list(wanted.disabled)), repr(list(wanted.outputs)))
    key = hashlib.sha256(b"\0".join(part.encode() for part in parts) + wanted.content).digest()
    with _lock:
        if key in _survived:
            return
        if _helper is None or not _helper.is_alive():
            _helper = _Helper.started()
        if _helper is None:
            return
        code = _helper.run(wanted)
        if code is not None:
            _helper = None
            raise ChildError(
                f"ONNX Runtime {death(code)} when it was first given the tuned graph, in a process of its own",
                kind="memory" if code == -9 else "crashed",
                where=name,
                fix="Choose another precision (--preset), or another version of onnxruntime; see workbench doctor.",
            )
        _survived.add(key)


class _Helper:
    """A process that makes sessions and runs them."""

    def __init__(self, process: subprocess.Popen[bytes], requests: IO[bytes], answers: IO[bytes]) -> None:
        self._process, self._requests, self._answers = process, requests, answers
        self._owner = os.getpid()

    @classmethod
    def started(cls) -> _Helper | None:
        """Start one; `None`, with a warning, where none can be had."""
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and our own code
            [sys.executable, "-c", _BOOT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl+C is for the parent, which ends it
        )
        if process.stdin is None or process.stdout is None:
            raise TypeError("no pipes")
        with contextlib.suppress(OSError):
            pickle.dump(list(sys.path), process.stdin)
            process.stdin.flush()
        if process.stdout.readline() != _READY:
            process.kill()
            process.wait()
            warnings.warn("tuned graphs are run without being tried first: no helper process starts.", stacklevel=4)
            return None
        return cls(process, process.stdin, process.stdout)

    def is_alive(self) -> bool:
        """Say whether it can be asked; a forked process has no helper of its own yet."""
        return self._owner == os.getpid() and self._process.poll() is None

    def run(self, wanted: Attempt) -> int | None:
        """Let it do one attempt; return its exit status where it died of it."""
        answer = b""
        try:
            with contextlib.suppress(OSError):  # it died while it read
                pickle.dump(tuple(wanted), self._requests)
                self._requests.flush()
                answer = self._answers.readline()
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        return None if answer else self._process.wait()


def serve() -> None:
    """Do attempts from standard input until it ends; the helper's whole life."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever a library prints is no answer
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # where memory runs out, this process goes first
    answers.write(_READY)
    while True:
        try:
            wanted = Attempt(*pickle.load(sys.stdin.buffer))  # noqa: S301 - sent by our own parent
        except EOFError:
            return
        with contextlib.suppress(Exception):  # what it says in words it says to the parent again
            _run(wanted)
        answers.write(b"lived\n")


def _run(wanted: Attempt) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    for name, value in wanted.entries.items():
        options.add_session_config_entry(name, value)
    session = onnxruntime.InferenceSession(
        wanted.content, options, providers=["CPUExecutionProvider"], disabled_optimizers=list(wanted.disabled)
    )
    session.run(list(wanted.outputs), dict(wanted.feeds))
