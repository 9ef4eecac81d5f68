"""Ranges, statistics, caches, drift and samples of small seeded data: a change of a number is seen beside this file."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.kit.models import model
from tests.kit.portrait import of_table, text_of
from workbench.calibration import (
    ChannelExtremes,
    Preprocessing,
    Statistics,
    TensorStatistics,
    at,
    calibration_table,
    cumulated,
    drift_table,
    drifts,
    feeds,
    first_samples,
    labels_for,
    load_cache,
    match_cache,
    open_samples,
    ranges,
)
from workbench.calibration.cache import parse_cache
from workbench.calibration.methods import METHODS, bin_noise, levels
from workbench.errors import WorkbenchError
from workbench.names import QUANTIZED

RNG = np.random.default_rng(7)
DATA = {
    "normal": RNG.normal(size=4000),
    "heavy": RNG.standard_t(2, 4000),
    "relu": np.maximum(RNG.normal(size=4000), 0),
    "spikes": np.append(RNG.normal(size=4000) * 0.01, [9.0, -7.0]),
    "zeros": np.zeros(50),
    "one": np.array([0.25]),
    "huge": RNG.normal(size=500) * 1e30,
    "tiny": RNG.normal(size=500) * 1e-35,
    "negative": -RNG.exponential(size=3000),
}


def seen(array):
    tensor = TensorStatistics(channels=ChannelExtremes(1))
    for part in np.array_split(array.astype(np.float32), 3):
        tensor.update(part.reshape(1, 1, -1).repeat(2, axis=1))
    return tensor


@pytest.fixture(scope="module")
def statistics():
    return Statistics({name: seen(array) for name, array in DATA.items()})


@pytest.mark.parametrize("target", QUANTIZED)
@pytest.mark.parametrize("method", METHODS)
def test_ranges_of_every_method_and_type(method, target, statistics, snapshot):
    actual = ranges(statistics, method, target=target, percentile=99.5, overrides={"one": 0.5, "relu": "minmax"})
    lines = [f"{name} {text_of([one.amax, one.method, one.clipped, one.sqnr_db])}" for name, one in actual.items()]
    assert "\n".join(lines) == snapshot


def test_what_is_kept_of_tensors(statistics, snapshot):
    for name, tensor in statistics.items():
        counts = tensor.counts
        kept = {
            "numbers": [tensor.values, tensor.finite, tensor.zeros, tensor.tiny, tensor.minimum, tensor.maximum],
            "moments": [tensor.mean, tensor.second_moment, tensor.amax, tensor.unit, tensor.top, tensor.reach],
            "bins": [int(counts.sum()), counts[0] @ np.arange(counts.shape[1]), counts[1] @ np.arange(counts.shape[1])],
            "edges": tensor.edges[[0, 1, 2, -2, -1]] if tensor.amax else [],
            "cumulated": cumulated(tensor, np.linspace(-3, 3, 7)),
            "clipped at half": at(tensor, tensor.amax / 2).clipped,
            "noise": bin_noise(tensor, at(tensor, tensor.amax)).sum() if tensor.amax else 0,
        }
        assert text_of(kept) == snapshot(name=name)
    assert text_of([levels(target)[:9] for target in QUANTIZED]) == snapshot(name="levels")


def test_a_calibration_in_a_table(statistics, snapshot):
    table = calibration_table(statistics, ranges(statistics, "mse"))
    assert of_table(table) == snapshot


def test_drift_of_one_set_against_another(statistics, snapshot):
    moved = {name: seen(array * 1.5 + (0.1 if name == "normal" else 0)) for name, array in DATA.items()}
    moved.pop("heavy")
    actual = drifts(statistics, Statistics(moved), ranges(statistics, "percentile", percentile=99))
    assert of_table(drift_table(actual)) == snapshot(name="table")
    assert [one.warning for one in actual] == snapshot(name="warnings")


CACHES = {
    "tensorrt": "TRT-8600-EntropyCalibration2\na: 3c010a14\nb: 3d000000\nnot there: 3f800000\n",
    "a wrong scale": "TRT-8600-EntropyCalibration2\na: nothing\n",
    "numbers alone": '{"a": 1.5, "b": 0.25}',
    "ranges": '{"a": [-1.0, 2.0], "b": {"lowest": -3, "highest": 1}}',
    "twice": "TRT-8600-MinMaxCalibration\na: 3c010a14\na: 3d000000\n",
    "empty": "",
    "of another program": "hello\n",
}


@pytest.mark.parametrize("name", CACHES)
def test_what_caches_say(name, snapshot, tmp_path):
    if name in ("numbers alone", "a wrong scale", "twice", "empty", "of another program"):
        with pytest.raises(WorkbenchError) as refusal:
            parse_cache(CACHES[name].encode())
        assert str(refusal.value) == snapshot(name="refused")
        return
    cache = parse_cache(CACHES[name].encode())
    (tmp_path / "a.cache").write_bytes(CACHES[name].encode())
    assert load_cache(tmp_path / "a.cache").ranges == cache.ranges
    assert text_of([cache.dialect, cache.ranges]) == snapshot(name="ranges")
    assert str(match_cache(cache, ["a", "b", "c"], ["a", "c"])) == snapshot(name="match")


def test_what_a_model_sees_of_an_image(tmp_path, snapshot):
    pixels = np.arange(8 * 6 * 3, dtype=np.uint8).reshape(8, 6, 3)
    for name in ("one", "two"):
        Image.fromarray(pixels if name == "one" else 255 - pixels).save(tmp_path / f"{name}.png")
    ways = ("", "color=BGR", "color=GRAY", "scale=1,mean=1/2/3,std=2", "layout=HWC,size=4x3", "size=big", "sca=1", "x")
    ways += ("size=48", "size=0x4", "scale=1/0", "mean=1/a/3", "std=0", "std=1/0/1", "mean=1/2", "scale=0", "color=XYZ")
    lines = []
    for way in ways:
        try:
            one = Preprocessing.parse(way)
            channels = 1 if one.color == "GRAY" else 3
            shape = [1, 4, 3, channels] if one.layout == "HWC" else [1, channels, 4, 3]
            network = model([node("Relu", ["x"], ["y"])], {"x": shape}, {"y": shape})
            samples = open_samples(tmp_path, network, preprocessing=one)
            for feed in feeds(samples, network):
                array = feed.arrays["x"]
                lines.append(f"{way}: {array.shape} {text_of([array.mean(), array.std(), array.reshape(-1)[:5]])}")
        except WorkbenchError as error:  # noqa: PERF203
            lines.append(f"{way}: refused: {str(error).replace(str(tmp_path), 'FOLDER')}")
    assert "\n".join(lines) == snapshot


def node(*arguments):
    from onnx import helper

    return helper.make_node(*arguments, name="n")


def test_how_samples_fall_into_batches(snapshot):
    fixed = model([node("Relu", ["x"], ["y"])], {"x": [2, 3]}, {"y": [2, 3]})
    free = model([node("Relu", ["x"], ["y"])], {"x": ["N", 3]}, {"y": ["N", 3]})
    rows = np.arange(15, dtype=np.float32).reshape(5, 3)
    lines = []
    for name, network in (("fixed", fixed), ("free", free)):
        for arguments in (
            {"x": rows},
            [{"x": rows[:2]}, {"x": rows[2:4]}],
            [{"x": row} for row in rows],
            {"y": rows},
            {},
        ):
            for batch in (1, 2, 4):
                try:
                    samples = open_samples(arguments, network)
                    parts = [[*feed.arrays["x"].shape, feed.rows] for feed in feeds(samples, network, batch=batch)]
                    first = [feed.rows for feed in feeds(first_samples(samples, 1), network, batch=batch)]
                    labels = labels_for(np.arange(len(samples)), samples, network).tolist()
                    lines.append(f"{name}, {batch}: {len(samples)} samples, {parts}, first {first}, {labels}")
                except WorkbenchError as error:  # noqa: PERF203
                    lines.append(f"{name}, {batch}: refused: {error}")
    assert "\n".join(lines) == snapshot
