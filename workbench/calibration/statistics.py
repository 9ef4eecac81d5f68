"""What calibration saw of each tensor, gathered in one pass and in constant memory; every range follows from it.

The histogram (see :mod:`workbench.calibration.counting`) needs no range known in advance. Its top octave is as fine as
an exact 2048-bin histogram over the final range, and no bin is wider than 0.8% of the values in it. When a larger
value arrives, the bins of all octaves move down, joining neighbours where a lower octave is coarser. What it holds
depends on which values were seen and not on their order: two halves merged are the whole, exactly.

The entropy method needs another one as well. Where its divergences have several minima that are nearly equal, a single
value in the next bin decides between them; so the 2048 equal bins that TensorRT would count are counted as it does.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.calibration.arrays import by_significance, from_significance, read_arrays
from workbench.calibration.channels import ChannelExtremes
from workbench.calibration.counting import BINS, FIRST, LINES, LOWEST_TOP, OCTAVES, SIZES, UNIT_EDGES, count
from workbench.display import Card, Shown
from workbench.errors import ReportError, SamplesError
from workbench.files import write_bytes
from workbench.graph import is_floating

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Statistics", "TensorStatistics"]

_CHUNK = 1 << 22  # values converted to float32 at a time
_LEAST_FIRST = 2.0**-100  # below it the factor that makes equal bins of values would overflow
_FORMAT = 2


@dataclass
class TensorStatistics:
    """What calibration saw of one tensor.

    Attributes
    ----------
    values, samples
        Values seen, of any kind, and samples they came from.
    zeros, nans, infs
        Values that are zero, NaN, infinite. Only finite values enter all the rest.
    tiny
        Values that are not zero yet below the histogram: less than 2**-23 of the top octave's start, or subnormal.
    minimum, maximum
        The exact extremes, as float32 has them; infinity and minus infinity before any finite value.
    total, squares
        Sum of the finite values and of their squares, added in float64.
    first
        The largest magnitude of the first update that had any other than zero, at least 2**-100; the equal bins are
        fitted to it. It alone depends on the order of updates. Given at the start, it is kept: see `Statistics.alike`.
    top
        Biased float32 exponent of the top octave, at least 12.
    reach
        Where the equal bins end: `first`, doubled until it holds all magnitudes seen, as TensorRT does.
    counts
        int64 array (2, BINS): positive and negative values in each bin of ascending magnitude.
    lines
        int64 array (2049,): magnitudes in 2048 equal bins from 0 to `reach`, of which the first, where zeros are, is
        left empty; and those that are `reach` itself.
    channels
        Extremes of each channel, where asked for.
    """

    values: int = 0
    samples: int = 0
    zeros: int = 0
    nans: int = 0
    infs: int = 0
    tiny: int = 0
    minimum: float = float("inf")
    maximum: float = float("-inf")
    total: float = 0.0
    squares: float = 0.0
    first: float = 0.0
    top: int = LOWEST_TOP
    reach: float = 0.0
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros((2, BINS), np.int64), repr=False)
    lines: NDArray[np.int64] = field(default_factory=lambda: np.zeros(LINES + 1, np.int64), repr=False)
    channels: ChannelExtremes | None = None

    @property
    def finite(self) -> int:
        """Finite values seen."""
        return self.values - self.nans - self.infs

    @property
    def amax(self) -> float:
        """The largest magnitude seen, exact; 0 before any finite value."""
        return max(abs(self.minimum), abs(self.maximum)) if self.finite else 0.0

    @property
    def unit(self) -> float:
        """Where the top octave starts: the power of two at or below `amax`, but at least 2**-115."""
        return 2.0 ** (self.top - 127)

    @property
    def edges(self) -> NDArray[np.float64]:
        """The ``BINS + 1`` edges of the bins of magnitude."""
        return UNIT_EDGES * self.unit

    @property
    def magnitudes(self) -> NDArray[np.int64]:
        """Values in each bin of magnitude, both signs together: int64 array (BINS,)."""
        both: NDArray[np.int64] = self.counts.sum(0)
        return both

    @property
    def mean(self) -> float:
        """Mean of the finite values; NaN before any."""
        return self.total / self.finite if self.finite else float("nan")

    @property
    def second_moment(self) -> float:
        """Mean square of the finite values; NaN before any."""
        return self.squares / self.finite if self.finite else float("nan")

    def update(self, array: NDArray[Any], *, samples: int = 1) -> None:
        """Take in the values of one more array.

        Parameters
        ----------
        array
            Any shape. float16, bfloat16 and float32 are taken exactly; float64 is rounded to float32 first, and what
            is too large for float32 counts as infinite.
        samples
            How many samples the values came from.

        Raises
        ------
        SamplesError
            If the values are no floating-point numbers.
        """
        if not is_floating(array.dtype):
            raise SamplesError(
                f"values of type {array.dtype} have no distribution to quantize",
                fix="Observe floating-point tensors only",
            )
        flat = array.reshape(-1)
        starts = range(0, flat.size, _CHUNK)
        with np.errstate(over="ignore"):
            if not self.first:
                self.fit(max((_largest(np.asarray(flat[i : i + _CHUNK], np.float32)) for i in starts), default=0.0))
            for i in starts:
                self.take(np.asarray(flat[i : i + _CHUNK], np.float32, order="C"))
            if self.channels is not None and array.size:
                self.channels.update(np.asarray(array, np.float32))
        self.values += array.size
        self.samples += samples

    def fit(self, largest: float) -> None:
        """Fit both histograms to the largest magnitude of the first values; 0 says that there is none."""
        if largest:
            self.first = self.reach = max(largest, _LEAST_FIRST)
            self.hold(largest)

    def take(self, chunk: NDArray[np.float32]) -> None:
        """Take in float32 values that `values` and `channels` know of already."""
        while chunk.size:
            done, seen = count(chunk, self.top, self.reach or 1.0, self.counts, self.lines)
            low, high = seen.extremes
            self.minimum, self.maximum = min(self.minimum, low), max(self.maximum, high)
            self.zeros += seen.zeros
            self.tiny += seen.below - seen.zeros
            self.total += float(seen.moments[0])
            self.squares += float(seen.moments[1])
            chunk = chunk[done:]
            finite = np.isfinite(chunk)
            if not finite.all():
                nans = int(np.isnan(chunk).sum())
                self.nans, self.infs = self.nans + nans, self.infs + int(chunk.size - finite.sum()) - nans
                chunk = chunk[finite]
            self.hold(_largest(chunk))

    def hold(self, largest: float) -> None:
        """Make both histograms reach to a magnitude."""
        if largest:
            self._raise(int(np.array(largest, np.float32).view(np.uint32)) >> 23)
            while self.reach < largest:
                self.lines, self.reach = _halved(self.lines), self.reach * 2

    def _raise(self, top: int) -> None:
        """Move the window up so that its top octave is at least the one asked for; what leaves it below is tiny."""
        rise = top - self.top
        if rise <= 0:
            return
        counts = np.zeros_like(self.counts)
        for k in range(OCTAVES):
            old = self.counts[:, FIRST[k] : FIRST[k] + SIZES[k]]
            if k + rise >= OCTAVES:
                self.tiny += int(old.sum())
                continue
            size, start = SIZES[k + rise], FIRST[k + rise]
            counts[:, start : start + size] = old.reshape(2, size, -1).sum(2)
        self.counts, self.top = counts, top

    def merge(self, other: TensorStatistics) -> None:
        """Take in what other statistics saw: the result is that of having seen the values of both.

        All of it is exact, sums to the rounding of float64; but for the equal bins where the two were fitted to
        different values, of which the other's are then made anew from its other histogram.

        Raises
        ------
        SamplesError
            If only one of the two has extremes per channel.
        """
        if (self.channels is None) != (other.channels is None):
            raise SamplesError("only one of two statistics has extremes per channel", fix="Gather both alike")
        if not self.first:
            self.first, self.reach = other.first, other.reach
        self.hold(other.amax)
        lower = TensorStatistics(top=other.top, counts=other.counts)
        lower._raise(self.top)  # makes new arrays: the other keeps its own
        self.counts += lower.counts
        self.lines += other._lines_to(self.reach)
        self.tiny += other.tiny + lower.tiny
        for name in ("values", "samples", "zeros", "nans", "infs", "total", "squares"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.minimum, self.maximum = min(self.minimum, other.minimum), max(self.maximum, other.maximum)
        if self.channels is not None and other.channels is not None:
            self.channels.merge(other.channels)

    def _lines_to(self, reach: float) -> NDArray[np.int64]:
        """Return the magnitudes in equal bins up to another reach, of which none is beyond."""
        lines, own = self.lines, self.reach
        while 0 < own < reach:
            lines, own = _halved(lines), own * 2
        if own == reach or not lines.any():
            return lines
        return _equal_bins(self.magnitudes, self.edges, reach / LINES)


def _equal_bins(counts: NDArray[np.int64], edges: NDArray[np.float64], width: float) -> NDArray[np.int64]:
    """Return the counts that equal bins but the first would have, as near as other bins tell.

    A bin whose neighbours are empty holds one value, or the like of it many times (an image's padding), which starts
    the bin: it is moved whole. Other counts are spread over their bin and rounded, for it matters to the entropy method
    how many bins are empty.
    """
    around = np.concatenate([[0], counts, [0]])
    alone = (around[:-2] == 0) & (around[2:] == 0)
    below = np.append(0, np.where(alone, 0, counts).cumsum())
    result: NDArray[np.int64] = np.diff(np.rint(np.interp(np.arange(LINES + 1) * width, edges, below)).astype(np.int64))
    place = np.minimum((edges[:-1][alone] / width).astype(np.int64), LINES - 1)
    np.add.at(result, place, counts[alone])
    result[0] = 0
    return np.append(result, 0)


def _halved(lines: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the counts in bins of twice the width."""
    result = np.zeros_like(lines)
    result[: LINES // 2 + 1] = np.append(lines, 0).reshape(-1, 2).sum(1)
    result[0] = 0
    return result


def _largest(values: NDArray[np.float32]) -> float:
    """Return the largest finite magnitude, 0 where there is none."""
    if not values.size:
        return 0.0
    largest = max(float(values.max()), -float(values.min()))
    if np.isfinite(largest):
        return largest
    return float(np.abs(values[np.isfinite(values)]).max(initial=0))


_INTEGERS = ("values", "samples", "zeros", "nans", "infs", "tiny", "top")
_REALS = ("minimum", "maximum", "total", "squares", "first", "reach")


class Statistics(Shown, dict[str, TensorStatistics]):
    """The statistics of many tensors, by name.

    The file that :meth:`save` writes is a plain ``.npz`` without pickled objects; equal statistics make equal bytes.
    """

    device: str | None = None  # the GPU that ran the samples, in words; not kept in files

    def _card(self) -> Card:
        rows = tuple((name, one.minimum, one.maximum, one.zeros) for name, one in self.items())
        notes = (f"on {self.device}",) if self.device else ()
        what = f"{len(self)} tensors seen on {max((one.samples for one in self.values()), default=0)} samples"
        return Card(what, ("tensor", "smallest", "largest", "zeros"), rows, notes)

    def merge(self, other: Statistics) -> None:
        """Take in what other statistics saw, tensor by tensor; tensors seen by one of the two are kept."""
        for name, theirs in other.items():
            if name not in self:
                self[name] = TensorStatistics(
                    channels=None if theirs.channels is None else ChannelExtremes(theirs.channels.axis)
                )
            self[name].merge(theirs)

    def alike(self) -> Statistics:
        """Return empty statistics of the same tensors whose equal bins are those of these.

        What is gathered into them merges with these exactly, in all that they hold.
        """
        return Statistics(
            {
                name: TensorStatistics(
                    first=t.first,
                    reach=t.first,
                    channels=None if t.channels is None else ChannelExtremes(t.channels.axis),
                )
                for name, t in self.items()
            }
        )

    def save(self, path: str | Path) -> None:
        """Write one file, whole or not at all.

        Raises
        ------
        OutputError
            If the disk is full or the folder cannot be written to.
        """
        stream = io.BytesIO()
        np.savez_compressed(stream, allow_pickle=False, **self.arrays())
        write_bytes(path, stream.getvalue())

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything as named arrays, none of which holds objects; :meth:`from_arrays` takes them back."""
        tensors = list(self.values())
        axes = [{"name": name, "axis": None if t.channels is None else t.channels.axis} for name, t in self.items()]
        result: dict[str, NDArray[Any]] = {
            "head": np.frombuffer(json.dumps({"format": _FORMAT, "tensors": axes}).encode(), np.uint8),
            "integers": np.array([[getattr(t, name) for name in _INTEGERS] for t in tensors], np.int64),
            "reals": np.array([[getattr(t, name) for name in _REALS] for t in tensors], np.float64),
            "counts": by_significance(np.array([t.counts for t in tensors], "<i8").reshape(-1, 2, BINS)),
            "lines": by_significance(np.array([t.lines for t in tensors], "<i8").reshape(-1, LINES + 1)),
        }
        for i, t in enumerate(tensors):
            if t.channels is not None:
                result[f"channels{i}"] = np.stack([t.channels.minimum, t.channels.maximum])
        return result

    @staticmethod
    def is_file(path: str | Path) -> bool:
        """Say whether a file is one that :meth:`save` wrote, and no ``.npz`` of samples."""
        try:
            with zipfile.ZipFile(path) as archive:
                return {"head.npy", "counts.npy", "lines.npy"} <= set(archive.namelist())
        except (OSError, ValueError, zipfile.BadZipFile):
            return False

    @classmethod
    def load(cls, path: str | Path) -> Statistics:
        """Read what :meth:`save` wrote.

        Raises
        ------
        ReportError
            If the file is missing, damaged, or of a format that this version does not know.
        """
        try:
            return cls.from_arrays(read_arrays(path))
        except FileNotFoundError as error:
            raise ReportError("no such file", where=path, fix="Check the path.") from error
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise ReportError(
                f"no readable statistics ({error})",
                where=path,
                fix="Name what workbench tune or serve --watch wrote; samples are none.",
            ) from error

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Statistics:
        """Return the statistics that :meth:`arrays` made these of.

        Raises
        ------
        ValueError, KeyError, IndexError, TypeError
            If they are others.
        """
        head = json.loads(arrays["head"].tobytes())
        if head["format"] != _FORMAT:
            raise ValueError(f"format {head['format']}, not {_FORMAT}")
        counts, lines = (from_significance(arrays[name]) for name in ("counts", "lines"))
        result = cls()
        for i, entry in enumerate(head["tensors"]):
            tensor = TensorStatistics(
                **dict(zip(_INTEGERS, arrays["integers"][i].tolist(), strict=True)),
                **dict(zip(_REALS, arrays["reals"][i].tolist(), strict=True)),
                counts=counts[i],
                lines=lines[i],
            )
            if entry["axis"] is not None:
                tensor.channels = ChannelExtremes(entry["axis"], *arrays[f"channels{i}"])
            result[entry["name"]] = tensor
        return result
