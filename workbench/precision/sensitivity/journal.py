"""What was measured so far, on disk, so that a run that was killed goes on where it stopped."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import OutputError, PrecisionError
from workbench.files import write_error
from workbench.scratch import hold

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Journal", "open_journal"]

ANOTHER = "Name another file, or delete this one to start again."


@contextlib.contextmanager
def open_journal(path: str | os.PathLike[str], about: Mapping[str, Any]) -> Iterator[Journal]:
    """Open a journal, and keep other processes from it until the end of the block.

    Raises
    ------
    PrecisionError
        The file is no journal, or one about something else.
    OutputError
        Another measurement is writing to it; it cannot be written, or is no plain file.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            raise OutputError("this is no plain file", where=path, fix="Name another file.")
        path.touch()
        with hold(path) as mine:
            if not mine:
                raise OutputError(
                    "another measurement is writing to this journal",
                    where=path,
                    fix="Wait until it has ended, or name another file.",
                )
            yield Journal(path, about)
    except OSError as error:
        raise write_error(error, path) from error


class Journal:
    """A file of JSON lines: what it is about, then one finished result a line.

    A line is on the disk before the next result is begun. A last line that was cut off is dropped.

    Parameters
    ----------
    path
        The file; made where it does not exist.
    about
        What results must have in common to belong together.

    Raises
    ------
    PrecisionError
        The file is about something else.
    OutputError
        It cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], about: Mapping[str, Any]) -> None:
        self.path = Path(path)
        heading = json.loads(json.dumps(dict(about)))
        self.entries: list[dict[str, Any]] = []
        lines, whole = self._read()
        if lines:
            if lines[0] != heading:
                raise PrecisionError(
                    f"a journal of another measurement: {_difference(lines[0], heading)}",
                    where=path,
                    fix=ANOTHER,
                )
            self.entries = lines[1:]
            os.truncate(self.path, whole)
        else:
            self._write(heading, mode="w")

    def add(self, entry: Mapping[str, Any]) -> None:
        """Append a result and wait until the disk has it."""
        self._write(entry, mode="a")

    def _read(self) -> tuple[list[dict[str, Any]], int]:
        """Return the whole lines and how many bytes they take."""
        if not self.path.exists():
            return [], 0
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        try:
            lines = [json.loads(line) for line in content[:whole].splitlines()]
        except (ValueError, RecursionError) as error:
            raise PrecisionError("no journal of a measurement", where=self.path, fix=ANOTHER) from error
        if not all(isinstance(line, dict) for line in lines):
            raise PrecisionError("no journal of a measurement", where=self.path, fix=ANOTHER)
        return lines, whole

    def _write(self, entry: Mapping[str, Any], mode: str) -> None:
        try:
            with self.path.open(mode, encoding="utf-8") as file:
                file.write(json.dumps(dict(entry)) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise write_error(error, self.path) from error


def _difference(actual: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    names = [name for name in {**expected, **actual} if actual.get(name) != expected.get(name)]
    return f"{', '.join(names)} differ"
