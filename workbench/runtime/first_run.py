"""The first run of a graph, in a process of its own: what kills that process must not kill a notebook.

ONNX Runtime is native code. A graph that nobody ran before may make it crash, abort or take all memory, and with it
dies the kernel that holds an afternoon's work. So a lowered graph is made a session of and run once elsewhere, by a
helper that stays for the next one; what it refuses in words is left to be refused here. A graph that is run few times,
and then never again, stays there for all of its runs: see `Apart`.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import pickle
import subprocess
import sys
import threading
import warnings
import weakref
from collections import deque
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from workbench.child import ChildError, death
from workbench.errors import BackendError

if sys.platform == "linux":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

__all__ = ["Apart", "Attempt", "attempt", "serve"]

_BOOT = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from workbench.runtime.first_run import serve; serve()"
)
_READY = b"ready\n"
_LEFT = 0.9
"""The share of the free memory that the helper may take: beyond it an allocation fails there, and nobody is killed."""
_PIPE_BYTES = 1 << 20
_OUT_OF_MEMORY = ("bad_alloc", "MemoryError", "Failed to allocate memory", "bad allocation")


class Attempt(NamedTuple):
    """All that a session is made of.

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
    weights
        What the message has no room for, by name.
    providers
        What computes, as ONNX Runtime takes it.
    """

    content: bytes
    entries: Mapping[str, str]
    disabled: Sequence[str]
    outputs: Sequence[str]
    weights: Mapping[str, npt.NDArray[Any]]
    providers: Sequence[Any] = ("CPUExecutionProvider",)

    def key(self) -> bytes:
        """Return what tells it from another."""
        settings = (sorted(self.entries.items()), list(self.disabled), list(self.outputs), list(self.providers))
        parts = map(repr, settings)
        digest = hashlib.sha256(b"\0".join(part.encode() for part in parts) + self.content)
        for name, array in self.weights.items():
            digest.update(name.encode())
            digest.update(array.data.cast("B"))
        return digest.digest()

    def session(self, threads: int, *, memory_pattern: bool = True) -> tuple[Any, object]:
        """Return an `onnxruntime.InferenceSession` of it, and what has to live as long as that."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what is fatal is raised; the rest is noise on a user's screen
        options.intra_op_num_threads = threads
        options.enable_mem_pattern = memory_pattern
        for name, value in self.entries.items():
            options.add_session_config_entry(name, value)
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in self.weights.values()]
        if values:
            options.add_external_initializers(list(self.weights), values)
        session = onnxruntime.InferenceSession(
            self.content, options, providers=list(self.providers), disabled_optimizers=list(self.disabled)
        )
        return session, values


_survived: set[bytes] = set()
_lock = threading.RLock()
_numbers = itertools.count()
_dropped: deque[int] = deque()
"""Sessions that nobody needs any more; the helper hears of them with the next request."""
_helper: _Helper | None = None


def attempt(trial: Attempt, feeds: Mapping[str, npt.NDArray[Any]], name: str) -> None:
    """Make a session and run it once in another process; nothing happens where that was done before.

    Parameters
    ----------
    trial
        What to run.
    feeds
        Input name to array.
    name
        The model's name, for the message.

    Raises
    ------
    ChildError
        The process died, or memory did not suffice.
    """
    key = trial.key()
    with _lock:
        if key in _survived:
            return
        number = next(_numbers)
        try:
            if _ask(("make", number, trial, 0), name):
                _ask(("run", number, list(trial.outputs), [dict(feeds)]), name)
        except BackendError as error:
            if isinstance(error, ChildError):
                raise
            return  # what it says in words it says here again
        finally:
            _dropped.append(number)
        _survived.add(key)


class Apart:
    """A session in the helper, which runs there as often as it is asked to.

    Raises
    ------
    ChildError
        The process died, or memory did not suffice.
    BackendError
        No helper can be started, or ONNX Runtime refuses the model.
    """

    def __init__(self, trial: Attempt, threads: int, name: str) -> None:
        self._name, self._number = name, next(_numbers)
        weakref.finalize(self, _dropped.append, self._number)
        if not _ask(("make", self._number, trial, threads), name):
            raise BackendError("no helper process starts, which is to run it", where=name, fix="See workbench doctor.")

    def run(self, outputs: Sequence[str], feeds: Mapping[str, npt.NDArray[Any]]) -> list[Any]:
        """Return the outputs of one run, as `onnxruntime.InferenceSession.run` does; raises as the class does."""
        return self.run_all(outputs, [feeds])[0]

    def run_all(self, outputs: Sequence[str], feeds: Sequence[Mapping[str, npt.NDArray[Any]]]) -> list[list[Any]]:
        """Return the outputs of some runs: on a busy machine each request waits for its turn."""
        results: list[list[Any]] = _ask(("run", self._number, list(outputs), [dict(fed) for fed in feeds]), self._name)[
            0
        ]
        return results


def _ask(request: tuple[Any, ...], name: str) -> tuple[Any, ...]:
    """Return the helper's answer in a tuple; an empty one where there is no helper.

    Raises
    ------
    ChildError
        It died of it, or memory did not suffice.
    BackendError
        ONNX Runtime raised something; the message is ONNX Runtime's own.
    """
    global _helper  # noqa: PLW0603 - one helper for the life of a process, in which a session is made now and then
    with _lock:
        if _helper is None or not _helper.is_alive():
            _helper = _Helper.started()
        if _helper is None:
            return ()
        drops = [_dropped.popleft() for _ in range(len(_dropped))]
        answer = _helper.answer((drops, *request))
        if isinstance(answer, int):
            _helper = None
            raise ChildError(
                f"ONNX Runtime {death(answer)} when it was first given the tuned graph, in a process of its own",
                kind="memory" if answer == -9 else "crashed",
                where=name,
                fix="Choose another precision (--preset), or another version of onnxruntime; see workbench doctor.",
            )
    done, value = answer
    if done:
        return (value,)
    if any(word in value for word in _OUT_OF_MEMORY):
        raise ChildError(
            "ONNX Runtime found too little memory when it was first given the graph, in a process of its own",
            kind="memory",
            where=name,
            fix="Take smaller samples, or a smaller batch; a graph that makes so much of constants is to be repaired.",
        )
    raise BackendError(value)


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
            warnings.warn("tuned graphs are run without being tried first: no helper process starts.", stacklevel=5)
            return None
        return cls(process, process.stdin, process.stdout)

    def is_alive(self) -> bool:
        """Say whether it can be asked; a forked process has no helper of its own yet."""
        return self._owner == os.getpid() and self._process.poll() is None

    def answer(self, request: tuple[Any, ...]) -> tuple[bool, Any] | int:
        """Return whether it did what it was asked for, and the result or what was said; its exit status if it died."""
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
    sessions: dict[int, Any] = {}
    while True:
        try:
            drops, what, number, *arguments = pickle.load(sys.stdin.buffer)  # noqa: S301 - sent by our own parent
        except EOFError:
            return
        for each in drops:
            sessions.pop(each, None)
        if what == "make" and len(arguments[0].providers) > 1:
            _allow_cuda()
        _limit_memory()
        try:
            answer = True, _done(sessions, what, number, *arguments)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime raises many kinds, none of them public
            answer = False, f"{type(error).__name__}: {error}" if isinstance(error, MemoryError) else str(error)
        pickle.dump(answer, answers, protocol=pickle.HIGHEST_PROTOCOL)
        answers.flush()


def _done(sessions: dict[int, Any], what: str, number: int, *arguments: Any) -> Any:
    if what == "make":
        trial, threads = arguments
        sessions[number] = trial.session(threads)
        return None
    if number not in sessions:
        raise BackendError("the process that was to run it died meanwhile")
    outputs, feeds = arguments
    return [sessions[number][0].run(outputs, fed) for fed in feeds]


_cuda = False


def _allow_cuda() -> None:
    """Find CUDA's libraries, and limit no memory any more: CUDA maps more of it than any machine has."""
    global _cuda  # noqa: PLW0603 - of the helper's whole process
    if _cuda:
        return
    _cuda = True
    import onnxruntime

    with contextlib.suppress(Exception):  # what it does not find may still be found by the loader
        onnxruntime.preload_dlls()
    if sys.platform == "linux":
        import resource

        most = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _limit_memory() -> None:
    """Let an allocation fail that the machine has no room for, rather than let the system kill somebody."""
    if sys.platform != "linux" or _cuda:
        return
    import resource

    with contextlib.suppress(OSError, ValueError, KeyError):
        words = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        mine = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        most = (int(mine["VmData"].split()[0]) + int(_LEFT * int(words["MemAvailable"].split()[0]))) << 10
        resource.setrlimit(resource.RLIMIT_DATA, (most, resource.getrlimit(resource.RLIMIT_DATA)[1]))
