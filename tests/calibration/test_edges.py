"""Samples and ranges at the edges of what they take."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper
from PIL import Image

from tests.kit.models import model
from workbench.calibration import (
    Preprocessing,
    Statistics,
    TensorStatistics,
    cumulated,
    labels_for,
    open_samples,
    ranges,
)
from workbench.errors import SamplesError

RELU = helper.make_node("Relu", ["x"], ["y"], name="relu")


@pytest.fixture
def network():
    return model([RELU], {"x": ["N", 3]}, {"y": ["N", 3]})


def test_a_bad_file_of_labels_is_named_and_a_list_has_no_name(network, tmp_path):
    samples = open_samples({"x": np.zeros((2, 3), np.float32)}, network)
    (tmp_path / "labels.txt").write_text("1\ntwo\n")
    with pytest.raises(SamplesError, match=r"labels\.txt: labels cannot be read"):
        labels_for(tmp_path / "labels.txt", samples, network)
    with pytest.raises(SamplesError, match=r"^labels cannot be read"):
        labels_for(["one", "two"], samples, network)
    assert labels_for([[1], [2]], samples, network).tolist() == [1, 2]


def test_arrays_of_different_shapes_are_no_sample(network):
    with pytest.raises(SamplesError, match="a list of arrays of different shapes"):
        list(open_samples([{"x": [np.zeros(3), np.zeros(2)]}], network))


def test_an_image_may_be_as_large_as_the_limit_and_no_larger(tmp_path, monkeypatch):
    """The limit is in millions of pixels."""
    monkeypatch.setattr("workbench.limits._raised", {"image_megapixels": 1})
    one = Preprocessing(size=(2, 2))
    Image.new("RGB", (1000, 1000)).save(tmp_path / "at.png")
    Image.new("RGB", (1001, 1000)).save(tmp_path / "over.png")
    assert one.apply(tmp_path / "at.png", np.dtype(np.float32)).shape == (3, 2, 2)
    with pytest.raises(SamplesError, match=r"1\.001 megapixels"):
        one.apply(tmp_path / "over.png", np.dtype(np.float32))


def test_how_an_image_is_read_cannot_be_changed_afterwards():
    with pytest.raises(ValueError, match="frozen"):
        Preprocessing().scale = 2.0


def test_a_tensor_that_nothing_reached_and_one_that_was_not_finite_have_no_range():
    unreached, broken = TensorStatistics(), TensorStatistics()
    broken.update(np.array([1, np.nan, np.inf], np.float32))
    with pytest.raises(SamplesError, match=r"no value was seen.*Give samples that reach it"):
        ranges(Statistics({"t": unreached}))
    with pytest.raises(SamplesError, match=r"1 NaN and 1 infinite values were seen.*Find the sample that makes them"):
        ranges(Statistics({"t": broken}))


def test_half_of_what_is_symmetric_lies_below_zero():
    tensor = TensorStatistics()
    tensor.update(np.array([-4, -3, -2, -1, 0, 0, 1, 2, 3, 4], np.float32))
    below = cumulated(tensor, np.array([-5, -2.5, 0, 2.5, 5]))
    np.testing.assert_allclose(below, [0, 0.2, 0.4, 0.8, 1])


def test_no_samples_are_none(network):
    with pytest.raises(SamplesError, match="no samples"):
        open_samples({}, network)
