"""Building one engine and running it: what it needs is said first, what it computes is written, what does not fit is
refused in one line."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest

from tests.kit import models
from workbench.backends import read_engine, write_engine
from workbench.backends.protocol import BuildOptions, Engine
from workbench.errors import BackendError, OptionError, RecipeError, SamplesError
from workbench.graph.load import load_model
from workbench.jobs import build_engine, run_engine
from workbench.recipe import Recipe
from workbench.session import open_model

needs_rtx = pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="TensorRT-RTX is missing")


@pytest.fixture(scope="module")
def engine(small_cnn, tmp_path_factory):
    """An engine of ONNX Runtime in a file."""
    path = tmp_path_factory.mktemp("engine") / "small.engine"
    build_engine(small_cnn, path, backend="onnxruntime")
    return path


@pytest.fixture(scope="module")
def expected(small_cnn, small_data):
    with np.load(small_data) as samples:
        return models.run(load_model(small_cnn), {"x": samples["x"]})[0]


@pytest.mark.parametrize("batch", [1, 5, 12])
def test_an_engine_runs_over_samples_a_row_a_sample(engine, small_data, expected, tmp_path, batch):
    result = run_engine(engine, samples=small_data, out=tmp_path / "r.npz", batch=batch)
    assert result.samples == 12
    with np.load(tmp_path / "r.npz") as file:
        assert list(file) == ["y"]
        np.testing.assert_allclose(file["y"], expected, atol=1e-5)
    assert "12 samples on onnxruntime" in result.text()


def test_a_last_batch_that_was_filled_up_leaves_no_row(small_cnn, small_data, expected, tmp_path):
    wb = open_model(small_cnn)
    wb.edit("set_batch", size=5)
    wb.model.save(tmp_path / "b5.onnx")
    build_engine(tmp_path / "b5.onnx", tmp_path / "b5.engine", backend="onnxruntime")
    run_engine(tmp_path / "b5.engine", samples=small_data, out=tmp_path / "r.npz")
    with np.load(tmp_path / "r.npz") as file:
        np.testing.assert_allclose(file["y"], expected, atol=1e-5)


def test_the_command_says_what_the_engine_needs_before_it_loads_it(engine, small_data, tmp_path, run):
    code, out, err = run("run", engine, "--samples", small_data, "--out", tmp_path / "r.npz")
    assert (code, f"wrote {tmp_path / 'r.npz'}" in out) == (0, True)
    assert f"{engine}: small_cnn: onnxruntime" in err
    code, out, _ = run("run", engine)
    assert (code, "onnxruntime loads it here" in out) == (0, True)


def test_an_engine_of_unknown_source_is_refused_unless_trusted(engine, small_data, tmp_path, run, expected):
    stray = tmp_path / "stray.engine"
    stray.write_bytes(engine.read_bytes())
    code, _, err = run("run", stray, "--samples", small_data, "--out", tmp_path / "r.npz")
    assert code == BackendError.exit_code
    assert "without a manifest: its source is unknown" in err
    assert "--trust" in err
    trusted = ["--trust", "onnxruntime", "--batch", "4"]
    code, _, err = run("run", stray, "--samples", small_data, "--out", tmp_path / "r.npz", *trusted)
    assert (code, "nothing is known of what it needs" in err) == (0, True)
    with np.load(tmp_path / "r.npz") as file:
        np.testing.assert_allclose(file["y"], expected, atol=1e-5)


def tensorrt_engine(folder, **changes):
    """A file with a manifest as TensorRT's engines have it; its bytes are no engine, so nothing may load it."""
    import hashlib

    from workbench.backends.needs import this_platform

    data = b"not loaded by anything"
    facts = {
        "format": "workbench-engine/1",
        "backend": "tensorrt",
        "version": "8.6.0",
        "engine_sha256": hashlib.sha256(data).hexdigest(),
        "model": "resnet50",
        "options": {},
        "device": {"name": "NVIDIA H200", "capability": [9, 0]},
        "platform": this_platform(),
    } | changes
    return write_engine(Engine("tensorrt", data, facts), folder / "a.plan")


@pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="TensorRT is installed here")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, ("the full runtime of TensorRT 8.6.0 and no other version", "pip install tensorrt==8.6.0")),
        ({"version_compatible": True}, ("8.6.0 or newer, up to 10.x", "pip install tensorrt==8.6.0")),
    ],
)
def test_a_runtime_that_is_not_here_is_named_with_its_version(tmp_path, run, options, words):
    code, _, err = run("run", tensorrt_engine(tmp_path, options=options), "--runtime", "full")
    assert code == BackendError.exit_code
    lines = err.splitlines()
    assert len(lines) == 2
    assert words[0] in lines[0]
    assert all(word in lines[1] for word in (*words, "error:"))


def test_inputs_that_do_not_fit_are_refused(engine, tmp_path):
    with pytest.raises(SamplesError, match="the model wants"):
        run_engine(engine, samples={"x": np.zeros((2, 3, 9, 9), np.float32)}, out=tmp_path / "r.npz")
    with pytest.raises(SamplesError, match=r"no samples|no sample|empty"):
        run_engine(engine, samples={"x": np.zeros((0, 3, 8, 8), np.float32)}, out=tmp_path / "r.npz")
    assert not (tmp_path / "r.npz").exists()
    with pytest.raises(OptionError, match="give both, or neither"):
        run_engine(engine, out=tmp_path / "r.npz")
    with pytest.raises(BackendError, match="no such engine"):
        run_engine(tmp_path / "none.engine")


def test_the_recipe_says_where_engines_load_and_builds_take_it(small_cnn, small_data, tmp_path):
    wb = open_model(small_cnn)
    wb.calibrate(small_data)
    wb.engines.set(version_compatible=True, exclude_lean_runtime=True)
    wb.save(tmp_path / "tuned")
    recipe = Recipe.load(tmp_path / "tuned/recipe.yaml")
    assert recipe.build.asked == ("version_compatible", "exclude_lean_runtime")
    with pytest.raises(BackendError, match="ONNX Runtime has no version_compatible"):
        wb.build("onnxruntime")
    wb.build("onnxruntime", options=BuildOptions())
    with pytest.raises(RecipeError, match="exclude_lean_runtime goes with version_compatible"):
        wb.engines.set(exclude_lean_runtime=True)
    wb.engines.set()
    assert wb.recipe.build is None
    assert "build:" not in wb.recipe.to_yaml()
    with pytest.raises(RecipeError, match="it did not make small_cnn"):
        build_engine(small_cnn, tmp_path / "e", recipe=tmp_path / "tuned/recipe.yaml", backend="onnxruntime")


@needs_rtx
def test_a_recipe_and_the_command_line_reach_the_real_builder(small_cnn, small_data, tmp_path, run):
    wb = open_model(small_cnn)
    wb.calibrate(small_data)
    wb.engines.set(version_compatible=True)
    wb.save(tmp_path / "tuned")
    words = ["--recipe", tmp_path / "tuned/recipe.yaml", "--backend", "tensorrt_rtx", "--target", "sm86"]
    model = tmp_path / "tuned/tuned.onnx"
    code, _, err = run("build", model, "--out", tmp_path / "e.plan", *words)
    assert (code, "does not bring the lean runtime" in err) == (BackendError.exit_code, True)
    words += ["--exclude-lean-runtime", "--batches", "1,4,4"]
    code, out, _ = run("build", model, "--out", tmp_path / "e.plan", *words)
    assert code == 0
    assert "needs TensorRT-RTX" in out
    manifest = json.loads((tmp_path / "e.plan.json").read_text())
    assert manifest["options"]["version_compatible"] is manifest["options"]["exclude_lean_runtime"] is True
    assert [manifest["profile"][0][name] for name in ("min", "opt", "max")] == [
        [1, 3, 8, 8],
        [4, 3, 8, 8],
        [4, 3, 8, 8],
    ]
    assert len(read_engine(tmp_path / "e.plan").data) > 1000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--exclude-lean-runtime"], "--exclude-lean-runtime goes with --version-compatible"),
        (["--target", "sm86"], "--target is for the --backend tensorrt_rtx"),
        (["--batches", "4,1,8"], "MIN,OPT,MAX"),
    ],
)
def test_options_that_do_not_fit_are_refused(small_cnn, tmp_path, run, words, message):
    code, _, err = run("build", small_cnn, "--out", tmp_path / "e", *words)
    assert code == OptionError.exit_code
    assert message in err.replace("\n", " ")


def test_a_model_without_a_free_batch_has_no_batches(tmp_path):
    from onnx import helper

    models.model([helper.make_node("Relu", ["x"], ["y"])], {"x": [1, 4]}, {"y": [1, 4]}).save(tmp_path / "m.onnx")
    with pytest.raises(BackendError, match="no input has a free first axis"):
        build_engine(tmp_path / "m.onnx", tmp_path / "e", backend="onnxruntime", batches="1,2,4")
