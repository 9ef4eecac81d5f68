"""Arrays and samples at the edges of what a file, a caller or a model may say of them."""

from __future__ import annotations

import io
import zipfile

import ml_dtypes
import numpy as np
import pytest
from onnx import helper

from tests.kit.models import model
from workbench.calibration import Preprocessing, Statistics, open_samples
from workbench.calibration.arrays import as_text, npy_header, read_array
from workbench.calibration.channels import ChannelExtremes, channel_axes
from workbench.calibration.methods import _percentile
from workbench.calibration.preprocessing import _fraction
from workbench.calibration.samples import Feed, _checked
from workbench.calibration.sources import _file_hash, _npy_rows, _same_length
from workbench.calibration.statistics import TensorStatistics
from workbench.calibration.unchanged import _stamp
from workbench.errors import SamplesError
from workbench.graph.tensor import Tensor


def header(text, version=(1, 0)):
    body = text.encode().ljust(117) + b"\n"
    return io.BytesIO(b"\x93NUMPY" + bytes(version) + len(body).to_bytes(2, "little") + body)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{'descr': '|O', 'fortran_order': False, 'shape': (2,), }", "object arrays are not data"),
        ("{'descr': '|V0', 'fortran_order': False, 'shape': (2,), }", "an array of shape"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", "an array of shape"),
        (f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({2**62},), }}", "an array of shape"),
        ("nothing", "no header of an array"),
    ],
)
def test_a_header_that_no_array_of_numbers_has_is_refused(text, reason):
    with pytest.raises(ValueError, match=reason):
        npy_header(header(text))


def test_a_header_says_shape_order_and_type():
    text = f"{{'descr': '<f4', 'fortran_order': True, 'shape': (0, {2**62 - 1}), }}"
    assert npy_header(header(text)) == ((0, 2**62 - 1), True, np.dtype("<f4"))
    for version in ((1, 0), (2, 0), (3, 0)):
        stream = io.BytesIO()
        np.lib.format.write_array(stream, np.zeros((2, 3)), version=version)
        stream.seek(0)
        assert npy_header(stream) == ((2, 3), False, np.dtype("<f8"))


def test_a_file_that_ends_a_byte_early_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(4.0))
    assert read_array(tmp_path / "a.npy").tolist() == [0, 1, 2, 3]
    (tmp_path / "b.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-1])
    with pytest.raises(ValueError, match="the file ends early"):
        read_array(tmp_path / "b.npy")


def test_characters_that_do_not_exist_are_refused_and_others_stay():
    text = np.array(["\U0010ffff", "b"])
    assert as_text(text) is text
    assert as_text(np.array([], "U3")).size == 0
    beyond = np.array([0x110000, 0], np.uint32).view("U1")
    with pytest.raises(ValueError, match="characters that do not exist"):
        as_text(beyond)
    with pytest.raises(ValueError, match="characters that do not exist"):
        as_text(beyond.byteswap().view(beyond.dtype.newbyteorder()))


@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_are_read_one_by_one_in_either_order_and_an_early_end_is_noticed(order):
    array = np.asarray(np.arange(24, dtype=np.float32).reshape(4, 2, 3), order=order)
    stream = io.BytesIO()
    np.save(stream, array)
    content = stream.getvalue()
    rows = list(_npy_rows(io.BytesIO(content)))
    assert [row.flags.c_contiguous for row in rows] == [True] * 4
    np.testing.assert_array_equal(np.stack(rows), array)
    if order == "C":
        cut = _npy_rows(io.BytesIO(content[:-1]))
        assert [next(cut)[0, 0] for _ in range(3)] == [0, 6, 12]
        with pytest.raises(EOFError):
            next(cut)


def test_arrays_that_count_samples_have_one_length():
    assert _same_length({"a": (3, 2), "b": (3,)}, "f") == 3
    assert _same_length({"a": (0, 2)}, "f") == _same_length({}, "f") == 0
    with pytest.raises(SamplesError, match="f: array 'b' has no axes"):
        _same_length({"a": (3, 2), "b": ()}, "f")
    with pytest.raises(SamplesError, match="f: arrays of different lengths: a 3, b 4"):
        _same_length({"a": (3, 2), "b": (4,)}, "f")


def test_samples_that_are_open_already_are_taken_as_they_are(small_cnn, tmp_path):
    from workbench.graph.load import load_model

    network = load_model(small_cnn)
    samples = open_samples({"x": np.zeros((3, 3, 8, 8), np.float32)}, network)
    assert open_samples(samples, network) is samples
    assert len(open_samples(np.zeros((2, 3, 8, 8), np.float32), network)) == 2
    two = model([helper.make_node("Add", ["x", "z"], ["y"])], {"x": [1], "z": [1]}, {"y": [1]})
    with pytest.raises(SamplesError, match=r"a folder of images, and the model has 2 inputs.*Give an \.npz"):
        open_samples(tmp_path, two)
    with pytest.raises(SamplesError, match="cannot be read: No such file"):
        _file_hash(tmp_path / "gone")


def test_an_input_of_a_model_takes_samples_of_its_type():
    single = Tensor("x", (1,), "FLOAT")
    with pytest.raises(SamplesError, match=r"sample 7, input 'x': dtype float64, the model wants float32.*astype"):
        _checked(np.zeros(1), single, 7, "")
    narrow = Tensor("x", (2,), "BFLOAT16")
    rounded = _checked(np.array([1.00390625, 2.0], np.float32), narrow, 0, "")
    assert (rounded.dtype, rounded.tolist()) == (np.float32, [1.0, 2.0])
    sequence = Tensor("s", None, "FLOAT", form="sequence")
    with pytest.raises(SamplesError, match=r"input 's': it is a sequence, and samples are tensors"):
        _checked(np.zeros(1), sequence, 0, "")


# Images


@pytest.mark.parametrize(
    ("text", "value"), [("1/255", 1 / 255), ("3/2", 1.5), ("0.5", "0.5"), ("1/0", "1/0"), ("a/2", "a/2"), ("/", "/")]
)
def test_a_fraction_is_a_number(text, value):
    assert _fraction(text) == value


@pytest.mark.parametrize(
    ("shape", "layout", "size"),
    [
        ([1, 3, 6, 8], "CHW", (6, 8)),
        ([1, 6, 8, 3], "HWC", (6, 8)),
        ([1, 3, "H", 8], "CHW", None),
        ([1, 3, 6, "W"], "CHW", None),
        ([3, 6, 8], "CHW", None),
        ([1, 1, 3, 6, 8], "CHW", None),
    ],
)
def test_the_size_of_images_is_read_off_the_input(shape, layout, size):
    network = model([helper.make_node("Relu", ["x"], ["y"])], {"x": shape}, {"y": shape})
    given = Preprocessing(layout=layout)
    if size is None:
        with pytest.raises(SamplesError, match=r"the image size cannot be read off the model.*size=HEIGHTxWIDTH"):
            given.sized_for(network)
    else:
        assert given.sized_for(network).size == size
    assert Preprocessing(size=(2, 4)).sized_for(network).size == (2, 4)


def test_an_image_without_a_size_or_that_is_none_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(SamplesError, match="the image size is not known"):
        Preprocessing().apply(tmp_path / "a.png", np.dtype(np.float32))
    with pytest.raises(SamplesError, match=r"a\.png: not a readable image"):
        Preprocessing(size=(2, 2)).apply(tmp_path / "a.png", np.dtype(np.float32))


def test_pixels_are_scaled_shifted_and_put_in_their_order():
    from PIL import Image

    picture = Image.fromarray(np.array([[[10, 20, 30], [40, 50, 60]]], np.uint8))

    def read(**how):
        return Preprocessing(size=(1, 2), **how).array_of(picture, np.dtype(np.float32))

    plain = {"scale": 0.5, "mean": (1, 2, 3), "std": (1, 2, 4)}
    assert read(**plain).tolist() == [[[4, 19]], [[4, 11.5]], [[3, 6.75]]]
    assert read(**plain, layout="HWC").tolist() == [[[4, 4, 3], [19, 11.5, 6.75]]]
    assert read(scale=1, color="BGR").tolist() == [[[30, 60]], [[20, 50]], [[10, 40]]]
    assert read(scale=1, color="GRAY").shape == (1, 1, 2)
    with pytest.raises(SamplesError, match="the image size is not known"):
        Preprocessing().array_of(picture, np.dtype(np.float32))


# Statistics


def test_channels_are_of_tensors_whose_length_along_the_axis_is_fixed():
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Relu", ["z"], ["w"])]
    network = model(nodes, {"x": ["N", 3, 8], "z": [4]}, {"y": ["N", 3, 8], "w": [4]})
    axes = {axis: set(channel_axes(network, ["x", "z"], axis)) for axis in (-4, -3, -2, -1, 0, 1, 2, 3)}
    assert axes == {-4: set(), -3: set(), -2: {"x"}, -1: {"x", "z"}, 0: {"z"}, 1: {"x"}, 2: {"x"}, 3: set()}
    assert channel_axes(network, ["x"], 1) == {"x": 1}


def test_channels_do_not_change_in_number():
    extremes = ChannelExtremes(1)
    extremes.update(np.array([[1.0, -2.0]], np.float32))
    extremes.update(np.array([[-3.0, 4.0]], np.float32))
    assert (extremes.minimum.tolist(), extremes.maximum.tolist()) == ([-3, -2], [1, 4])
    with pytest.raises(SamplesError, match="a tensor had 2 channels and now has 3"):
        extremes.update(np.zeros((1, 3), np.float32))


def test_statistics_as_a_card_count_tensors_and_the_most_samples():
    seen = Statistics({name: TensorStatistics() for name in "ab"})
    seen["a"].update(np.array([[1.0], [-2.0], [0.0]], np.float32))
    card = seen._card()
    assert card.headline == f"2 tensors seen on {seen['a'].samples} samples"
    assert card.rows[0] == ("a", -2.0, 1.0, 1)
    assert card.notes == ()
    seen.device = "a GPU"
    assert seen._card().notes == ("on a GPU",)
    assert Statistics()._card().headline == "0 tensors seen on 0 samples"


def test_a_file_of_statistics_is_told_from_one_of_samples(tmp_path):
    seen = Statistics({"a": TensorStatistics()})
    seen.save(tmp_path / "s.npz")
    np.savez(tmp_path / "samples.npz", head=np.zeros(1), counts=np.zeros(1))
    (tmp_path / "none.npz").write_text("no archive")
    assert [Statistics.is_file(tmp_path / f"{name}.npz") for name in ("s", "samples", "none", "gone")] == [
        *(True, False, False, False),
    ]
    with zipfile.ZipFile(tmp_path / "s.npz") as archive:
        assert {"head.npy", "counts.npy", "lines.npy"} <= set(archive.namelist())


def test_a_file_that_is_gone_has_no_stamp(tmp_path):
    assert _stamp(tmp_path / "gone") is None
    (tmp_path / "here").write_text("abc")
    assert _stamp(tmp_path / "here")[2] == 3


def test_types_that_samples_cannot_be_told_of_are_left_to_the_model():
    assert _checked(np.array(["a"]), Tensor("x", (1,), None), 0, "").tolist() == ["a"]


# Padding


@pytest.mark.parametrize(
    ("results", "left_out"),
    [
        ([1.0, 2.0, 2.0, 2.0], True),
        ([1.0, 2.0, 2.0001, 2.0], True),
        ([1.0, 2.0, 2.001, 2.0], False),
        ([1.0, np.nan, np.nan, np.nan], True),
        ([1.0, np.inf, np.inf, np.inf], True),
        ([1.0, 2.0, np.nan, 2.0], False),
        ([1.0, 2.0, 3.0, 2.0], False),
    ],
)
def test_what_repetitions_made_is_left_out_where_it_repeats_the_last_sample(results, left_out):
    feed = Feed({}, 0, 2, padding=2)
    assert feed.real(np.array(results)) == (slice(2) if left_out else ...)


def test_numbers_of_bfloat16_repeat_as_others_do():
    results = np.array([1, np.nan, np.nan, np.nan, np.inf, np.inf], ml_dtypes.bfloat16)
    assert Feed({}, 0, 2, padding=2).real(results[:4]) == slice(2)
    assert Feed({}, 0, 1, padding=1).real(results[4:]) == slice(1)
    assert Feed({}, 0, 1, padding=1).real(results[:2]) == ...


def test_whole_numbers_repeat_exactly_or_not():
    feed = Feed({}, 0, 2, padding=1)
    assert feed.real(np.array([1, 10**9, 10**9])) == slice(2)
    assert feed.real(np.array([1, 10**9, 10**9 + 1])) == ...
    assert feed.real(np.array(["a", "b", "b"])) == slice(2)
    assert Feed({}, 0, 2).real(np.array([1, 1])) == ...
    assert feed.real(np.zeros((4, 2))) == ...


def test_a_share_of_magnitudes_is_of_all_and_the_largest_where_most_are_zero():
    seen = TensorStatistics()
    seen.update(np.array([0.0] * 99 + [4.0], np.float32).reshape(100, 1))
    assert _percentile(seen, 0.5) == seen.amax
