"""A process that stays, for native code that may crash: what kills it costs one call, and a notebook nothing.

`workbench.child` gives a long call an interpreter of its own. Calls that take milliseconds and may crash all the same
(a first run of a graph, a conversion) go to one helper, which the first of them starts and which is started anew after
one that killed it.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeVar

if sys.platform == "linux":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Failed", "HelperDiedError", "NoHelperError", "call", "serve"]

T = TypeVar("T")

_BOOT = "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); from workbench.helper import serve; serve()"
_READY = b"ready\n"
_LEFT = 0.9
"""The share of the free memory that it may take: beyond it an allocation fails there, and nobody is killed."""
_PIPE_BYTES = 1 << 20


class HelperDiedError(Exception):
    """The helper died of a call.

    Attributes
    ----------
    code
        Its exit status; negative where a signal ended it.
    """

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class NoHelperError(Exception):
    """No helper process can be started; a warning says so."""


class Failed(NamedTuple):
    """What a call raised in the helper.

    Parameters
    ----------
    kind
        Names of the exception's class and of those that it is derived from.
    text
        Its message.
    """

    kind: tuple[str, ...]
    text: str


_lock = threading.RLock()
_helper: _Helper | None = None


def call(function: Callable[..., T], *arguments: object) -> T | Failed:
    """Call a function in the helper.

    Parameters
    ----------
    function
        One that another process can import; arguments and result are pickled.

    Returns
    -------
    object
        What it returned, or what it raised.

    Raises
    ------
    HelperDiedError
        The helper died of it.
    NoHelperError
        There is none.
    """
    global _helper  # noqa: PLW0603 - one for the life of a process
    with _lock:
        if _helper is None or not _helper.is_alive():
            _helper = _Helper.started()
        if _helper is None:
            raise NoHelperError
        answer = _helper.answer((function, arguments))
        if isinstance(answer, int):
            _helper = None
            raise HelperDiedError(answer)
    done, value = answer
    return value if done else Failed(*value)


class _Helper:
    """The process, and the pipes to it."""

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
        if sys.platform == "linux":
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):  # a pipe of 64 KiB is filled and emptied twenty times a model
                    fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        with contextlib.suppress(OSError):
            pickle.dump(list(sys.path), process.stdin)
            process.stdin.flush()
        if process.stdout.readline() != _READY:
            process.kill()
            process.wait()
            warnings.warn(
                "native code that may crash is called in this process: no helper process starts.", stacklevel=4
            )
            return None
        return cls(process, process.stdin, process.stdout)

    def is_alive(self) -> bool:
        """Say whether it can be asked; a forked process has no helper of its own yet."""
        return self._owner == os.getpid() and self._process.poll() is None

    def answer(self, request: tuple[Any, ...]) -> tuple[bool, Any] | int:
        """Return whether it did what it was asked for, with the result or what was raised; its status if it died."""
        try:
            with contextlib.suppress(OSError, EOFError, pickle.UnpicklingError):  # it died while it read, or answered
                pickle.dump(request, self._requests, protocol=pickle.HIGHEST_PROTOCOL)
                self._requests.flush()
                answer: tuple[bool, Any] = pickle.load(self._answers)  # noqa: S301 - sent by our own child
                return answer
            return self._process.wait()
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise


def serve() -> None:
    """Do what standard input asks for until it ends; the helper's whole life."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no answer
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # where memory runs out, this process goes first
    answers.write(_READY)
    answers.flush()
    while True:
        try:
            function, arguments = pickle.load(sys.stdin.buffer)  # noqa: S301 - sent by our own parent
        except EOFError:
            return
        _limit_memory()
        try:
            answer = True, function(*arguments)
        except Exception as error:  # noqa: BLE001 - libraries raise many kinds, of which some cannot be pickled
            answer = False, (tuple(kind.__name__ for kind in type(error).__mro__), str(error))
        pickle.dump(answer, answers, protocol=pickle.HIGHEST_PROTOCOL)
        answers.flush()
        del function, arguments, answer  # a model's weights may be among them, and the next request may take a while


def _limit_memory() -> None:
    """Let an allocation fail that the machine has no room for, rather than let the system kill somebody."""
    if sys.platform != "linux":
        return
    import resource

    with contextlib.suppress(OSError, ValueError, KeyError):
        words = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        mine = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        most = (int(mine["VmData"].split()[0]) + int(_LEFT * int(words["MemAvailable"].split()[0]))) << 10
        resource.setrlimit(resource.RLIMIT_DATA, (most, resource.getrlimit(resource.RLIMIT_DATA)[1]))
