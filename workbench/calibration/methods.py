"""Ranges from statistics: min-max, percentile, entropy and mean squared error, without another forward pass.

All methods pick the threshold ``amax`` of symmetric quantization: magnitudes up to it map to the grid of the target,
larger ones are clipped to it. A target is its non-negative levels, scaled so that the last one is ``amax``: INT8 has
127 steps of equal size, FP8 (E4M3) steps that grow with the value, up to 448. [-amax, amax] is covered by codes from
-127 to 127; TensorRT leaves INT8's -128 unused too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from workbench.calibration.counting import LINES, UNIT_EDGES
from workbench.calibration.entropy import entropy_threshold
from workbench.errors import SamplesError
from workbench.names import DEFAULT_METHOD, DEFAULT_PERCENTILE, METHODS, QUANTIZED, Method, Quantized

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from workbench.calibration.statistics import TensorStatistics

__all__ = ["Range", "at", "bin_noise", "levels", "no_range", "positive_amax", "ranges", "sweep"]

LARGEST = {"int8": 127.0, "fp8": 448.0}
"""The largest magnitude that a code of each target stands for, before scaling."""

_PER_OCTAVE, _CANDIDATE_OCTAVES = 96, 8
_SMALLEST_SCALE = 2.0**-126  # the smallest normal float32


@dataclass(frozen=True)
class Range:
    """The clipping threshold of one tensor and what it costs.

    Attributes
    ----------
    amax
        The threshold, in the tensor's own unit; more than 0.
    method
        How it was chosen: a method's name, ``"manual"`` or another source such as ``"cache"``.
    target
        The grid it is for.
    clipped
        Fraction of the finite values seen whose magnitude is larger.
    sqnr_db
        Signal to quantization noise in dB predicted from the histogram; infinite where nothing but zeros was seen, and
        NaN where nothing was.
    """

    amax: float
    method: str
    target: Quantized = "int8"
    clipped: float = float("nan")
    sqnr_db: float = float("nan")

    @property
    def scale(self) -> float:
        """What a code is multiplied by: the quantization step of INT8."""
        return self.amax / LARGEST[self.target]


def levels(target: Quantized) -> NDArray[np.float64]:
    """Return the non-negative levels of a target, ascending, the last one being 1: float64 array (n,).

    FP8 is E4M3 as in "FP8 Formats for Deep Learning" (Micikevicius et al., 2022): bias 7, no infinities, largest 448.
    """
    if target == "int8":
        return np.arange(128) / 127
    code = np.arange(127)
    exponent, mantissa = code >> 3, code & 7
    value = np.where(exponent == 0, np.ldexp(mantissa / 8.0, -6), np.ldexp(1 + mantissa / 8.0, exponent - 7))
    return np.asarray(value / 448.0)


def ranges(
    statistics: Mapping[str, TensorStatistics],
    method: Method = DEFAULT_METHOD,
    *,
    target: Quantized = "int8",
    percentile: float = DEFAULT_PERCENTILE,
    overrides: Mapping[str, float | Method] | None = None,
) -> dict[str, Range]:
    """Choose the range of every tensor.

    Parameters
    ----------
    statistics
        What calibration saw, by tensor.
    method
        How to choose. The default, least mean squared error, is the most dependable of the four: on the models and data
        of benchmarks/calibration_methods.py, judged on data held out, it is at most 1.3 dB SQNR behind the best of them
        at the model's outputs; min-max is up to 1.8 dB behind, percentile 2.7 and entropy 9.2. It is not always best:
        on the depthwise CNN of notebooks/02_calibration.py entropy is 3.4 dB better. Compare them on your own data.
    target
        The grid to quantize to.
    percentile
        How many percent of the magnitudes the method "percentile" covers, 0 < percentile <= 100.
    overrides
        Another method, or a threshold chosen by hand, for the tensors named.

    Returns
    -------
    dict
        A range for each tensor, in the order of `statistics`. Where nothing but zeros was seen any scale is exact, and
        the threshold is 1.

    Raises
    ------
    SamplesError
        If a tensor held NaN or infinities, or no value at all was seen of it; if an override names no tensor or a
        threshold is not a positive number; if a method, target or percentile does not exist.
    """
    overrides = dict(overrides or {})
    _check_choice(method, target, percentile)
    unknown = sorted(overrides.keys() - statistics.keys())
    if unknown:
        raise SamplesError(
            f"ranges were set for tensors that were not observed: {', '.join(unknown)}",
            fix="Take the names from the statistics",
        )
    for name, tensor in statistics.items():
        _check(name, tensor)
    amax: dict[str, float] = {}
    source: dict[str, str] = {}
    ways: dict[str, list[str]] = {}
    for name in statistics:
        chosen = overrides.get(name, method)
        if isinstance(chosen, str):
            source[name] = chosen
            ways.setdefault(chosen, []).append(name)
        else:
            source[name], amax[name] = "manual", positive_amax(name, chosen)
    for way, names in ways.items():
        thresholds = _thresholds([statistics[name] for name in names], way, target, percentile)
        amax.update(zip(names, thresholds, strict=True))
    return {name: at(t, amax[name], target=target, method=source[name]) for name, t in statistics.items()}


def _thresholds(tensors: list[TensorStatistics], method: str, target: Quantized, percentile: float) -> list[float]:
    if method == "minmax":
        return [t.amax for t in tensors]
    if method == "percentile":
        return [_percentile(t, percentile / 100) for t in tensors]
    if method == "entropy":
        return [entropy_threshold(t, _cells(target)) for t in tensors]
    _check_choice(method, target, percentile)
    return _mse(tensors, target)


def at(tensor: TensorStatistics, amax: float, *, target: Quantized = "int8", method: str = "manual") -> Range:
    """Return the range with a given threshold, with its clipped mass and predicted SQNR.

    Parameters
    ----------
    tensor
        What calibration saw.
    amax
        The threshold; 0, which only a tensor of zeros has, becomes 1.
    target
        The grid to quantize to.
    method
        Where the threshold comes from.
    """
    amax = max(float(amax), _SMALLEST_SCALE * LARGEST[target]) if amax > 0 else 1.0
    if not tensor.finite:
        return Range(amax, method, target)
    signal = tensor.second_moment
    noise = float(tensor.magnitudes @ bin_noise(tensor, Range(amax, method, target)))
    sqnr = 10 * np.log10(signal * tensor.finite / noise) if noise > 0 else float("inf")
    beyond = float(_beyond(tensor, np.float64(amax)))
    return Range(amax, method, target, clipped=beyond / tensor.finite, sqnr_db=float(sqnr))


def sweep(
    tensor: TensorStatistics, amax: NDArray[np.float64], *, target: Quantized = "int8"
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what each of many thresholds clips and costs.

    Parameters
    ----------
    tensor
        What calibration saw: some finite value.
    amax
        float64 array (n,): thresholds, more than 0.
    target
        The grid.

    Returns
    -------
    clipped, sqnr_db
        float64 arrays (n,), as `Range` has them.
    """
    # Summed by parts: an edge counts by how much denser values lie on its one side than on the other, and most by none.
    change = np.diff(tensor.magnitudes / np.diff(UNIT_EDGES), prepend=0, append=0)
    used = np.flatnonzero(change)
    bound = amax / tensor.unit
    summed = _integral(UNIT_EDGES[used] / bound[:, None], target) @ change[used]
    noise = np.maximum(-summed, 0) * bound**3 * tensor.unit**2
    with np.errstate(divide="ignore"):
        sqnr = 10 * np.log10(tensor.second_moment * tensor.finite / noise)
    return _beyond(tensor, amax) / tensor.finite, np.asarray(sqnr)


def bin_noise(tensor: TensorStatistics, chosen: Range) -> NDArray[np.float64]:
    """Return the mean squared error that quantization makes of the values of each bin: float64 array (BINS,)."""
    noise = _noise(UNIT_EDGES, np.array([chosen.amax / tensor.unit]), chosen.target)[0]
    return np.asarray(noise * tensor.unit**2)


def _check_choice(method: str, target: str, percentile: float) -> None:
    if method not in METHODS:
        raise SamplesError(f"no method is called {method!r}", fix=f"Choose one of {', '.join(METHODS)}")
    if target not in QUANTIZED:
        raise SamplesError(f"no target is called {target!r}", fix=f"Choose one of {', '.join(QUANTIZED)}")
    if not 0 < percentile <= 100:
        raise SamplesError(f"a percentile of {percentile}", fix="Choose one above 0 and at most 100")


def no_range(tensor: TensorStatistics) -> str | None:
    """Say why no range follows from what was seen of a tensor, ``None`` where one does."""
    if tensor.nans or tensor.infs:
        return f"{tensor.nans} NaN and {tensor.infs} infinite values were seen"
    return None if tensor.values else "no value was seen"


def _check(name: str, tensor: TensorStatistics) -> None:
    reason = no_range(tensor)
    if reason is not None:
        fix = (
            "Find the sample that makes them, or leave the tensor out"
            if tensor.values
            else "Give samples that reach it"
        )
        raise SamplesError(reason, where=name, fix=fix)


def positive_amax(name: str, amax: float) -> float:
    """Return a threshold that a person chose for a tensor.

    Raises
    ------
    SamplesError
        It is no positive number.
    """
    if not (np.isfinite(amax) and amax > 0):
        raise SamplesError(f"a threshold of {amax}", where=name, fix="Choose a positive number")
    return float(amax)


def _beyond(tensor: TensorStatistics, amax: NDArray[np.float64] | np.float64) -> NDArray[np.float64]:
    """Return how many values have a larger magnitude, spreading each bin's evenly."""
    above = np.append(tensor.magnitudes[::-1].cumsum()[::-1], 0)
    return np.where(amax >= tensor.amax, 0.0, np.interp(amax, tensor.edges, above))


def _percentile(tensor: TensorStatistics, fraction: float) -> float:
    """Return the threshold that a fraction of the magnitudes does not exceed.

    Where so many are zero that this would be 0, and clip all the others, it is the largest magnitude instead.
    """
    beyond = (1 - fraction) * tensor.finite
    above = tensor.magnitudes[::-1].cumsum()
    if above[-1] <= beyond:
        return tensor.amax
    return min(tensor.amax, float(np.interp(beyond, np.append(0, above), tensor.edges[::-1])))


@cache
def _cells(target: Quantized) -> NDArray[np.float64]:
    """Return where the group of each level ends, as a fraction of the threshold: equal for INT8, as TensorRT has it."""
    if target == "int8":
        return np.arange(129) / 128
    q = levels(target)
    return np.concatenate([[0.0], (q[1:] + q[:-1]) / 2, [1.0]])


def _noise(edges: NDArray[np.float64], amax: NDArray[np.float64], target: Quantized) -> NDArray[np.float64]:
    """Return the mean squared quantization error of the values of each bin, in the square of the edges' unit.

    Values are spread evenly over their bin. Within the cell of a level q the error of x is x - q, so its integral is
    (x - q)**3 / 3; the last cell is unbounded, which makes clipping no special case.

    Parameters
    ----------
    edges
        float64 array (bins + 1,): the bins of magnitude.
    amax
        float64 array (n,): thresholds in the same unit.

    Returns
    -------
    array
        float64 array (n, bins).
    """
    x = edges / amax[:, None]
    return np.asarray(np.diff(_integral(x, target), axis=1) / np.diff(x, axis=1)) * amax[:, None] ** 2


def _integral(x: NDArray[np.float64], target: Quantized) -> NDArray[np.float64]:
    """Return the integral of the squared error from nought to some magnitudes, in units of the threshold."""
    q, ends, below = _cubes(target)
    if target == "int8":  # equal levels need no search; between two cells either will do
        k = np.minimum(np.rint(x * (q.size - 1)), q.size - 1).astype(np.intp)
    else:
        k = np.searchsorted(ends, x)
    error = x - q[k]
    return np.asarray(below[k] + error * error * error / 3)


@cache
def _cubes(target: Quantized) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the levels, where the cell of each but the last ends, and the integral at each level."""
    q = levels(target)
    half = np.diff(q) / 2
    return q, q[:-1] + half, np.append(0, (2 * half**3 / 3).cumsum())


_EQUAL = np.arange(LINES + 1) / LINES
"""The edges of the equal bins, as fractions of their reach."""


@cache
def _candidates(target: Quantized) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return thresholds as fractions of the reach, (c,), and the noise of each equal bin under them, (c, LINES)."""
    amax = 2.0 ** (-np.arange(_PER_OCTAVE * _CANDIDATE_OCTAVES) / _PER_OCTAVE)
    return amax, _noise(_EQUAL, amax, target)


def _mse(tensors: list[TensorStatistics], target: Quantized) -> list[float]:
    """Return the thresholds of least mean squared error among 96 an octave, eight octaves down, and the largest value.

    The equal bins lie alike in every tensor relative to their reach, so the noise of all candidates on all tensors is
    one matrix product of the counts with a table.
    """
    if not tensors:
        return []
    counts = np.array([t.lines[:-1] for t in tensors], np.float64)
    counts[:, -1] += [t.lines[-1] for t in tensors]
    counts[:, 0] = [t.finite - t.zeros for t in tensors] - counts.sum(1)
    reach = np.array([t.reach or 1.0 for t in tensors])
    largest = np.array([t.amax for t in tensors]) / reach
    amax, table = _candidates(target)
    noise = counts @ table.T
    noise[amax[None, :] >= largest[:, None]] = np.inf
    best = noise.argmin(1)
    # Against clipping nothing at all, which is no candidate of the table.
    least = noise[np.arange(len(best)), best]
    chosen = np.where(np.isfinite(least), amax[best], largest)
    for i in np.flatnonzero(largest):
        if counts[i] @ _noise(_EQUAL, largest[i : i + 1], target)[0] <= least[i]:
            chosen[i] = largest[i]
    thresholds: list[float] = (chosen * reach).tolist()
    return thresholds
