"""What another process writes, read once it is there."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def awaited(path: Path, until: Callable[[Any], bool] = lambda _: True, seconds: float = 30.0) -> Any:
    """Wait until a JSON file is as wanted: it may be missing, and JupyterLab empties a notebook before it writes it."""
    last, end = None, time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            last = json.loads(path.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            last = None
        if last is not None and until(last):
            return last
        time.sleep(0.1)
    pytest.fail(f"{path.name} was never as wanted; it last was {last}")
