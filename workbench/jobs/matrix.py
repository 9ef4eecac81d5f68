"""The matrix of `check`: every release of TensorRT-RTX is asked in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Any

from workbench.backends.verdict import Cell, Matrix
from workbench.environments import packages_folder
from workbench.errors import WorkbenchError
from workbench.handoff.ci import Case
from workbench.jobs.verbs import EXIT_REFUSED
from workbench.progress import progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["RELEASES", "ask_releases", "matrix_cases"]

RELEASES = {"1.4": "1.4.0.76", "1.5": "1.5.0.114", "1.6": "1.6.1.120", "1.7": "1.7.1.116"}
"""Releases of TensorRT-RTX on PyPI. A new one is an entry here."""

PACKAGES = ("tensorrt-rtx", "tensorrt-rtx-cu13", "tensorrt-rtx-cu13-libs", "tensorrt-rtx-cu13-bindings")
LONGEST_S = 1200.0


def ask_releases(model: Path, releases: Sequence[str], targets: Sequence[str], shapes: Sequence[str]) -> Matrix:
    """Ask every release what it makes of a model for every GPU; one that cannot be asked is said to be unknown."""
    cells: list[Cell] = []
    for release in progress(releases, total=len(releases), doing="asking TensorRT-RTX"):
        try:
            folder = _folder(release)
        except WorkbenchError as error:
            cells += [Cell(release, target, "unknown", {}, str(error)) for target in targets]
            continue
        answer = _ask(folder, model, targets, shapes)
        if isinstance(answer, str) and len(targets) > 1:  # one GPU that it cannot be asked for is not all of them
            cells += [_cell(release, target, _ask(folder, model, [target], shapes)) for target in targets]
        elif isinstance(answer, str):
            cells.append(Cell(release, targets[0], "unknown", {}, answer))
        else:
            cells += [Cell.of(release, verdict) for verdict in answer]
    return Matrix(model.stem, tuple(cells))


def _cell(release: str, target: str, answer: list[dict[str, Any]] | str) -> Cell:
    return Cell(release, target, "unknown", {}, answer) if isinstance(answer, str) else Cell.of(release, answer[0])


def _folder(release: str) -> Path | None:
    """Return where a release lies; ``None`` where it is the one that is installed."""
    version = RELEASES[release]
    try:
        if metadata.version("tensorrt-rtx") == version:
            return None
    except metadata.PackageNotFoundError:
        pass
    python = f"{sys.implementation.cache_tag}"
    return packages_folder(f"tensorrt-rtx-{version}-{python}", [f"{name}=={version}" for name in PACKAGES])


def _ask(folder: Path | None, model: Path, targets: Sequence[str], shapes: Sequence[str]) -> list[dict[str, Any]] | str:
    """Return the verdicts, or why there are none."""
    words = [*(w for one in targets for w in ("--target", one)), *(w for one in shapes for w in ("--shape", one))]
    command = [sys.executable, "-m", "workbench", "check", str(model), "--json", *words]
    path = os.pathsep.join([*([] if folder is None else [str(folder)]), *(entry for entry in sys.path if entry)])
    try:
        done = subprocess.run(  # noqa: S603 - this program again
            command,
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {LONGEST_S:g} s"
    if done.returncode not in (0, EXIT_REFUSED):
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return lines[-1].removeprefix("error: ")
    verdicts: list[dict[str, Any]] = json.loads(done.stdout)
    return verdicts


def matrix_cases(matrix: Matrix) -> list[Case]:
    """Return the verdicts as cases: one that could not be asked is not checked."""
    return list(_cases(matrix))


def _cases(matrix: Matrix) -> Iterator[Case]:
    for cell in matrix.cells:
        passed = None if cell.outcome == "unknown" else cell.outcome == "accepted"
        refused = [
            f"{name} ({one['op']}): {one['reason']}" for name, one in cell.nodes.items() if one["status"] == "refused"
        ]
        outcome = cell.outcome + (f": {cell.reason}" if cell.reason else "")
        group, name = f"TensorRT-RTX {cell.release}", f"{matrix.model} for {cell.target}"
        yield Case(group, name, passed, outcome, "\n".join(refused) or cell.reason, cell.seconds)
