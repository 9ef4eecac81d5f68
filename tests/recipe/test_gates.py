"""A gate passes at its bound, fails beyond it, and never passes on what was not measured or is no number."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from workbench.evaluate.comparison import Accuracy, Comparison, Latency, OutputDifference
from workbench.recipe.gates import Gate, check_gates

OUTPUT = OutputDifference("y", sqnr_db=31.5, cosine=0.99, max_error=0.1, differing=0.2, nonfinite=0, values=8)
OTHER = replace(OUTPUT, name="z", sqnr_db=25.0)
MEASURED = Comparison(
    outputs=(OUTPUT, OTHER),
    accuracy=Accuracy(original=0.75, tuned=0.5, samples=8),
    samples=8,
    original_latency=Latency(4.0, 5.0, 10, 1),
    tuned_latency=Latency(2.0, 9.0, 10, 1),
    original_bytes=100,
    tuned_bytes=50,
)


def check(comparison=MEASURED, **bound):
    (result,) = check_gates([Gate(**bound)], comparison)
    return result


@pytest.mark.parametrize(("metric", "value"), [("top1_drop", 25.0), ("sqnr_db", 25.0), ("latency_ratio", 0.5)])
def test_each_metric_is_its_own_number_and_the_bound_itself_passes(metric, value):
    for bound in ("at_most", "at_least"):
        result = check(metric=metric, **{bound: value})
        assert (result.value, result.passed, result.reason) == (value, True, "")
    assert not check(metric=metric, at_most=math.nextafter(value, -math.inf)).passed
    assert check(metric=metric, at_most=math.nextafter(value, math.inf)).passed
    assert not check(metric=metric, at_least=math.nextafter(value, math.inf)).passed
    assert check(metric=metric, at_least=math.nextafter(value, -math.inf)).passed


@pytest.mark.parametrize(
    ("metric", "lacking"),
    [
        ("top1_drop", {"accuracy": None}),
        ("latency_ratio", {"original_latency": None}),
        ("latency_ratio", {"tuned_latency": None}),
        ("latency_ratio", {"original_latency": None, "tuned_latency": None}),
        ("sqnr_db", {"outputs": (replace(OUTPUT, sqnr_db=math.nan),)}),
        ("sqnr_db", {"outputs": ()}),
    ],
)
def test_what_was_not_measured_does_not_pass(metric, lacking):
    result = check(replace(MEASURED, **lacking), metric=metric, at_most=1e9)
    assert (result.value, result.passed) == (None, False)
    assert str(result) == f"{metric} <= 1e+09: not measured, FAILED"


def test_values_that_became_nan_fail_what_is_about_numbers_and_not_the_time():
    broken = replace(MEASURED, outputs=(OUTPUT, replace(OTHER, nonfinite=3)))
    for metric in ("top1_drop", "sqnr_db"):
        result = check(broken, metric=metric, at_most=1e9)
        assert not result.passed
        assert "3 values became NaN or infinite" in str(result)
    assert check(broken, metric="latency_ratio", at_most=0.5).passed


def test_a_gate_says_its_bound_and_what_became_of_it():
    assert str(Gate(metric="sqnr_db", at_least=20)) == "sqnr_db >= 20"
    assert str(check(metric="sqnr_db", at_least=25.5)) == "sqnr_db >= 25.5: 25, FAILED"
    assert str(check(metric="top1_drop", at_most=25.0)) == "top1_drop <= 25: 25, passed"


def test_nan_meets_no_bound():
    assert not Gate(metric="sqnr_db", at_least=-math.inf).holds(math.nan)
    assert not Gate(metric="sqnr_db", at_most=math.inf).holds(math.nan)
