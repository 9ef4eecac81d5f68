"""Which versions made a result."""

from __future__ import annotations

import os
import platform
from importlib import metadata

__all__ = ["BACKENDS", "environment"]

DISTRIBUTIONS = ("trt-workbench", "numpy", "onnx", "onnx-ir", "onnxruntime")
CONTAINER = "WORKBENCH_CONTAINER"
BACKENDS = ("tensorrt", "tensorrt-rtx")


def environment() -> dict[str, str]:
    """Return name and version of Python and of every package that has a part in the result.

    A container says what it is in the variable ``WORKBENCH_CONTAINER``, as those of this repository do. The processor
    is not in it: results do not depend on it.
    """
    container = os.environ.get(CONTAINER)
    versions = {"python": platform.python_version()} | ({"container": container} if container else {})
    installed = {name: _version(name) for name in (*DISTRIBUTIONS, *BACKENDS)}
    return versions | {name: version for name, version in installed.items() if version is not None}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
