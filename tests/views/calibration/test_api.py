"""The public face: what a notebook gets from a calibrated workbench, and what its recipe gets back."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import workbench
from workbench import views
from workbench.errors import RecipeError, SelectorError
from workbench.recipe.steps import RangeStep
from workbench.views.calibration.api import RangeWarning


@pytest.fixture
def wb(small_cnn, small_data):
    wb = workbench.open_model(small_cnn)
    wb.prepare()
    wb.calibrate(small_data, batch=4)
    return wb


@pytest.fixture
def x(small_data):
    with np.load(small_data) as file:
        return file["x"]


def test_dragging_writes_the_recipe(wb):
    view = views.distribution(wb, "r1")
    assert view.chosen == wb.ranges.in_force()["r1"]
    assert view.chosen in view.chart.ranges
    widget = view.widget()
    message = {"method": "custom", "content": {"type": "threshold", "amax": 0.75}}
    widget._handle_msg({"content": {"data": message}, "buffers": []})
    assert wb.recipe.steps[-1] == RangeStep(tensor="r1", amax=0.75)
    assert wb.ranges["r1"] == 0.75
    again = views.distribution(wb, "r1")
    assert (again.chosen.amax, again.chosen.method) == (0.75, "manual")
    assert views.quantized(wb, "r1").chosen == again.chosen
    wb.undo()
    for shown in (view, again):
        assert shown.chart.chosen == wb.ranges.in_force()["r1"]


def test_a_tensor_that_was_not_observed_is_refused_with_near_names(wb):
    for show in (views.distribution, views.quantized, lambda wb, name: views.distributions(wb, [name])):
        with pytest.raises(SelectorError, match="r1"):
            show(wb, "r11")


def test_without_a_calibration_there_is_nothing_to_show(small_cnn, x):
    wb = workbench.open_model(small_cnn)
    for show in (
        views.distributions,
        views.tensor_table,
        lambda wb: views.distribution(wb, "x"),
        lambda wb: views.drift(wb, x),
    ):
        with pytest.raises(RecipeError, match="nothing was calibrated"):
            show(wb)


def test_overview_shows_the_ranges_in_force(wb):
    wb.set_range("r1", 0.01)
    chart = views.distributions(wb)
    assert chart.smalls[0].name == "r1"
    assert chart.smalls[0].chosen.amax == 0.01
    assert [small.name for small in views.distributions(wb, ["x", "r1"]).smalls] == ["x", "r1"]


def test_weights(wb):
    assert views.weights(wb, "block/conv").name == "w2"


def test_samples_like_the_calibrations_do_not_drift(wb, small_data, x):
    before = wb.recipe
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chart = views.drift(wb, small_data)
        views.drift(wb, wb.ranges.observe(x, batch=4))
    assert {d.score for d in chart.drifts} == {0.0}
    assert wb.recipe is before


def test_samples_beyond_the_ranges_warn_and_name_the_worst(wb, x):
    with pytest.warns(RangeWarning, match="outside the calibrated range"):
        chart = views.drift(wb, x * 10, labels=("day", "night"))
    assert chart.labels == ("day", "night")
    assert len(chart.warnings) >= 1
    assert chart.drifts[0].amax_ratio > 5
