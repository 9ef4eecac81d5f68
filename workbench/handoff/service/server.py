"""The process of a service: a port, one uvicorn or several, and an orderly end."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import sys
import tempfile
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.supervisors import Multiprocess

from workbench.errors import OptionError
from workbench.handoff.service.application import Application
from workbench.handoff.service.connections import PatientProtocol
from workbench.handoff.service.metrics import MULTIPROCESS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from workbench.handoff.service.service import Service

__all__ = ["listen", "run_server", "url_of"]

GRACE_S = 30
SWITCH_S = 0.0005


def listen(host: str, port: int) -> socket.socket:
    """Open the port.

    Raises
    ------
    OptionError
        It is in use, may not be opened, or there is no such address here.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        if error.errno in (errno.EADDRNOTAVAIL, socket.EAI_NONAME):
            raise OptionError(f"`host`: this machine has no address {host}; 0.0.0.0 stands for all it has") from None
        reason = f"cannot be opened: {error.strerror or error}"
        if error.errno == errno.EADDRINUSE:
            reason = "it is in use; choose another `port`, 0 for any free one, or end the program that has it"
        elif error.errno == errno.EACCES:
            reason = "this user may not open it; choose a `port` above 1023"
        raise OptionError(f"`port` {port} on {host}: {reason}") from None
    except OverflowError:
        raise OptionError(f"`port` {port}: a port is 0 to 65535") from None


def url_of(opened: socket.socket) -> str:
    """Return the address of an open port."""
    host, port = opened.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


@dataclass(frozen=True)
class _Application:
    """What each process makes its service of: it is sent to workers."""

    make: Callable[[], Service]

    def __call__(self) -> Any:
        # The engine's thread asks for the interpreter twice a run; by default it would wait up to 5 ms each time while
        # the event loop is busy. With 32 clients that is a third of the throughput.
        sys.setswitchinterval(SWITCH_S)
        service = self.make()
        _ending.append(service)
        return Application(service)


_ending: list[Service] = []


class _Server(uvicorn.Server):
    """A server that says it is not ready as soon as it is asked to end."""

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Take a signal."""
        for service in _ending:
            service.ending = True
        super().handle_exit(sig, frame)


def run_server(make: Callable[[], Service], opened: socket.socket, *, workers: int = 1) -> None:
    """Serve until the process is told to end (SIGTERM, Ctrl+C); requests in flight are answered first.

    Parameters
    ----------
    make
        Makes the service, in each worker; it can be pickled where there are several.
    opened
        The port.
    workers
        Processes, each with an engine of its own; one that dies is replaced. With one there is only this process.
    """
    config = uvicorn.Config(
        _Application(make),
        factory=True,
        http=PatientProtocol,
        ws="none",  # a connection that became a WebSocket would wait for ever
        workers=workers,
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=GRACE_S,
    )
    with _quiet_end():
        if workers == 1:
            _Server(config).run(sockets=[opened])
            return
        with tempfile.TemporaryDirectory(prefix="workbench-metrics-") as folder:
            os.environ[MULTIPROCESS] = folder
            try:
                Multiprocess(config, sockets=[opened]).run()
            finally:
                del os.environ[MULTIPROCESS]


@contextlib.contextmanager
def _quiet_end() -> Iterator[None]:
    """Let the signal that ended the server end nothing else: uvicorn raises it once more when it is done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


def say(text: str) -> None:
    """Tell whoever started the service."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
