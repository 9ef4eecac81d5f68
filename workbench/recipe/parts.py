"""What the parts of a recipe have in common: they are frozen, know their files, and hash what a person might change."""

from __future__ import annotations

import hashlib
import json
import os.path
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "Evaluation",
    "FileReference",
    "ModelReference",
    "Part",
    "SamplesReference",
    "ranges_hash",
    "relative_to",
]


class Part(BaseModel):
    """A part of a recipe: immutable, and without room for a misspelt key."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelReference(Part):
    """Which model the recipe is for.

    Parameters
    ----------
    file
        Where it was; absolute in memory, relative to the recipe's folder once saved.
    sha256
        `Model.digest`: what it must be.
    structure
        `workbench.graph.structure_digest`: what it shares with the same network trained again; ``None`` in recipes that
        older releases wrote.
    """

    file: str
    sha256: str
    structure: str | None = None


class SamplesReference(Part):
    """Which samples were used, so that a person finds them again and a program knows them again."""

    source: dict[str, Any]
    count: int
    fingerprint: str

    def moved(self, move: Callable[[str], str]) -> SamplesReference:
        """Return the reference with its path, where it has one, given to `move`."""
        if "path" not in self.source:
            return self
        return self.model_copy(update={"source": {**self.source, "path": move(self.source["path"])}})


class FileReference(Part):
    """A file that something was read from.

    Parameters
    ----------
    file
        Where it was; absolute in memory, relative to the recipe's folder once saved.
    sha256
        Of its bytes.
    """

    file: str
    sha256: str

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> FileReference:
        """Return the reference to a file as it is now."""
        path = Path(path)
        return cls(file=str(path.resolve()), sha256=hashlib.sha256(path.read_bytes()).hexdigest())

    def moved(self, move: Callable[[str], str]) -> FileReference:
        """Return the reference with its path given to `move`."""
        return self.model_copy(update={"file": move(self.file)})


class Evaluation(Part):
    """What the gates are judged on, so that a replay can judge them again.

    Parameters
    ----------
    samples
        What both models ran.
    labels
        One class index a sample.
    """

    samples: SamplesReference
    labels: FileReference | None = None

    def moved(self, move: Callable[[str], str]) -> Evaluation:
        """Return it with the paths of its files given to `move`."""
        labels = None if self.labels is None else self.labels.moved(move)
        return Evaluation(samples=self.samples.moved(move), labels=labels)


def ranges_hash(ranges: Mapping[str, float]) -> str:
    """Return SHA-256 (hex) over names and thresholds in full precision."""
    return hashlib.sha256(json.dumps(dict(ranges), sort_keys=True).encode()).hexdigest()


def relative_to(file: str, folder: Path) -> str:
    """Return a path as seen from a folder, so that the two can move together to another machine."""
    return Path(os.path.relpath(Path(file).resolve(), folder.resolve())).as_posix()
