"""Samples of several batches, cut and joined."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from tests.kit.models import constant, model
from workbench.evaluate.batches import SAMPLES, _cut, _joined, _of_length, over_batches


def test_no_two_samples_are_alike_and_no_two_runs():
    one = np.arange(7)[None]
    first, second = (_of_length(one, 3, seed) for seed in (0, 1))
    assert first.tolist() == [[*range(7)], [6, *range(6)], [5, 6, *range(5)]]
    assert second.tolist() == [[6, *range(6)], [5, 6, *range(5)], [4, 5, 6, *range(4)]]
    several = np.arange(6).reshape(3, 2)
    assert _of_length(several, 3, 1) is several


def test_runs_are_cut_from_the_first_sample_on():
    whole = {"a": np.arange(6), "b": np.arange(12).reshape(6, 2)}
    parts = list(_cut(whole, ["a", "b"], 2))
    assert [part["a"].tolist() for part in parts] == [[0, 1], [2, 3], [4, 5]]
    np.testing.assert_array_equal(np.concatenate([part["b"] for part in parts]), whole["b"])


def test_results_are_joined_along_the_axis_that_grew():
    single = [np.full((3, 1, 2), k) for k in range(4)]
    many = [np.concatenate(single[:2], 1), np.concatenate(single[2:], 1)]
    one, other = _joined(single, many)
    assert one.shape == other.shape == (3, 4, 2)
    np.testing.assert_array_equal(one, other)
    # Of no axis that grew the first holds the samples; a scalar is one of all samples.
    same = [np.array([k]) for k in range(2)]
    assert [array.tolist() for array in _joined(same, same)] == [[0, 1], [0, 1]]
    assert [array.tolist() for array in _joined([np.array(1), np.array(2)], [np.array(3)])] == [1, 3]
    assert [array.shape for array in _joined([np.zeros((1, 2))] * 2, [np.zeros(4)])] == [(1, 2), (4,)]


@pytest.mark.parametrize(
    ("old", "new", "given", "counts"),
    [
        (2, "N", None, f"{2 * SAMPLES} random samples, 2 at once before and {2 * SAMPLES} after"),
        (4, 6, None, "12 random samples, 4 at once before and 6 after"),
        ("N", 3, None, "3 random samples, 3 at once before and 3 after"),
        ("N", "M", None, "3 random samples, 1 at once before and 3 after"),
        ("N", 3, 2, "the inputs given, 2 at once before and 3 after"),
        (2, 3, 2, "the inputs given, 2 at once before and 3 after"),
    ],
)
def test_as_many_samples_are_run_as_both_batches_divide(old, new, given, counts):
    def scaled(batch):
        return model([helper.make_node("Mul", ["x", "k"], ["y"])], {"x": [batch, 5], "k": [1]}, {"y": [batch, 5]})

    feeds = None if given is None else {"x": np.ones((given, 5), np.float32), "k": np.ones(1, np.float32)}
    result = over_batches(scaled(old), scaled(new), ["x"], feeds, free=16)
    assert (result.inputs, result.errors) == (counts, {"y": 0.0})


def test_each_run_of_a_free_batch_has_numbers_of_its_own():
    """A model that takes the first sample for all is found out by the second."""
    free = model([helper.make_node("Abs", ["x"], ["y"])], {"x": ["N", 5]}, {"y": ["N", 5]})
    nodes = [
        helper.make_node("Slice", ["x", "from", "to"], ["first"]),
        helper.make_node("Expand", ["first", "shape"], ["e"]),
        helper.make_node("Abs", ["e"], ["y"]),
    ]
    weights = [constant("from", [0]), constant("to", [1]), constant("shape", [4, 5])]
    wrong = model(nodes, {"x": [4, 5]}, {"y": [4, 5]}, weights)
    assert not over_batches(free, wrong, ["x"], free=16).holds()
