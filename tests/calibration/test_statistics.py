from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from workbench.calibration.channels import ChannelExtremes
from workbench.calibration.counting import BINS, UNIT_EDGES
from workbench.calibration.statistics import Statistics, TensorStatistics, _equal_bins
from workbench.errors import ReportError, SamplesError

ANY_FLOAT = arrays(np.float32, st.integers(0, 60), elements=st.floats(width=32))


def scaled(a: np.ndarray, exponent: int) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.ldexp(a, exponent).astype(np.float32)


SCALED = st.builds(scaled, ANY_FLOAT, st.integers(-120, 90))


def seen(*arrays: np.ndarray, channels: int | None = None) -> TensorStatistics:
    tensor = TensorStatistics(channels=None if channels is None else ChannelExtremes(channels))
    for array in arrays:
        tensor.update(array)
    return tensor


def equal(a: TensorStatistics, b: TensorStatistics) -> bool:
    plain = all(
        getattr(a, n) == getattr(b, n)
        for n in ("values", "samples", "zeros", "nans", "infs", "tiny", "minimum", "maximum", "top")
    )
    return plain and np.array_equal(a.counts, b.counts)


def moments_equal(a: TensorStatistics, b: TensorStatistics) -> bool:
    """Whether sums agree to the rounding of float64, which depends on their order."""
    with np.errstate(over="ignore"):
        size = np.sqrt(a.squares * max(a.finite, 1))
    return abs(a.total - b.total) <= 1e-12 * size and abs(a.squares - b.squares) <= 1e-12 * a.squares


def brute_counts(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    return np.histogram(values.astype(np.float64), edges)[0] if edges[-1] else np.zeros(BINS, int)


@given(SCALED)
@settings(max_examples=300, deadline=None)
def test_every_value_is_counted_once_where_it_belongs(a):
    t = seen(a)
    finite = a[np.isfinite(a)]
    assert t.nans == np.isnan(a).sum()
    assert t.infs == np.isinf(a).sum()
    assert t.zeros == (finite == 0).sum()
    assert t.counts.sum() + t.zeros + t.tiny == t.finite == finite.size
    if finite.size:
        assert t.minimum == finite.min()
        assert t.maximum == finite.max()
        assert t.amax == np.abs(finite).max()
    if t.top:
        normal = finite[np.abs(finite) >= np.finfo(np.float32).tiny]
        assert np.array_equal(t.counts[0], brute_counts(normal[normal > 0], t.edges))
        assert np.array_equal(t.counts[1], brute_counts(-normal[normal < 0], t.edges))


@given(st.lists(SCALED, max_size=5), st.integers(0, 5))
@settings(max_examples=200, deadline=None)
def test_two_halves_merged_are_the_whole_exactly(parts, cut):
    left, right, whole = seen(*parts[:cut]), seen(*parts[cut:]), seen(*parts)
    before = seen(*parts[cut:])
    left.merge(right)
    assert equal(left, whole)
    assert left.first == whole.first
    assert left.reach == whole.reach
    assert equal(right, before)
    assert equal(seen(*reversed(parts)), whole)
    assert moments_equal(left, whole)
    assert moments_equal(seen(*reversed(parts)), whole)


@given(st.lists(SCALED, max_size=5), st.integers(0, 5))
@settings(max_examples=200, deadline=None)
def test_a_half_gathered_alike_is_merged_exactly_in_the_equal_bins_too(parts, cut):
    left, whole = Statistics({"x": seen(*parts[:cut])}), seen(*parts)
    right = left.alike()
    for part in parts[cut:]:
        right["x"].update(part)
    left.merge(right)
    assert equal(left["x"], whole)
    assert left["x"].reach == whole.reach
    assert np.array_equal(left["x"].lines, whole.lines)


def test_equal_bins_fitted_to_other_values_are_merged_nearly():
    x = np.random.default_rng(0).normal(size=200_000).astype(np.float32)
    merged, whole = seen(x[:100_000]), seen(x)
    merged.merge(seen(x[100_000:]))
    assert merged.reach == whole.reach
    off = np.abs(merged.lines - whole.lines)
    assert 0 < off.sum() < 0.03 * x.size
    assert np.abs(merged.lines.cumsum() - whole.lines.cumsum()).max() < 60


def brute_lines(t: TensorStatistics, values: np.ndarray) -> np.ndarray:
    bins = np.abs(values.astype(np.float64)) / (t.reach / 2048)
    result = np.bincount(bins.astype(int), minlength=2049)
    result[0] = 0
    return result


@pytest.mark.parametrize("scale", [1e-35, 1e-9, 1.0, 255.0, 3e37])
def test_the_equal_bins_are_an_exact_histogram_up_to_the_first_sample_doubled(scale):
    rng = np.random.default_rng(1)
    parts = [(rng.normal(size=50_000) * scale * s).astype(np.float32) for s in (0.1, 1, 0.3, 0)]
    t = seen(*parts)
    first = float(np.abs(parts[0]).max())
    if scale > 1e-30:
        assert t.first == first
        assert t.reach / first == 2 ** round(np.log2(t.reach / first))
        assert t.reach / 2 < t.amax <= t.reach
    assert np.array_equal(t.lines, brute_lines(t, np.concatenate(parts)))


@pytest.mark.parametrize("shape", ["normal", "rectified", "laplace", "uniform", "integers"])
def test_moments_agree_with_numpy(shape):
    rng = np.random.default_rng(3)
    x = {
        "normal": rng.normal(0.3, 2, 50_000),
        "rectified": np.maximum(rng.normal(0, 2, 50_000), 0),
        "laplace": rng.laplace(0, 1e-6, 50_000),
        "uniform": rng.uniform(-7, 5, 50_000),
        "integers": rng.integers(0, 256, 50_000),
    }[shape].astype(np.float32)
    t, exact = seen(x[:7000], x[7000:]), x.astype(np.float64)
    assert t.mean == pytest.approx(exact.mean(), rel=1e-12)
    assert t.second_moment == pytest.approx((exact**2).mean(), rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_types_are_taken_as_they_are(dtype):
    x = np.linspace(-3, 4, 999).astype(dtype)
    assert equal(seen(x), seen(x.astype(np.float32)))


def test_bfloat16_is_taken_as_it_is():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    x = np.linspace(-3, 4, 999).astype(ml_dtypes.bfloat16)
    assert equal(seen(x), seen(x.astype(np.float32)))


def test_integers_and_booleans_are_refused():
    for array in (np.arange(3), np.ones(3, bool), np.array(["a"])):
        with pytest.raises(SamplesError, match="no distribution"):
            seen(array)


def test_what_float32_cannot_hold_counts_as_infinite():
    t = seen(np.array([1e300, -1.0]))
    assert (t.infs, t.maximum, t.minimum) == (1, -1, -1)


def test_arrays_need_not_be_contiguous_or_of_any_rank():
    x = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
    assert equal(seen(x.transpose(2, 0, 1)[::-1]), seen(x))
    assert seen(np.float32(4).reshape(())).amax == 4
    assert seen(np.empty((0, 3), np.float32)).amax == 0


def test_more_values_than_one_chunk():
    x = np.random.default_rng(0).normal(size=2_500_001).astype(np.float32)
    t = seen(x)
    assert t.counts.sum() + t.zeros + t.tiny == x.size
    assert np.array_equal(t.counts[0], brute_counts(x[x > 0], t.edges))


def test_no_bin_is_wider_than_one_percent_and_the_top_is_as_fine_as_2048_bins():
    widths = np.diff(UNIT_EDGES)
    assert (widths / UNIT_EDGES[:-1]).max() <= 0.008
    assert (widths <= 2 / 2048).all()


def test_channels_keep_their_own_extremes():
    x = np.random.default_rng(0).normal(size=(4, 3, 5)).astype(np.float32)
    x[0, 1, 0] = np.nan
    t = seen(x[:2], x[2:], channels=1)
    assert np.array_equal(t.channels.minimum, np.nanmin(x, (0, 2)))
    assert np.array_equal(t.channels.maximum, np.nanmax(x, (0, 2)))
    other = seen(x * 2, channels=1)
    t.merge(other)
    assert np.array_equal(t.channels.maximum, np.nanmax(x * 2, (0, 2)))
    with pytest.raises(SamplesError, match="3 channels and now has 2"):
        t.update(np.zeros((1, 2, 5), np.float32))
    with pytest.raises(SamplesError, match="only one"):
        t.merge(seen(x))


def test_file_holds_everything_and_equal_statistics_make_equal_bytes(tmp_path):
    rng = np.random.default_rng(0)
    s = Statistics(
        {
            "a:0": seen(rng.normal(size=(4, 3, 5)), channels=1),
            "Träger [1]": seen(np.float32([0, np.nan, np.inf, 5])),
            "empty": TensorStatistics(),
        }
    )
    s.save(tmp_path / "one")
    s.save(tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "two"]
    back = Statistics.load(tmp_path / "one")
    assert list(back) == list(s)
    assert all(equal(back[n], s[n]) for n in s)
    for name in ("first", "reach", "total", "squares"):
        assert all(getattr(back[n], name) == getattr(s[n], name) for n in s)
    assert all(np.array_equal(back[n].lines, s[n].lines) for n in s)
    assert back["a:0"].channels.axis == 1
    assert np.array_equal(back["a:0"].channels.minimum, s["a:0"].channels.minimum)
    back.merge(s)
    assert back["a:0"].values == 120
    back.save(tmp_path / "one")
    assert Statistics.load(tmp_path / "one")["a:0"].values == 120


def test_no_tensor_at_all_can_be_saved(tmp_path):
    Statistics().save(tmp_path / "s")
    assert Statistics.load(tmp_path / "s") == {}


def test_a_file_that_is_none_says_so(tmp_path):
    with pytest.raises(ReportError, match=r"absent: no such file\. Check the path\.$"):
        Statistics.load(tmp_path / "absent")
    (tmp_path / "torn").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(ReportError, match="no readable statistics"):
        Statistics.load(tmp_path / "torn")
    np.savez(tmp_path / "other.npz", a=np.ones(3))
    with pytest.raises(ReportError, match=r"no readable statistics.*serve --watch wrote; samples are none"):
        Statistics.load(tmp_path / "other.npz")


def test_first_is_the_largest_magnitude_of_the_first_update_that_had_any():
    assert seen(np.zeros(3), np.float32([-2, 1]), np.float32([5])).first == 2


def test_a_lone_bin_is_moved_whole_and_neighbours_are_spread():
    counts = np.array([9, 0, 8, 0, 4, 12, 0, 3])
    result = _equal_bins(counts, np.arange(9.0), 0.25)
    wanted = np.zeros(2049, np.int64)
    wanted[8], wanted[16:20], wanted[20:24], wanted[28] = 8, 1, 3, 3  # the first bin is not kept
    assert np.array_equal(result, wanted)
    assert _equal_bins(np.array([0, 5]), np.array([0.0, 4096.0, 8192.0]), 2.0)[2047] == 5


def test_tensors_that_one_of_two_saw_are_taken_over_with_their_channels():
    x = np.array([[1, -2, 0], [3, 4, -5]], np.float32)
    total, other = Statistics({"plain": seen(x)}), Statistics({"split": seen(x, channels=1), "plain": seen(x)})
    total.merge(other)
    assert list(total) == ["plain", "split"]
    assert (total["plain"].channels, total["plain"].values, total["split"].values) == (None, 12, 6)
    assert total["split"].channels.axis == 1
    assert total["split"].channels.minimum.tolist() == [1, -2, -5]
    assert total["split"].channels.maximum.tolist() == [3, 4, 0]
