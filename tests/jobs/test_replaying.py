"""Gates are judged again by a replay, and a recipe is re-targeted to other data and to a retrained model."""

from __future__ import annotations

import struct

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import workbench
from workbench.errors import OptionError, RecipeError, SamplesError
from workbench.jobs import replay, replaying, tune, verify_recipe
from workbench.recipe import Recipe
from workbench.recipe.steps import CalibrateStep, PrecisionStep


@pytest.fixture(scope="module")
def tuned(small_cnn, small_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuned")
    labels = small_data.with_name("labels.npy")
    gates = ("sqnr_db >= 15", "file_mib <= 1")
    result = tune(small_cnn, small_data, folder / "out", labels=labels, gates=gates, runs=0)
    assert result.passed
    return folder / "out" / "recipe.yaml"


@pytest.fixture(scope="module")
def customer(small_cnn, tmp_path_factory):
    """A retrained model and other data."""
    folder = tmp_path_factory.mktemp("customer")
    rng = np.random.default_rng(11)
    proto = onnx.load(small_cnn)
    for one in proto.graph.initializer:
        array = numpy_helper.to_array(one)
        one.CopyFrom(numpy_helper.from_array((1.1 * array).astype(array.dtype), one.name))
    onnx.save(proto, folder / "model.onnx")
    np.savez(folder / "samples.npz", x=3 * rng.normal(size=(8, 3, 8, 8)).astype(np.float32))
    np.savez(folder / "test.npz", x=3 * rng.normal(size=(6, 3, 8, 8)).astype(np.float32))
    np.save(folder / "labels.npy", rng.integers(0, 5, 6))
    return folder


def test_a_replay_judges_the_gates_on_what_they_were_judged_on(tuned, tmp_path):
    result = replay(
        tuned, tmp_path / "out", gates=("sqnr_db >= 90",), junit=tmp_path / "j.xml", summary=tmp_path / "s.md"
    )
    assert [verdict.passed for verdict in result.verdicts] == [True, True, False]
    assert result.verdicts[1].value == (tmp_path / "out" / "tuned.onnx").stat().st_size / 2**20
    assert result.exit_code == 12
    assert (tmp_path / "out/tuned.onnx").read_bytes() == tuned.with_name("tuned.onnx").read_bytes()
    assert Recipe.load(tmp_path / "out/recipe.yaml").gates == Recipe.load(tuned).gates
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["recipe.yaml", "tuned.onnx"]
    assert 'failures="1"' in (tmp_path / "j.xml").read_text()
    assert "❌" in (tmp_path / "s.md").read_text()


class Stopped(Exception):  # noqa: N818 - no error: far enough
    """What a replay is asked to write has been seen."""


@pytest.mark.parametrize(
    ("here", "settings", "kept"),
    [
        (True, (), ("report.json", "report.html", "statistics.npz")),
        (True, ("target=rtx",), ()),
        (False, (), ()),
        (False, ("target=rtx", "labels=a=b"), ()),
    ],
)
def test_reports_stay_where_the_same_bytes_are_made_again(tuned, tmp_path, monkeypatch, here, settings, kept):
    seen = []

    def folder(out, outputs, *, keeps):
        seen.append((out, outputs[0], keeps))
        raise Stopped

    monkeypatch.setattr(replaying, "results_folder", folder)
    out = tuned.parent if here else tmp_path
    with pytest.raises(Stopped):
        replay(tuned, out, settings=settings)
    assert seen == [(out, "tuned.onnx", kept)]


def test_without_gates_nothing_is_run(tuned, tmp_path):
    result = replay(tuned, tmp_path / "out", no_gates=True)
    assert (result.verdicts, result.exit_code) == ((), 0)


def test_samples_that_are_gone_fail_the_gates_that_need_them_and_say_so(tuned, tmp_path):
    text = tuned.read_text().replace("samples.npz", "gone.npz")
    (tmp_path / "recipe.yaml").write_text(text)
    model = Recipe.load(tuned).model.file
    result = replay(tmp_path / "recipe.yaml", tmp_path / "out", model=model)
    assert any("gates on results cannot be judged again" in remark for remark in result.remarks)
    sqnr, size = result.verdicts
    assert (sqnr.value, size.passed) == (None, True)
    assert "gone.npz" in sqnr.reason


def test_gates_on_an_engine_are_judged_on_one_that_is_built_and_timed_here(tuned, tmp_path):
    gates = ("p95_ms <= 1e4", "throughput >= 1e-3", "layers >= 1", "engine_mib <= 1", "device_mib <= 1")
    result = replay(tuned, tmp_path / "out", gates=gates, backend="onnxruntime", runs=3)
    by_name = {verdict.gate.split()[0]: verdict for verdict in result.verdicts}
    assert all(by_name[name].passed for name in ("p95_ms", "throughput", "layers", "engine_mib"))
    assert "onnxruntime" in by_name["p95_ms"].conditions
    assert "3 runs" in by_name["p95_ms"].conditions
    assert by_name["device_mib"].reason  # ONNX Runtime does not tell


def test_a_recipe_is_re_targeted_to_a_retrained_model_and_other_data(tuned, customer, tmp_path):
    settings = tuple(
        f"{key}={customer / file}"
        for key, file in (
            ("model", "model.onnx"),
            ("samples", "samples.npz"),
            ("eval_samples", "test.npz"),
            ("labels", "labels.npy"),
        )
    )
    result = replay(tuned, tmp_path / "out", settings=settings, gates=("top1_drop <= 100",), runs=0)
    old, new = Recipe.load(tuned), Recipe.load(tmp_path / "out/recipe.yaml")
    assert len(result.moved) == len(old.of_kind(CalibrateStep)[0].ranges)
    assert new.of_kind(PrecisionStep) == old.of_kind(PrecisionStep)
    assert new.gates == old.gates
    assert (new.model.sha256 != old.model.sha256, new.model.structure) == (True, old.model.structure)
    assert new.evaluation.samples.count == 6
    assert all(verdict.passed for verdict in result.verdicts)
    assert (tmp_path / "out/report.html").is_file()
    # What came out is a recipe like any other.
    again = replay(tmp_path / "out/recipe.yaml", tmp_path / "again")
    assert again.moved is None
    assert again.passed


def test_what_cannot_be_re_targeted_is_refused_before_anything_is_written(tuned, customer, tmp_path):
    proto = onnx.load(customer / "model.onnx")
    proto.graph.node[0].name = "other"
    onnx.save(proto, tmp_path / "other.onnx")
    with pytest.raises(RecipeError, match="not of the structure"):
        replay(tuned, tmp_path / "out", settings=(f"model={tmp_path / 'other.onnx'}",))
    with pytest.raises(SamplesError, match="no such"):
        replay(tuned, tmp_path / "out", settings=("samples=none.npz",))
    with pytest.raises(OptionError, match="did you mean model"):
        replay(tuned, tmp_path / "out", settings=("modle=a",))
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_what_came_from_data_is_measured_again_and_what_a_person_set_stays(small_cnn, small_data, customer, tmp_path):
    wb = workbench.open_model(small_cnn)
    wb.calibrate(small_data)
    wb.ranges.equalize()
    wb.set_range("r2", 1.25)
    wb.plan.set("op:Conv", "int8")
    wb.plan.correct_bias()
    wb.save(tmp_path / "old")
    result = replay(tmp_path / "old/recipe.yaml", tmp_path / "out", settings=(f"samples={customer / 'samples.npz'}",))
    new = {step.do: step for step in Recipe.load(tmp_path / "out/recipe.yaml").steps}
    old = {step.do: step for step in wb.recipe.steps}
    assert list(new) == list(old)
    assert new["correct_bias"].shifts != old["correct_bias"].shifts
    assert new["set_range"] == old["set_range"]
    assert any("the range of r2 was set by hand" in note for note in result.remarks)


def test_a_cache_of_the_former_model_gives_way_to_samples(small_cnn, small_data, customer, tmp_path):
    wb = workbench.open_model(small_cnn)
    wb.calibrate(small_data)
    lines = [f"{name}: {struct.pack('>f', amax / 127).hex()}" for name, amax in wb.ranges.items()]
    (tmp_path / "a.cache").write_text("\n".join(["TRT-8600-EntropyCalibration2", *lines, ""]))
    cached = workbench.open_model(small_cnn)
    cached.ranges.use_cache(tmp_path / "a.cache")
    cached.plan.set("op:Conv", "int8")
    cached.save(tmp_path / "old")
    recipe, model = tmp_path / "old/recipe.yaml", f"model={customer / 'model.onnx'}"
    with pytest.raises(RecipeError, match=r"its ranges came out of a[.]cache, which is of the former model"):
        replay(recipe, tmp_path / "out", settings=(model,))
    result = replay(recipe, tmp_path / "out", settings=(model, f"samples={customer / 'samples.npz'}"), runs=0)
    assert any("are measured on the samples" in note for note in result.remarks)
    assert [step.do for step in Recipe.load(tmp_path / "out/recipe.yaml").steps] == ["calibrate", "set_precision"]


def test_verify_tells_and_runs_nothing(tuned, tmp_path):
    assert verify_recipe(tuned).text() == "it can be replayed here; nothing has drifted"
    (tmp_path / "recipe.yaml").write_text(tuned.read_text())
    report = verify_recipe(tmp_path / "recipe.yaml")
    assert report.exit_code == 5
    assert "is not at" in report.text()
