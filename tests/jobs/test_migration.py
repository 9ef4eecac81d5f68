"""From a calibration cache and trtexec's flags to an explicit graph, held against engines that TensorRT 8.6 built."""

from __future__ import annotations

import gzip
import json
from types import SimpleNamespace

import numpy as np
import pytest

import workbench
from workbench.calibration.cache import CalibrationCache
from workbench.errors import OptionError, PrecisionError, ReportError
from workbench.graph.load import load_model
from workbench.jobs import migration
from workbench.jobs.migration import migrate
from workbench.precision.plan import Rule
from workbench.runtime.session import Session


@pytest.fixture(scope="module")
def calibrated(small_cnn, small_data):
    wb = workbench.open_model(small_cnn)
    wb.prepare()
    wb.calibrate(small_data, batch=4)
    wb.tune()  # takes the best practice for a plan, which tests read in any order
    return wb


@pytest.fixture
def write(tmp_path):
    def _write(ranges):
        file = tmp_path / "calibration.cache"
        file.write_bytes(CalibrationCache.from_ranges(ranges).to_bytes())
        return file

    return _write


def test_a_whole_cache_gives_the_model_that_calibrating_gives(calibrated, small_cnn, write, tmp_path):
    result = migrate(small_cnn, write(calibrated.ranges), out=tmp_path / "out.onnx")
    direct = calibrated.tune().model
    assert [n.op_type for n in result.workbench.tuned.nodes.values()] == [n.op_type for n in direct.nodes.values()]
    assert result.match.missing == ()
    assert result.without_range == {}
    tuned, recipe = result.files
    assert recipe == tmp_path / "out.recipe.yaml"
    again = workbench.open_recipe(recipe)
    assert again.tune().model.to_bytes() == tuned.read_bytes()
    assert again.recipe.tuned == result.workbench.recipe.tuned


def test_flags_are_rules_above_the_best_practice(calibrated, small_cnn, write):
    result = migrate(small_cnn, write(calibrated.ranges), layer_precisions="stem/conv:fp32,gone:fp16", fp16=True)
    by_name = {node: decision.precision for node, decision in result.resolution.decisions.items()}
    assert by_name["stem/conv"] == "fp32"
    assert by_name["block/conv"] == "int8"
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
    with pytest.raises(ReportError, match="no range in it"):
        migrate(small_cnn, write({"elsewhere": 1.0}))
    with pytest.raises(PrecisionError, match="nothing is left to quantize"):
        migrate(small_cnn, write(calibrated.ranges), layer_precisions="*:fp32")


def test_the_model_itself_is_not_overwritten(calibrated, small_cnn, write):
    before = small_cnn.read_bytes()
    with pytest.raises(OptionError, match="which `model` reads"):
        migrate(small_cnn, write(calibrated.ranges), out=small_cnn)
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
    entries = [session.run({entry: sample[None]}) for sample in x]
    return {tensor.name: np.concatenate([one[tensor.name] for one in entries]) for tensor in model.outputs}


def sqnr(reference, result):
    reference = reference.astype(np.float64)
    return 10 * np.log10((reference**2).sum() / ((reference - result) ** 2).sum())


@pytest.mark.parametrize(
    ("name", "kind", "follow", "least"),
    [
        # What the migrated graph computes against what TensorRT's engine did, in dB. The builder was allowed FP16 and
        # FP32 too; the engines of the entropy caches run much or all of the model so. A graph that is INT8 throughout
        # is then further from them; one that keeps what the engine kept comes near.
        ("mnist_cntk", "minmax", False, {"Plus214_Output_0": 41}),
        ("mnist_cntk", "minmax", True, {"Plus214_Output_0": 48}),
        ("mnist_cntk", "entropy2", False, {"Plus214_Output_0": 39}),
        ("ultraface_rfb320", "minmax", False, {"scores": 47, "boxes": 53}),
        ("ultraface_rfb320", "minmax", True, {"scores": 47, "boxes": 53}),
        ("ultraface_rfb320", "entropy2", False, {"scores": 33, "boxes": 49}),
        ("ultraface_rfb320", "entropy2", True, {"scores": 50, "boxes": 57}),
    ],
)
def test_the_migrated_graph_computes_what_implicit_int8_computed(shared, name, kind, follow, least):
    recorded = shared / "engines" / "trt-8.6.0-h200" / "small"
    model = shared / "models" / name / "model.onnx"
    cache = shared / "calibration_caches" / "recorded" / f"{name}.int8_{kind}.cache"
    result = migrate(model, cache, engine=recorded / f"{name}.int8_{kind}.graph.json" if follow else None)
    assert result.match.missing == result.match.stale == ()
    assert result.without_range == {}
    x = inputs(shared, name)
    ours = outputs(result.workbench.tuned, x)
    with np.load(recorded / f"{name}.int8_{kind}.outputs.npz") as file:
        theirs = {tensor: file[tensor].reshape(ours[tensor].shape) for tensor in ours}
    if name == "mnist_cntk":
        assert (theirs["Plus214_Output_0"].argmax(1) == ours["Plus214_Output_0"].argmax(1)).all()
    plain = outputs(load_model(model), x)
    for tensor, decibels in least.items():
        assert sqnr(theirs[tensor], ours[tensor]) > decibels
        if follow:
            # The engine is nearer to the migrated graph than to the model that it was made of.
            assert sqnr(theirs[tensor], ours[tensor]) > sqnr(theirs[tensor], plain[tensor]) + 5


def test_an_engine_that_ran_nothing_in_int8_leaves_nothing_to_quantize(shared):
    small = shared / "engines" / "trt-8.6.0-h200" / "small"
    cache = shared / "calibration_caches" / "recorded" / "mnist_cntk.int8_entropy2.cache"
    with pytest.raises(PrecisionError, match="nothing is left to quantize"):
        migrate(
            shared / "models" / "mnist_cntk" / "model.onnx", cache, engine=small / "mnist_cntk.int8_entropy2.graph.json"
        )


def test_an_engine_that_tells_nothing_of_nodes_is_no_silent_yes(calibrated, small_cnn, write, tmp_path):
    quantized = calibrated.plan.resolve().to_quantize()
    layer = {
        "Name": "{ForeignNode[all]}",
        "LayerType": "Myelin",
        "Inputs": [],
        "Outputs": [],
        "Metadata": "".join(f"[ONNX Layer: {node}]" for node in quantized),
    }
    report = tmp_path / "engine.json"
    report.write_text(json.dumps({"Layers": [layer], "Bindings": []}))
    result = migrate(small_cnn, write(calibrated.ranges), engine=report)
    plain = migrate(small_cnn, write(calibrated.ranges))
    assert result.workbench.tuned.digest == plain.workbench.tuned.digest
    assert result.untold == tuple(plain.resolution.to_quantize())
    assert plain.untold == ()
    assert "engine: its report does not say what it ran" in result.text()
    assert "engine" not in plain.text()


def decision(node, op, requested, precision, *reasons):
    return SimpleNamespace(node=node, op_type=op, requested=requested, precision=precision, reasons=reasons)


@pytest.mark.parametrize(("untold", "words"), [(("b", "c"), "2 of these nodes, 'b' is the first"), (("c",), "'c'")])
def test_a_migration_is_told_line_by_line(monkeypatch, untold, words):
    decisions = [
        decision("a", "Conv", "int8", "int8"),
        decision("b", "Add", "int8", "int8"),
        decision("c", "Conv", "int8", "int8"),
        decision("d", "Loop", "int8", "fp16", "no", "never"),
        decision("e", "Relu", "fp16", "fp16"),
    ]
    resolution = SimpleNamespace(decisions={one.node: one for one in decisions})
    wb = SimpleNamespace(plan=SimpleNamespace(resolve=lambda: resolution))
    monkeypatch.setattr(migration, "history_of", lambda _: SimpleNamespace(unchecked=("a sentence",)))
    done = migration.Migration(wb, "a match", ("a flag",), {"f": ("t", "u")}, untold)
    assert done.text().splitlines() == [
        "cache: a match",
        "quantized: 3 of 5 nodes (1 Add, 2 Conv)",
        "left in fp16: 'd', no; never",
        "left in floating point: 'f', the cache has no range of 't', 'u'",
        f"engine: its report does not say what it ran {words} in; they are quantized as without it",
        "note: a sentence",
        "left out: a flag",
    ]
    resolution.decisions = {"e": decisions[-1]}
    plain = migration.Migration(wb, "a match", (), {}).text().splitlines()
    assert plain == ["cache: a match", "quantized: 0 of 1 nodes (none)", "note: a sentence"]


def test_flags_with_blanks_are_read_as_they_are(monkeypatch):
    asked = []
    monkeypatch.setattr(migration, "import_trtexec", lambda words, _: asked.append(words) or "imported")
    wb = SimpleNamespace(model=None)
    assert migration._imported(wb, "a b:fp16", "c:int8") == "imported"
    assert migration._imported(wb, None, "c:int8") == "imported"
    assert asked == ["--layerPrecisions='a b:fp16' --layerOutputTypes=c:int8", "--layerOutputTypes=c:int8"]
    assert migration._imported(wb, None, "").notes == ()


def test_a_flag_on_a_node_that_was_folded_into_another_is_told(calibrated, small_cnn, write, monkeypatch):
    rule = Rule(select="name:folded", precision="fp32")
    flags = SimpleNamespace(plan=SimpleNamespace(rules=[rule]), notes=("a note",))
    monkeypatch.setattr(migration, "_imported", lambda *_: flags)
    result = migrate(small_cnn, write(calibrated.ranges))
    assert result.notes == ("a note", f"{rule}: its nodes were folded into others")
