"""What is fed stays what it was."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from tests.kit.models import model
from workbench.runtime import Session


@pytest.mark.parametrize("outputs", [["y"], ["y", "mean_out"], ["y", "var_out"]])
@pytest.mark.parametrize("observing", [False, True])
def test_running_statistics_are_not_written_into_the_callers_arrays(outputs, observing):
    names = ["x", "scale", "bias", "mean", "var"]
    node = helper.make_node("BatchNormalization", names, ["y", "mean_out", "var_out"], "norm", training_mode=1)
    shapes = {"x": [2, 3, 4, 5]} | {key: [3] for key in names[1:]}
    results = {"y": [2, 3, 4, 5], "mean_out": [3], "var_out": [3]}
    made = model([node], shapes, {name: results[name] for name in outputs}, opset=15)
    rng = np.random.default_rng(0)
    feeds = {name: np.abs(rng.normal(size=shape)).astype(np.float32) for name, shape in shapes.items()}
    before = {name: array.copy() for name, array in feeds.items()}
    Session(made, observing=observing).run(feeds)
    for name, array in feeds.items():
        np.testing.assert_array_equal(array, before[name])
