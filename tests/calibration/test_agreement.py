"""How far the ranges of a GPU are from those of a processor."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from tests.kit.models import model
from workbench.calibration import Statistics, TensorStatistics, open_samples
from workbench.calibration.agreement import RangeAgreement, _agreement, against_processor
from workbench.runtime import CPU


def reaching(**amax):
    statistics = Statistics()
    for name, value in amax.items():
        statistics[name] = TensorStatistics()
        statistics[name].update(np.array([-value, value / 2], np.float32))
    return statistics


def test_distances_are_relative_to_the_processor_and_the_largest_is_named():
    here = reaching(a=1.0, b=2.0, c=4.0, d=8.0)
    there = reaching(a=1.0, b=2.5, c=3.0, d=8.0)
    assert _agreement(there, here, 5) == RangeAgreement(5, 4, median=0.125, most=0.25, worst="b")


def test_where_the_processor_has_zeros_the_distance_is_the_value_itself():
    assert _agreement(reaching(a=0.0, b=0.5), reaching(a=0.0, b=0.0), 1) == RangeAgreement(1, 2, 0.25, 0.5, "b")


@pytest.mark.parametrize(("count", "ran"), [(3, 3), (8, 8), (9, 8)])
def test_a_processor_agrees_with_itself_on_the_first_samples(count, ran):
    relu = model([helper.make_node("Relu", ["x"], ["y"])], {"x": ["N", 3]}, {"y": ["N", 3]})
    data = np.ones((count, 3), np.float32)
    data[8:] = np.nan  # not among the first eight: nothing finite comes of it
    samples = open_samples({"x": data}, relu)
    agreement = against_processor(relu, ["x", "y"], samples, CPU, batch=4)
    assert agreement == RangeAgreement(ran, 2, 0.0, 0.0, "x")
    assert against_processor(relu, [], samples, CPU, batch=4) == RangeAgreement(ran, 0, 0.0, 0.0, "")
