"""What another thread or process does, and writes: waited for, and read once it is there."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PATIENCE_S = 120.0
"""After which a test gives up on what takes a second or two: a host that is busy with other things may be slow."""


def until(condition: Callable[[], object], what: str, *, pause_s: float = 0.01) -> None:
    """Wait until something holds; fail with what that is where it never does."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"in {PATIENCE_S:.0f} s it never came that {what}")
        time.sleep(pause_s)


def awaited(
    path: Path, until: Callable[[Any], bool] = lambda _: True, unless: Callable[[], None] = lambda: None
) -> Any:
    """Wait until a JSON file is as wanted: it may be missing, and JupyterLab empties a notebook before it writes it.

    Parameters
    ----------
    path, until
        The file, and what its content has to fulfil.
    unless
        Raises where it is in vain to wait on.
    """
    last, end = None, time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        unless()
        try:
            last = json.loads(path.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            last = None
        if last is not None and until(last):
            return last
        time.sleep(0.1)
    pytest.fail(f"{path.name} was never as wanted; it last was {last}")
