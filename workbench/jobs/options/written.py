"""What a job writes must not take the place of what it reads, nor of another thing that it writes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.jobs.options.needed import needs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

__all__ = ["ENGINE_BESIDE", "MODEL_BESIDE", "NamesFiles", "Written", "check_places"]

REPLAYED = "recipe"
"""A recipe may lie in the folder of the results: a replay writes the same one."""

MODEL_BESIDE = ("{}.data", "{stem}.recipe.yaml")
ENGINE_BESIDE = ("{}.json",)


@dataclass(frozen=True)
class Written:
    """An option that names what a job writes.

    Parameters
    ----------
    results
        The folder of all results of a job, which is to hold nothing else.
    beside
        What is written with it: ``{}`` stands for its path, ``{stem}`` for that without its ending.
    """

    results: bool = False
    beside: tuple[str, ...] = ()

    def places(self, path: Path) -> tuple[Path, ...]:
        """Return all that is written."""
        stem = path.with_suffix("") if path.name else path
        return (path, *(Path(text.format(path, stem=stem)) for text in self.beside))


@dataclass(frozen=True)
class NamesFiles:
    """An option whose texts name files or folders, perhaps after a word and ``=``."""


def check_places(options: BaseModel) -> None:
    """Refuse paths of which one would be written over another, or over a file that is read with another.

    Raises
    ------
    ValueError
        Names both options.
    """
    fields = type(options).model_fields
    marks = {name: next((m for m in field.metadata if isinstance(m, Written)), None) for name, field in fields.items()}
    if not any(marks.values()):
        return
    places = [
        (name, path)
        for name, field in fields.items()
        for path in _paths(getattr(options, name), texts=_names_files(field))
    ]
    for one, other in combinations(places, 2):
        for (name, path), (taken, there) in ((one, other), (other, one)):
            mark = marks[name]
            if mark is not None:
                _check_pair(mark, name, path, marks[taken], taken, there)


def _check_pair(mark: Written, name: str, path: Path, other: Written | None, taken: str, there: Path) -> None:
    does = "reads" if other is None else "writes"
    theirs = (there,) if other is None else other.places(there)
    for written, beside in product(mark.places(path), theirs):
        if _same(written, beside):
            raise ValueError(f"`{name}` would replace {beside}, which `{taken}` {does}: choose another path")
    if mark.results and taken != REPLAYED and _same(path, there.parent):
        raise ValueError(f"`{taken}` is in the folder of the results, {path}: choose another place for one")
    if other is None:
        for written in mark.places(path):
            if written.is_file() and needs(there, written):
                raise ValueError(
                    f"`{name}` would replace {written}, which is read with {there} (`{taken}`): choose another path"
                )


def _names_files(field: FieldInfo) -> bool:
    return field.annotation is Any or any(isinstance(mark, NamesFiles) for mark in field.metadata)


def _paths(value: Any, *, texts: bool) -> Iterator[Path]:
    """Yield the files and folders that an option names; samples and labels may name theirs as texts."""
    for one in value if isinstance(value, tuple) else (value,):
        if isinstance(one, Path):
            yield one
        elif texts and isinstance(one, str):
            yield Path(one)
            if "=" in one:
                yield Path(one.partition("=")[2])


def _same(path: Path, other: Path) -> bool:
    """Say whether two paths are one file or folder; a device or pipe may be written twice."""
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            return False
        return os.path.realpath(path) == os.path.realpath(other) or path.samefile(other)
    except (OSError, ValueError):  # one does not exist, or can have no such name
        return False
