from __future__ import annotations

import numpy as np
import pytest

from workbench.calibration.methods import at
from workbench.calibration.statistics import TensorStatistics
from workbench.errors import SamplesError
from workbench.names import METHODS
from workbench.views.calibration.histogram import distribution_chart, histogram_of, quantized_chart
from workbench.views.kit.themes import DARK, LIGHT


def seen(x) -> TensorStatistics:
    tensor = TensorStatistics()
    tensor.update(np.asarray(x, np.float32))
    return tensor


@pytest.fixture(scope="module")
def x():
    rng = np.random.default_rng(0)
    return np.concatenate([rng.laplace(0.2, 1, 30_000), np.zeros(5_000)]).astype(np.float32)


def test_histogram_is_numpys(x):
    edges, counts = histogram_of(seen(x), 64)
    expected = np.histogram(x, edges)[0]
    assert counts.sum() == pytest.approx(x.size)
    assert (edges[0], edges[-1]) == (x.min(), x.max())
    assert np.abs(counts - expected).max() <= 0.01 * expected.max()


@pytest.mark.parametrize("values", [[3.0, 4.0], [-3.0, -4.0], [0.0], []])
def test_histogram_reaches_zero_and_holds_everything(values):
    edges, counts = histogram_of(seen(values), 8)
    assert edges[0] <= 0 <= edges[-1]
    assert counts.sum() == pytest.approx(len(values))


def test_every_method_is_a_labelled_line_in_both_themes(x):
    chart = distribution_chart("conv", seen(x))
    axes = chart.figure().axes[0]
    labels = [line.get_label() for line in axes.lines if not line.get_label().startswith("_")]
    assert [label.split()[0].rstrip("*") for label in labels] == list(METHODS)
    for r, label in zip(chart.ranges, labels, strict=True):
        assert f"{r.amax:.4g}" in label
        # SVG would make one blank of several, and columns would not stand below each other.
        assert " " not in label
        assert f"{r.sqnr_db:.1f} dB" in label.replace("\N{NO-BREAK SPACE}", " ")
    assert axes.get_yscale() == "log"
    assert "value of conv" in chart.svg("light")
    assert LIGHT.paper in chart.svg("light")
    assert DARK.paper in chart.svg("dark")
    assert chart.png().startswith(b"\x89PNG")


def test_a_threshold_by_hand_is_one_line_more(x):
    t = seen(x)
    chart = distribution_chart("conv", t, chosen=at(t, 2.5), target="fp8")
    labels = [line.get_label() for line in chart.figure().axes[0].lines]
    assert sum(label.startswith("manual*") for label in labels) == 1


def test_a_tensor_of_zeros_can_be_drawn():
    assert distribution_chart("dead", seen(np.zeros(5))).png()
    assert quantized_chart("dead", seen(np.zeros(5))).png()


def test_nan_is_named():
    with pytest.raises(SamplesError, match="conv: 1 NaN"):
        distribution_chart("conv", seen([np.nan, 1]))


def test_before_and_after_hold_the_same_values(x):
    t = seen(x)
    chosen = at(t, float(np.abs(x).max() / 3))
    chart = quantized_chart("conv", t, chosen)
    codes = np.minimum(np.rint(np.abs(x[x != 0]) / chosen.scale), 127)
    assert chart.masses.sum() == pytest.approx((x != 0).sum(), rel=1e-3)
    assert np.abs(chart.masses - np.bincount(codes.astype(int), minlength=128)).max() <= 0.02 * chart.masses.max()
    assert chart.noise.sum() == pytest.approx(1)
    error = (np.abs(x) - np.minimum(np.rint(np.abs(x) / chosen.scale), 127) * chosen.scale) ** 2
    clipped = error[np.abs(x) > chosen.amax].sum() / error.sum()
    assert chart.noise[chart.edges[:-1] >= chosen.amax].sum() == pytest.approx(clipped, abs=0.03)
    assert chart.png("dark").startswith(b"\x89PNG")
