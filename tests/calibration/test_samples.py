"""Samples stream in batches, fit the model, and say exactly what is wrong where they do not."""

from __future__ import annotations

import pickle
import tracemalloc
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from workbench.calibration.preprocessing import Preprocessing
from workbench.calibration.samples import feeds, first_samples
from workbench.calibration.sources import labels_for, open_samples
from workbench.errors import SamplesError
from workbench.graph.load import from_proto, load_model

if TYPE_CHECKING:
    from workbench.graph.model import Model


def identity(shape, dtype=TensorProto.FLOAT, *more) -> Model:
    inputs = [("x", shape, dtype), *more]
    graph = helper.make_graph(
        [helper.make_node("Identity", [name], [f"{name}_out"], f"n_{name}") for name, _, _ in inputs],
        "g",
        [helper.make_tensor_value_info(name, kind, dims) for name, dims, kind in inputs],
        [helper.make_tensor_value_info(f"{name}_out", kind, dims) for name, dims, kind in inputs],
    )
    return from_proto(helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8))


def rows(count, *shape):
    return np.arange(count * int(np.prod(shape)), dtype=np.float32).reshape(count, *shape)


def runs(source, model, batch=1):
    return list(feeds(open_samples(source, model), model, batch=batch))


def test_dynamic_batch_takes_the_batch_asked_for_and_a_shorter_last_one():
    results = runs({"x": rows(7, 2)}, identity(["N", 2]), batch=3)
    assert [(feed.first, feed.count, feed.arrays["x"].shape) for feed in results] == [
        (0, 3, (3, 2)),
        (3, 3, (3, 2)),
        (6, 1, (1, 2)),
    ]
    assert np.array_equal(np.concatenate([feed.arrays["x"] for feed in results]), rows(7, 2))


def test_fixed_batch_is_filled_by_repeating_the_last_sample():
    results = runs({"x": rows(5, 2)}, identity([4, 2]))
    assert [(feed.count, feed.arrays["x"].shape) for feed in results] == [(4, (4, 2)), (1, (4, 2))]
    assert np.array_equal(results[1].arrays["x"], np.repeat(rows(5, 2)[4:], 4, axis=0))


def test_a_stated_batch_that_padding_alone_would_fill_is_refused():
    with pytest.raises(SamplesError, match=r"a batch of 1000000000: it has 7629.*input_mib"):
        runs({"x": rows(5, 2)}, identity([10**9, 2]))


def test_a_stated_batch_of_nothing_is_refused():
    with pytest.raises(SamplesError, match=r"sample 0: a batch of the model holds no sample: .* first axis of 0"):
        runs({"x": rows(5, 2)}, identity([0, 2]))
    assert runs({"x": np.zeros((1, 0, 2), np.float32)}, identity([0, 2]))[0].arrays["x"].shape == (0, 2)


def test_every_input_of_a_last_batch_is_filled_up():
    model = identity([4, 2], TensorProto.FLOAT, ("z", ["N", 2], TensorProto.FLOAT))
    (last,) = runs({"x": rows(3, 2), "z": rows(3, 2)}, model)
    assert [array.shape for array in last.arrays.values()] == [(4, 2), (4, 2)]
    assert (last.count, last.padding, last.rows) == (3, 1, 3)


def test_only_what_padding_made_is_left_out():
    (whole,) = runs({"x": rows(1, 6, 2)}, identity(["N", 2]))
    assert (whole.count, whole.rows) == (1, 6)
    assert whole.real(rows(6, 2)) is ...  # six rows of one sample: all of them are given
    (last,) = runs({"x": rows(3, 2)}, identity([4, 2]))
    x = last.arrays["x"]
    assert last.real(x) == slice(3)
    assert last.real(np.repeat(x, 2, axis=0).reshape(4, 2, 2)) == slice(3)
    assert last.real(np.repeat(x, 2, axis=0)) == slice(6)  # two rows a sample: heads, windows
    assert last.real(np.stack([x, x + 1, x + 2, x + 3])) is ...  # time comes first, the batch second
    assert last.real(x.sum(axis=0)) is ...
    assert last.real(np.float32(1)) is ...


def test_an_array_with_all_axes_is_a_whole_input():
    results = runs({"x": rows(2, 1, 4)}, identity([1, 4]))
    assert [feed.arrays["x"].shape for feed in results] == [(1, 4), (1, 4)]


def test_a_batch_ends_where_the_shape_changes():
    samples = [{"x": np.zeros((n, 2), np.float32)} for n in (3, 3, 5, 5, 5)]
    results = runs(samples, identity(["N", "T", 2]), batch=2)
    assert [feed.arrays["x"].shape for feed in results] == [(2, 3, 2), (2, 5, 2), (1, 5, 2)]


def test_an_unnamed_array_is_the_only_input(tmp_path):
    np.save(tmp_path / "a.npy", rows(3, 2))
    assert len(runs(tmp_path / "a.npy", identity(["N", 2]))) == 3
    two = identity(["N", 2], TensorProto.FLOAT, ("z", ["N", 2], TensorProto.FLOAT))
    with pytest.raises(SamplesError, match="one unnamed array, and the model has 2 inputs"):
        runs(tmp_path / "a.npy", two)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"y": rows(2, 2)}, "no array for input 'x', there is 'y'"),
        ({"x": rows(2, 2), "y": rows(2, 2)}, "an array for 'y', which is no input"),
        ({"x": rows(2, 2).astype(np.float64)}, "dtype float64, the model wants float32"),
        ({"x": rows(2, 3)}, r"shape \[3\], the model wants \[2\]"),
        ({"x": rows(2, 2), "y": rows(3, 2)}, "arrays of different lengths"),
        ({"x": np.float32(1)}, "has no axes"),
        ({"x": rows(0, 2)}, "no samples"),
        ([], "no samples"),
        (3, "samples cannot be a int"),
    ],
)
def test_what_does_not_fit_is_said(source, message):
    with pytest.raises(SamplesError, match=message):
        runs(source, identity(["N", 2]))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_fed_like_any_number(bad):
    data = rows(5, 2)
    data[3, 1] = bad
    assert np.array_equal(runs({"x": data}, identity(["N", 2]))[3].arrays["x"], data[3:4], equal_nan=True)


def test_an_iterator_that_can_be_read_once_serves_many_passes():
    samples = open_samples(({"x": row} for row in rows(4, 2)), identity(["N", 2]))
    first = [sample["x"].copy() for sample in samples]
    assert np.array_equal(np.stack(first), rows(4, 2))
    assert np.array_equal(np.stack([sample["x"] for sample in samples]), rows(4, 2))
    # Two passes side by side do not disturb each other.
    pairs = zip(samples, samples, strict=True)
    assert all(np.array_equal(a["x"], b["x"]) for a, b in pairs)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_is_read_sample_by_sample(tmp_path, save, order):
    save(tmp_path / "s.npz", x=np.asarray(rows(6, 2, 3), order=order))
    samples = open_samples(tmp_path / "s.npz", identity(["N", 2, 3]))
    assert len(samples) == 6
    assert np.array_equal(np.stack([sample["x"] for sample in samples]), rows(6, 2, 3))


def test_a_large_file_is_never_all_in_memory(tmp_path):
    np.savez(tmp_path / "s.npz", x=np.zeros((64, 256, 1024), np.float32))  # 64 MiB
    model = identity(["N", 256, 1024])
    tracemalloc.start()
    seen = sum(feed.count for feed in feeds(open_samples(tmp_path / "s.npz", model), model, batch=2))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seen == 64
    assert peak < 16 * 2**20


@pytest.mark.parametrize("content", [b"", b"no zip at all", b"PK\x03\x04 truncated"])
def test_a_file_that_is_no_npz_is_said(tmp_path, content):
    (tmp_path / "s.npz").write_bytes(content)
    with pytest.raises(SamplesError, match=r"not a readable \.npz file"):
        open_samples(tmp_path / "s.npz", identity(["N", 2]))


def test_object_arrays_are_refused_and_never_unpickled(tmp_path):
    np.savez(tmp_path / "s.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(SamplesError, match="no object arrays"):
        open_samples(tmp_path / "s.npz", identity(["N", 2]))


def test_fingerprint_follows_the_content(tmp_path):
    model = identity(["N", 2])
    np.savez(tmp_path / "a.npz", x=rows(3, 2))
    np.savez(tmp_path / "b.npz", x=rows(3, 2) + 1)
    prints = {open_samples(tmp_path / f"{name}.npz", model).fingerprint for name in "ab"}
    prints |= {open_samples({"x": rows(3, 2) + shift}, model).fingerprint for shift in (0, 1)}
    assert len(prints) == 4
    again = open_samples({"x": rows(3, 2)}, model)
    assert again.fingerprint == open_samples(iter([{"x": row} for row in rows(3, 2)]), model).fingerprint


def test_the_first_few():
    samples = first_samples(open_samples({"x": rows(9, 2)}, identity(["N", 2])), 4)
    assert len(samples) == len(list(samples)) == 4
    assert samples.describe()["first"] == 4


@pytest.fixture
def images(tmp_path):
    from PIL import Image

    for index, color in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255)]):
        Image.new("RGB", (6, 4), color).save(tmp_path / f"{index}.png")
    (tmp_path / "notes.txt").write_text("not an image")
    return tmp_path


def test_images_become_inputs_as_declared(images):
    preprocessing = Preprocessing.parse("color=BGR,scale=1,mean=100/10/1,std=2")
    samples = open_samples(images, identity([1, 3, 4, 6]), preprocessing=preprocessing)
    red = next(iter(samples))[""]
    assert red.shape == (3, 4, 6)
    assert red.dtype == np.float32
    assert [float(v) for v in red[:, 0, 0]] == [(0 - 100) / 2, (0 - 10) / 2, (255 - 1) / 2]
    assert len(samples) == 3


def test_image_layout_gray_and_size(images):
    model = identity(["N", None, None, 1])
    samples = open_samples(images, model, preprocessing=Preprocessing.parse("size=2x5,layout=HWC,color=GRAY"))
    assert next(iter(samples))[""].shape == (2, 5, 1)
    with pytest.raises(SamplesError, match="size cannot be read off the model"):
        open_samples(images, model, preprocessing=Preprocessing())


def test_how_images_become_inputs_is_stated_and_never_guessed(images):
    model = identity([1, 3, 4, 6])
    with pytest.raises(SamplesError, match=r"nothing says how .*preprocess\.json") as caught:
        open_samples(images, model)
    assert caught.value.exit_code != 1
    (images / "preprocess.json").write_text('{"scale": 1, "mean": 127, "std": [128]}')
    stated = open_samples(images, model)
    assert stated.describe()["preprocessing"]["mean"] == [127.0]
    assert float(next(iter(stated))[""][0, 0, 0]) == 1.0  # (255 - 127) / 128
    assert len(stated) == 3
    samples = open_samples(images, model, preprocessing=Preprocessing.parse("scale=1/255"))
    assert float(next(iter(samples))[""][0, 0, 0]) == pytest.approx(1.0)
    # Beside the folder it holds for several folders; in the folder it comes first.
    (images / "preprocess.json").rename(images.parent / "preprocess.json")
    try:
        assert open_samples(images, model).fingerprint == stated.fingerprint
    finally:
        (images.parent / "preprocess.json").unlink()


@pytest.mark.parametrize("content", ["[]", "no json", '{"scal": 1}', '{"mean": "x"}', '{"color": null}'])
def test_a_preprocessing_that_cannot_be_read_is_refused(images, content):
    (images / "preprocess.json").write_text(content)
    with pytest.raises(SamplesError):
        open_samples(images, identity([1, 3, 4, 6]))


@pytest.mark.parametrize(
    "text", ["color=BGR,scale=1/255", "scale=1,mean=127,std=128,size=3x4", "layout=HWC,mean=1/2/3"]
)
def test_preprocessing_is_written_as_it_is_read(text):
    outcome = Preprocessing.parse(text)
    assert Preprocessing.parse(outcome.text()) == outcome


def test_images_with_other_channels_are_told_what_images_can_do(images):
    model = identity([1, 1, 2, 5])
    samples = open_samples(images, model, preprocessing=Preprocessing())
    with pytest.raises(SamplesError, match=r"Say in the preprocessing.*color=GRAY") as caught:
        list(feeds(first_samples(samples, 1), model))
    assert "npz" not in str(caught.value)


def test_samples_are_the_same_where_another_process_reads_them_from_another_folder(images, monkeypatch):
    np.save(images / "x.npy", np.ones((2, 3, 4, 6), np.float32))
    (images / "elsewhere").mkdir()
    monkeypatch.chdir(images)
    model = identity([1, 3, 4, 6])
    kinds = open_samples(".", model, preprocessing=Preprocessing()), open_samples("x.npy", model)
    sent = [pickle.dumps(one) for one in kinds]
    monkeypatch.chdir(images / "elsewhere")
    assert [len(list(pickle.loads(content))) for content in sent] == [3, 2]  # noqa: S301 - our own
    (images / "1.png").unlink()
    with pytest.raises(SamplesError, match=r"1\.png: no such image here.*another machine"):
        list(pickle.loads(sent[0]))  # noqa: S301 - our own


def test_an_unreadable_image_is_named(images):
    (images / "1.png").write_bytes(b"broken")
    with pytest.raises(SamplesError, match=r"1\.png: not a readable image"):
        list(open_samples(images, identity([1, 3, 4, 6]), preprocessing=Preprocessing()))


@pytest.mark.parametrize(
    ("text", "message"), [("scale", "is not key=value"), ("sice=2x2", "sice"), ("color=RBG", "color")]
)
def test_wrong_preprocessing_is_said(text, message):
    with pytest.raises(SamplesError, match=message):
        Preprocessing.parse(text)


def test_a_row_of_a_vector_is_a_scalar_in_either_order(tmp_path):
    vector = np.arange(3, dtype=np.float32)
    np.save(tmp_path / "c.npy", vector)
    head = b"{'descr': '<f4', 'fortran_order': True, 'shape': (3,), }"
    head += b" " * (117 - len(head)) + b"\n"
    (tmp_path / "f.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + vector.tobytes())
    for name in ("c.npy", "f.npy"):
        assert [feed.arrays["x"].shape for feed in runs(tmp_path / name, identity([]))] == [(), (), ()]


def test_labels_from_npy_text_and_arrays(tmp_path):
    np.save(tmp_path / "l.npy", np.array([1, 2, 3], np.uint8))
    (tmp_path / "l.txt").write_text("1\n2\n3\n")
    model = identity(["N", 2])
    three = open_samples({"x": rows(3, 2)}, model)
    for source in (tmp_path / "l.npy", tmp_path / "l.txt", [1, 2, 3], np.array([1.0, 2.0, 3.0])):
        assert labels_for(source, three, model).tolist() == [1, 2, 3]


def test_labels_of_whole_inputs_are_one_a_row():
    model = identity(["N", 2])
    batches = open_samples([{"x": rows(3, 2)}, {"x": rows(2, 2)}], model)
    assert labels_for([0, 1, 0, 1, 1], batches, model).tolist() == [0, 1, 0, 1, 1]
    assert labels_for([0, 1], batches, model).tolist() == [0, 1]
    with pytest.raises(SamplesError, match="4 labels for 2 samples of 5 rows"):
        labels_for([0, 1, 0, 1], batches, model)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([1, 2], "2 labels for 3 samples. Give one label a sample."),
        ([[0, 1], [1, 0], [0, 1]], r"labels of shape \[3, 2\] for 3 samples\. Give one class index .*argmax\(axis=1\)"),
        ([[0, 1, 2, 3]], "4 labels for 3 samples"),
        ([0.5, 1, 2], "not whole numbers"),
        ("no.npy", "cannot be read"),
    ],
)
def test_wrong_labels_are_said(source, message):
    model = identity(["N", 2])
    with pytest.raises(SamplesError, match=message):
        labels_for(source, open_samples({"x": rows(3, 2)}, model), model)


def test_missing_file_and_unknown_kind(tmp_path, small_cnn):
    model = load_model(small_cnn)
    with pytest.raises(SamplesError, match="no such file or folder"):
        open_samples(tmp_path / "none.npz", model)
    (tmp_path / "s.csv").write_text("1,2")
    with pytest.raises(SamplesError, match=r"kind '\.csv'"):
        open_samples(tmp_path / "s.csv", model)


def test_characters_that_do_not_exist_are_no_labels(tmp_path):
    array = np.array([0x110000, 65], "<u4").view("<U1")
    for order in "<>":
        np.save(tmp_path / "l.npy", np.array([0x110000, 65], f"{order}u4").view(f"{order}U1"))
        with pytest.raises(SamplesError, match="labels cannot be read"):
            labels_for(tmp_path / "l.npy", open_samples({"x": rows(2, 2)}, identity(["N", 2])), identity(["N", 2]))
    np.savez(tmp_path / "s.npz", x=array)
    with pytest.raises(SamplesError) as caught:
        runs(tmp_path / "s.npz", identity(["N"], TensorProto.STRING))
    assert "\n" not in str(caught.value)
