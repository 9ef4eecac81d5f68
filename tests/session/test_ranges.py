"""Ranges: what a calibration and a choice record of themselves, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from tests.kit.models import constant, model, weight
from tests.kit.searching import calibrated, small
from workbench.calibration.cache import CalibrationCache
from workbench.errors import ReportError, SamplesError
from workbench.recipe.steps import CalibrateStep, ChooseStep
from workbench.session import Workbench

DATA = {"x": np.random.default_rng(3).normal(size=(5, 4)).astype(np.float32)}


@pytest.fixture
def wb():
    """Two products with a Log between, which of a negative number is none."""
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["p"], "first"),
        helper.make_node("Log", ["p"], ["l"], "log"),
        helper.make_node("MatMul", ["l", "b"], ["m"], "second"),
        helper.make_node("IsNaN", ["m"], ["n"], "nan"),
        helper.make_node("Where", ["n", "zero", "m"], ["y"], "clean"),
    ]
    weights = [weight("a", 4, 3), weight("b", 3, 3, seed=5), constant("zero", 0, "float32")]
    return Workbench(model(nodes, {"x": ["N", 4]}, {"y": ["N", 3]}, weights))


def test_a_card_counts_the_ranges_or_says_how_to_get_some(wb):
    assert repr(wb.ranges).splitlines()[0] == "no ranges yet: wb.calibrate(samples)"
    wb.set_range("x", 1.0)
    wb.set_range("p", 2.0)
    assert repr(wb.ranges).splitlines()[0] == "2 ranges"


def test_a_calibration_records_how_it_was_done(wb):
    wb.calibrate(DATA)
    wb.calibrate(DATA, method="percentile", batch=5)
    wb.calibrate(DATA, method="minmax", percentile=90.0, overflow=True)
    steps = wb.recipe.of_kind(CalibrateStep)
    assert [(step.method, step.percentile, step.batch, step.overflow) for step in steps] == [
        ("mse", None, 1, None),
        ("percentile", 99.99, 5, None),
        ("minmax", None, 1, {}),
    ]
    assert {"first" in step.samples.source for step in steps} == {False}  # all of them
    assert len(wb.ranges.samples) == 5


@pytest.mark.parametrize(
    ("precision", "overflow"), [("fp16", {}), ("bf16", None), ("fp32", None), ("fp8", None), ("int8", None)]
)
def test_values_beyond_fp16_are_looked_for_where_the_plan_asks_for_fp16(wb, precision, overflow):
    wb.plan.set("*", precision)
    wb.calibrate(DATA)
    assert wb.recipe.newest(CalibrateStep).overflow == overflow


def test_a_choice_records_a_percentile_where_one_was_used(wb):
    wb.calibrate(DATA)
    wb.ranges.choose("minmax")
    wb.ranges.choose("percentile")
    wb.ranges.choose("percentile", percentile=90.0)
    wb.ranges.choose("minmax", overrides={"x": "percentile"})
    assert [step.percentile for step in wb.recipe.of_kind(ChooseStep)] == [None, 99.99, 90.0, 99.99]
    other = Workbench(wb.source)
    other.ranges.use_statistics(wb.ranges.statistics, method="percentile")
    assert other.recipe.steps[-1].percentile == 99.99


@pytest.mark.parametrize("tensor", ["x", "l"])
def test_a_threshold_by_hand_is_a_positive_number_whether_or_not_the_tensor_has_a_range(wb, tensor):
    wb.calibrate(DATA)
    assert ("x" in wb.ranges, "l" in wb.ranges) == (True, False)
    steps = wb.recipe.steps
    for amax in (-1.0, 0.0, np.inf):
        with pytest.raises(SamplesError, match=f"{tensor}: a threshold of {amax}"):
            wb.ranges.choose("minmax", overrides={tensor: amax})
    assert wb.recipe.steps == steps
    wb.ranges.choose("minmax", overrides={tensor: 3.0})
    assert wb.ranges[tensor] == 3.0


def test_a_tensor_that_no_range_follows_of_has_no_method_of_its_own(wb):
    wb.calibrate(DATA)
    with pytest.raises(SamplesError, match="not observed: l"):
        wb.ranges.choose("minmax", overrides={"l": "percentile"})


def test_statistics_of_another_model_are_refused_by_what_they_are(wb, tmp_path):
    wb.calibrate(DATA)
    file = tmp_path / "seen.npz"
    wb.ranges.statistics.save(file)
    nodes = [helper.make_node("MatMul", ["other", "a"], ["z"], "only")]
    stranger = Workbench(model(nodes, {"other": ["N", 4]}, {"z": ["N", 3]}, [weight("a", 4, 3)]))
    for statistics, where in ((wb.ranges.statistics, "g"), (file, str(file))):
        with pytest.raises(ReportError, match="none of the 2 tensors of these statistics") as refusal:
            stranger.ranges.use_statistics(statistics)
        assert str(refusal.value.where) == where


def test_a_tensor_that_an_edit_took_away_is_no_sign_of_another_export(wb, tmp_path):
    file = tmp_path / "calibration.cache"
    file.write_bytes(CalibrationCache.from_ranges({"x": 1.0, "p": 2.0, "new": 4.0, "gone": 8.0}).to_bytes())
    wb.edit("rename_tensor", tensor="p", to="new", check=False)
    match = wb.ranges.use_cache(file)
    assert match.stale == ("gone",)
    assert wb.ranges == pytest.approx({"x": 1.0, "new": 4.0}, rel=1e-7)


def test_after_equalizing_ranges_are_chosen_as_before(tmp_path):
    session = calibrated(small(broken=True), tmp_path, 4, method="minmax")
    session.calibrate(tmp_path / "samples.npz", method="percentile", percentile=98.0, batch=2)
    assert session.ranges.equalize().changed
    again = session.recipe.newest(CalibrateStep)
    assert (session.recipe.steps[-1], again.method, again.percentile, again.batch) == (again, "percentile", 98.0, 2)
