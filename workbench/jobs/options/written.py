"""What a job writes must not take the place of what it reads, nor of another thing that it writes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel

__all__ = ["Written", "check_places"]

REPLAYED = "recipe"
"""A recipe may lie in the folder of the results: a replay writes the same one."""


@dataclass(frozen=True)
class Written:
    """An option that names what a job writes.

    Parameters
    ----------
    results
        The folder of all results of a job, which is to hold nothing else.
    """

    results: bool = False


def check_places(options: BaseModel) -> None:
    """Refuse paths of which one would be written over another.

    Raises
    ------
    ValueError
        Names both options.
    """
    fields = type(options).model_fields
    marks = {name: next((m for m in field.metadata if isinstance(m, Written)), None) for name, field in fields.items()}
    places = [
        (name, path)
        for name, field in fields.items()
        for path in _paths(getattr(options, name), texts=field.annotation is Any)
    ]
    for one, other in combinations(places, 2):
        for (name, path), (taken, there) in ((one, other), (other, one)):
            mark = marks[name]
            if mark is None:
                continue
            if _same(path, there):
                does = "reads" if marks[taken] is None else "writes"
                raise ValueError(f"`{name}` would replace {there}, which `{taken}` {does}: choose another path")
            if mark.results and taken != REPLAYED and _same(path, there.parent):
                raise ValueError(f"`{taken}` is in the folder of the results, {path}: choose another place for one")


def _paths(value: Any, *, texts: bool) -> Iterator[Path]:
    """Yield the files and folders that an option names; samples and labels may name theirs as texts."""
    for one in value if isinstance(value, tuple) else (value,):
        if isinstance(one, Path) or (texts and isinstance(one, str)):
            yield Path(one)


def _same(path: Path, other: Path) -> bool:
    """Say whether two paths are one file or folder; a device or pipe may be written twice."""
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            return False
        return os.path.realpath(path) == os.path.realpath(other) or path.samefile(other)
    except (OSError, ValueError):  # one does not exist, or can have no such name
        return False
