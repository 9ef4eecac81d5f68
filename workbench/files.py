"""Write results so that nothing is ever half there."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from workbench.errors import OutputError
from workbench.scratch import scratch_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Landing", "landing", "moved_into", "write_bytes", "write_error", "write_text"]


class Landing(Protocol):
    """Files of one folder that are kept back, to take their places all at once."""

    folder: Path

    def place(self, name: str) -> Path:
        """Return where a file of the folder is written until then."""


landing: ContextVar[Landing | None] = ContextVar("landing", default=None)
"""What keeps files back here and now; see `workbench.results.results_folder`."""


def write_bytes(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write a file by writing a temporary one beside it and renaming that.

    Whatever goes wrong, `path` holds either what it held before or all of `content`.

    Raises
    ------
    OutputError
        As in `moved_into`.
    """
    path = Path(path)
    with moved_into(path) as temporary:
        temporary.write_bytes(content)
    return path


@contextlib.contextmanager
def moved_into(path: Path) -> Iterator[Path]:
    """Give the path of a file to write; once written it takes the place of `path`, all of it or not at all.

    The file is of the same name, in a folder of its own beside `path`. A link stays one: the file that it names is
    written. What is written to a pipe or a terminal goes through it.

    Raises
    ------
    OutputError
        The disk is full, or the folder cannot be written to; a block device, a socket, a pipe that nothing reads.
    """
    try:
        special = _is_special(path)
        kept = None if special or path.is_symlink() else landing.get()
        if kept is not None and path.parent.resolve() == kept.folder:
            temporary = kept.place(path.name)
            try:
                yield temporary
                _to_disk(temporary)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            return
        real = path.resolve() if path.is_symlink() and not special else path
        with scratch_folder(None if special else real.parent) as folder:
            temporary = folder / path.name
            yield temporary
            if special:
                _pour(temporary, path)
                return
            _to_disk(temporary)
            if real.exists():
                temporary.chmod(stat.S_IMODE(real.stat().st_mode))
            temporary.replace(real)
    except OSError as error:
        raise write_error(error, path) from error


def write_text(path: str | os.PathLike[str], content: str) -> Path:
    """Write a UTF-8 text file as `write_bytes` does; what no UTF-8 can say is replaced by question marks."""
    return write_bytes(path, content.encode("utf-8", "replace"))


def write_error(error: OSError, where: object) -> OutputError:
    """Say in one line why something could not be written."""
    if error.errno == errno.ENOSPC:
        fix = "Free some space; what was there before is untouched."
        return OutputError("the disk is full", where=where, fix=fix)
    reason = "nobody reads this pipe" if error.errno == errno.ENXIO else (error.strerror or str(error))
    return OutputError(f"cannot be written: {reason}", where=where, fix="Check the path.")


def _to_disk(temporary: Path) -> None:
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())


def _is_special(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
        raise OSError(errno.EINVAL, "this is a device or a socket")
    if stat.S_ISDIR(mode):
        raise OSError(errno.EISDIR, "this is a folder")
    return not stat.S_ISREG(mode)


def _pour(temporary: Path, path: Path) -> None:
    # Opening a pipe waits for its reader; not waiting says at once that there is none.
    descriptor = os.open(path, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "wb") as target, temporary.open("rb") as source:
        os.set_blocking(descriptor, True)
        shutil.copyfileobj(source, target)
