"""Ranges reach the recipe from samples, statistics, a cache and a hand alike, and the recipe alone gives them back."""

from __future__ import annotations

import math

import numpy as np
import pytest
import yaml

import workbench
from workbench.calibration.cache import CalibrationCache
from workbench.errors import RecipeError, ReportError, SamplesError
from workbench.jobs import replay
from workbench.names import METHODS
from workbench.recipe import Recipe
from workbench.recipe.steps import CacheStep, CalibrateStep, ChooseStep


@pytest.fixture
def opened(small_cnn):
    wb = workbench.open_model(small_cnn)
    wb.prepare()
    return wb


@pytest.fixture
def calibrated(opened, small_data):
    opened.calibrate(small_data, batch=4, method="minmax")
    return opened


@pytest.mark.parametrize("method", METHODS)
def test_another_method_without_another_pass_gives_what_a_calibration_by_it_gives(
    calibrated, small_cnn, small_data, method, monkeypatch
):
    other = workbench.open_model(small_cnn)
    other.prepare()
    other.calibrate(small_data, batch=4, method=method)
    from workbench.runtime.session import Session

    def refuse(*_, **__):
        raise AssertionError("a forward pass")

    monkeypatch.setattr(Session, "run", refuse)
    assert calibrated.ranges.choose(method) == other.ranges == calibrated.ranges
    assert set(calibrated.ranges.origins.values()) == {method}
    assert calibrated.tune().model.digest == other.tune().model.digest


def test_overrides_differ_and_are_remembered(calibrated, tmp_path):
    minmax = dict(calibrated.ranges)
    calibrated.ranges.choose("minmax", overrides={"r1": 0.5, "r2": "percentile"}, percentile=90)
    assert calibrated.ranges["r1"] == 0.5
    assert calibrated.ranges["r2"] < minmax["r2"]
    assert calibrated.ranges["x"] == minmax["x"]
    assert calibrated.ranges.origins == {**dict.fromkeys(minmax, "minmax"), "r1": "manual", "r2": "percentile"}
    path = calibrated.recipe.save(tmp_path / "recipe.yaml")
    (step,) = Recipe.load(path).of_kind(ChooseStep)
    assert (step.percentile, step.overrides) == (90, {"r1": 0.5, "r2": "percentile"})
    assert workbench.open_recipe(path).tune().model.digest == calibrated.tune().model.digest


def test_a_refused_choice_leaves_no_trace(calibrated):
    before = calibrated.recipe
    with pytest.raises(SamplesError, match="not observed"):
        calibrated.ranges.choose("mse", overrides={"nowhere": 1.0})
    assert calibrated.recipe == before


def test_choosing_needs_statistics(opened):
    with pytest.raises(RecipeError, match="use_statistics"):
        opened.ranges.choose("mse")


def test_statistics_from_a_file_give_the_same_ranges(calibrated, small_cnn, tmp_path):
    calibrated.ranges.statistics.save(tmp_path / "seen.npz")
    other = workbench.open_model(small_cnn)
    other.prepare()
    other.ranges.use_statistics(tmp_path / "seen.npz", method="entropy")
    assert other.ranges == calibrated.ranges.choose("entropy")
    path = other.recipe.save(tmp_path / "recipe.yaml")
    step = yaml.safe_load(path.read_text())["steps"][-1]
    assert step["statistics"]["file"] == "seen.npz"
    (tmp_path / "seen.npz").unlink()
    assert workbench.open_recipe(path).ranges == other.ranges


def test_statistics_of_another_model_are_refused(calibrated, opened):
    from workbench.calibration.statistics import Statistics

    stranger = Statistics({f"other/{name}": seen for name, seen in calibrated.ranges.statistics.items()})
    with pytest.raises(ReportError, match="none of the"):
        opened.ranges.use_statistics(stranger)


def test_a_cache_is_a_source_of_ranges(calibrated, small_cnn, tmp_path):
    entries = {**calibrated.ranges, "(Unnamed Layer* 3) [Shuffle]_output": 1.0, "old_name": 2.0}
    del entries["r2"]
    file = tmp_path / "calibration.cache"
    file.write_bytes(CalibrationCache.from_ranges(entries).to_bytes())
    wb = workbench.open_model(small_cnn)
    wb.prepare()
    match = wb.ranges.use_cache(file)
    assert match.missing == ("r2",)
    assert match.unknown == ("(Unnamed Layer* 3) [Shuffle]_output",)
    assert match.stale == ("old_name",)
    by_name = {name: amax for name, amax in calibrated.ranges.items() if name != "r2"}
    assert wb.ranges == pytest.approx(by_name, rel=1e-7)
    assert set(wb.ranges.origins.values()) == {"cache"}
    path = wb.recipe.save(tmp_path / "recipe.yaml")
    file.unlink()
    again = workbench.open_recipe(path)
    assert again.ranges == wb.ranges
    assert len(again.recipe.of_kind(CacheStep)[0].cache.sha256) == 64


def test_a_cache_of_another_model_is_refused(opened, tmp_path):
    file = tmp_path / "calibration.cache"
    file.write_bytes(CalibrationCache.from_ranges({"elsewhere": 1.0}).to_bytes())
    with pytest.raises(ReportError, match="no range in it"):
        opened.ranges.use_cache(file)
    assert opened.ranges == {}


@pytest.mark.parametrize("source", ["choose", "cache"])
def test_ranges_changed_by_hand_are_noticed(calibrated, tmp_path, source):
    if source == "choose":
        calibrated.ranges.choose("mse")
    else:
        file = tmp_path / "calibration.cache"
        file.write_bytes(CalibrationCache.from_ranges(calibrated.ranges).to_bytes())
        calibrated.ranges.use_cache(file)
    path = calibrated.recipe.save(tmp_path / "recipe.yaml")
    head, _, tail = path.read_text().rpartition("    x: ")
    path.write_text(head + "    x: 1" + tail)
    with pytest.raises(RecipeError, match="its ranges were changed"):
        Recipe.load(path)


def test_a_checkpoint_is_gone_when_calibration_is_done_and_used_when_it_was_not(opened, small_data, tmp_path):
    with np.load(small_data) as file:
        x = file["x"]
    file = tmp_path / "calibration.part"
    broken = x.copy()
    broken[7, 0, 0, 0] = np.nan
    np.savez(tmp_path / "broken.npz", x=broken)
    with pytest.raises(SamplesError, match="sample 7"):
        opened.calibrate(tmp_path / "broken.npz", batch=2, checkpoint=file)
    assert file.exists()
    assert opened.ranges.statistics["x"].samples == 6
    assert opened.recipe.of_kind(CalibrateStep) == []
    with pytest.raises(SamplesError, match="another calibration"):
        opened.calibrate(small_data, batch=2, checkpoint=file)
    file.unlink()
    opened.calibrate(small_data, batch=2, checkpoint=file)
    assert not file.exists()


def test_channels_are_kept_along_one_axis_or_some(opened, small_data):
    seen = opened.calibrate(small_data, batch=4, channels=1)
    assert seen["x"].channels.maximum.shape == (3,)
    assert seen["r1"].channels.maximum.shape == (4,)
    seen = opened.calibrate(small_data, batch=4, channels={"r1": 1})
    assert seen["x"].channels is None
    assert seen["r1"].channels is not None


def test_observing_changes_nothing(calibrated, small_data):
    before, statistics = calibrated.recipe, calibrated.ranges.statistics
    seen = calibrated.ranges.observe(small_data, batch=4)
    assert calibrated.recipe is before
    assert calibrated.ranges.statistics is statistics
    assert {name: t.amax for name, t in seen.items()} == {name: t.amax for name, t in statistics.items()}


def test_recalibrating_chooses_anew_too(calibrated, small_data, tmp_path):
    calibrated.ranges.choose("percentile", percentile=90.0)
    path = calibrated.recipe.save(tmp_path / "recipe.yaml")
    with np.load(small_data) as file:
        np.savez(tmp_path / "twice.npz", x=file["x"] * 2)
    moved = replay(path, tmp_path / "out", recalibrate=True, samples=tmp_path / "twice.npz").moved
    (input_moved,) = [one for one in moved if one.tensor == "x"]
    assert input_moved.after == pytest.approx(2 * calibrated.ranges["x"], rel=1e-6)


@pytest.mark.parametrize("amax", [math.nan, -1.0, math.inf, 0.0])
def test_a_threshold_that_is_no_positive_number_is_refused_in_one_line(small_cnn, amax):
    wb = workbench.open_model(small_cnn)
    with pytest.raises(RecipeError, match=f"{amax} is no threshold"):
        wb.set_range(wb.model.inputs[0].name, amax)
    assert not wb.recipe.steps
