from __future__ import annotations

import numpy as np
import pytest

from workbench.calibration.methods import LARGEST, at, levels, ranges, sweep
from workbench.calibration.statistics import TensorStatistics
from workbench.errors import SamplesError
from workbench.names import METHODS, QUANTIZED

SHAPES = {
    "normal": lambda r: r.normal(0.3, 2, 40_000),
    "rectified": lambda r: np.maximum(r.normal(0, 1e-3, 40_000), 0),
    "laplace": lambda r: r.laplace(0, 50, 40_000),
    "uniform": lambda r: r.uniform(-7, 5, 40_000),
    "heavy": lambda r: r.standard_t(3, 40_000),
    "one outlier": lambda r: np.append(r.normal(0, 1, 40_000), 60.0),
}


@pytest.fixture(params=SHAPES)
def x(request) -> np.ndarray:
    return SHAPES[request.param](np.random.default_rng(11)).astype(np.float32)


def seen(x: np.ndarray) -> TensorStatistics:
    tensor = TensorStatistics()
    tensor.update(x)
    return tensor


def pick(x: np.ndarray, method: str, target: str = "int8", **options: float):
    return ranges({"x": seen(x)}, method, target=target, **options)["x"]


def quantized(x: np.ndarray, amax: float, target: str) -> np.ndarray:
    """Round every value to the nearest level: the definition, by looking at all levels."""
    q = levels(target) * amax
    m = np.abs(x.astype(np.float64))
    right = np.searchsorted(q, m).clip(1, len(q) - 1)
    return np.sign(x) * np.where(m - q[right - 1] <= q[right] - m, q[right - 1], q[right])


def error(x: np.ndarray, amax: float, target: str) -> float:
    return float(((x - quantized(x, amax, target)) ** 2).mean())


def test_levels_of_fp8_are_those_of_ml_dtypes():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    codes = np.arange(127, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn).astype(np.float64)
    assert np.allclose(levels("fp8") * 448, codes, rtol=1e-15)
    assert np.array_equal(np.rint(levels("int8") * 127), np.arange(128))


@pytest.mark.parametrize("target", QUANTIZED)
def test_minmax_is_the_largest_magnitude(x, target):
    r = pick(x, "minmax", target)
    assert r.amax == np.abs(x).max()
    assert r.scale == r.amax / LARGEST[target]
    assert r.clipped == 0


@pytest.mark.parametrize("p", [0.5, 50, 99, 99.9, 100])
def test_percentile_is_numpys(x, p):
    expected = np.percentile(np.abs(x).astype(np.float64), p)
    got = pick(x, "percentile", percentile=p)
    if expected == 0:
        assert got.amax == np.abs(x).max()
    else:
        # Between two values far apart any threshold is right.
        low, high = np.percentile(np.abs(x), [p - 5e-3, min(100, p + 5e-3)])
        assert low * 0.99 <= got.amax <= high * 1.01
        assert got.amax == pytest.approx(expected, rel=0.01) or high > 1.02 * low


@pytest.mark.parametrize("target", QUANTIZED)
def test_mse_is_as_good_as_the_best_of_many(x, target):
    amax = np.abs(x).max()
    best = min(error(x, t, target) for t in np.geomspace(amax / 100, amax, 200))
    got = pick(x, "mse", target)
    assert got.amax <= amax
    assert error(x, got.amax, target) <= best * 1.01


@pytest.mark.parametrize("target", QUANTIZED)
@pytest.mark.parametrize("method", METHODS)
def test_predicted_sqnr_and_clipped_mass_are_what_quantizing_gives(x, method, target):
    r = pick(x, method, target)
    signal = (x.astype(np.float64) ** 2).mean()
    assert r.sqnr_db == pytest.approx(10 * np.log10(signal / error(x, r.amax, target)), abs=0.1)
    assert r.clipped == pytest.approx((np.abs(x) > r.amax).mean(), abs=2e-4)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("target", QUANTIZED)
def test_zeros_and_constants_get_a_usable_scale(method, target):
    assert pick(np.zeros(9), method, target).amax == 1
    for value in (3.0, -1e-30, 1e-44, 3e38):
        r = pick(np.full(50, value), method, target)
        assert np.float32(r.scale) >= np.finfo(np.float32).tiny
        assert np.isfinite(r.scale)
        if abs(value) > 1e-30:
            assert r.amax == pytest.approx(abs(value), rel=0.1)


def test_nan_and_infinity_name_the_tensor():
    with pytest.raises(SamplesError, match=r"conv_1: 1 NaN and 2 infinite"):
        ranges({"conv_1": seen(np.float32([1, np.nan, np.inf, -np.inf]))})
    with pytest.raises(SamplesError, match="conv_1: no value"):
        ranges({"conv_1": TensorStatistics()})


def test_overrides_set_a_method_or_a_threshold(x):
    s = {"a": seen(x), "b": seen(x), "c": seen(x)}
    r = ranges(s, "mse", overrides={"b": "minmax", "c": 0.5})
    assert list(r) == ["a", "b", "c"]
    assert [r[n].method for n in "abc"] == ["mse", "minmax", "manual"]
    assert r["c"].amax == 0.5
    assert r["b"].amax == np.abs(x).max()
    assert r["c"] == at(s["c"], 0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "best"}, "no method is called 'best'"),
        ({"target": "int4"}, "no target is called 'int4'"),
        ({"method": "percentile", "percentile": 0}, "a percentile of 0"),
        ({"method": "percentile", "percentile": 100.1}, "a percentile of 100.1"),
        ({"overrides": {"y": 1.0}}, "not observed: y"),
        ({"overrides": {"x": -1.0}}, "x: a threshold of -1"),
        ({"overrides": {"x": 0.0}}, "x: a threshold of 0"),
        ({"overrides": {"x": float("inf")}}, "x: a threshold of inf"),
        ({"overrides": {"x": float("nan")}}, "x: a threshold of nan"),
        ({"overrides": {"x": "best"}}, "no method is called 'best'"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(SamplesError, match=message):
        ranges({"x": seen(np.ones(3))}, **options)


def test_no_tensors_have_no_ranges():
    assert ranges({}) == {}


@pytest.mark.parametrize("target", QUANTIZED)
def test_thresholds_swept_together_cost_what_each_does(x, target):
    tensor = seen(x)
    amax = np.geomspace(tensor.amax / 1000, 1.5 * tensor.amax, 40)
    clipped, sqnr_db = sweep(tensor, amax, target=target)
    each = [at(tensor, float(one), target=target) for one in amax]
    np.testing.assert_allclose(clipped, [one.clipped for one in each], rtol=1e-12)
    np.testing.assert_allclose(sqnr_db, [one.sqnr_db for one in each], rtol=1e-9)
