"""Where tasks run: here, one after the other, or on the workers of a Dask cluster, one a GPU."""

from __future__ import annotations

import contextlib
import logging
import socket
import tempfile
import time
from concurrent.futures import Executor, Future
from concurrent.futures import TimeoutError as TimedOut
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from workbench.backends import bus_id
from workbench.errors import BackendError
from workbench.scratch import hold_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from workbench.names import BackendName

__all__ = [
    "NO_WORKER_S",
    "Here",
    "WorkerWatch",
    "Workers",
    "alone_on_device",
    "executor_of",
    "missing_s",
    "result_of",
    "scheduler_client",
]

P = ParamSpec("P")
T = TypeVar("T")

RETRIES = 3
"""How often a task is tried on another worker after one has died with it."""

POLL_S = 0.05
CONNECT_S = 10
"""How long a scheduler may take to answer, and then to have its first worker."""
NO_WORKER_S = 60.0
"""How long a scheduler whose last worker went is given for another."""
LOOK_S = 1.0
"""How often a scheduler is asked for its workers, at most."""


class Here(Executor):
    """Runs tasks at once, in this process."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run it, and return a future that is done."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to whoever asks for the result
            future.set_exception(error)
        return future


class WorkerWatch:
    """Notices that a scheduler has no worker any more: it keeps tasks for one that may come, for ever.

    Parameters
    ----------
    client
        Of the scheduler.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._looked = self._seen = time.monotonic()

    def missing_s(self) -> float:
        """Return for how many seconds there has been none, 0 where there is one; a scheduler that is gone has some."""
        now = time.monotonic()
        if now - self._looked >= LOOK_S:
            self._looked = now
            try:
                if self._client.nthreads():
                    self._seen = now
            except OSError:  # its tasks end by themselves
                self._seen = now
        return self._looked - self._seen


class Workers(Executor):
    """Runs tasks on the workers of a scheduler."""

    def __init__(self, client: Any) -> None:
        self._tasks = client.get_executor(retries=RETRIES, pure=False)
        self.watch = WorkerWatch(client)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Send it to the scheduler."""
        future: Future[T] = self._tasks.submit(fn, *args, **kwargs)
        return future


def missing_s(executor: Executor) -> float:
    """Return for how many seconds an executor has had no worker; 0 where it has one, or needs none."""
    return executor.watch.missing_s() if isinstance(executor, Workers) else 0.0


def result_of(executor: Executor, future: Future[T]) -> T:
    """Wait for a result as long as somebody may bring it.

    Raises
    ------
    BackendError
        No worker is left.
    """
    while True:
        try:
            return future.result(timeout=LOOK_S)
        except TimedOut:
            if future.done():  # the function raised it
                raise
        if missing_s(executor) >= NO_WORKER_S:
            future.cancel()
            raise BackendError("the scheduler has no worker left", fix="Start one, and begin again.")


@contextlib.contextmanager
def executor_of(scheduler: str | None) -> Iterator[Executor]:
    """Connect to a Dask scheduler by its address, or work here where there is none.

    Each worker should have one thread and one GPU: ``CUDA_VISIBLE_DEVICES=0 dask worker ADDRESS --nthreads 1``.

    Raises
    ------
    BackendError
        The package ``distributed`` is missing, nobody answers at the address, or the scheduler has no worker.
    """
    if scheduler is None:
        yield Here()
        return
    import dask

    # A task carries its model, however large: what is scattered instead is lost with the worker that holds it.
    quiet: Any = dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TB"})
    with scheduler_client(scheduler) as client, quiet:
        yield Workers(client)


@contextlib.contextmanager
def scheduler_client(scheduler: str) -> Iterator[Any]:
    """Connect to a Dask scheduler that has workers; raises as `executor_of` does."""
    try:
        from distributed import Client
        from distributed.utils import silence_logging_cmgr
    except ImportError as error:
        raise BackendError(
            "a scheduler needs the package distributed", fix='pip install "trt-workbench[cluster]"'
        ) from error
    silent: Any = silence_logging_cmgr
    # What goes wrong is said by whoever waits for results, without the tracebacks of the connection.
    with silent(logging.CRITICAL):
        try:
            _knock(scheduler)
            connect: Any = Client
            client = connect(scheduler, timeout=CONNECT_S, set_as_default=False)
        except (OSError, ValueError) as error:
            raise BackendError(
                "no Dask scheduler answers",
                where=scheduler,
                fix="Check the address, like tcp://10.0.0.5:8786, or start one: dask scheduler.",
            ) from error
        with client:
            try:
                client.wait_for_workers(1, timeout=CONNECT_S)
            except TimeoutError as error:
                raise BackendError(
                    "the scheduler has no worker",
                    where=scheduler,
                    fix=f"Start one for each GPU, or one a core: dask worker {scheduler} --nthreads 1.",
                ) from error
            yield client


def _knock(scheduler: str) -> None:
    """Raise OSError at once where nobody listens: a client tries for seconds, and takes as long again to be ended."""
    scheme, _, place = scheduler.rpartition("://")
    host, _, port = place.rpartition(":")
    if scheme in {"", "tcp", "tls"} and host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()


@contextlib.contextmanager
def alone_on_device(backend: BackendName) -> Iterator[str]:
    """Wait until no other process of this host builds or times on the same GPU (or processor); yield its name."""
    name = f"{socket.gethostname()}.{'processor' if backend == 'onnxruntime' else bus_id()}"
    safe = "".join(c if c.isalnum() or c in "._-" else "-" for c in name)
    path = Path(tempfile.gettempdir()) / f"trt-workbench.{safe}.device"
    while True:
        with hold_name(path) as mine:
            if mine:
                yield name
                return
        time.sleep(POLL_S)
