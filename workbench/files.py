"""Write results so that nothing is ever half there."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

__all__ = ["moved_into", "prepare_folder", "write_bytes", "write_text"]


def write_bytes(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write a file by writing a temporary one beside it and renaming that.

    Whatever goes wrong, `path` holds either what it held before or all of `content`.

    Raises
    ------
    OutputError
        The disk is full, or the folder cannot be written to.
    """
    path = Path(path)
    with moved_into(path) as temporary:
        temporary.write_bytes(content)
    return path


@contextlib.contextmanager
def moved_into(path: Path) -> Iterator[Path]:
    """Give the path of a file to write; once written it takes the place of `path`, all of it or not at all.

    The file is of the same name, in a folder of its own beside `path`.

    Raises
    ------
    OutputError
        The disk is full, or the folder cannot be written to.
    """
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            temporary = Path(folder, path.name)
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
    except OSError as error:
        raise OutputError(_said(error), where=path, fix=_advice(error)) from error


def write_text(path: str | os.PathLike[str], content: str) -> Path:
    """Write a UTF-8 text file as `write_bytes` does."""
    return write_bytes(path, content.encode())


def prepare_folder(folder: str | os.PathLike[str], names: Collection[str]) -> Path:
    """Make the folder that results go to.

    Parameters
    ----------
    folder
        Made with its parents where it does not exist.
    names
        The files that will be written. A folder that holds only such files is used again.

    Raises
    ------
    OutputError
        It is a file, holds something else, or cannot be made.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        others = sorted(entry.name for entry in folder.iterdir() if entry.name not in names)
    except FileExistsError as error:
        raise OutputError("this is a file, not a folder", where=folder, fix="Choose another --out.") from error
    except OSError as error:
        raise OutputError(_said(error), where=folder, fix=_advice(error)) from error
    if others:
        raise OutputError(
            f"the folder holds other content ({', '.join(others[:3])}{', ...' if len(others) > 3 else ''})",
            where=folder,
            fix="Choose an empty or new folder; nothing was written.",
        )
    return folder


def _said(error: OSError) -> str:
    return "the disk is full" if error.errno == errno.ENOSPC else f"cannot be written: {error.strerror or error}"


def _advice(error: OSError) -> str:
    return "Free some space; what was there before is untouched." if error.errno == errno.ENOSPC else "Check the path."
