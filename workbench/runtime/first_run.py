"""The first run of a graph, in a process of its own: what kills that process must not kill a notebook.

ONNX Runtime is native code. A graph that nobody ran before may make it crash, abort or take all memory, and with it
dies the kernel that holds an afternoon's work. So a lowered graph is made a session of and run once elsewhere, by
`workbench.helper`; what it refuses in words is left to be refused here. A graph that is run few times, and then never
again, stays there for all of its runs: see `Apart`.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import sys
import threading
import weakref
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from workbench import helper
from workbench.child import ChildError, death
from workbench.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

__all__ = ["NO_PREPACKING", "NO_SPINNING", "Apart", "FirstRun", "attempt"]

NO_PREPACKING = "session.disable_prepacking"
NO_SPINNING = "session.intra_op.allow_spinning"

T = TypeVar("T")

_OUT_OF_MEMORY = ("bad_alloc", "Failed to allocate memory", "bad allocation")


class FirstRun(NamedTuple):
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
    thrifty
        Whether memory counts for more than time: what a run needs meanwhile is given back at once.
    """

    content: bytes
    entries: Mapping[str, str]
    disabled: Sequence[str]
    outputs: Sequence[str]
    weights: Mapping[str, npt.NDArray[Any]]
    providers: Sequence[Any] = ("CPUExecutionProvider",)
    thrifty: bool = False

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
        return self.session_with(*self.options(threads, memory_pattern=memory_pattern))

    def session_with(self, options: Any, values: object) -> tuple[Any, object]:
        """Return the same, made with options that `options` returned, whatever was added to them."""
        import onnxruntime

        session = onnxruntime.InferenceSession(
            self.content, options, providers=list(self.providers), disabled_optimizers=list(self.disabled)
        )
        return session, values

    def options(self, threads: int, *, memory_pattern: bool = True) -> tuple[Any, object]:
        """Return `onnxruntime.SessionOptions`, and what has to live as long as a session with them."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what is fatal is raised; the rest is noise on a user's screen
        options.intra_op_num_threads = threads
        options.enable_mem_pattern = memory_pattern and not self.thrifty
        options.enable_cpu_mem_arena = not self.thrifty
        if self.thrifty:
            # The file's own order: by default what starts at weights runs first, and all are dequantized at once.
            options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
        for name, value in self.entries.items():
            options.add_session_config_entry(name, value)
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in self.weights.values()]
        if values:
            options.add_external_initializers(list(self.weights), values)
            if NO_PREPACKING in self.entries:
                # What is external is copied all the same, unless it is said to be an initializer too.
                for name, value in zip(self.weights, values, strict=True):
                    options.add_initializer(name, value)
        return options, values


_survived: set[bytes] = set()
_lock = threading.RLock()
_numbers = itertools.count()
_dropped: deque[int] = deque()
"""Sessions that nobody needs any more; the helper hears of them with the next request."""


def attempt(trial: FirstRun, feeds: Mapping[str, npt.NDArray[Any]], name: str) -> None:
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
        try:
            _ask(name, _tried, trial, dict(feeds))
        except ChildError:
            raise
        except BackendError:
            return  # what it says in words it says here again
        except helper.NoHelperError:
            pass
        _survived.add(key)


class Apart:
    """A session in the helper, which runs there as often as it is asked to.

    Several runs go on at once, each on its share of the threads: one run on all of them takes more of the processor for
    the same numbers. No thread spins for more work, which on two cores takes as much again.

    Parameters
    ----------
    trial
        All that it is made of.
    threads
        How many there may be.
    name
        The model's name, for messages.
    runs
        How many are expected.

    Raises
    ------
    ChildError
        The process died, or memory did not suffice.
    BackendError
        No helper can be started, or ONNX Runtime refuses the model.
    """

    def __init__(self, trial: FirstRun, threads: int, name: str, *, runs: int = 1) -> None:
        self._name, self._number = name, next(_numbers)
        alone = trial.thrifty or len(trial.providers) > 1  # memory, or a GPU, is there once
        self._lanes = 1 if alone else min(runs, threads)
        trial = trial._replace(entries={**trial.entries, NO_SPINNING: "0"})
        weakref.finalize(self, _dropped.append, self._number)
        drops = [_dropped.popleft() for _ in range(len(_dropped))]
        try:
            _ask(name, _replace, drops, self._number, trial, threads // self._lanes)
        except helper.NoHelperError as error:
            raise BackendError(
                "no helper process starts, which is to run it", where=name, fix="See workbench doctor."
            ) from error

    def run(self, outputs: Sequence[str], feeds: Mapping[str, npt.NDArray[Any]]) -> list[Any]:
        """Return the outputs of one run, as `onnxruntime.InferenceSession.run` does; raises as the class does."""
        return self.run_all(outputs, [feeds])[0]

    def run_all(self, outputs: Sequence[str], feeds: Sequence[Mapping[str, npt.NDArray[Any]]]) -> list[list[Any]]:
        """Return the outputs of some runs: on a busy machine each request waits for its turn."""
        return _ask(self._name, _runs, self._number, list(outputs), [dict(fed) for fed in feeds], self._lanes)


def _ask(name: str, function: Callable[..., T], *arguments: object) -> T:
    """Return what a function returns in the helper.

    Raises
    ------
    ChildError
        It died of it, or memory did not suffice.
    BackendError
        ONNX Runtime raised something; the message is ONNX Runtime's own.
    NoHelperError
        There is none.
    """
    try:
        result = helper.call(function, *arguments)
    except helper.HelperDiedError as error:
        raise ChildError(
            f"ONNX Runtime {death(error.code)} when it was first given the tuned graph, in a process of its own",
            kind="memory" if error.code == -9 else "crashed",
            where=name,
            fix="Choose another precision (--preset), or another version of onnxruntime; see workbench doctor.",
        ) from error
    if not isinstance(result, helper.Failed):
        return result
    if "MemoryError" in result.kind or any(word in result.text for word in _OUT_OF_MEMORY):
        raise ChildError(
            "ONNX Runtime found too little memory when it was first given the graph, in a process of its own",
            kind="memory",
            where=name,
            fix="Take smaller samples, or a smaller batch; a graph that makes so much of constants is to be repaired.",
        )
    raise BackendError(result.text)


# In the helper

_sessions: dict[int, tuple[Any, object]] = {}


def _tried(trial: FirstRun, feeds: Mapping[str, npt.NDArray[Any]]) -> None:
    _allow(trial)
    session, _ = trial.session(0)
    session.run(list(trial.outputs), dict(feeds))


def _replace(drops: Sequence[int], number: int, trial: FirstRun, threads: int) -> None:
    for each in drops:
        _sessions.pop(each, None)
    _allow(trial)
    _sessions[number] = trial.session(threads)


def _allow(trial: FirstRun) -> None:
    """In the helper: find CUDA's libraries, and let CUDA map the memory it wants, which is more than there is."""
    if len(trial.providers) < 2:
        return
    import onnxruntime

    with contextlib.suppress(Exception):  # what it does not find may still be found by the loader
        onnxruntime.preload_dlls()
    if sys.platform == "linux":
        import resource

        most = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _runs(
    number: int, outputs: Sequence[str], feeds: Sequence[Mapping[str, npt.NDArray[Any]]], lanes: int
) -> list[list[Any]]:
    if number not in _sessions:
        raise BackendError("the process that was to run it died meanwhile")
    session, _ = _sessions[number]
    with ThreadPoolExecutor(lanes) as pool:
        return list(pool.map(lambda fed: session.run(list(outputs), dict(fed)), feeds))
