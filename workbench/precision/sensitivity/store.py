"""Keep the arrays of an earlier run: in memory up to a budget, on disk beyond it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.errors import OutputError
from workbench.scratch import scratch_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path
    from types import TracebackType

    import numpy.typing as npt
    from typing_extensions import Self

__all__ = ["ActivationStore"]


class ActivationStore:
    """The arrays of many runs, by run and tensor name.

    Parameters
    ----------
    budget
        Bytes that may be kept in memory; what does not fit goes to files in a temporary folder, which is removed when
        the store is closed.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.in_memory = 0
        self.on_disk = 0
        self._arrays: dict[tuple[int, str], npt.NDArray[Any]] = {}
        self._files: dict[tuple[int, str], Path] = {}
        self._folder: Path | None = None
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Forget everything and remove the files."""
        self._arrays.clear()
        self._files.clear()
        self._open.close()

    def put(self, run: int, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Keep the arrays of one run.

        Raises
        ------
        OutputError
            They do not fit into the budget, and the disk is full.
        """
        for name, array in arrays.items():
            if self.in_memory + array.nbytes <= self.budget:
                self._arrays[run, name] = array
                self.in_memory += array.nbytes
            else:
                self._spill(run, name, array)

    def get(self, run: int, names: Iterable[str]) -> dict[str, npt.NDArray[Any]]:
        """Return arrays of one run by name."""
        return {name: self._one(run, name) for name in names}

    def _one(self, run: int, name: str) -> npt.NDArray[Any]:
        array = self._arrays.get((run, name))
        if array is not None:
            return array
        read: npt.NDArray[Any] = np.load(self._files[run, name], allow_pickle=False)
        return read

    def _spill(self, run: int, name: str, array: npt.NDArray[Any]) -> None:
        if self._folder is None:
            self._folder = self._open.enter_context(scratch_folder())
        path = self._folder / f"{len(self._files)}.npy"
        try:
            np.save(path, array, allow_pickle=False)
        except OSError as error:
            raise OutputError(
                f"{array.nbytes} bytes of stored activations cannot be written: {error.strerror or error}",
                where=path.parent,
                fix="Allow more memory, use fewer samples, or set TMPDIR to a larger disk.",
            ) from error
        self._files[run, name] = path
        self.on_disk += array.nbytes
