"""The thresholds of every method on tensors of real models, against the values themselves."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import numpy as np
import pytest

from workbench.calibration.entropy import divergences
from workbench.calibration.methods import _cells, levels, ranges
from workbench.calibration.statistics import Statistics, TensorStatistics
from workbench.graph.load import load_model
from workbench.names import QUANTIZED
from workbench.runtime.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MODELS = ["mnist_cntk", "vit_mnist_selftrained", "ultraface_rfb320", "yolox_nano"]


def samples(shared: Path, model: str) -> list[np.ndarray]:
    if "mnist" in model:
        content = gzip.decompress((shared / "data" / "mnist" / "t10k-images-idx3-ubyte.gz").read_bytes())
        images = np.frombuffer(content, np.uint8, offset=16)[: 12 * 784].reshape(12, 1, 1, 28, 28).astype(np.float32)
        return list(images if model == "mnist_cntk" else images / 255)
    with np.load(shared / "calibration_caches" / "recorded" / f"{model}.inputs.npz") as file:
        images = next(iter(file.values()))[: 3 if model == "ultraface_rfb320" else 1].astype(np.float32)
    return [(image[None] - 127) / 128 if model == "ultraface_rfb320" else image[None] for image in images]


@pytest.fixture(scope="module", params=MODELS)
def seen(shared, request) -> tuple[Statistics, dict[str, np.ndarray]]:
    """Statistics of every floating-point tensor but those of zeros, and its magnitudes."""
    model = load_model(shared / "models" / request.param / "model.onnx")
    entries = [str(v.name) for node in model.top_nodes.values() for v in node.outputs if v.name]
    session = Session(model, outputs=[name for name in entries if model.tensor(name).dtype == "FLOAT"])
    values: dict[str, list[np.ndarray]] = {}
    for x in samples(shared, request.param):
        for name, array in session.run({model.inputs[0].name: x}).items():
            values.setdefault(name, []).append(array.ravel())
    values = {name: arrays for name, arrays in values.items() if any(a.any() for a in arrays)}
    statistics = Statistics({name: TensorStatistics() for name in values})
    for name, arrays in values.items():
        for array in arrays:
            statistics[name].update(array)
    return statistics, {name: np.abs(np.concatenate(a).astype(np.float64)) for name, a in values.items()}


def exact(magnitudes: np.ndarray, top: float) -> np.ndarray:
    place = np.minimum((magnitudes / (top / 2048)).astype(int), 2047)
    return np.bincount(place, minlength=2048).astype(float)


@pytest.mark.parametrize("target", QUANTIZED)
def test_entropy_is_that_of_an_exact_histogram(seen, target):
    statistics, values = seen
    got = ranges(statistics, "entropy", target=target)
    for name, t in statistics.items():
        counts = exact(values[name], t.reach)
        counts[0] = counts[1]
        expected = t.amax
        if counts.any():
            expected = (128 + int(np.argmin(divergences(counts, _cells(target)))) + 0.5) * t.reach / 2048
        assert got[name].amax == pytest.approx(expected, rel=1e-12), name


@pytest.mark.parametrize("p", [99, 99.9, 99.99])
def test_percentile_is_within_a_percent(seen, p):
    statistics, values = seen
    got = ranges(statistics, "percentile", percentile=p)
    for name, t in statistics.items():
        counts = exact(values[name], t.amax)
        # Between two values far apart any threshold is right.
        low = np.percentile(values[name], p, method="lower")
        high = np.percentile(values[name], p, method="higher")
        if high > 0:
            edge = (np.searchsorted(counts.cumsum(), p / 100 * counts.sum()) + 1) * t.amax / 2048
            assert low * 0.99 <= got[name].amax <= high * 1.01 or abs(got[name].amax / edge - 1) < 0.01, name


def test_minmax_is_the_largest_magnitude(seen):
    statistics, values = seen
    assert {n: r.amax for n, r in ranges(statistics, "minmax").items()} == {n: v.max() for n, v in values.items()}


@pytest.mark.parametrize("target", QUANTIZED)
def test_mse_is_within_two_percent_of_the_least_error(seen, target):
    statistics, values = seen
    got, q = ranges(statistics, "mse", target=target), levels(target)

    def error_of(values: np.ndarray) -> Callable[[float], float]:
        # Sums over sorted values: those that are nearest to one level lie side by side.
        x = np.sort(values)
        sums, squares = np.concatenate([[0], x.cumsum()]), np.concatenate([[0], (x * x).cumsum()])

        def error(amax: float) -> float:
            grid = q * amax
            ends = np.concatenate([[0], np.searchsorted(x, (grid[1:] + grid[:-1]) / 2), [len(x)]])
            count, first, second = np.diff(ends), np.diff(sums[ends]), np.diff(squares[ends])
            return float((second - 2 * grid * first + count * grid**2).sum())

        return error

    small = [name for name in statistics if values[name].size <= 100_000]
    for name in small[::8]:
        x = values[name][values[name] > 0]
        error = error_of(x)
        best = min(error(c) for c in x.max() * 2.0 ** (-np.arange(4 * 48) / 48))
        assert error(got[name].amax) <= 1.02 * best, name
