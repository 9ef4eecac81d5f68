"""Counts tensors that lie on a device, all of them in one launch, into the same statistics as on a processor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from workbench.calibration.counting import COUNTERS
from workbench.calibration.cuda.layout import Grids, take

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from workbench.calibration.cuda.layout import KernelTuning
    from workbench.calibration.statistics import TensorStatistics

__all__ = ["LISTED", "Counter", "Launch", "Machine"]

LISTED = 1 << 16
"""How many values beyond the bins a launch can list; where there are more, they are counted again with new bins."""


class Machine(Protocol):
    """What the kernel runs on."""

    tuning: KernelTuning

    def address(self, array: Any) -> int:
        """Return where an array's values lie."""

    def counters(self) -> int:
        """Return where the counters of the first tensor lie; those of others follow."""

    def drain(self) -> NDArray[np.uint64]:
        """Wait for all launches; return the counters (tensors, COUNTERS) and clear them."""

    def start(self, descriptors: NDArray[np.void], tiles: int) -> Any:
        """Launch the kernel without waiting for it; return a ticket."""

    def seen(self, ticket: Any) -> NDArray[np.void]:
        """Wait for a launch; return what it saw of each tensor."""

    def listed(self, ticket: Any, count: int) -> NDArray[np.uint64]:
        """Return the first values of a launch that were beyond the bins, below the number of their tensor."""


@dataclass
class Launch:
    """Counting that is under way.

    Attributes
    ----------
    arrays
        What is counted; `None` where there is nothing of a tensor.
    rows
        What the kernel was told of each tensor.
    ticket
        The machine's.
    """

    arrays: Sequence[Any]
    rows: NDArray[np.void]
    ticket: Any


class Counter:
    """Counts the values of some tensors; after `take` and `empty` they are in the tensors' statistics.

    Parameters
    ----------
    tensors
        Their statistics.
    machine
        What counts.
    """

    def __init__(self, tensors: Sequence[TensorStatistics], machine: Machine) -> None:
        self._tensors, self._machine = list(tensors), machine
        self._grids = Grids(len(self._tensors))
        for which, tensor in enumerate(self._tensors):
            self._grids.fit(which, tensor)

    def launch(self, arrays: Sequence[Any]) -> Launch:
        """Start counting one array a tensor, without waiting for it.

        Parameters
        ----------
        arrays
            Arrays of the machine, float32, contiguous, 16-byte aligned; `None` for a tensor of which there is none.
        """
        return self._launched(arrays, self._grids.rows)

    def take(self, launch: Launch) -> list[int]:
        """Wait for a launch, and take what it saw into the statistics.

        Returns
        -------
        list of int
            The numbers of the tensors in which values are not finite.
        """
        seen = self._machine.seen(launch.ticket)
        for which, array in enumerate(launch.arrays):
            if array is not None:
                self._tensors[which].values += array.size
                take(self._tensors[which], seen[which], float(launch.rows["fine"][which]))
        beyond: list[int] = np.flatnonzero(seen["beyond"]).tolist()
        for which in beyond:
            if not self._tensors[which].first:
                self._tensors[which].fit(_magnitude(seen["largest"][which]))
        if int(seen["beyond"].sum()) > LISTED:
            self._count_again(launch, seen["largest"], beyond)
        elif beyond:
            listed = self._machine.listed(launch.ticket, int(seen["beyond"].sum()))
            owners, bits = listed >> np.uint64(32), listed.astype(np.uint32)
            for which in beyond:
                self._tensors[which].take(bits[owners == which].view(np.float32))
        damaged: list[int] = np.flatnonzero(seen["nans"] + seen["infs"]).tolist()
        return damaged

    def empty(self) -> None:
        """Wait for all counting, bring the counters into the statistics, and fit the bins to what was seen."""
        counters = self._machine.drain()
        for which, tensor in enumerate(self._tensors):
            self._grids.empty(which, counters[which], tensor)
            self._grids.fit(which, tensor)

    def _launched(self, arrays: Sequence[Any], rows: NDArray[np.void]) -> Launch:
        sizes = [0 if array is None else int(array.size) for array in arrays]
        ends = np.cumsum([self._machine.tuning.tiles(size) for size in sizes])
        rows["values"] = [self._machine.address(a) if size else 0 for a, size in zip(arrays, sizes, strict=True)]
        rows["size"] = sizes
        rows["tile"] = np.concatenate([[0], ends[:-1]])
        rows["counters"] = self._machine.counters() + np.arange(len(rows)) * (COUNTERS * 8)
        descriptors = np.concatenate([rows, np.zeros(1, rows.dtype)])
        descriptors["tile"][-1] = ends[-1]
        return Launch(list(arrays), rows, self._machine.start(descriptors, int(ends[-1])))

    def _count_again(self, launch: Launch, largest: NDArray[np.uint32], beyond: Sequence[int]) -> None:
        """Count the values that were beyond the bins of a launch, with bins that hold them."""
        for which in beyond:
            self._tensors[which].hold(_magnitude(largest[which]))
        self.empty()  # what later launches counted too: they had the same bins
        rows = self._grids.rows
        least = launch.rows["least"] + launch.rows["span"] + np.uint32(1)
        rows["span"] -= least
        rows["least"] = least
        chosen = set(beyond)
        again = self._launched([a if at in chosen else None for at, a in enumerate(launch.arrays)], rows)
        seen = self._machine.seen(again.ticket)
        for which in beyond:
            take(self._tensors[which], seen[which], float(rows["fine"][which]))


def _magnitude(bits: np.uint32) -> float:
    return float(np.array(bits, np.uint32).view(np.float32))
