"""Switch off what ONNX Runtime tells its maker: a customer's model is nobody else's business.

Importing onnxruntime 1.32 makes a device identifier and a database of events in the user's cache folder and a session
file in TMPDIR, and starts to send them. Its function `disable_telemetry_events` comes after the import, when the files
are there; the variable is read during it.
"""

from __future__ import annotations

import os
import sys

__all__ = ["VARIABLE", "switch_off", "telemetry"]

VARIABLE = "ORT_DISABLE_TELEMETRY"
"""Read by ONNX Runtime while it is imported, and handed on to every process that this one starts."""

_before: list[bool] = []


def switch_off() -> None:
    """Switch it off, unless the user set the variable to something else."""
    os.environ.setdefault(VARIABLE, "1")
    loaded = sys.modules.get("onnxruntime")
    _before.append(loaded is not None)
    if loaded is not None and _is_off():
        getattr(loaded, "disable_telemetry_events", lambda: None)()


def telemetry() -> str:
    """Say in a few words what happened to it, for ``workbench doctor``."""
    if not _is_off():
        return f"left on: {VARIABLE}={os.environ.get(VARIABLE)} is set"
    if any(_before):
        return "off since workbench was imported; onnxruntime was imported before it, and may have written its files"
    return f"off ({VARIABLE}={os.environ[VARIABLE]}), before onnxruntime was imported"


def _is_off() -> bool:
    return os.environ.get(VARIABLE, "").lower() not in ("", "0", "false", "off", "no")
