"""Samples and ranges at the edges of what they take."""

from __future__ import annotations

import ml_dtypes
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
from workbench.calibration.agreement import RangeAgreement
from workbench.calibration.damage import _dead
from workbench.calibration.preprocessing import stated_preprocessing
from workbench.calibration.samples import Feed, feeds
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


def test_a_wrong_number_of_labels_names_the_file_or_nothing(network, tmp_path):
    samples = open_samples({"x": np.zeros((2, 3), np.float32)}, network)
    (tmp_path / "labels.txt").write_text("1\n2\n3\n")
    with pytest.raises(SamplesError, match=r"labels\.txt: 3 labels for 2 samples"):
        labels_for(tmp_path / "labels.txt", samples, network)
    with pytest.raises(SamplesError, match=r"^3 labels for 2 samples"):
        labels_for([1, 2, 3], samples, network)


@pytest.mark.parametrize("text", ["[127]", "7", '"scale"', "null"])
def test_how_images_are_read_is_an_object_of_fields(text, tmp_path):
    (tmp_path / "preprocess.json").write_text(text)
    with pytest.raises(SamplesError, match="not an object of fields"):
        stated_preprocessing(tmp_path)
    (tmp_path / "preprocess.json").write_text('{"scale": 2}')
    assert stated_preprocessing(tmp_path).scale == 2


@pytest.mark.parametrize(
    ("array", "sample"),
    [
        ([[1.0, 2.0], [np.nan, np.inf], [np.nan, 1.0]], 1),
        ([np.nan, np.nan, 1.0, 2.0, 3.0, 4.0], None),
        ([np.nan] * 6, 0),
        (np.nan, 0),
        (np.array([np.nan] * 6, ml_dtypes.bfloat16), 0),
        ([1, 2, 3], None),
        (np.array(["a", "b", "c"], object), None),
        ([], None),
    ],
)
def test_an_output_is_of_single_samples_only_where_it_has_as_many_rows(array, sample):
    feed = Feed({"x": np.zeros((3, 2), np.float32)}, first=0, count=3)
    assert _dead(np.asarray(array), feed) == sample


def test_a_sequence_is_no_output_of_numbers():
    assert _dead([np.full(3, np.nan)], Feed({"x": np.zeros((3, 2), np.float32)}, first=0, count=3)) is None


@pytest.mark.parametrize(("bad", "message"), [(np.nan, "1 NaN and 0 infinite"), (-np.inf, "0 NaN and 1 infinite")])
def test_one_kind_of_value_that_is_not_finite_is_enough_for_no_range(bad, message):
    broken = TensorStatistics()
    broken.update(np.array([1, 2, bad], np.float32))
    with pytest.raises(SamplesError, match=message):
        ranges(Statistics({"t": broken}))


def test_whole_inputs_and_single_samples_are_not_mixed_in_a_fixed_batch():
    add = helper.make_node("Add", ["x", "z"], ["y"], name="add")
    source = model([add], {"x": [2, 3], "z": [2, 3]}, {"y": [2, 3]})
    mixed = open_samples([{"x": np.zeros((2, 3), np.float32), "z": np.zeros(3, np.float32)}], source)
    with pytest.raises(SamplesError, match="some arrays are whole inputs, others one sample of a batch"):
        list(feeds(mixed, source))


def test_how_far_a_gpu_is_from_the_processor_is_said_in_words():
    assert (
        str(RangeAgreement(8, 3, 0.0, 0.0, "t")) == "the largest values of 3 tensors on 8 samples are the processor's"
    )
    assert "(median; at most 2.0e-06, in 't')" in str(RangeAgreement(8, 3, 1e-6, 2e-6, "t"))


@pytest.mark.parametrize("value", [-1.5, -1e-30, -3e30])
def test_the_largest_of_negative_numbers_is_the_one_next_to_zero(value):
    tensor = TensorStatistics()
    tensor.update(np.linspace(2 * value, value, 50_000, dtype=np.float32))
    assert (tensor.minimum, tensor.maximum) == (np.float32(2 * value), np.float32(value))


def test_a_folder_without_images_is_not_asked_how_they_become_inputs(tmp_path):
    network = model([RELU], {"x": [1, 3, 4, 4]}, {"y": [1, 3, 4, 4]})
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(SamplesError, match="no images in this folder"):
        open_samples(tmp_path, network)


@pytest.mark.parametrize("batch", [0, -1, "4"])
def test_a_batch_holds_a_whole_number_of_samples(network, batch):
    samples = open_samples({"x": np.zeros((4, 3), np.float32)}, network)
    with pytest.raises(SamplesError, match=r"a batch of .* samples. Give a whole number from 1"):
        list(feeds(samples, network, batch=batch))


def test_samples_of_the_only_input_may_be_arrays_alone_and_nothing_else(network):
    rows = np.ones((3, 3), np.float32)
    for source in (list(rows), iter(rows)):
        (feed,) = feeds(open_samples(source, network), network, batch=4)
        assert feed.arrays["x"].shape == (3, 3)
    with pytest.raises(SamplesError, match="a sample cannot be a int"):
        list(open_samples([3], network))


def test_files_may_come_from_other_systems(network, tmp_path):
    rows = np.ones((3, 3), np.float32)
    np.savez(tmp_path / "a.npz", x=rows)
    (tmp_path / "a.npz").rename(tmp_path / "A.NPZ")
    np.save(tmp_path / "b.npy", rows)
    (tmp_path / "b.npy").rename(tmp_path / "B.NPY")
    for name in ("A.NPZ", "B.NPY"):
        samples = open_samples(tmp_path / name, network)
        assert (len(samples), samples.describe()["kind"]) == (3, name[2:].lower())
    (tmp_path / "labels.txt").write_bytes(b"\xef\xbb\xbf0\r\n2\r\n1\r\n")  # as Windows' editor writes it
    assert labels_for(tmp_path / "labels.txt", samples, network).tolist() == [0, 2, 1]
