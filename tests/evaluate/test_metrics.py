"""Sums over batches, at what is empty, zero, infinite, whole or of another shape."""

from __future__ import annotations

import math
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

from workbench.evaluate.metrics import Difference, sqnr_db, sqnr_text, top1_hits


def difference(*pairs, dtype=np.float32):
    counts = Difference()
    for reference, test in pairs:
        counts.update(np.array(reference, dtype), np.array(test, dtype))
    return counts


@pytest.mark.parametrize(
    ("signal", "noise", "db"),
    [
        *((100.0, 1.0, 20.0), (1.0, 100.0, -20.0), (1.0, 0.0, math.inf), (0.0, 0.0, math.inf), (0.0, 1.0, -math.inf)),
        *((1.0, math.inf, -math.inf), (1e-200, 1e200, -math.inf), (math.inf, 1.0, math.inf)),
    ],
)
def test_sqnr_of_sums(signal, noise, db):
    assert sqnr_db(signal, noise) == pytest.approx(db)


@pytest.mark.parametrize(
    ("value", "text"),
    [(31.26, "31.3 dB"), (-2.0, "-2.0 dB"), (math.inf, "equal"), (-math.inf, "nothing left"), (math.nan, "no SQNR")],
)
def test_an_sqnr_in_words_calls_equal_only_what_is(value, text):
    assert sqnr_text(value) == text


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16])
def test_sums_are_of_all_batches_and_the_error_is_the_largest_of_any(dtype):
    counts = difference(([3, 4], [3, 6]), ([1], [0]), ([2], [2]), dtype=dtype)
    sums = Difference(signal=30, other=49, product=37, noise=5, max_error=2)
    assert counts == replace(sums, elements=4, differing=2, finite=4)
    assert counts.sqnr == pytest.approx(10 * math.log10(30 / 5))
    assert counts.cosine == pytest.approx(37 / math.sqrt(30 * 49))


def test_sums_are_of_values_that_are_finite_on_both_sides():
    counts = difference(([math.nan, math.inf, 1, 2, 3], [1, 1, math.nan, -math.inf, 3]))
    assert (counts.signal, counts.other, counts.product, counts.noise) == (9, 9, 9, 0)
    assert (counts.elements, counts.differing, counts.nonfinite, counts.finite) == (5, 4, 2, 1)
    assert counts.became_finite == 2


def test_what_was_not_finite_and_is_differs_and_is_counted_apart():
    gone = difference(([math.nan, math.inf, -math.inf, 4], [0, 1, 2, 4]), ([math.nan], [math.nan]))
    assert (gone.differing, gone.nonfinite, gone.became_finite, gone.sqnr) == (3, 0, 3, math.inf)
    all_of_it = difference(([math.nan, math.nan], [0, 1]))
    assert (all_of_it.became_finite, all_of_it.differing, math.isnan(all_of_it.sqnr)) == (2, 2, True)


def test_the_angle_to_nothing_is_unknown():
    assert math.isnan(difference(([1, 2], [0, 0])).cosine)
    assert math.isnan(difference(([0, 0], [1, 2])).cosine)
    assert math.isnan(difference(([1, 2], [1, 2]), dtype=np.int64).cosine)
    assert difference(([1, 0], [-2, 0])).cosine == pytest.approx(-1)


def test_another_shape_counts_as_zeros_of_which_the_infinite_are_named():
    counts = difference(([3, 4], [1, math.nan, math.inf]), ([1], [1]))
    assert (counts.reshaped, counts.elements, counts.differing, counts.nonfinite) == (1, 4, 3, 2)
    assert (counts.signal, counts.noise, counts.max_error) == (26, 25, 4)
    twice = difference(([3], [1, 2]), ([3], [1, 2]), ([3, 3], [1]), dtype=np.int64)
    assert (twice.reshaped, twice.elements, twice.differing, twice.nonfinite, twice.noise) == (3, 6, 6, 0, 0)


def test_what_is_empty_is_looked_at_no_further_whatever_its_other_axes():
    counts = Difference()
    nothing = np.broadcast_to(np.float32(0), (0, 1 << 40))
    counts.update(nothing, nothing)
    assert (counts.elements, counts.differing, counts.reshaped) == (0, 0, 0)


def test_whole_numbers_are_counted():
    counts = difference(([1, 2, 3], [1, 5, 6]), ([1], [2]), dtype=np.int64)
    assert (counts.floating, counts.elements, counts.differing, counts.finite) == (False, 4, 3, 0)
    assert math.isnan(counts.sqnr)


def test_top1_of_scores_of_several_axes():
    scores = np.array([[[0.1], [0.7]], [[0.9], [0.2]], [[math.nan], [0.1]]])
    assert top1_hits(scores, np.array([1, 1, 1])).tolist() == [True, False, False]
    assert top1_hits(scores, np.array([0, 0, 0])).tolist() == [False, True, False]
