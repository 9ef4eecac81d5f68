"""From a calibration cache and trtexec's flags to an explicit graph, held against engines that TensorRT 8.6 built so."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

import workbench
from workbench.backends.onnxruntime import Session
from workbench.calibration.cache import CalibrationCache
from workbench.errors import OutputError, PrecisionError, RecipeError
from workbench.graph.load import load_model
from workbench.migrate import migrate, migrate_to


@pytest.fixture(scope="module")
def calibrated(small_cnn, small_data):
    wb = workbench.open_model(small_cnn)
    wb.prepare()
    wb.calibrate(small_data, batch=4)
    return wb


@pytest.fixture
def write(tmp_path):
    def _write(ranges):
        file = tmp_path / "calibration.cache"
        file.write_bytes(CalibrationCache.from_ranges(ranges).to_bytes())
        return file

    return _write


def test_a_whole_cache_gives_the_model_that_calibrating_gives(calibrated, small_cnn, write, tmp_path):
    result = migrate(small_cnn, write(calibrated.ranges))
    direct = calibrated.tune().model
    assert [n.op_type for n in result.workbench.tuned.nodes.values()] == [n.op_type for n in direct.nodes.values()]
    assert result.match.missing == ()
    assert result.without_range == {}
    tuned, recipe = migrate_to(tmp_path / "out.onnx", result)
    assert recipe == tmp_path / "out.recipe.yaml"
    again = workbench.open_recipe(recipe)
    assert again.tune().model.to_bytes() == tuned.read_bytes()
    assert again.recipe.tuned == result.workbench.recipe.tuned


def test_flags_are_rules_above_the_best_practice(calibrated, small_cnn, write):
    result = migrate(small_cnn, write(calibrated.ranges), layer_precisions="stem/conv:fp32,gone:fp16", fp16=True)
    given = {node: decision.precision for node, decision in result.resolution.decisions.items()}
    assert given["stem/conv"] == "fp32"
    assert given["block/conv"] == "int8"
    assert result.resolution["block/conv"].floating == "fp16"
    assert result.notes == ("--layerPrecisions gone:fp16: no node of small_cnn is called so",)


def test_a_node_without_a_range_stays_floating_and_is_named(calibrated, small_cnn, write):
    ranges = {name: amax for name, amax in calibrated.ranges.items() if name != "r1"}
    result = migrate(small_cnn, write(ranges), layer_precisions="block/conv:int8")
    assert result.match.missing == ("r1",)
    assert result.without_range["block/conv"] == ("r1",)
    assert result.resolution["block/conv"].precision == "fp32"
    assert result.resolution["stem/conv"].precision == "int8"
    assert "'block/conv', the cache has no range of 'r1'" in result.text()


def test_a_cache_that_is_of_no_use_is_refused(calibrated, small_cnn, write):
    with pytest.raises(RecipeError, match="no range in it"):
        migrate(small_cnn, write({"elsewhere": 1.0}))
    with pytest.raises(PrecisionError, match="nothing is left to quantize"):
        migrate(small_cnn, write(calibrated.ranges), layer_precisions="*:fp32")


def test_the_model_itself_is_not_overwritten(calibrated, small_cnn, write):
    before = small_cnn.read_bytes()
    with pytest.raises(OutputError, match="the model that is migrated"):
        migrate_to(small_cnn, migrate(small_cnn, write(calibrated.ranges)))
    assert small_cnn.read_bytes() == before


def test_the_command_line(calibrated, small_cnn, write, tmp_path, capsys):
    from workbench.cli import main

    words = ["migrate", small_cnn, "--cache", write(calibrated.ranges), "--layer-precisions", "head/fc:fp32"]
    with pytest.raises(SystemExit) as stopped:
        main([*map(str, words), "--out", str(tmp_path / "tuned.onnx")])
    assert not stopped.value.code
    assert "ranges matched, 0 missing" in capsys.readouterr().out
    assert sorted(p.name for p in tmp_path.glob("tuned*")) == ["tuned.onnx", "tuned.recipe.yaml"]


def inputs(shared, name):
    if name == "mnist_cntk":
        content = gzip.decompress((shared / "data" / "mnist" / "t10k-images-idx3-ubyte.gz").read_bytes())
        return np.frombuffer(content, np.uint8, offset=16)[: 64 * 784].reshape(64, 1, 28, 28).astype(np.float32)
    with np.load(shared / "calibration_caches" / "recorded" / f"{name}.inputs.npz") as file:
        return (next(iter(file.values()))[:64].astype(np.float32) - 127) / 128


def outputs(model, x):
    session, entry = Session(model), model.inputs[0].name
    found = [session.run({entry: sample[None]}) for sample in x]
    return {tensor.name: np.concatenate([one[tensor.name] for one in found]) for tensor in model.outputs}


def sqnr(reference, found):
    reference = reference.astype(np.float64)
    return 10 * np.log10((reference**2).sum() / ((reference - found) ** 2).sum())


@pytest.mark.parametrize(
    ("name", "kind", "closest"),
    [
        # TensorRT's engines on the left of a pair, what the migrated graph computes on its right, in dB. The engines
        # of the entropy caches run much in FP16, which the builder was allowed and found faster: there the migrated
        # graph is further from them than it is from real INT8.
        ("mnist_cntk", "minmax", {"Plus214_Output_0": 40}),
        ("mnist_cntk", "entropy2", {"Plus214_Output_0": 38}),
        ("ultraface_rfb320", "minmax", {"scores": 46, "boxes": 52}),
        ("ultraface_rfb320", "entropy2", {"scores": 32, "boxes": 48}),
    ],
)
def test_the_migrated_graph_computes_what_implicit_int8_computed(shared, name, kind, closest):
    caches = shared / "calibration_caches" / "recorded"
    result = migrate(shared / "models" / name / "model.onnx", caches / f"{name}.int8_{kind}.cache")
    assert result.match.missing == result.match.stale == ()
    assert result.without_range == {}
    x = inputs(shared, name)
    ours = outputs(result.workbench.tuned, x)
    with np.load(shared / "engines" / "trt-8.6.0-h200" / "small" / f"{name}.int8_{kind}.outputs.npz") as file:
        theirs = {tensor: file[tensor].reshape(ours[tensor].shape) for tensor in ours}
    for tensor, least in closest.items():
        assert sqnr(theirs[tensor], ours[tensor]) > least
    if name == "mnist_cntk":
        assert (theirs["Plus214_Output_0"].argmax(1) == ours["Plus214_Output_0"].argmax(1)).all()
    if (name, kind) == ("ultraface_rfb320", "minmax"):
        plain = outputs(load_model(shared / "models" / name / "model.onnx"), x)
        for tensor in closest:
            # Real INT8 is nearer to the migrated graph than to the model it was made of.
            assert sqnr(theirs[tensor], ours[tensor]) > sqnr(theirs[tensor], plain[tensor]) + 5
