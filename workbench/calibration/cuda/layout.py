"""What the kernel reads and writes, and what becomes of it: all of counting on a GPU that needs none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from workbench.calibration.channels import ChannelExtremes
from workbench.calibration.counting import ABOVE, BINS, COARSE, COUNTERS, EQUAL_FROM, LINES, grid_of
from workbench.calibration.statistics import TensorStatistics

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SEEN", "TENSOR", "Grids", "KernelTuning", "definitions", "source", "take"]

TENSOR = np.dtype(
    {
        "names": "values size counters per_value fine approximate lowest least span start tile unused".split(),
        "formats": "u8 u8 u8 f8 f4 f4 u4 u4 u4 i4 u4 u4".split(),
    }
)
"""The kernel's ``Tensor``."""
SEEN = np.dtype(
    {
        "names": "sum squares zeros below nans infs beyond low high largest unused".split(),
        "formats": "f8 f8 u8 u8 u8 u8 u8 u4 u4 u4 u4".split(),
    }
)
"""The kernel's ``Seen``."""


class KernelTuning:
    """How the kernel is cut to a GPU.

    Parameters
    ----------
    threads
        Threads a block.
    blocks
        Blocks that are to fit a multiprocessor.
    unroll
        Loads of four values that a thread has under way.
    shared
        Whether a block keeps its counters in shared memory (67.6 KB), or all add to the tensor's own.
    """

    def __init__(self, threads: int = 768, blocks: int = 2, unroll: int = 2, *, shared: bool = True) -> None:
        self.threads, self.blocks, self.unroll, self.shared = threads, blocks, unroll, shared

    @property
    def tile(self) -> int:
        """Values that a block counts at a time."""
        return self.threads * self.unroll * 4

    def tiles(self, size: int) -> int:
        """Return how many tiles so many values are."""
        return -(-size // self.tile)


def definitions(tuning: KernelTuning) -> dict[str, int]:
    """Return what the kernel's source needs defined."""
    return {
        "BINS": BINS,
        "LINES": LINES,
        "EQUAL_FROM": EQUAL_FROM,
        "ABOVE": ABOVE,
        "COARSE": COARSE,
        "COUNTERS": COUNTERS,
        "THREADS": tuning.threads,
        "BLOCKS": tuning.blocks,
        "UNROLL": tuning.unroll,
        "SHARED": int(tuning.shared),
    }


def source() -> str:
    """Return the kernel's source in CUDA C++."""
    return Path(__file__).with_name("kernel.cu").read_text(encoding="utf-8")


class Grids:
    """Where the bins of each tensor's counters lie; before a tensor showed any magnitude, it has none.

    Parameters
    ----------
    count
        How many tensors there are.
    """

    def __init__(self, count: int) -> None:
        self._fits: list[tuple[float, int, float] | None] = [None] * count
        self._rows = np.zeros(count, TENSOR)  # without bins, all but zeros is beyond them
        self._rows["lowest"] = 1

    @property
    def rows(self) -> NDArray[np.void]:
        """A copy of what the kernel has to know of each tensor, but where it lies and how long it is."""
        rows: NDArray[np.void] = self._rows.copy()
        return rows

    def fit(self, which: int, tensor: TensorStatistics) -> None:
        """Give a tensor's counters the bins that its statistics have now; the counters must be empty."""
        if not tensor.first:
            return
        with np.errstate(over="ignore"):
            grid = grid_of(tensor.top, tensor.reach)
        fine, start, lowest, per_value = grid.scalars
        self._fits[which] = (tensor.first, tensor.top, tensor.reach)
        row = self._rows[which]
        row["per_value"], row["fine"], row["approximate"] = per_value, fine, per_value
        row["lowest"], row["least"], row["span"], row["start"] = lowest, 0, grid.limit, start

    def empty(self, which: int, counters: NDArray[np.uint64], tensor: TensorStatistics) -> None:
        """Add counters of a tensor to its statistics."""
        fit = self._fits[which]
        if fit is None:
            return
        first, top, reach = fit
        counts, lines = grid_of(top, reach).spread(counters)
        statistics = TensorStatistics(first=first, top=top, reach=reach, counts=counts, lines=lines)
        if tensor.channels is not None:
            statistics.channels = ChannelExtremes(tensor.channels.axis)
        tensor.merge(statistics)


def take(tensor: TensorStatistics, seen: np.void, fine: float) -> None:
    """Add what one launch saw of a tensor, but for the values that lie beyond the bins."""
    tensor.zeros += int(seen["zeros"])
    tensor.tiny += int(seen["below"]) - int(seen["zeros"])
    tensor.nans += int(seen["nans"])
    tensor.infs += int(seen["infs"])
    if fine:  # else there were only zeros
        tensor.total += float(seen["sum"]) / fine
        tensor.squares += float(seen["squares"]) / fine / fine
    if seen["high"]:
        low, high = _value(~seen["low"]), _value(seen["high"])
        tensor.minimum, tensor.maximum = min(tensor.minimum, low), max(tensor.maximum, high)


def _value(key: np.uint32) -> float:
    """Return the float32 number that the kernel's ``ordered`` made a key of."""
    bits = np.uint32(key & 0x7FFFFFFF) if key >> 31 else np.uint32(~key)
    return float(np.array(bits, np.uint32).view(np.float32)) + 0.0
