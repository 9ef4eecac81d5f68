"""Run a function in a child process: a crash in native code becomes a report, never a dead kernel.

Compilers and parsers are native code that can abort, hang or take all memory. `run` gives such a call a fresh
interpreter, a time limit, a memory limit and a cancel switch, streams what it prints, and turns every way it can end
into a value or a `ChildError`. The child is its own interpreter rather than a ``multiprocessing`` process, so the
parent's ``__main__`` (a notebook, a script without a guard) is never imported a second time.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import pickle
import queue
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeVar

from workbench.errors import BackendError, WorkbenchError
from workbench.interpreter import boot, load_ahead
from workbench.scratch import scratch_folder

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

__all__ = ["Child", "ChildError", "Outcome", "Progress", "death", "progress", "run", "serve"]

P = ParamSpec("P")
T = TypeVar("T")

_PROGRESS = "\x1eprogress "
_POLL_S = 0.05
_EXIT_S = 0.005


@dataclass(frozen=True)
class Progress:
    """One step of the child's work: what it is doing, and how much of it is done (0 to 1)."""

    phase: str
    done: float


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What came back: the value, wall time in seconds, peak resident memory in bytes, and all lines printed."""

    value: T
    seconds: float
    peak_bytes: int
    log: tuple[str, ...]


class ChildError(BackendError):
    """The child ended without a value.

    Attributes
    ----------
    kind
        ``"crashed"`` (a signal, or an exit without a result), ``"timeout"``, ``"memory"``, ``"cancelled"``, or
        ``"raised"`` (a Python exception; its traceback is the end of the log).
    log
        Every line the child printed.
    """

    def __init__(
        self,
        what: str,
        *,
        kind: Literal["crashed", "timeout", "memory", "cancelled", "raised"],
        log: tuple[str, ...] = (),
        where: object = None,
        fix: str | None = None,
    ) -> None:
        super().__init__(what, where=where, fix=fix)
        self.kind = kind
        self.log = log


@dataclass(frozen=True)
class Child:
    """How a child is run.

    Parameters
    ----------
    timeout_s
        Wall-clock limit in seconds; None for none.
    memory_bytes
        Limit on the resident memory of the child and its own children, polled 20 times a second (address space is no
        measure of a process that uses CUDA); None for none. A burst between two polls can exceed it. Off Linux it needs
        the package psutil.
    on_line, on_progress
        Called in the calling thread for each line printed and each `progress` report, as they come.
    cancel
        Set this event from another thread to end the child. ``KeyboardInterrupt`` ends it too.
    """

    timeout_s: float | None = None
    memory_bytes: int | None = None
    on_line: Callable[[str], None] | None = None
    on_progress: Callable[[Progress], None] | None = None
    cancel: threading.Event | None = None


def progress(phase: str, done: float) -> None:
    """Report progress from inside the child; `done` runs from 0 to 1."""
    print(_PROGRESS + json.dumps([phase, done]), flush=True)  # noqa: T201 - standard output is the channel


def run(child: Child, what: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Outcome[T]:
    """Call ``function(*args, **kwargs)`` in a child process.

    Parameters
    ----------
    child
        Limits and callbacks.
    what
        What is being done, for messages: "the TensorRT build of resnet50.onnx".
    function
        A function the child can import (module level); arguments and value are pickled.

    Returns
    -------
    Outcome
        The value with seconds, peak memory and log.

    Raises
    ------
    WorkbenchError
        As the function raised it.
    ChildError
        Where there is no value: the child crashed, was stopped by a limit or by `cancel`, or raised anything else.
    """
    module = getattr(function, "__module__", None)
    if module == "__main__":
        raise BackendError(
            f"{what}: the function {function!r} lives in __main__, which a child process cannot import",
            fix="Move it into a module.",
        )
    if child.memory_bytes is not None and not _can_watch():
        raise BackendError(
            f"{what}: a memory limit cannot be watched without the package psutil",
            fix="Install it (pip install psutil), or set no memory limit.",
        )
    with scratch_folder() as folder:
        result = folder / "result.pickle"
        request = pickle.dumps((function, args, kwargs, str(result)))
        return _watch(child, what, request, result)


def _watch(child: Child, what: str, request: bytes, result: Path) -> Outcome[Any]:
    start = time.monotonic()
    process = boot()
    lines: queue.Queue[str | None] = queue.Queue()
    reader = threading.Thread(target=_read, args=(process, lines), daemon=True)
    reader.start()
    log: list[str] = []
    try:
        # Standard input stays open: its end tells the child that the parent is gone.
        threading.Thread(target=_send, args=(process, request), daemon=True).start()
        peak, stopped = _follow(child, process, lines, log, start)
    finally:
        if process.poll() is None:
            _kill(process)
        process.wait()
        # Order matters: joining first would wait for a grandchild that holds the pipe, so close what is ours.
        if process.stdin is not None:
            with contextlib.suppress(OSError):  # the child died before it read its request
                process.stdin.close()
        reader.join(timeout=1.0)
    seconds = time.monotonic() - start
    return _outcome(child, what, process.returncode, result, Outcome(stopped, seconds, peak, tuple(log)))


def _follow(
    child: Child,
    process: subprocess.Popen[bytes],
    lines: queue.Queue[str | None],
    log: list[str],
    start: float,
) -> tuple[int, str | None]:
    """Pass lines on until the child ends; return the peak memory and, where a limit was met, which."""
    peak, next_poll, open_ = 0, 0.0, True
    while process.poll() is None:
        open_ = open_ and _drain(child, lines, log, _POLL_S)
        if not open_:
            time.sleep(_EXIT_S)  # it closed its output, and may go on working
        now = time.monotonic()
        if now < next_poll:
            continue
        next_poll = now + _POLL_S
        peak = max(peak, _resident_bytes(process.pid))
        stopped = _limit_met(child, peak, now - start)
        if stopped is not None:
            return peak, stopped
    # What is still in the pipe. A grandchild may hold it open: it gets one second, no more.
    deadline = time.monotonic() + 1.0
    while open_ and time.monotonic() < deadline:
        open_ = _drain(child, lines, log, _POLL_S)
    return peak, None


def _limit_met(child: Child, peak: int, seconds: float) -> str | None:
    if child.memory_bytes is not None and peak > child.memory_bytes:
        return "memory"
    if child.timeout_s is not None and seconds > child.timeout_s:
        return "timeout"
    if child.cancel is not None and child.cancel.is_set():
        return "cancelled"
    return None


def _drain(child: Child, lines: queue.Queue[str | None], log: list[str], wait_s: float) -> bool:
    """Deliver one line, waiting for it at most `wait_s` seconds; False once the pipe is at its end."""
    try:
        line = lines.get(timeout=wait_s)
    except queue.Empty:
        return True
    if line is None:
        return False
    _deliver(child, line, log)
    return True


def _deliver(child: Child, line: str, log: list[str]) -> None:
    if line.startswith(_PROGRESS):
        if child.on_progress is not None:
            phase, done = json.loads(line[len(_PROGRESS) :])
            child.on_progress(Progress(phase, done))
        return
    log.append(line)
    if child.on_line is not None:
        child.on_line(line)


def _outcome(child: Child, what: str, code: int, result: Path, run_: Outcome[str | None]) -> Outcome[Any]:
    peak = f"{run_.peak_bytes / 2**20:.0f} MiB" if run_.peak_bytes else "an unknown amount"
    if run_.value == "timeout":
        raise ChildError(
            f"{what} ran past its limit of {child.timeout_s:g} s",
            kind="timeout",
            log=run_.log,
            fix="Raise the time limit, or simplify the model.",
        )
    if run_.value == "memory":
        limit = (child.memory_bytes or 0) / 2**20
        raise ChildError(
            f"{what} took {peak} of memory; its limit is {limit:.0f} MiB",
            kind="memory",
            log=run_.log,
            fix="Raise the memory limit, or lower the workspace limit.",
        )
    if run_.value == "cancelled":
        raise ChildError(f"{what} was cancelled after {run_.seconds:.1f} s", kind="cancelled", log=run_.log)
    if not result.exists():
        raise ChildError(
            f"{what} {death(code)} after {run_.seconds:.1f} s at {peak} of memory",
            kind="memory" if code == -getattr(signal, "SIGKILL", 9) else "crashed",
            log=run_.log,
            where=run_.log[-1] if run_.log else None,
        )
    with result.open("rb") as stream:
        ok, value, own_peak = pickle.load(stream)  # noqa: S301 - written by our own child
    if ok:
        return Outcome(value, run_.seconds, max(run_.peak_bytes, own_peak), run_.log)
    if isinstance(value, WorkbenchError):
        raise value
    raise ChildError(f"{what} failed: {value}", kind="raised", log=run_.log)


def death(code: int) -> str:
    """Say how a process ended that gave no answer, from its exit status."""
    if code >= 0:
        return f"ended with exit status {code} and no result"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if name == "SIGKILL":
        return "was killed by the system (most often: the machine ran out of memory)"
    return f"crashed in native code ({name})"


def _send(process: subprocess.Popen[bytes], request: bytes) -> None:
    try:
        if process.stdin is not None:
            process.stdin.write(request)
            process.stdin.flush()
    except (OSError, ValueError):  # the child died first; its exit status tells the story
        return


def _read(process: subprocess.Popen[bytes], lines: queue.Queue[str | None]) -> None:
    if process.stdout is not None:
        with process.stdout as stream:
            for line in stream:
                lines.put(line.decode("utf-8", "replace").rstrip("\r\n"))
    lines.put(None)


def _kill(process: subprocess.Popen[bytes]) -> None:
    if sys.platform == "win32":
        process.kill()
    else:
        # The whole session that start_new_session made, so that no compiler helper survives.
        os.killpg(process.pid, signal.SIGKILL)


def _can_watch() -> bool:
    return _knows_children() or importlib.util.find_spec("psutil") is not None


def _knows_children() -> bool:
    """Say whether Linux tells the children of a process; psutil looks for them among all processes of the machine."""
    return Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").exists()


def _resident_bytes(pid: int) -> int:
    """Return the memory of a process and its children, 0 where nobody can tell."""
    if _knows_children():
        return _resident_of_family(pid)
    if not _can_watch():
        return 0
    import psutil

    total = 0
    with contextlib.suppress(psutil.Error):  # one of them ended between the listing and the look
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            total += process.memory_info().rss
    return total


def _resident_of_family(pid: int) -> int:
    total, family = 0, [pid]
    for each in family:
        with contextlib.suppress(OSError):  # it ended between the listing and the look
            total += int(Path(f"/proc/{each}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            for thread in Path(f"/proc/{each}/task").iterdir():
                family += map(int, (thread / "children").read_text().split())
    return total


def _own_peak_bytes() -> int:
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def serve(ahead: tuple[str, ...]) -> None:
    """Load what is asked for ahead, then do one request from standard input; the child's whole life."""
    load_ahead(ahead)
    try:
        function, args, kwargs, result = pickle.load(sys.stdin.buffer)  # noqa: S301 - sent by our own parent
    except EOFError:  # the parent ended and had nothing to ask
        os._exit(0)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    try:
        answer = (True, function(*args, **kwargs))
    except WorkbenchError as error:
        answer = (False, error)
    except MemoryError:
        answer = (False, "out of memory (MemoryError)")
    except BaseException as error:  # noqa: BLE001 - whatever it was, the parent must hear of it
        traceback.print_exc()
        answer = (False, f"{type(error).__name__}: {error}")
    partial = Path(result + ".partial")
    with partial.open("wb") as stream:
        pickle.dump((*answer, _own_peak_bytes()), stream, protocol=pickle.HIGHEST_PROTOCOL)
    partial.rename(result)
    sys.stdout.flush()
    sys.stderr.flush()
    # Native libraries may crash in their destructors; the answer is already safe.
    os._exit(0)


def _leave_with_parent() -> None:
    while sys.stdin.buffer.read(65536):
        pass
    os._exit(1)
