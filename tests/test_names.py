"""The field's words, and what is asked of one that is misspelt."""

from __future__ import annotations

import pytest

from workbench import names

WORDS = ["minmax", "percentile", "minimax"]


def test_the_words_are_these_in_their_order():
    assert names.PRECISIONS == ("int8", "fp8", "fp16", "bf16", "fp32")
    assert names.QUANTIZED == ("int8", "fp8")
    assert names.METHODS == ("minmax", "percentile", "entropy", "mse")
    assert names.DEFAULT_METHOD in names.METHODS


@pytest.mark.parametrize(
    ("share", "said"), [(None, "unknown"), (0.0, "0.0%"), (0.12345, "12.3%"), (1.0, "100.0%"), (1, "100.0%")]
)
def test_a_share_is_said_in_percent_and_what_is_not_known_is_not_0(share, said):
    assert names.percent(share) == said


@pytest.mark.parametrize(
    ("word", "options", "said"),
    [
        ("minmx", {}, "Did you mean minmax?"),
        ("minmx", {"most": 2}, "Did you mean minmax or minimax?"),
        ("centile", {}, "Did you mean percentile?"),
        ("centile", {"cutoff": 0.9}, "There are minmax, percentile, minimax."),
        ("tile", {}, "There are minmax, percentile, minimax."),  # four letters of seven, on the average of both
        ("tile", {"cutoff": 0.5}, "Did you mean percentile?"),
        ("mse", {"otherwise": "Look it up."}, "Look it up."),
        ("minmx", {"otherwise": "Look it up."}, "Did you mean minmax?"),
    ],
)
def test_the_nearest_name_is_asked_for_and_where_none_is_near_there_is_a_list(word, options, said):
    assert names.did_you_mean(word, iter(WORDS), **options) == said


def test_a_question_ends_a_sentence():
    assert names.near("minmx", WORDS) == "did you mean minmax?"
    assert names.near("mse", WORDS) == "there are minmax, percentile, minimax"
