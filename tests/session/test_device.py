"""A session on a GPU, as far as that can be tried where there is none; the rest is in tests/gpu."""

from __future__ import annotations

import pytest

import workbench
from tests.calibration.cuda import numpy_gpu, one_thread
from workbench.recipe import Recipe
from workbench.recipe.steps import CalibrateStep
from workbench.runtime import DeviceWarning
from workbench.session.closing import remarks


def test_a_device_that_is_not_there_is_told_and_changes_nothing(small_cnn, small_data, monkeypatch):
    from workbench.runtime import device

    monkeypatch.setattr(device, "unusable", lambda _: "there is none")
    records = []
    for expected in (None, "cuda"):
        wb = workbench.open_model(small_cnn)
        wb.prepare()
        if expected is None:
            wb.calibrate(small_data, batch=4)
        else:
            with pytest.warns(DeviceWarning, match="the processor computes: there is none"):
                wb.calibrate(small_data, batch=4, device=expected)
        assert wb.ranges.statistics.device is None
        records.append(wb.recipe.steps)
    assert records[0] == records[1]


@pytest.mark.skipif(one_thread.COMPILER is None, reason="no C++ compiler here for the kernel's source")
def test_the_recipe_says_what_ran_the_samples(small_cnn, small_data, tmp_path, monkeypatch):
    wb = workbench.open_model(small_cnn)
    wb.prepare()
    wb.calibrate(small_data, batch=4)
    on_processor = dict(wb.ranges)
    numpy_gpu.installed(monkeypatch, one_thread.compiled(tmp_path, shared=True))
    wb.calibrate(small_data, batch=4, device="cuda")
    assert dict(wb.ranges) == on_processor
    (step,) = wb.recipe.of_kind(CalibrateStep)[1:]
    assert "cuda:0 (NumPy, ONNX Runtime" in step.device
    assert step.device.endswith("samples are the processor's")
    assert step.device in str(wb.ranges.statistics)
    wb.plan.use("int8")
    wb.tune()
    comparison = wb.compare(runs=0, device="cuda")
    assert "computed on cuda:0 (NumPy" in comparison.note
    assert any(remark.startswith("calibrated on cuda:0") for remark in remarks(wb, comparison))
    assert wb.sensitivity(device="cuda").errors
    file = wb.recipe.save(tmp_path / "recipe.yaml")
    assert Recipe.load(file).of_kind(CalibrateStep)[-1].device == step.device
