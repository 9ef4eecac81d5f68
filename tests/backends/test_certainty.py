"""How far apart two means have to be before chance does not explain it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t

from workbench.backends.certainty import errors_apart
from workbench.backends.turns import Ratio


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6, 10, 11, 40])
@pytest.mark.parametrize("mistaken", [0.5, 0.05, 0.002])
def test_bounds_are_those_of_scipys_student_t(count, mistaken):
    assert errors_apart(count, mistaken) == pytest.approx(t.isf(mistaken / 2, count - 1), rel=1e-9)


def test_of_one_loading_nothing_is_certain():
    assert errors_apart(1, 0.05) == math.inf
    assert not Ratio(5.0, math.inf, 1).certain
    assert not Ratio(1.0, 0.0, 3).certain
    assert Ratio(1.001, 0.0, 3).certain


@pytest.mark.parametrize(("count", "bound"), [(2, 12.706), (3, 4.303), (5, 2.776), (10, 2.262), (20, 2.093)])
def test_the_fewer_the_loadings_the_more_errors_two_engines_have_to_differ_by(count, bound):
    for sign in (1, -1):
        assert Ratio(1 + sign * 0.01 * (bound + 0.001), 0.01, count).certain
        assert not Ratio(1 + sign * 0.01 * (bound - 0.001), 0.01, count).certain


@pytest.mark.parametrize("count", [2, 3, 10])
def test_one_engine_beside_itself_is_taken_for_another_once_in_twenty(count):
    medians = np.random.default_rng(0).normal(1.0, 0.02, (2000, count))
    certain = sum(Ratio(float(np.mean(one)), float(np.std(one, ddof=1)) / count**0.5, count).certain for one in medians)
    assert 0.035 < certain / 2000 < 0.065
