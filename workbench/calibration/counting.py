"""Count float32 values by their own bits: the bins, and the compiled loops that fill them.

The exponent of a value names its octave, the leading bits of its mantissa the bin within it. The highest octave seen
has 2048 bins, each octave beneath it half as many, down to 128; there are 24 octaves.

Why the loops are numba's. Per value, one thread of an AMD EPYC with AVX-512, 4 million normal or rectified float32:
``numpy.bincount`` on the shifted integer view takes 2.0-2.6 ns and the extremes and sums around it 1.0 ns more;
``boost_histogram`` (integer axis over the same view) 2.0-3.0 ns for the counts alone; the loops here 1.1-1.5 ns
for all of it, without the interpreter's lock, so that threads share the work. Importing numba and taking the loops from
its cache on disk costs about 0.5 s a process, compiling them about 1 s once an installation.
"""

from __future__ import annotations

import threading
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["BINS", "FIRST", "MANTISSAS", "OCTAVES", "SIZES", "UNIT_EDGES", "compiled", "count", "extremes"]

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
MANTISSAS: NDArray[np.int64] = np.concatenate(
    [((1 << _BITS[k]) + np.arange(SIZES[k])) << (23 - _BITS[k]) for k in reversed(range(OCTAVES))]
).astype(np.int64)
"""The 24-bit mantissa at which each bin starts."""


def extremes(bits: NDArray[np.uint32]) -> tuple[int, int, int, int]:
    """Return the largest signed, largest unsigned and smallest unsigned bits of float32 values, and how many are zero.

    Parameters
    ----------
    bits
        uint32 array (n,): a view of float32 values.
    """
    result: tuple[int, int, int, int] = _loops()[0](bits)
    return result


def count(bits: NDArray[np.uint32], top: int, counts: NDArray[np.int64], sums: NDArray[np.int64]) -> int:
    """Count values into bins.

    Parameters
    ----------
    bits
        uint32 array (n,), n < 2**24: a view of finite float32 values.
    top
        Biased exponent of the top octave; no value may have a higher one.
    counts
        int64 array (2, BINS) to add to: positive and negative values in each bin.
    sums
        int64 array (2, OCTAVES) to add to: the exact sum of the 24-bit mantissas of each octave, the top octave first.

    Returns
    -------
    int
        How many values, zeros among them, lie below the lowest octave or are subnormal.
    """
    # Each thread keeps its counters, which are all zero between two calls: making new ones would cost more than
    # counting a small tensor.
    if not hasattr(_own, "lanes"):
        _own.lanes = np.zeros((4, 1 + 2 * BINS), np.uint64)
    first, shift = _slots(top)
    below: int = _loops()[1](bits, first, shift, _own.lanes, MANTISSAS, _OCTAVE, counts, sums)
    return below


_own = threading.local()
_OCTAVE = np.repeat(np.arange(OCTAVES)[::-1], SIZES[::-1])  # the octave of each bin


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function with numba, or take it from numba's cache on disk; it runs without the interpreter's lock."""
    import numba

    try:
        result: Callable[..., Any] = numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # there is no folder in which numba could keep its cache
        result = numba.njit(nogil=True)(function)
    return result


@cache
def _loops() -> tuple[Callable[..., Any], Callable[..., Any]]:
    return compiled(_extremes), compiled(_count)


def _extremes(bits: NDArray[np.uint32]) -> tuple[int, int, int, int]:
    signed = np.int32(-(2**31))
    high = np.uint32(0)
    low = np.uint32(0xFFFFFFFF)
    zeros = 0
    for i in range(bits.size):
        u = bits[i]
        signed = max(signed, np.int32(u))
        high = max(high, u)
        low = min(low, u)
        zeros += (u & np.uint32(0x7FFFFFFF)) == np.uint32(0)
    return int(signed), int(high), int(low), zeros


def _count(
    bits: NDArray[np.uint32],
    first: NDArray[np.uint32],
    shift: NDArray[np.uint32],
    lanes: NDArray[np.uint64],
    mantissas: NDArray[np.int64],
    octaves: NDArray[np.int64],
    counts: NDArray[np.int64],
    sums: NDArray[np.int64],
) -> int:
    """Add every value to its slot: 1 in the upper 24 bits of a counter, the mantissa's unnamed bits in the lower 40.

    The four rows of counters are used in turn, because equal neighbours (zeros above all) would wait for each other.
    At the end they are unpacked, added to counts and sums, and cleared. Returns what lay below the window.
    """
    mantissa = np.uint32(0x7FFFFF)
    one = np.uint64(1 << 40)
    flat = lanes.reshape(-1)
    width = np.uint64(lanes.shape[1])
    for i in range(bits.size):
        u = bits[i]
        e = u >> np.uint32(23)
        s = shift[e]
        m = u & mantissa
        named = m >> s
        # Unsigned indices spare the loop a test for negative ones.
        flat[np.uint64(first[e] + named) + width * np.uint64(i & 3)] += one + np.uint64(m - (named << s))
    bins = mantissas.size
    for sign in range(2):
        for b in range(bins):
            slot = 1 + sign * bins + b
            packed = lanes[0, slot] + lanes[1, slot] + lanes[2, slot] + lanes[3, slot]
            if packed:
                n = np.int64(packed >> np.uint64(40))
                counts[sign, b] += n
                sums[sign, octaves[b]] += n * mantissas[b] + np.int64(packed & np.uint64(0xFFFFFFFFFF))
    below = np.int64(0)
    for lane in range(4):
        below += np.int64(lanes[lane, 0] >> np.uint64(40))
    lanes[:] = 0
    return int(below)


@cache
def _slots(top: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Return, for each of the 512 values of sign and exponent, the first slot and the shift of the mantissa.

    Slot 0 takes what lies below the window (zeros too), then come the bins of positive, then those of negative values.
    """
    first = np.zeros(512, np.uint32)
    shift = np.full(512, 23, np.uint32)
    for k in range(min(OCTAVES, top)):  # exponent 0, the subnormal numbers, is never in the window
        for sign in (0, 1):
            first[sign * 256 + top - k] = 1 + sign * BINS + FIRST[k]
            shift[sign * 256 + top - k] = 23 - _BITS[k]
    return first, shift
