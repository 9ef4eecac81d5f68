"""Packages of other versions than those installed, each set in a folder of its own that is made once and kept.

A child process finds them before the installed ones (``PYTHONPATH``). They lie in the user's cache folder; deleting it
costs another download and nothing else.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import BackendError, OutputError
from workbench.scratch import scratch_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["VARIABLE", "cache_folder", "packages_folder"]

VARIABLE = "WORKBENCH_CACHE"
LONGEST_S = 900.0


def cache_folder() -> Path:
    """Return the folder for what can be made again: ``WORKBENCH_CACHE``, else one in the user's cache folder."""
    if folder := os.environ.get(VARIABLE):
        return Path(folder)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "trt-workbench"


def packages_folder(
    name: str,
    requirements: Sequence[str],
    *,
    python: str | os.PathLike[str] = sys.executable,
    dependencies: bool = False,
    timeout_s: float = LONGEST_S,
) -> Path:
    """Return a folder that holds these packages, installed by pip the first time that anybody asks.

    Parameters
    ----------
    name
        What the folder is called in the cache; says all that makes it another one, such as versions and the Python.
    requirements
        What pip installs, as on its command line.
    python
        Whose pip, and whose binary packages.
    dependencies
        Whether what they depend on is installed, too.
    timeout_s
        After which it is given up.

    Raises
    ------
    BackendError
        They cannot be installed; the message has pip's last line.
    OutputError
        The cache folder cannot be written to.
    """
    place = cache_folder() / "packages" / name
    if place.is_dir():
        return place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(place.parent) as temporary:
            packages = temporary / "packages"
            _install(python, packages, requirements, dependencies=dependencies, timeout_s=timeout_s)
            try:
                packages.rename(place)
            except OSError:
                if not place.is_dir():  # another process was faster: its folder is as good
                    raise
    except OSError as error:
        fix = f"Set {VARIABLE} to a folder that can be written to."
        raise OutputError(f"packages cannot be kept: {error.strerror or error}", where=place, fix=fix) from error
    return place


def _install(
    python: str | os.PathLike[str], folder: Path, requirements: Sequence[str], *, dependencies: bool, timeout_s: float
) -> None:
    options = ["--quiet", "--disable-pip-version-check", "--no-input", *([] if dependencies else ["--no-deps"])]
    command = [str(python), "-m", "pip", "install", *options, "--target", str(folder), *requirements]
    try:
        done = subprocess.run(  # noqa: S603 - pip, with requirements of our own
            command, capture_output=True, text=True, timeout=timeout_s, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        raise BackendError(f"installing {' '.join(requirements)} took over {timeout_s:g} s", where=python) from error
    if done.returncode or not folder.is_dir():
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["pip said nothing"]
        raise BackendError(
            f"{' '.join(requirements)} cannot be installed: {lines[-1].strip()}",
            where=python,
            fix="Check the network and pip's index, or install them yourself.",
        )
