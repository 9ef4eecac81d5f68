"""Temporary folders that die with their process: what a killed one left behind is swept by the next."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator

if sys.platform != "win32":
    import fcntl

__all__ = ["hold", "hold_name", "is_scratch", "scratch_folder", "sweep"]

PREFIX = "trt-workbench-scratch-"
_OURS = re.compile(rf"\.?{PREFIX}[a-z0-9_]{{8}}")

_swept: set[str] = set()


@contextlib.contextmanager
def scratch_folder(beside: Path | None = None) -> Iterator[Path]:
    """Give a temporary folder that is removed at the end, and by anybody once this process is dead.

    Parameters
    ----------
    beside
        The folder to make it in, where it is hidden, so that a file can be renamed into its place; the system's folder
        for temporary files (``TMPDIR``) where left out.

    Raises
    ------
    OutputError
        The system's folder for temporary files cannot be written to.
    OSError
        It cannot be made beside a file.
    """
    parent = _system_folder() if beside is None else beside
    # The system's folder may be large, and is everybody's: one look a process is enough.
    if beside is not None or str(parent) not in _swept:
        _swept.add(str(parent))
        sweep(parent)
    while True:
        folder = _new_folder(parent, PREFIX if beside is None else f".{PREFIX}", beside is None)
        with hold(folder) as mine:
            if not mine:  # swept by another process before it was held
                continue
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            return


def _system_folder() -> Path:
    try:
        return Path(tempfile.gettempdir())
    except OSError as error:
        raise OutputError("there is no folder for temporary files", fix="Set TMPDIR to one.") from error


def _new_folder(parent: Path, prefix: str, is_system: bool) -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    except OSError as error:
        if not is_system:
            raise
        raise OutputError(
            f"no temporary folder can be made: {error.strerror}", where=parent, fix="Set TMPDIR to another folder."
        ) from error


def sweep(parent: Path) -> None:
    """Remove the temporary folders of dead processes, this user's only."""
    if sys.platform == "win32":
        return
    with contextlib.suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            if is_scratch(entry.name) and entry.is_dir(follow_symlinks=False) and _is_mine(entry):
                with hold(entry.path) as dead:
                    if dead:
                        shutil.rmtree(entry.path, ignore_errors=True)


def is_scratch(name: str) -> bool:
    """Say whether a name is one that `scratch_folder` gives."""
    return _OURS.fullmatch(name) is not None


@contextlib.contextmanager
def hold_name(path: Path) -> Iterator[bool]:
    """Lock a file that is replaced while it is held, by a file beside it; else as `hold`."""
    lock = path.with_name(f".{path.name}.lock")
    lock.touch()
    with hold(lock) as mine:
        try:
            yield mine
        finally:
            if mine:
                lock.unlink(missing_ok=True)


@contextlib.contextmanager
def hold(path: str | os.PathLike[str]) -> Iterator[bool]:
    """Lock a file or folder until the end of the block, or of the process, however that ends.

    Gives whether the lock was had: False where another holds it, or where `path` was removed meanwhile. A system or a
    file system without such locks gives True: there a second process is not noticed.

    Raises
    ------
    OSError
        It cannot be opened.
    """
    if sys.platform == "win32":
        yield True
        return
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:  # this file system has no locks
            yield True
            return
        yield _is_still(descriptor, path)
    finally:
        os.close(descriptor)


def _is_still(descriptor: int, path: str | os.PathLike[str]) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), Path(path).stat())
    except FileNotFoundError:
        return False


def _is_mine(entry: os.DirEntry[str]) -> bool:
    return entry.stat(follow_symlinks=False).st_uid == os.getuid()
