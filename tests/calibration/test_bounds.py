"""Tables, messages and batches of calibration, each with more than one of what it is about."""

from __future__ import annotations

import math

import numba
import numpy as np
import pytest
from onnx import helper

from tests.kit.models import model
from workbench.calibration import Statistics, TensorStatistics, open_samples, ranges
from workbench.calibration.cache import CacheMatch, _scale_entry
from workbench.calibration.counting import compiled
from workbench.calibration.damage import _first, _which
from workbench.calibration.drift import Drift, cumulated, drifts
from workbench.calibration.overflow import find_overflow
from workbench.calibration.samples import Feed, feeds
from workbench.calibration.table import calibration_table
from workbench.errors import ReportError


def seen(*values):
    tensor = TensorStatistics()
    tensor.update(np.array(values, np.float32))
    return tensor


def test_a_table_has_the_ranges_in_force_or_those_of_the_least_error():
    statistics = Statistics({"a": seen(*np.linspace(-1, 2, 300)), "b": seen(0, 0, 1, -3), "none": TensorStatistics()})
    table = calibration_table(statistics)
    assert list(table.index) == ["a", "b"]
    least = ranges(Statistics({name: statistics[name] for name in "ab"}), "mse")
    assert table["range"].to_dict() == {name: one.amax for name, one in least.items()} == table["mse"].to_dict()
    widest = ranges(Statistics({name: statistics[name] for name in "ab"}), "minmax")
    chosen = calibration_table(statistics, widest)
    assert chosen["range"].to_dict() == {"a": 2.0, "b": 3.0}
    assert chosen["clipped"].to_dict() == {"a": 0.0, "b": 0.0}
    assert chosen["zero_fraction"].to_dict() == {"a": 0.0, "b": 0.5}
    assert chosen[["minimum", "maximum", "mean", "values"]].loc["b"].tolist() == [-3.0, 1.0, -0.5, 4.0]
    assert chosen["outlier_ratio"]["b"] == chosen["minmax"]["b"] / chosen["percentile"]["b"]
    assert chosen["dead_channels"].isna().all()


def test_what_of_a_cache_is_of_no_use_is_told_with_the_first():
    match = CacheMatch({"a": 1.0}, ("m", "n"), ("u",), ("k", "l", "o"), ("first", "second"))
    assert str(match) == (
        "1 ranges matched, 2 missing, 3 TensorRT's own, 1 unusable; 2 belong to no tensor of this model, the first is "
        "'first': the cache may be that of an older export"
    )
    assert str(CacheMatch({}, (), (), (), ())) == "0 ranges matched, 0 missing, 0 TensorRT's own"


@pytest.mark.parametrize("count", [80, 81, 200])
def test_of_a_line_that_is_no_entry_eighty_characters_are_shown(count):
    with pytest.raises(ReportError) as caught:
        _scale_entry("x" * count, "here")
    assert f"but '{'x' * 80}'" in str(caught.value)


@pytest.mark.parametrize(
    ("feed", "sample", "words"),
    [
        (Feed({"x": np.zeros((1, 2))}, 7, 1), 0, "sample 7"),
        (Feed({"x": np.zeros((3, 2))}, 7, 3), 2, "sample 9"),
        (Feed({"x": np.zeros((6, 2))}, 7, 3), 0, "samples 7 to 9"),
    ],
)
def test_a_sample_of_a_run_is_named_as_closely_as_it_is_known(feed, sample, words):
    assert _which(feed, sample) == words
    assert _first(np.array([[1.0, 2.0], [3.0, np.nan], [np.inf, 4.0]])) == "nan at [1, 1]"


def test_loops_are_compiled_where_no_cache_can_be_kept(monkeypatch):
    plain = numba.njit

    def without_folder(**options):
        if options.get("cache"):
            raise RuntimeError("no locator available")
        assert options["nogil"]
        return plain(**options)

    monkeypatch.setattr(numba, "njit", without_folder)
    assert compiled(lambda x: x + 1)(2) == 3


# Batches


def network(x=("N", 3), k=None):
    inputs = {"x": [*x]} | ({} if k is None else {"k": [*k]})
    node = helper.make_node("Add", ["x", "k" if k is not None else "x"], ["y"], "add")
    return model([node], inputs, {"y": None})


def fed(source, samples, **options):
    opened = open_samples(samples, source)
    return [(feed.arrays["x"].shape, feed.first, feed.count, feed.padding) for feed in feeds(opened, source, **options)]


def test_a_fixed_batch_is_filled_up_and_a_free_one_ends_early():
    data = {"x": np.zeros((5, 3), np.float32)}
    assert fed(network((2, 3)), data) == [((2, 3), 0, 2, 0), ((2, 3), 2, 2, 0), ((2, 3), 4, 1, 1)]
    assert fed(network((2, 3)), data, batch=4) == fed(network((2, 3)), data)
    assert fed(network(), data, batch=4) == [((4, 3), 0, 4, 0), ((1, 3), 4, 1, 0)]
    assert fed(network(), data) == [((1, 3), at, 1, 0) for at in range(5)]


def test_a_whole_input_is_a_run_without_padding():
    whole = [{"x": np.full((2, 3), float(at), np.float32)} for at in range(2)]
    assert fed(network((2, 3)), whole) == [((2, 3), 0, 1, 0), ((2, 3), 1, 1, 0)]
    assert fed(network(), whole, batch=4) == [((2, 3), 0, 1, 0), ((2, 3), 1, 1, 0)]
    mixed = [{"x": np.zeros((1, 3), np.float32), "k": np.zeros(3, np.float32)}]
    assert fed(network(k=(1, 3)), mixed) == [((1, 3), 0, 1, 0)]


def test_a_stack_ends_where_the_shape_changes():
    source = network(("N", "T"))
    samples = [{"x": np.zeros(length, np.float32)} for length in (2, 2, 3, 3, 3, 2)]
    assert fed(source, samples, batch=4) == [((2, 2), 0, 2, 0), ((3, 3), 2, 3, 0), ((1, 2), 5, 1, 0)]
    assert fed(source, samples, batch=2) == [((2, 2), 0, 2, 0), ((2, 3), 2, 2, 0), ((1, 3), 4, 1, 0), ((1, 2), 5, 1, 0)]


# Overflow and drift


@pytest.mark.parametrize(("value", "beyond"), [(65504.0, {}), (65505.0, {"x": 65505.0, "a": 65505.0})])
def test_fp16_ends_at_65504(value, beyond):
    nodes = [helper.make_node("Abs", ["x"], ["a"], "abs"), helper.make_node("Sigmoid", ["a"], ["y"], "s")]
    source = model(nodes, {"x": ["N", 2]}, {"y": ["N", 2]})
    data = np.array([[1, -value], [np.nan, value / 2], [0, 1]], np.float32)
    assert find_overflow(source, open_samples({"x": data}, source)) == beyond


def test_tensors_that_drifted_are_told_the_worst_first():
    first = Statistics({"a": seen(-1, 0, 1), "b": seen(1, 2), "c": seen(0, 0), "only": seen(1)})
    second = Statistics({"a": seen(-1, 0, 1), "b": seen(4, 8), "c": seen(0, 3), "other": seen(1)})
    chosen = ranges(Statistics({name: first[name] for name in "ab"}), "minmax")
    worst, same = drifts(first, second, chosen)
    assert (worst.name, worst.score, worst.amax_ratio, worst.outside, worst.outside_calibration) == ("b", 1, 4, 1, 0)
    assert (same.name, same.score, same.amax_ratio, same.outside) == ("a", 0, 1, 0)
    zeros = ranges(Statistics({"c": seen(0, 5)}), "minmax")
    assert drifts(first, second, zeros)[0].amax_ratio == math.inf
    assert drifts(first, first, zeros)[0].amax_ratio == 1.0


def test_the_share_of_values_below_a_point_counts_all_bins_of_both_signs():
    values = [-1.9999, -1.5, -0.25, 0, 0, 1e-30, 1, 1.75, 1.9999]
    points = np.array([-2, -1.99, -1, -0.2, 0, 0.5, 1.5, 1.9, 2, 9])
    below = (np.array(values) < points[:, None]).mean(axis=1)
    assert cumulated(seen(*values), points).tolist() == pytest.approx(below.tolist())
    assert cumulated(TensorStatistics(), points).tolist() == [0] * len(points)


@pytest.mark.parametrize(
    ("outside", "before", "warned"),
    [(1e-3, 0.0, False), (1.1e-3, 0.0, True), (0.01, 1e-3, False), (0.011, 1e-3, True), (0.0, 0.0, False)],
)
def test_a_tensor_warns_beyond_a_thousandth_and_ten_times_what_was_clipped(outside, before, warned):
    drift = Drift("t", 0.5, 2.54, outside, before)
    assert (drift.warning is not None) == warned
    if warned:
        assert drift.warning == (
            f"t: {outside:.2%} of the values lie outside the calibrated range ({before:.2%} in calibration), "
            "the largest is 2.5 times as large"
        )
