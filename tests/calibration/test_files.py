"""What calibration reads and writes, byte by byte and word by word: caches, checkpoints, samples on a disk."""

from __future__ import annotations

import hashlib
import io
import math

import numpy as np
import pytest
from onnx import helper
from PIL import Image

from tests.kit.models import model
from workbench.calibration import ChannelExtremes, Preprocessing, Statistics, TensorStatistics, at, feeds, open_samples
from workbench.calibration import damage as damage_module
from workbench.calibration.cache import CacheEntry, CalibrationCache, load_cache, parse_cache
from workbench.calibration.checkpoint import Checkpoint
from workbench.calibration.damage import Damage
from workbench.calibration.entropy import divergences
from workbench.calibration.methods import _cells
from workbench.calibration.samples import Feed
from workbench.calibration.table import calibration_table
from workbench.errors import OutputError, ReportError, SamplesError

RELU = helper.make_node("Relu", ["x"], ["y"], name="relu")


@pytest.fixture(scope="module")
def network():
    return model([RELU], {"x": ["N", 3]}, {"y": ["N", 3]})


def seen(*values):
    tensor = TensorStatistics()
    tensor.update(np.array(values, np.float32))
    return tensor


# Caches


def test_a_cache_is_written_as_tensorrt_prints_it():
    cache = CalibrationCache.from_ranges({"a b": 127.0, "zero": 0, "small": 127 * 2.0**-130, "c:1": 1.0})
    scale = np.float32(1.0 / 127).tobytes()[::-1].hex()
    assert cache.to_bytes().decode() == (
        f"TRT-8600-EntropyCalibration2\na b: 3f800000\nzero: 0\nsmall: 80000\nc:1: {scale}\n"
    )
    named = CalibrationCache.from_ranges({"a": 254.0}, version="100001", algorithm="MinMaxCalibration")
    assert named.to_bytes() == b"TRT-100001-MinMaxCalibration\na: 40000000\n"
    for name in ("a\nb", "a\rb"):
        with pytest.raises(ReportError, match="a tensor's name holds a line break"):
            CalibrationCache.from_ranges({name: 1.0})


@pytest.mark.parametrize(
    ("line", "entry"),
    [
        ("a: 3F800000", CacheEntry("a", 127.0, "3F800000")),
        ("a: 0", CacheEntry("a", 0.0, "0")),
        ("a: b: 40000000", CacheEntry("a: b", 254.0, "40000000")),
        ("a: 7f800000", CacheEntry("a", math.inf, "7f800000")),
        ("a: 123456789", None),
        ("a: ", None),
        (": 3f800000", None),
        ("a:3f800000", None),
    ],
)
def test_a_scale_is_up_to_eight_digits_behind_a_colon_and_a_blank(line, entry):
    content = f"TRT-8600-X\n{line}\n".encode()
    if entry is not None:
        assert parse_cache(content).entries == (entry,)
        assert parse_cache(content).ranges == (
            {"a: b": 254.0} if ": b" in line else {"a": 127.0} if "F" in line else {}
        )
        return
    with pytest.raises(ReportError, match=r"calibration cache, line 2: not 'name: scale' with a hexadecimal scale"):
        parse_cache(content)


@pytest.mark.parametrize(
    ("text", "ranges"),
    [
        ("a 1.5\nb c -2\nd inf\n", {"a": 1.5}),
        ("a 1.5\r\nb 2\r\n", {"a": 1.5, "b": 2.0}),
        ("a 1.5", {"a": 1.5}),
        ("a 1\na 1\n", {"a": 1.0}),  # the same twice
    ],
)
def test_a_number_behind_a_blank_is_a_range(text, ranges):
    cache = parse_cache(text.encode())
    assert (cache.dialect, cache.ranges, cache.to_bytes()) == ("onnxruntime-text", ranges, text.encode())
    assert cache.entries[0].amax == ranges["a"]


@pytest.mark.parametrize("line", ["a", "a nan", " 1", "a one", "x" * 90, ""])
def test_a_line_that_is_neither_is_shown_as_far_as_eighty_characters(line):
    with pytest.raises(ReportError) as caught:
        parse_cache(f"ok 1\n{line}\n".encode(), where="c.cache")
    assert str(caught.value).startswith(
        f"c.cache, line 2: neither a header 'TRT-<version>-<algorithm>' nor 'name number', but {line[:80]!r}"
    )


@pytest.mark.parametrize(("text", "line"), [("a 1\nb 2\na 2\n", 3), ("TRT-8600-X\na: 1\nb: 1\na: 2\n", 4)])
def test_a_tensor_that_stands_twice_with_other_ranges_names_the_second_line(text, line):
    with pytest.raises(ReportError, match=rf"c, line {line}: tensor 'a' stands in it twice, with different ranges"):
        parse_cache(text.encode(), where="c")


def test_json_that_is_nested_without_end_is_no_table():
    with pytest.raises(ReportError, match="JSON nested far too deep for a table"):
        parse_cache(b'{"a": ' + b"[" * 100_000)


def test_a_file_that_is_no_text_names_the_line_and_a_missing_one_the_file(tmp_path):
    (tmp_path / "c").write_bytes(b"one\ntwo\nthree \xff\n")
    with pytest.raises(ReportError, match=r"c, line 3: not text\. The flatbuffers table has the same content"):
        load_cache(tmp_path / "c")
    with pytest.raises(ReportError, match=r"gone: cannot be read \(No such file or directory\)"):
        load_cache(tmp_path / "gone")


# Checkpoints


def test_a_checkpoint_keeps_statistics_and_how_many_samples_are_in_them(tmp_path):
    kept = Checkpoint(tmp_path / "c", ("model", "samples"))
    assert kept.load() is None
    for count in (3, 7):
        kept.save(Statistics({"a": seen(1.0, -count)}), count)
        statistics, samples = Checkpoint(str(tmp_path / "c"), ("model", "samples")).load()
        assert (samples, statistics["a"].minimum, list(statistics)) == (count, -count, ["a"])
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
    for other in (("models", "amples"), ("modelsamples",), ("samples", "model"), ("model", "samples", "")):
        with pytest.raises(SamplesError, match=r"c: this checkpoint is of another calibration: its model, samples"):
            Checkpoint(tmp_path / "c", other).load()
    kept.remove()
    kept.remove()
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(OutputError):
        Checkpoint(tmp_path / "none" / "c", ()).save(Statistics(), 1)
    with pytest.raises(OutputError), Checkpoint(tmp_path / "none" / "c", ()).held():
        pass
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError):
        Checkpoint(tmp_path / "folder", ()).save(Statistics(), 1)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    for name in ("folder", "link"):
        (tmp_path / "link").unlink(missing_ok=True)
        (tmp_path / "link").symlink_to("nowhere")
        with pytest.raises(OutputError, match="no plain file"), Checkpoint(tmp_path / name, ()).held():
            pass
        (tmp_path / "nowhere").write_bytes(b"")


# Samples on a disk


def test_samples_of_a_file_are_known_by_its_content(tmp_path, network):
    rows = np.zeros((90_000, 3), np.float32)  # more than one piece of a mebibyte
    np.save(tmp_path / "a.npy", rows)
    samples = open_samples(tmp_path / "a.npy", network)
    assert samples.fingerprint == hashlib.sha256((tmp_path / "a.npy").read_bytes()).hexdigest()
    assert samples.describe() == {"kind": "npy", "path": str(tmp_path / "a.npy")}
    assert len(samples) == 90_000


def test_samples_in_memory_are_known_by_names_types_shapes_and_numbers(network):
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    digest = hashlib.sha256()
    for row in rows:
        digest.update(b"\0x\0<f4\0(3,)\0" + row.tobytes())
    for source, kind in (({"x": rows}, "arrays"), ([{"x": row} for row in rows], "iterable")):
        samples = open_samples(source, network)
        assert (samples.fingerprint, samples.describe()) == (digest.hexdigest(), {"kind": kind})
    pair = {"b": np.int8(1), "a": np.float16([2])}
    both = hashlib.sha256(b"\0a\0<f2\0(1,)\0" + np.float16(2).tobytes() + b"\0b\0|i1\0()\0" + b"\x01")
    assert open_samples([pair], network).fingerprint == both.hexdigest()


def test_images_are_known_by_names_contents_and_how_they_are_read(tmp_path):
    for name in ("b.PNG", "a.jpg", "c.webp"):
        Image.new("RGB", (4, 4), "red").save(tmp_path / name)
    (tmp_path / "d.txt").write_text("no image")
    network = model([RELU], {"x": [1, 3, 4, 4]}, {"y": [1, 3, 4, 4]})
    how = Preprocessing(scale=1.0)
    samples = open_samples(tmp_path, network, preprocessing=how)
    digest = hashlib.sha256(how.model_copy(update={"size": (4, 4)}).model_dump_json().encode())
    for name in ("a.jpg", "b.PNG", "c.webp"):
        digest.update(f"\0{name}\0{hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()}".encode())
    assert samples.fingerprint == digest.hexdigest()
    assert samples.describe() == {
        "kind": "images",
        "path": str(tmp_path),
        "preprocessing": {
            "size": [4, 4],
            "layout": "CHW",
            "color": "RGB",
            "scale": 1.0,
            "mean": [0.0],
            "std": [1.0],
        },
    }
    assert len(samples) == 3


def test_the_first_samples_are_known_by_how_many_they_are(network):
    from workbench.calibration import first_samples

    samples = open_samples({"x": np.zeros((5, 3), np.float32)}, network)
    first = first_samples(samples, 3)
    assert (first.fingerprint, first.reshaping) == (f"{samples.fingerprint}[:3]", samples.reshaping)
    assert (len(first_samples(samples, 9)), len(list(first_samples(samples, 9)))) == (5, 5)
    assert list(first_samples(samples, 0)) == []


@pytest.mark.parametrize(("name", "kind"), [("samples", "'without ending'"), ("samples.csv", r"'\.csv'")])
def test_a_file_of_another_kind_is_refused_by_its_ending(tmp_path, network, name, kind):
    (tmp_path / name).write_text("1,2,3\n")
    with pytest.raises(SamplesError, match=rf"samples of kind {kind} are not known"):
        open_samples(tmp_path / name, network)


def test_a_sample_may_be_as_large_as_the_limit_and_no_larger(tmp_path, network, monkeypatch):
    monkeypatch.setattr("workbench.limits._raised", {"sample_mib": 1})
    for name, count in (("at", 2**18), ("over", 2**18 + 1)):
        np.save(tmp_path / f"{name}.npy", np.zeros((2, count), np.float32))
    assert len(open_samples(tmp_path / "at.npy", network)) == 2
    with pytest.raises(SamplesError, match="a sample of ''"):
        open_samples(tmp_path / "over.npy", network)


def test_keys_that_are_no_text_name_inputs_all_the_same():
    network = model([helper.make_node("Relu", ["0"], ["y"])], {"0": ["N", 3]}, {"y": ["N", 3]})
    rows = np.zeros((2, 3), np.float32)
    for source in ({0: rows}, [{0: row} for row in rows], iter([{"0": row} for row in rows])):
        assert [feed.arrays["0"].shape for feed in feeds(open_samples(source, network), network)] == [(1, 3)] * 2


# How images are read


def test_how_an_image_becomes_an_input_is_written_in_words():
    assert Preprocessing().text() == "color=RGB,scale=1/255,mean=0,std=1"
    every = Preprocessing.parse("size=240X320, color=BGR,scale=3/2,mean=1/2.5/3,std=4,layout=HWC,")
    assert every == Preprocessing(
        size=(240, 320), color="BGR", scale=1.5, mean=(1.0, 2.5, 3.0), std=(4.0,), layout="HWC"
    )
    assert every.text() == "color=BGR,scale=1.5,mean=1/2.5/3,std=4,layout=HWC,size=240x320"
    assert Preprocessing.of({"mean": 3, "std": 2.5}) == Preprocessing(mean=(3.0,), std=(2.5,))
    assert (Preprocessing().scale, Preprocessing().layout, Preprocessing().size) == (1 / 255, "CHW", None)
    with pytest.raises(
        SamplesError, match=r"^preprocessing: sice: .*Known keys: size, layout, color, scale, mean, std"
    ):
        Preprocessing.of({"sice": 1})


@pytest.mark.parametrize(("color", "channels"), [("RGB", 3), ("GRAY", 1)])
def test_an_image_is_stretched_to_height_and_width(color, channels):
    picture = Image.new("RGB", (7, 5), (10, 20, 30))
    how = Preprocessing(size=(2, 3), color=color, scale=1.0)
    array = how.array_of(picture, np.dtype(np.float32))
    assert (array.shape, array.flags.c_contiguous) == ((channels, 2, 3), True)
    # ITU-R 601: 0.299 R + 0.587 G + 0.114 B
    assert array[:, 0, 0].tolist() == (
        [10, 20, 30] if color == "RGB" else [round(0.299 * 10 + 0.587 * 20 + 0.114 * 30)]
    )
    flat = how.model_copy(update={"layout": "HWC"}).array_of(picture, np.dtype(np.float16))
    assert (flat.shape, flat.dtype) == ((2, 3, channels), np.float16)


def test_a_folder_says_how_its_images_are_read_before_the_one_around_it(tmp_path):
    from workbench.calibration import stated_preprocessing

    folder = tmp_path / "images"
    folder.mkdir()
    assert stated_preprocessing(folder) is None
    (tmp_path / "preprocess.json").write_text('{"scale": 2}')
    assert stated_preprocessing(folder).scale == 2
    (folder / "preprocess.json").write_text('{"scale": 3}')
    assert stated_preprocessing(folder).scale == 3
    (folder / "preprocess.json").write_text("{")
    with pytest.raises(SamplesError, match=r"preprocess\.json: not readable as JSON"):
        stated_preprocessing(folder)


# Damaged samples


@pytest.fixture
def looking(monkeypatch):
    """What looks at damage, where a model makes of a run what a test says; and how often it ran."""
    ran = []

    class Session:
        def __init__(self, _):
            ran.append("made")

        def run(self, arrays):
            ran.append(len(next(iter(arrays.values()))))
            return Session.outputs

    monkeypatch.setattr(damage_module, "Session", Session)
    return Damage(None), Session, ran


def run_of(count, first=0, padding=0):
    return Feed({"x": np.zeros((count + padding, 2), np.float32)}, first, count, padding)


def test_only_a_run_with_something_odd_is_run_again_and_that_once(looking):
    look, session, ran = looking
    session.outputs = {"y": np.zeros((3, 2))}
    first, second = run_of(3), run_of(2)
    look.look(first, {"a": np.ones(4), "i": np.array([1, 2]), "t": np.array(["nan"])})
    assert ran == []
    look.look(first, {"a": np.array([1, np.inf])})
    look.look(first, {"b": np.array([np.nan])})
    assert ran == ["made", 3]
    look.look(second, {"b": np.float16([np.nan])})
    assert ran == ["made", 3, 2]


def test_a_sample_of_which_nothing_finite_comes_is_named_with_the_odd_tensor(looking):
    look, session, _ = looking
    bad = np.ones((3, 2), np.float32)
    bad[1] = np.nan
    session.outputs = {"z": np.ones(3), "s": [bad], "i": np.zeros(3, np.int64), "y": bad}
    odd = np.array([[1.0, 2.0], [3.0, -np.inf]])
    with pytest.raises(
        SamplesError, match=r"^tensor 'b', sample 8: -inf at \[1, 1\], and its output 'y' holds no finite"
    ):
        look.look(run_of(3, first=7), {"a": np.ones(2), "b": odd})
    session.outputs = {"y": bad[:2]}
    look.look(run_of(3, first=7), {"b": odd})  # not as many rows as samples: some are finite
    session.outputs = {"y": np.full((2, 2), np.nan)}
    with pytest.raises(SamplesError, match=r"^tensor 'b', sample 7"):
        look.look(run_of(1, first=7), {"b": odd})


def test_padding_is_no_sample(looking):
    look, session, _ = looking
    session.outputs = {"y": np.array([[1.0], [2.0], [np.nan], [np.nan]])}
    with pytest.raises(SamplesError, match="sample 2"):
        look.look(run_of(3, padding=1), {"b": np.array([np.nan])})


# Tables and methods


def test_a_channel_that_had_but_one_value_is_dead():
    tensor = TensorStatistics(channels=ChannelExtremes(-1))
    tensor.update(np.array([[1, 2, 0, 5], [1, 3, 0, 5]], np.float32))
    table = calibration_table(Statistics({"a": tensor, "b": seen(1.0, 2.0)}))
    assert table["dead_channels"].tolist()[0] == 3
    assert table["dead_channels"].isna().tolist() == [False, True]
    four = table.loc["a", ["minmax", "percentile", "entropy", "mse"]].astype(float)
    assert table.loc["a", "disagreement"] == four.max() / four.min()


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
def test_channels_are_counted_along_any_axis_and_what_is_not_finite_has_no_extreme(axis):
    array = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    odd = array.copy()
    odd[0, 0, 0], odd[1, 2, 3] = np.nan, -np.inf
    others = tuple(at for at in range(3) if at != axis % 3)
    finite = np.where(np.isfinite(odd), odd, np.nan)
    for seen_array, expected in ((array, array), (odd, finite)):
        extremes = ChannelExtremes(axis)
        extremes.update(seen_array)
        np.testing.assert_array_equal(extremes.minimum, np.nanmin(expected, others))
        np.testing.assert_array_equal(extremes.maximum, np.nanmax(expected, others))
    empty = ChannelExtremes(axis)
    extremes.merge(empty)
    empty.merge(extremes)
    np.testing.assert_array_equal(empty.minimum, extremes.minimum)
    nothing = ChannelExtremes(0)
    nothing.update(np.array([[np.nan], [1.0]], np.float32))
    assert (nothing.minimum.tolist(), nothing.maximum.tolist()) == ([np.inf, 1.0], [-np.inf, 1.0])


@pytest.mark.parametrize(("target", "largest"), [("int8", 127), ("fp8", 448)])
def test_a_threshold_is_at_least_what_a_normal_scale_stands_for(target, largest):
    least = 2.0**-126 * largest
    amax = [at(seen(1.0, 2.0), value, target=target).amax for value in (0.0, 1e-45, least, 2 * least, 3.0)]
    assert amax == [1.0, least, least, 2 * least, 3.0]
    unseen = at(TensorStatistics(), 3.0, target=target)
    assert (unseen.amax, unseen.method, unseen.target, math.isnan(unseen.clipped)) == (3.0, "manual", target, True)
    assert at(seen(0.0, 0.0), 3.0, target=target).sqnr_db == math.inf


def test_there_is_a_divergence_for_every_number_of_bins_from_128_on():
    counts = np.zeros(2048)
    counts[[5, 100]] = 3
    outcome = divergences(counts, _cells("int8"))
    assert outcome.shape == (2048 - 128 + 1,)
    assert np.isfinite(outcome).all()
    counts[200] = 1
    outcome = divergences(counts, _cells("int8"))
    # Where what is kept ends with an empty bin, nothing explains what lies beyond.
    assert [np.isfinite(outcome[kept - 128]) for kept in (128, 200, 201, 202, 2048)] == [False, False, True, True, True]


def test_a_file_of_statistics_is_known_from_any_of_them(tmp_path):
    Statistics().save(tmp_path / "s.npz")
    assert Statistics().is_file(tmp_path / "s.npz")
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros(1))
    (tmp_path / "samples.npz").write_bytes(buffer.getvalue())
    assert not Statistics().is_file(str(tmp_path / "samples.npz"))
