"""What is said of how far results are apart."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from workbench.evaluate.agreement import Accuracy, Agreement, Comparison, Latency, OutputDifference

OUTPUT = OutputDifference(
    "y", sqnr_db=31.53, cosine=0.9912345, max_error=0.01234, differing=0.25, nonfinite=0, values=8
)
NUMBERS = "SQNR 31.5 dB, cosine 0.99123, max error 0.0123"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({}, NUMBERS),
        ({"values": 0}, "nothing to compare: it has no values"),
        ({"values": 1}, NUMBERS),
        ({"nonfinite": 1}, "1 of 8 values became NaN or infinite"),
        ({"sqnr_db": math.nan}, "25.00% of values differ"),
        (
            {"became_finite": 3},
            f"{NUMBERS}; 3 of 8 values were NaN or infinite and are finite, which only counts as differing",
        ),
        ({"reshaped": 1}, f"{NUMBERS}, another shape in 1 runs"),
        ({"nonfinite": 2, "reshaped": 3}, "2 of 8 values became NaN or infinite, another shape in 3 runs"),
    ],
)
def test_an_output_is_described_by_what_is_worst_of_it(change, text):
    assert str(replace(OUTPUT, **change)) == text


@pytest.mark.parametrize(
    ("samples", "lost", "won", "interval"),
    [
        # Agresti and Min by hand, z = 1.959964: half a sample is added to each cell, two to the count.
        (98, 10, 4, (-1.49926, 13.49926)),
        (2, 2, 0, (-19.29519, 100.0)),
        (2, 0, 2, (-100.0, 19.29519)),
    ],
)
def test_the_interval_of_a_drop_ends_where_a_drop_can(samples, lost, won, interval):
    accuracy = Accuracy(0.5, 0.5, samples, lost, won)
    assert accuracy.interval() == pytest.approx(interval, abs=1e-4)
    narrow, wide = accuracy.interval(0.5), accuracy.interval(0.999)
    assert wide[0] <= interval[0] < narrow[0] < narrow[1] < interval[1] + 1e-4 <= wide[1] + 1e-3


def test_a_drop_is_the_points_that_the_counts_make():
    drops = {(100, 99): 1.0, (100, 97): 3.0, (99, 100): -1.0, (50, 50): 0.0, (85, 84): 1.0, (29, 28): 1.0}
    assert {(a, b): Accuracy(a / 100, b / 100, 100).drop for a, b in drops} == drops
    assert Accuracy(1 / 3, 0.0, 3).drop == pytest.approx(100 / 3, abs=1e-8)


@pytest.mark.parametrize("counted", [{"lost": 1}, {"won": 1}, {}])
def test_there_is_no_interval_of_pairs_that_were_not_counted(counted):
    assert Accuracy(0.5, 0.5, 8, **counted).interval() is None


def test_a_latency_is_the_median_and_the_95th_percentile():
    assert Latency.of([float(time) for time in range(100, -1, -1)], 3) == Latency(50.0, 95.0, runs=101, batch=3)


def test_the_worst_output_counts_and_values_of_all_are_added():
    lower, whole = replace(OUTPUT, sqnr_db=20.0, nonfinite=2), replace(OUTPUT, sqnr_db=math.nan, nonfinite=3)
    assert Agreement((OUTPUT, whole, lower), None, 8).worst_sqnr_db == 20.0
    assert Agreement((OUTPUT, whole, lower), None, 8).nonfinite == 5
    assert math.isnan(Agreement((whole,), None, 8).worst_sqnr_db)


def test_an_agreement_in_words():
    assert str(Agreement((), None, 8)).splitlines()[0] == "nothing to compare, on 8 samples"
    text = str(Agreement((OUTPUT,), Accuracy(0.75, 0.5, 8), 8))
    assert text.splitlines()[0] == "SQNR 31.5 dB at the worst output; top-1 75.00% -> 50.00%, on 8 samples"
    assert NUMBERS in text


def test_a_comparison_adds_sizes_and_times_and_what_it_does_not_say():
    before, after = Latency(4.0, 5.0, 10, 1), Latency(2.0, 9.0, 10, 1)
    whole = Comparison((OUTPUT,), None, 8, before, after, 1_500_000, 250_000, "by the way")
    assert (whole.seconds, whole.calibrated) == (0.0, False)
    text = str(whole)
    assert "file 1.50 -> 0.25 MB" in text
    assert "4.00 -> 2.00 ms on this processor, which says nothing of a GPU" in text
    assert "by the way" in text
    for lacking in ({"original_latency": None}, {"tuned_latency": None}):
        without = str(replace(whole, **lacking))
        assert "file 1.50 -> 0.25 MB" in without
        assert "by the way" in without
        assert " ms " not in without
    assert whole.to_dict()["outputs"][0]["sqnr_db"] == 31.53
    assert whole.to_dict()["tuned_latency"] == {"median_ms": 2.0, "p95_ms": 9.0, "runs": 10, "batch": 1}
