"""Count float32 values: the bins, and the compiled loop that fills them.

A value is in two histograms at once. One needs no range known in advance: the exponent of a value names its octave, the
leading bits of its mantissa the bin within it. The highest octave seen has 2048 bins, each octave beneath it half as
many, down to 128; there are 24 octaves. The other is TensorRT's, of 2048 equal bins of magnitude up to a reach.
Both are filled by one counter a value: over two ascending lists of edges, the number of edges below a value, counted
in both lists together, tells where it is in each.

Why the loop is numba's. Per value, one thread of an AMD EPYC with AVX-512, 8 million normal or rectified float32:
``numpy.bincount`` on the shifted integer view takes 2.0-2.6 ns and the extremes and sums around it 1.0 ns more;
``boost_histogram`` (integer axis over the same view) 2.0-3.0 ns for the counts alone; the loop here 0.7 ns for both
histograms, extremes, zeros and moments, without the interpreter's lock, so that threads share the work. Importing numba
and taking the loop from its cache on disk costs about 0.5 s a process, compiling it about 2 s once an installation.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = [
    "ABOVE",
    "BINS",
    "COARSE",
    "COUNTERS",
    "EQUAL_FROM",
    "FIRST",
    "HALF",
    "LINES",
    "LOWEST_TOP",
    "OCTAVES",
    "SIZES",
    "UNIT_EDGES",
    "Seen",
    "compiled",
    "count",
    "load",
]

OCTAVES = 24
_BITS = [max(11 - k, 7) for k in range(OCTAVES)]  # leading mantissa bits that name a bin, k octaves from the top
SIZES = [1 << bits for bits in _BITS]
"""How many bins each octave has, the top octave first."""
BINS = sum(SIZES)
FIRST = [BINS - sum(SIZES[: k + 1]) for k in range(OCTAVES)]
"""The first bin of each octave, the top octave first: bins ascend with magnitude, so that the top octave is last."""
UNIT_EDGES: NDArray[np.float64] = np.concatenate(
    [np.ldexp(1 + np.arange(SIZES[k]) / SIZES[k], -k) for k in reversed(range(OCTAVES))] + [np.array([2.0])]
)
"""The ``BINS + 1`` edges of the bins of magnitude, where the top octave is [1, 2)."""
LINES = 2048
"""How many equal bins the other histogram has."""
LOWEST_TOP = 12
"""The lowest biased exponent that a top octave has: beneath it, the factor that makes bins of values would overflow."""

HALF = BINS + LINES + 1
"""How many counters the values of one sign have."""
COUNTERS = 1 + 2 * HALF
ABOVE = 1 + BINS - 2 * 2048
"""What a fine bin's number is less than its place."""

_BLOCK = 16384  # values of which the extremes are taken before any of them is counted
_PART = 4096  # values whose places are computed before they are counted: both stay in the processor's nearest cache
_EVEN = 4  # octaves from the top whose bins, and those of the one beneath them, are equally wide
EQUAL_FROM = 1 << _BITS[_EVEN]
"""The first number of a fine bin that is one: below it, the leading bits of a magnitude tell its place."""
COARSE = 23 - _BITS[-1]
"""How far the bits of a magnitude are shifted to tell its place among coarser bins."""
_MOST = 1 << 30  # values between two emptyings of the 32-bit counters


@dataclass
class Seen:
    """What one call of :func:`count` saw.

    Attributes
    ----------
    bits
        int64 array (3,): the largest bits as a signed number, the largest and the smallest as unsigned ones.
    zeros
        Values that are zero.
    below
        Values, zeros among them, that lie beneath the lowest octave or are subnormal.
    moments
        float64 array (2,): the sum of the values and of their squares.
    """

    bits: NDArray[np.int64] = field(default_factory=lambda: np.array([-(2**31), 0, 2**32 - 1], np.int64))
    zeros: int = 0
    below: int = 0
    moments: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))

    @property
    def extremes(self) -> tuple[float, float]:
        """The smallest and the largest value; of nothing, infinity and minus infinity."""
        signed, high, low = self.bits.tolist()
        if high < low:
            return float("inf"), float("-inf")
        # The bits order positive floats upwards and negative ones downwards.
        pair = np.array([high if high >> 31 else low, signed if signed >= 0 else low], np.uint32).view(np.float32)
        return float(pair[0]) + 0.0, float(pair[1]) + 0.0


def count(
    values: NDArray[np.float32], top: int, reach: float, counts: NDArray[np.int64], lines: NDArray[np.int64]
) -> tuple[int, Seen]:
    """Count values into bins, up to the first that the bins do not hold.

    Parameters
    ----------
    values
        float32 array (n,), contiguous.
    top
        Biased exponent of the top octave, at least `LOWEST_TOP`.
    reach
        Where the equal bins end; a power of two times a float32 number, at least 2**-100.
    counts
        int64 array (2, BINS) to add to: positive and negative values in each bin.
    lines
        int64 array (LINES + 1,) to add to: magnitudes in each of the equal bins but the first, and those that are the
        reach itself.

    Returns
    -------
    tuple
        How many values were counted, and what they were. Where that is not all, one of the next values is beyond the
        bins, infinite or NaN; it is less than 16384 places away.
    """
    # Each thread keeps its counters, which are all zero between two calls: making new ones would cost more than
    # counting a small tensor.
    if not hasattr(_own, "lanes"):
        _own.lanes = np.zeros((4, COUNTERS), np.uint32)
        _own.places = np.zeros(_PART, np.uint32)
    one, empty = _loops()
    grid = grid_of(top, reach)
    seen = Seen()
    done = 0
    while done < values.size:
        part = values[done : done + _MOST]
        n, zeros = one(
            part, part.view(np.uint32), grid.limit, *grid.scalars, _own.lanes, _own.places, seen.bits, seen.moments
        )
        seen.zeros += zeros
        seen.below += empty(_own.lanes, grid.bins, grid.lines, counts, lines)
        done += n
        if n < part.size:
            break
    return done, seen


def load() -> None:
    """Compile the loops, or take them from numba's cache, now and not when they are first needed."""
    count(np.zeros(1, np.float32), LOWEST_TOP, 1.0, np.zeros((2, BINS), np.int64), np.zeros(LINES + 1, np.int64))


def compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """Compile a function with numba, or take it from numba's cache on disk; it runs without the interpreter's lock."""
    import numba

    try:
        result: Callable[..., Any] = numba.njit(nogil=True, cache=True, **options)(function)
    except RuntimeError:  # there is no folder in which numba could keep its cache
        result = numba.njit(nogil=True, **options)(function)
    return result


_own = threading.local()


@dataclass(frozen=True)
class Grid:
    """What a loop needs to know of the bins, and which bin of each histogram a counter stands for.

    Attributes
    ----------
    limit
        The bits of the largest magnitude that the bins hold.
    scalars
        Fine bins a unit of magnitude; what to take from the leading bits of a magnitude for its place among coarser
        bins; the bits of the smallest magnitude that has a bin; equal bins a unit of magnitude.
    bins, lines
        The bins that the counters stand for, but for the first, which counts what lies below.
    """

    limit: np.uint32
    scalars: tuple[np.float32, np.int32, np.uint32, float]
    bins: NDArray[np.int16]
    lines: NDArray[np.int16]

    def spread(self, counters: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the two histograms, as `count` adds to them, of counters that were filled elsewhere.

        Parameters
        ----------
        counters
            Integers (COUNTERS,).
        """
        counts, lines = np.zeros((2, BINS), np.int64), np.zeros(LINES + 1, np.int64)
        places = 1 + self.bins.astype(np.int64) + self.lines
        for sign in range(2):
            counted = counters[places + sign * HALF].astype(np.int64)
            np.add.at(counts[sign], self.bins, counted)
            np.add.at(lines, self.lines, counted)
        lines[0] = 0  # the first is not kept
        return counts, lines


@lru_cache(512)
def grid_of(top: int, reach: float) -> Grid:
    """Lay the two histograms over each other.

    Parameters
    ----------
    top
        Biased exponent of the top octave.
    reach
        Where the equal bins end.
    """
    per_value = LINES / reach  # in float64: the rounding of float32 would put one value in thousands in the next bin
    if reach * per_value < LINES:
        per_value = float(np.nextafter(per_value, np.inf))
    unit = 2.0 ** (top - 127)
    start = ((top - _EVEN) << _BITS[-1]) - FIRST[_EVEN]
    with np.errstate(over="ignore"):
        edges = (UNIT_EDGES * unit).astype(np.float32)
    lowest = np.uint32(max(top - OCTAVES + 1, 1) << 23)
    scalars = (np.float32(2048 / unit), np.int32(start), lowest, per_value)
    # The first and the last equal bin that each bin meets, in the very arithmetic of the loop.
    low, high = edges[:-1], np.nextafter(edges[1:], np.float32(0))
    first, last = (np.minimum((x.astype(np.float64) * per_value).astype(np.int64), LINES) for x in (low, high))
    meets = last - first + 1
    bins = np.repeat(np.arange(BINS), meets)
    lines = np.arange(len(bins)) - np.repeat(meets.cumsum() - meets - first, meets)
    most = np.array(min(reach, float(np.finfo(np.float32).max)), np.float32).view(np.uint32)
    limit = np.uint32(min((top + 1 << 23) - 1, int(most)))
    return Grid(limit, scalars, bins.astype(np.int16), lines.astype(np.int16))


@cache
def _loops() -> tuple[Callable[..., Any], Callable[..., Any]]:
    # Sums may be added in any order, or they could not be vectorized.
    return compiled(_count, fastmath={"reassoc"}), compiled(_empty)


def _count(
    values: NDArray[np.float32],
    bits: NDArray[np.uint32],
    limit: np.uint32,
    fine: np.float32,
    start: np.int32,
    lowest: np.uint32,
    per_value: np.float64,
    lanes: NDArray[np.uint32],
    places: NDArray[np.uint32],
    extremes: NDArray[np.int64],
    moments: NDArray[np.float64],
) -> tuple[int, int]:
    """Count whole blocks until one holds a magnitude of more bits than the limit. Return how many values, and zeros.

    The four rows of counters are used in turn, because equal neighbours (zeros above all) would wait for each other.
    Sums of places are said to have 32 bits: numba makes 64 of them else, and counts half as many values at once.
    """
    magnitude = np.uint32(0x7FFFFFFF)
    flat = lanes.reshape(-1)
    width = np.uint64(lanes.shape[1])
    negative = np.int32((lanes.shape[1] - 1) // 2)
    above = np.int32(ABOVE)
    shift = np.uint32(COARSE)
    before = np.int32(start - np.int32(1))
    equal_from = np.int32(EQUAL_FROM)
    zeros = 0
    for begin in range(0, values.size, _BLOCK):
        x = values[begin : begin + _BLOCK]
        b = bits[begin : begin + _BLOCK]
        signed = np.int32(-(2**31))
        high = np.uint32(0)
        low = np.uint32(0xFFFFFFFF)
        none = np.uint32(0)  # 32 bits, like the values: wider ones would halve how many are looked at at once
        for i in range(b.size):
            u = b[i]
            signed = max(signed, np.int32(u))
            high = max(high, u)
            low = min(low, u)
            none = np.uint32(none + np.uint32((u & magnitude) == np.uint32(0)))
        # The bits order positive floats upwards and negative ones, as unsigned numbers, upwards by magnitude.
        largest = max(np.uint32(max(signed, np.int32(0))), high & magnitude if high > magnitude else np.uint32(0))
        if largest > limit:
            return begin, zeros
        zeros += np.int64(none)
        extremes[0] = max(extremes[0], np.int64(signed))
        extremes[1] = max(extremes[1], np.int64(high))
        extremes[2] = min(extremes[2], np.int64(low))
        total = 0.0
        squares = 0.0
        for i in range(x.size):
            v = np.float64(x[i])
            total += v
            squares += v * v
        moments[0] += total
        moments[1] += squares
        for first in range(0, x.size, places.size):
            y = x[first : first + places.size]
            c = b[first : first + places.size]
            for i in range(y.size):
                u = c[i]
                a = u & magnitude
                m = abs(y[i])
                even = np.int32(m * fine)
                near, far = np.int32(even + above), np.int32(np.int32(a >> shift) - before)
                place = near if even >= equal_from else far
                place = np.int32(place + np.int32(np.float64(m) * per_value))
                place = np.int32(place + np.int32(np.int32(np.int32(u) >> np.int32(31)) & negative))
                places[i] = np.uint32(place) if a >= lowest else np.uint32(0)
            for i in range(y.size):
                # Unsigned indices spare the loop a test for negative ones.
                flat[np.uint64(places[i]) + width * np.uint64(i & 3)] += np.uint32(1)
    return values.size, zeros


def _empty(
    lanes: NDArray[np.uint32],
    bins: NDArray[np.int16],
    lines: NDArray[np.int16],
    counts: NDArray[np.int64],
    equal: NDArray[np.int64],
) -> int:
    """Add the counters to the two histograms and clear them. Return what lay below the window."""
    half = (lanes.shape[1] - 1) // 2
    for sign in range(2):
        for j in range(bins.size):
            # As many edges as this are below: a counter where two of them fall together stays empty.
            place = 1 + sign * half + np.int64(bins[j]) + np.int64(lines[j])
            n = np.int64(lanes[0, place]) + np.int64(lanes[1, place])
            n += np.int64(lanes[2, place]) + np.int64(lanes[3, place])
            if n:
                counts[sign, bins[j]] += n
                if lines[j]:  # the first is not kept
                    equal[lines[j]] += n
    below = np.int64(0)
    for lane in range(4):
        below += np.int64(lanes[lane, 0])
    lanes[:] = 0
    return int(below)
