"""Standard output is for what the workbench prints."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["own_output"]

STDOUT, STDERR = 1, 2


@contextlib.contextmanager
def own_output() -> Iterator[None]:
    """Send to standard error what native libraries write to standard output.

    They write there when they please (ONNX's checker: "Model contains experimental ops"), past Python, and whoever
    reads JSON from a pipe would get that too. Does nothing where `sys.stdout` is no file of its own, as in a notebook.
    """
    try:
        ours = sys.stdout.fileno() == STDOUT
        kept = os.dup(STDOUT) if ours else None
    except (AttributeError, OSError, ValueError):
        kept = None
    if kept is None:
        yield
        return
    before = sys.stdout
    before.flush()
    # Every line is written as it comes: whoever prints what the disk does not hold, or nobody reads, was told then.
    stream = open(kept, "w", encoding=before.encoding, errors=before.errors, buffering=1)  # noqa: PTH123, SIM115 - a descriptor
    try:
        _send_to_standard_error()
        sys.stdout = stream
        yield
    finally:
        sys.stdout = before
        with contextlib.suppress(OSError):
            stream.flush()
        os.dup2(kept, STDOUT)
        with contextlib.suppress(OSError):
            stream.close()


def _send_to_standard_error() -> None:
    try:
        os.dup2(STDERR, STDOUT)
    except OSError:  # it is closed, as services of a system may start programs
        # What is opened takes the number of standard error, so that no file does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)
