"""How a check of an edit says what it came to."""

from __future__ import annotations

import math

import pytest

from workbench.graph.edits.equivalence import TOLERANCE, Equivalence, Unchecked

ONE, THREE = {"y": 2.5e-6}, {"a": 1e-7, "b": 3e-3, "c": 2e-3}


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (Equivalence({"y": 0.0}, "3 images"), "the output exactly as before, on 3 images"),
        (Equivalence({"y": 0.0, "z": 0.0}, "3 images"), "2 outputs exactly as before, on 3 images"),
        (Equivalence(ONE, "noise"), "the output within 2.5e-06 of the largest value, on noise"),
        (
            Equivalence(ONE, "noise", sqnr=97.6),
            "the output within 2.5e-06 of the largest value (SQNR 98 dB), on noise",
        ),
        (
            Equivalence(THREE, "noise", allowed=5e-3),
            "3 outputs within 0.003 of the largest value, the most in b, 0.005 allowed, on noise",
        ),
        (
            Equivalence({"y": 0.0}, "noise", empty=("p", "q"), partly="too large"),
            "the output exactly as before, on noise; nothing to compare in p, q; the whole was not checked: too large",
        ),
        (
            Equivalence({"y": 1.0}, "noise", math.inf),
            "the output within 1 of the largest value, on noise",
        ),
        (
            Equivalence({"y": 1e-6}, "noise", allowed=2e-6),
            "the output within 1e-06 of the largest value, 2e-06 allowed, on noise",
        ),
        (Unchecked("it was not asked for"), "not checked, because it was not asked for"),
    ],
)
def test_what_it_came_to_in_words(check, text):
    assert str(check) == text


def test_outputs_hold_up_to_the_error_that_is_allowed():
    check = Equivalence(THREE, "noise", allowed=5e-3)
    assert check.worst == ("b", 3e-3)
    assert [check.holds(), check.holds(3e-3), check.holds(2.9e-3), check.holds(0.0)] == [True, True, False, False]
    assert [Equivalence({"y": error}, "noise").holds() for error in (TOLERANCE, 1.01 * TOLERANCE)] == [True, False]
    assert Equivalence({"y": 0.0}, "noise").holds(0.0)
    assert not Equivalence({"y": math.inf}, "noise").holds()


def test_folding_is_within_the_tolerance_and_a_mistake_is_not():
    assert 1e-6 < TOLERANCE < 1e-2
