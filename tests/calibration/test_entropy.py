from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import entropy as scipy_entropy

from workbench.calibration.entropy import _divergences, divergences, entropy_threshold, histogram
from workbench.calibration.methods import _cells
from workbench.calibration.statistics import TensorStatistics

SHAPES = {
    "normal": lambda r: r.normal(0.3, 2, 40_000),
    "rectified": lambda r: np.maximum(r.normal(0, 1e-3, 40_000), 0),
    "laplace": lambda r: r.laplace(0, 50, 40_000),
    "uniform": lambda r: r.uniform(-7, 5, 40_000),
    "heavy": lambda r: r.standard_t(3, 40_000),
    "one outlier": lambda r: np.append(r.normal(0, 1, 40_000), 60.0),
    "image": lambda r: r.integers(0, 256, 40_000),
}


@pytest.fixture(params=SHAPES)
def x(request) -> np.ndarray:
    return SHAPES[request.param](np.random.default_rng(11)).astype(np.float32)


def seen(*parts: np.ndarray) -> TensorStatistics:
    tensor = TensorStatistics()
    for part in parts:
        tensor.update(part)
    return tensor


def by_the_book(counts: np.ndarray, cells: np.ndarray, kept: int) -> float:
    """Build P and Q in full and take SciPy's divergence."""
    p = counts[:kept].copy()
    p[-1] += counts[kept:].sum()
    q = np.zeros(kept)
    for a, b in pairwise(np.ceil(cells * kept).astype(int)):
        filled = counts[a:b] > 0
        if filled.any():
            q[a:b][filled] = counts[a:b].sum() / filled.sum()
    return float(scipy_entropy(p, q)) if q.any() else np.inf


@pytest.mark.parametrize("target", ["int8", "fp8"])
def test_divergences_are_scipys(x, target):
    counts, _ = histogram(seen(x))
    ours = divergences(counts, _cells(target))
    places = range(128, 2049, 120)
    book = [by_the_book(counts, _cells(target), kept) for kept in places]
    assert ours[[k - 128 for k in places]] == pytest.approx(book, rel=1e-9, abs=1e-12)


def exact_histogram(x: np.ndarray, first: float) -> np.ndarray:
    m = np.abs(x.astype(np.float64))
    top = first
    while top < m.max():
        top *= 2
    counts = np.bincount(np.minimum((m / (top / 2048)).astype(int), 2047), minlength=2048).astype(float)
    counts[0] = counts[1]
    return counts


@pytest.mark.parametrize("target", ["int8", "fp8"])
def test_histogram_and_threshold_are_those_of_the_values_themselves(x, target):
    half = x.size // 2
    t = seen(x[:half], x[half:])
    exact = exact_histogram(x, float(np.abs(x[:half]).max()))
    counts, width = histogram(t)
    assert np.array_equal(counts, exact)
    assert width * 2048 >= t.amax > width * 1023
    cells = _cells(target)
    expected = (128 + int(np.argmin(divergences(exact, cells))) + 0.5) * width
    assert entropy_threshold(t, cells) == expected


def test_range_grows_from_the_first_sample_by_doubling():
    _, width = histogram(seen(np.float32([1.0]), np.float32([4.1])))
    assert width * 2048 == 8
    _, width = histogram(seen(np.float32([4.1]), np.float32([1.0])))
    assert width * 2048 == np.float32(4.1)


def test_the_compiled_loop_keeps_to_its_arrays():
    """Compiled, a place beyond the end of an array is written all the same; in Python it is an error."""
    counts, cells = np.arange(9.0) % 4, np.array([0, 0.3, 0.6, 1.0])
    wanted = [by_the_book(counts, cells, kept) for kept in range(5, 10)]
    np.testing.assert_allclose(_divergences(counts, cells, 5), wanted, rtol=1e-12)
