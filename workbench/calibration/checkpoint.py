"""Keep what calibration has gathered, so that a process that dies costs at most the batch it was at."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from workbench.calibration.arrays import read_arrays
from workbench.calibration.statistics import Statistics
from workbench.errors import OutputError, SamplesError
from workbench.files import write_error
from workbench.scratch import hold_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Checkpoint"]


class Checkpoint:
    """Statistics and how many samples are in them, in one file that is replaced after each batch.

    The file is neither compressed nor forced to the disk, which would cost more than the batch. The operating system
    keeps what a killed process wrote; after a power failure the file may be torn, and then calibration starts anew.

    Parameters
    ----------
    path
        Where it is kept.
    belongs_to
        What the statistics depend on: model, samples, tensors, batch.
    """

    def __init__(self, path: str | Path, belongs_to: Iterable[str]) -> None:
        self.path = Path(path)
        self._key = hashlib.sha256("\0".join(belongs_to).encode()).digest()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from the file until the end of the block, or of this process.

        Raises
        ------
        OutputError
            Another calibration is using it; it is no plain file; its folder cannot be written to.
        """
        try:
            if self.path.exists() and (self.path.is_symlink() or not self.path.is_file()):
                raise OutputError("this is no plain file", where=self.path, fix="Name another file.")
            with hold_name(self.path) as mine:
                if not mine:
                    raise OutputError(
                        "another calibration is using this checkpoint",
                        where=self.path,
                        fix="Wait until it has ended, or name another file.",
                    )
                yield
        except OSError as error:
            raise write_error(error, self.path) from error

    def save(self, statistics: Statistics, samples: int) -> None:
        """Replace the file in one step.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        beside = self.path.with_name(f".{self.path.name}.part")
        position = np.array([samples], np.int64)
        try:
            with beside.open("wb") as file:
                np.savez(
                    file,
                    allow_pickle=False,
                    position=position,
                    key=np.frombuffer(self._key, np.uint8),
                    **statistics.arrays(),
                )
            beside.replace(self.path)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise write_error(error, self.path) from error

    def load(self) -> tuple[Statistics, int] | None:
        """Return what was kept and how many samples are in it; None where nothing is, or it is torn.

        Raises
        ------
        SamplesError
            If it belongs to another model, other samples, tensors or batch.
        """
        try:
            arrays = read_arrays(self.path)
            key, position = arrays["key"].tobytes(), int(arrays["position"][0])
            statistics = Statistics.from_arrays(arrays)
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return None
        if key != self._key:
            raise SamplesError(
                "this checkpoint is of another calibration: its model, samples, tensors or batch differ",
                where=self.path,
                fix="Remove it, or name another file",
            )
        return statistics, position

    def remove(self) -> None:
        """Forget what was kept."""
        self.path.unlink(missing_ok=True)
