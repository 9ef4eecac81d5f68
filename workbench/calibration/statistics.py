"""What calibration saw of each tensor, gathered in one pass and in constant memory; every range follows from it.

The histogram (see :mod:`workbench.calibration.counting`) needs no range known in advance. Its top octave is as fine as
an exact 2048-bin histogram over the final range, and no bin is wider than 0.8% of the values in it. When a larger
value arrives, the bins of all octaves move down, joining neighbours where a lower octave is coarser. What is kept
depends on which values were seen and not on their order, and all that is added up are integers: two halves merged are
the whole, exactly.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.calibration.counting import BINS, FIRST, OCTAVES, SIZES, UNIT_EDGES, count, extremes
from workbench.errors import ReportError, SamplesError
from workbench.files import write_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["ChannelExtremes", "Statistics", "TensorStatistics"]

_CHUNK = 1 << 20  # values counted at a time; the loop's packed counters hold fewer than 2**24
_MOST_VALUES = 1 << 38  # keeps every sum below 2**63
_INFINITE = 0x7F800000
_FORMAT = 1


@dataclass
class ChannelExtremes:
    """The extremes of each channel, exact.

    Attributes
    ----------
    axis
        Which axis of the tensor holds the channels.
    minimum, maximum
        float32 arrays, one value a channel; empty before the first update.
    """

    axis: int
    minimum: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    maximum: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))

    def update(self, array: NDArray[np.float32]) -> None:
        """Widen by the finite values of an array."""
        others = tuple(i for i in range(array.ndim) if i != self.axis % array.ndim)
        finite = np.isfinite(array)
        whole = bool(finite.all())
        low = array.min(others) if whole else np.where(finite, array, np.inf).min(others)
        high = array.max(others) if whole else np.where(finite, array, -np.inf).max(others)
        self._widen(low, high)

    def merge(self, other: ChannelExtremes) -> None:
        """Widen by what other values showed."""
        if other.minimum.size:
            self._widen(other.minimum, other.maximum)

    def _widen(self, low: NDArray[np.float32], high: NDArray[np.float32]) -> None:
        if not self.minimum.size:
            self.minimum, self.maximum = low.astype(np.float32), high.astype(np.float32)
            return
        if self.minimum.shape != low.shape:
            raise SamplesError(
                f"a tensor had {self.minimum.size} channels and now has {low.size}",
                fix="Observe tensors whose channels vary in number without per-channel extremes",
            )
        self.minimum, self.maximum = np.minimum(self.minimum, low), np.maximum(self.maximum, high)


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
    first
        The largest magnitude of the first update that had any other than zero: TensorRT's entropy calibrator fits its
        histogram to it. It alone depends on the order of updates; a merge keeps the left one's.
    top
        Biased float32 exponent of the top octave, 0 while no normal number was seen.
    counts
        int64 array (2, BINS): positive and negative values in each bin of ascending magnitude.
    mantissas
        int64 array (2, OCTAVES): the exact sum of the 24-bit mantissas of each octave, the top octave first.
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
    first: float = 0.0
    top: int = 0
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros((2, BINS), np.int64), repr=False)
    mantissas: NDArray[np.int64] = field(default_factory=lambda: np.zeros((2, OCTAVES), np.int64), repr=False)
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
        """Where the top octave starts: the power of two at or below `amax`."""
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
        """Mean of the finite values, exact but for those in `tiny`, which count as 0; NaN before any."""
        if not self.finite:
            return float("nan")
        signed = (self.mantissas[0] - self.mantissas[1]).tolist()
        total = sum(s << (OCTAVES - 1 - k) for k, s in enumerate(signed))
        return float(np.ldexp(total / self.finite, self.top - 150 - (OCTAVES - 1)))

    @property
    def second_moment(self) -> float:
        """Mean square of the finite values, from the histogram; NaN before any.

        Values are taken as spread evenly over their bin, then each octave is corrected by its exact sum. The relative
        error is below 1e-4, and near 1e-7 for smooth distributions.
        """
        if not self.finite:
            return float("nan")
        low, high = UNIT_EDGES[:-1], UNIT_EDGES[1:]
        binned = np.add.reduceat(self.magnitudes * (low + high) / 2, FIRST[::-1])[::-1]
        squares = np.add.reduceat(self.magnitudes * (low * low + low * high + high * high) / 3, FIRST[::-1])[::-1]
        exact = np.ldexp(self.mantissas.sum(0).astype(np.float64), -23 - np.arange(OCTAVES))
        ratio = np.divide(exact, binned, out=np.ones(OCTAVES), where=binned > 0)
        return float((squares * ratio**2).sum() / self.finite) * self.unit**2

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
            If the values are no floating-point numbers, or more than 2**38 were seen.
        """
        # bfloat16 and its like are extension types, which numpy files under no kind of number.
        if not (np.issubdtype(array.dtype, np.floating) or "float" in array.dtype.name):
            raise SamplesError(
                f"values of type {array.dtype} have no distribution to quantize",
                fix="Observe floating-point tensors only",
            )
        if self.values + array.size > _MOST_VALUES:
            raise SamplesError("more than 2**38 values of one tensor", fix="Use fewer samples")
        flat = array.reshape(-1)
        with np.errstate(over="ignore"):
            for start in range(0, flat.size, _CHUNK):
                self._take(np.ascontiguousarray(flat[start : start + _CHUNK], dtype=np.float32))
            if self.channels is not None and array.size:
                self.channels.update(np.asarray(array, np.float32))
        self.values += array.size
        self.samples += samples
        self.first = self.first or self.amax

    def _take(self, chunk: NDArray[np.float32]) -> None:
        signed, high, low, zeros = extremes(chunk.view(np.uint32))
        if max(signed, high & 0x7FFFFFFF if high >> 31 else 0) >= _INFINITE:
            nans, infs = int(np.isnan(chunk).sum()), int(np.isinf(chunk).sum())
            self.nans, self.infs = self.nans + nans, self.infs + infs
            if nans + infs < chunk.size:
                self._take(chunk[np.isfinite(chunk)])
            return
        # The bits order positive floats upwards and negative ones downwards.
        pair = np.array([high if high >> 31 else low, signed if signed >= 0 else low], np.uint32)
        smallest, largest = (float(x) + 0.0 for x in pair.view(np.float32))
        self.minimum, self.maximum = min(self.minimum, smallest), max(self.maximum, largest)
        self._raise(int((pair & 0x7FFFFFFF).max()) >> 23)
        below = count(chunk.view(np.uint32), self.top, self.counts, self.mantissas)
        self.zeros += zeros
        self.tiny += below - zeros

    def _raise(self, top: int) -> None:
        """Move the window up so that its top octave is at least the one asked for; what leaves it below is tiny."""
        rise = top - self.top
        if rise <= 0:
            return
        counts, mantissas = np.zeros_like(self.counts), np.zeros_like(self.mantissas)
        for k in range(OCTAVES if self.top else 0):
            old = self.counts[:, FIRST[k] : FIRST[k] + SIZES[k]]
            if k + rise >= OCTAVES:
                self.tiny += int(old.sum())
                continue
            size, start = SIZES[k + rise], FIRST[k + rise]
            counts[:, start : start + size] = old.reshape(2, size, -1).sum(2)
            mantissas[:, k + rise] = self.mantissas[:, k]
        self.counts, self.mantissas, self.top = counts, mantissas, top

    def merge(self, other: TensorStatistics) -> None:
        """Take in what other statistics saw: the result is that of having seen the values of both.

        Raises
        ------
        SamplesError
            If only one of the two has extremes per channel, or together they saw more than 2**38 values.
        """
        if self.values + other.values > _MOST_VALUES:
            raise SamplesError("more than 2**38 values of one tensor", fix="Use fewer samples")
        if (self.channels is None) != (other.channels is None):
            raise SamplesError("only one of two statistics has extremes per channel", fix="Gather both alike")
        lower = TensorStatistics(top=other.top, counts=other.counts, mantissas=other.mantissas)
        lower._raise(self.top)  # makes new arrays: the other keeps its own
        self._raise(other.top)
        self.counts += lower.counts
        self.mantissas += lower.mantissas
        self.tiny += other.tiny + lower.tiny
        for name in ("values", "samples", "zeros", "nans", "infs"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.minimum, self.maximum = min(self.minimum, other.minimum), max(self.maximum, other.maximum)
        self.first = self.first or other.first
        if self.channels is not None and other.channels is not None:
            self.channels.merge(other.channels)


_INTEGERS = ("values", "samples", "zeros", "nans", "infs", "tiny", "top")


class Statistics(dict[str, TensorStatistics]):
    """The statistics of many tensors, by name.

    The file that :meth:`save` writes is a plain ``.npz`` without pickled objects; equal statistics make equal bytes.
    """

    def merge(self, other: Statistics) -> None:
        """Take in what other statistics saw, tensor by tensor; tensors seen by one of the two are kept."""
        for name, theirs in other.items():
            if name not in self:
                self[name] = TensorStatistics(
                    channels=None if theirs.channels is None else ChannelExtremes(theirs.channels.axis)
                )
            self[name].merge(theirs)

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
        counts = np.array([t.counts for t in tensors], "<i8").reshape(-1, 2, BINS)
        axes = [{"name": name, "axis": None if t.channels is None else t.channels.axis} for name, t in self.items()]
        result: dict[str, NDArray[Any]] = {
            "head": np.frombuffer(json.dumps({"format": _FORMAT, "tensors": axes}).encode(), np.uint8),
            "integers": np.array([[getattr(t, name) for name in _INTEGERS] for t in tensors], np.int64),
            "extremes": np.array([[t.minimum, t.maximum, t.first] for t in tensors], np.float64),
            "mantissas": np.array([t.mantissas for t in tensors], np.int64),
            # Byte by byte significance: the upper bytes are nearly all zero and cost nothing once compressed.
            "counts": counts.view(np.uint8).reshape(*counts.shape, 8).transpose(3, 0, 1, 2),
        }
        for i, t in enumerate(tensors):
            if t.channels is not None:
                result[f"channels{i}"] = np.stack([t.channels.minimum, t.channels.maximum])
        return result

    @classmethod
    def load(cls, path: str | Path) -> Statistics:
        """Read what :meth:`save` wrote.

        Raises
        ------
        ReportError
            If the file is missing, damaged, or of a format that this version does not know.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls.from_arrays({name: file[name] for name in file.files})
        except (OSError, ValueError, KeyError, IndexError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise ReportError(
                f"no readable statistics ({error})", where=path, fix="Name a file that Statistics.save wrote"
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
        counts = np.ascontiguousarray(arrays["counts"].transpose(1, 2, 3, 0)).view("<i8")[..., 0].astype(np.int64)
        result = cls()
        for i, entry in enumerate(head["tensors"]):
            low, high, first = arrays["extremes"][i].tolist()
            tensor = TensorStatistics(
                **dict(zip(_INTEGERS, arrays["integers"][i].tolist(), strict=True)),
                minimum=low,
                maximum=high,
                first=first,
                counts=counts[i],
                mantissas=arrays["mantissas"][i],
            )
            if entry["axis"] is not None:
                tensor.channels = ChannelExtremes(entry["axis"], *arrays[f"channels{i}"])
            result[entry["name"]] = tensor
        return result
