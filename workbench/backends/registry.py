"""Which backends work here, and why the others do not."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from importlib import metadata

__all__ = ["Availability", "backends"]


@dataclass(frozen=True)
class Availability:
    """Whether a backend can be used on this machine.

    Parameters
    ----------
    name
        The backend.
    works
        Whether it can do at least part of its job here.
    reason
        What it can do, or why it cannot and what to do about it.
    """

    name: str
    works: bool
    reason: str


def backends() -> list[Availability]:
    """Return every backend with what it can do here."""
    return [_onnxruntime(), _tensorrt_rtx(), _tensorrt()]


def _onnxruntime() -> Availability:
    return Availability("onnxruntime", works=True, reason=f"runs on the CPU (version {_version('onnxruntime')})")


def _tensorrt_rtx() -> Availability:
    version = _version("tensorrt-rtx")
    if version is None:
        return Availability("tensorrt_rtx", works=False, reason='not installed: pip install "trt-workbench[rtx]"')
    return Availability(
        "tensorrt_rtx",
        works=True,
        reason=f"parses and builds without a GPU (version {version}); running needs an RTX GPU",
    )


def _tensorrt() -> Availability:
    version = _version("tensorrt")
    if version is None:
        return Availability("tensorrt", works=False, reason='not installed: pip install "trt-workbench[tensorrt]"')
    gpu = _gpu()
    if gpu is None:
        return Availability(
            "tensorrt", works=False, reason=f"version {version} is installed, but nvidia-smi finds no GPU"
        )
    return Availability("tensorrt", works=True, reason=f"version {version} on {gpu}")


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _gpu() -> str | None:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    query = [tool, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    result = subprocess.run(query, capture_output=True, text=True, check=False)  # noqa: S603 - a fixed command
    lines = result.stdout.strip().splitlines()
    return lines[0] if result.returncode == 0 and lines else None
