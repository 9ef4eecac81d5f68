"""The folder that a job writes its results to: one writer, and all of a result or nothing of it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import OutputError
from workbench.files import landing, write_error
from workbench.scratch import hold, is_scratch, scratch_folder, sweep

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

__all__ = ["held_folder", "prepare_folder", "refuse_source", "results_folder", "together"]

LANDING = ".trt-workbench-landing"
"""Holds a whole result while its files take their places; a process that finds it puts the rest in place."""


@contextlib.contextmanager
def results_folder(
    folder: str | os.PathLike[str], names: Collection[str], *, keeps: Collection[str] = ()
) -> Iterator[Path]:
    """Hold a folder for the results of one job.

    Files that are written to the folder inside of the block are kept back, and take their places together at its end;
    nothing is changed where the block raises. What earlier results left of `names` and the job did not write is removed
    with them.

    Parameters
    ----------
    folder
        Made with its parents where it does not exist.
    names
        The files that may be written. A folder that holds only such files is used again.
    keeps
        Those of `names` that stay where the job does not write them.

    Raises
    ------
    OutputError
        As in `prepare_folder`; another process holds the folder; the disk is full.
    """
    ours = not Path(folder).exists()
    folder = prepare_folder(folder, names)
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(held_folder(folder))
            _finish(folder)
            kept = stack.enter_context(_keeping(folder))
            yield folder
            with _undisturbed():
                kept.staging.rename(folder / LANDING)
                for name in {*names} - {*keeps} - {*kept.written}:
                    (folder / name).unlink(missing_ok=True)
                _finish(folder)
    except BaseException as error:
        if ours:
            with contextlib.suppress(OSError):  # it is not empty: a killed process left something
                folder.rmdir()
        if isinstance(error, OSError) and _is_about(error, folder):
            raise write_error(error, folder) from error
        raise


def refuse_source(folder: str | os.PathLike[str], names: Collection[str], source: Path | None) -> None:
    """Refuse a folder of which a result would take the place of the model that it is made of.

    Raises
    ------
    OutputError
        It would.
    """
    if source is None:
        return
    for name in names:
        with contextlib.suppress(OSError):  # one of the two is not there
            if (Path(folder) / name).samefile(source):
                raise OutputError(
                    f"{name} in it is the model that this is made of", where=folder, fix="Choose another place."
                )


def _is_about(error: OSError, folder: Path) -> bool:
    """Say whether an error is about a folder, and not about a file elsewhere that was read meanwhile."""
    if not isinstance(error.filename, str):
        return True
    return Path(os.path.realpath(error.filename)).is_relative_to(os.path.realpath(folder))


@contextlib.contextmanager
def held_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Make a folder where there is none, and keep other processes of the workbench from writing to it.

    Raises
    ------
    OutputError
        It cannot be made, or another process holds it.
    """
    folder = Path(folder)
    ours = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
    except FileExistsError as error:
        raise OutputError("this is a file, not a folder", where=folder, fix="Choose another --out.") from error
    except OSError as error:
        raise write_error(error, folder) from error
    try:
        with _held(folder):
            yield folder
    except BaseException:
        if ours:
            with contextlib.suppress(OSError):  # something was written
                folder.rmdir()
        raise


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    with hold(folder) as mine:
        if not mine:
            raise OutputError(
                "another process is writing to this folder",
                where=folder,
                fix="Wait until it has ended, or choose another folder.",
            )
        yield


@contextlib.contextmanager
def together(folder: Path) -> Iterator[None]:
    """Keep files back that are written to a folder inside of the block, and put them in their places at its end.

    For a few files in a folder that is not the job's own; nothing is changed where the block raises.

    Raises
    ------
    OutputError
        The folder cannot be written to, which is said before the block begins; the disk is full.
    """
    try:
        with _keeping(folder) as kept:
            yield
            with _undisturbed():
                for file in sorted(kept.staging.iterdir()):
                    file.replace(folder / file.name)
    except OSError as error:
        raise write_error(error, folder) from error


def prepare_folder(folder: str | os.PathLike[str], names: Collection[str]) -> Path:
    """Make the folder that results go to.

    Parameters
    ----------
    folder
        Made with its parents where it does not exist.
    names
        The files that will be written. A folder that holds only such files is used again; what a killed process left of
        its own is removed.

    Raises
    ------
    OutputError
        It is a file, holds something else, or cannot be made.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        entries = sorted(folder.iterdir())
        strange = [
            entry.name for entry in entries if entry.name in names and (entry.is_symlink() or not entry.is_file())
        ]
    except FileExistsError as error:
        raise OutputError("this is a file, not a folder", where=folder, fix="Choose another --out.") from error
    except OSError as error:
        raise write_error(error, folder) from error
    others = [e.name for e in entries if e.name not in names and e.name != LANDING and not is_scratch(e.name)]
    if others:
        raise OutputError(
            f"the folder holds other content ({', '.join(others[:3])}{', ...' if len(others) > 3 else ''})",
            where=folder,
            fix="Choose an empty or new folder; nothing was written.",
        )
    if strange:
        raise OutputError(
            f"{strange[0]} is a link, a folder or a device, which would be replaced",
            where=folder,
            fix="Choose an empty or new folder; nothing was written.",
        )
    return folder


class _Kept:
    """Files that wait for the others."""

    def __init__(self, folder: Path, staging: Path) -> None:
        self.folder = folder
        self.staging = staging
        self.written: list[str] = []

    def place(self, name: str) -> Path:
        if name not in self.written:
            self.written.append(name)
        return self.staging / name


@contextlib.contextmanager
def _keeping(folder: Path) -> Iterator[_Kept]:
    """Keep files back that are written to a folder inside of the block."""
    with scratch_folder(folder) as staging:
        kept = _Kept(folder.resolve(), staging)
        token = landing.set(kept)
        try:
            yield kept
        finally:
            landing.reset(token)


def _finish(folder: Path) -> None:
    """Put the files of a whole result in their places: those of this process, or of one that was killed doing so."""
    whole = folder / LANDING
    if not whole.is_dir():
        return
    for file in sorted(whole.iterdir()):
        file.replace(folder / file.name)
    whole.rmdir()
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Hold Ctrl+C back until the end of the block."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before if before is not None else signal.SIG_DFL)
        if pressed:
            signal.raise_signal(signal.SIGINT)
