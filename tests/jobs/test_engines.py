"""Building one engine and running it: what it needs is said first, what it computes is written, what does not fit is
refused in one line."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from onnx import helper

from tests.kit import models
from workbench.backends import default_range, read_engine, write_engine
from workbench.backends.needs import Runtime
from workbench.backends.protocol import BuildOptions, Engine
from workbench.backends.tensorrt import TensorRT
from workbench.errors import BackendError, OptionError, RecipeError, SamplesError
from workbench.graph.load import load_model
from workbench.jobs import build_engine, engines, run_engine
from workbench.jobs.engines import EngineBuild, EngineRun
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
    models.model([helper.make_node("Relu", ["x"], ["y"])], {"x": [1, 4]}, {"y": [1, 4]}).save(tmp_path / "m.onnx")
    with pytest.raises(BackendError, match="no input has a free first axis"):
        build_engine(tmp_path / "m.onnx", tmp_path / "e", backend="onnxruntime", batches="1,2,4")


# With others standing in for what builds and what runs


def test_a_built_engine_says_its_size_its_time_and_where_it_loads():
    made = Engine("onnxruntime", bytes(5 << 19), {"build_s": 2.06})
    assert EngineBuild(made, "needs this", ()).text() == "2.5 MiB, built in 2.1 s\nneeds this"


def test_a_run_says_how_many_samples_and_each_shape_or_that_it_loads():
    assert EngineRun("need", "rt").text() == "rt loads it here"
    ran = EngineRun("need", "rt", 3, (("y", (3, 5)), ("z", ())))
    assert ran.text().splitlines() == ["3 samples on rt", "  y 3x5", "  z "]
    assert repr(ran).splitlines()[:2] == ["need", "  3 samples on rt"]


@pytest.mark.parametrize(
    ("given", "profiled", "workspace", "cache"),
    [
        ({}, None, None, None),
        ({"workspace_mib": 3}, None, 3 << 20, None),
        ({"batches": (1, 2, 8), "timing_cache": "t"}, {"x": (1, 2, 8), "z": (1, 2, 8)}, None, "t"),
    ],
)
def test_what_is_asked_of_an_engine_reaches_what_builds_it(tmp_path, monkeypatch, given, profiled, workspace, cache):
    relu = [helper.make_node("Relu", [name], [f"{name}.y"], name) for name in "xzf"]
    inputs = {"x": ["N", 3, "H"], "z": ["M"], "f": [4, 5]}
    net = models.model(relu, inputs, {f"{name}.y": shape for name, shape in inputs.items()})
    net.save(tmp_path / "m.onnx")
    asked = []

    def build(_, options, *, child):
        del child
        asked.append(options)
        return Engine("onnxruntime", b"", {"backend": "onnxruntime", "build_s": 1.0})

    monkeypatch.setattr(engines, "backend_named", lambda _: SimpleNamespace(build=build))
    monkeypatch.setattr(engines, "write_engine", lambda _, path: path)
    monkeypatch.setattr(engines, "need_of", lambda _: "need")
    result = build_engine(tmp_path / "m.onnx", tmp_path / "a.engine", backend="onnxruntime", refit=True, **given)
    (options,) = asked
    assert result.files == (tmp_path / "a.engine", tmp_path / "a.engine.json")
    assert options.refit
    if workspace is not None:
        assert options.workspace_bytes == workspace
    assert options.timing_cache == cache
    if profiled is None:
        assert options.profiles is None
        return
    (profile,) = options.profiles
    firsts = {name: (one.min[0], one.opt[0], one.max[0]) for name, one in profile.items()}
    assert firsts == profiled
    inner = default_range((-1, 3, -1))
    assert [one[1:] for one in (profile["x"].min, profile["x"].opt, profile["x"].max)] == [
        inner.min[1:],
        inner.opt[1:],
        inner.max[1:],
    ]


FULL, LEAN, RTX = (Runtime(kind, kind, "1.0") for kind in ("full", "lean", "rtx"))


@pytest.mark.parametrize(
    ("name", "kind", "here", "fits", "taken"),
    [
        ("tensorrt", "auto", (RTX, LEAN, FULL), (LEAN, FULL), (LEAN, True)),
        ("tensorrt", "auto", (FULL, LEAN), (FULL,), (FULL, False)),
        ("tensorrt", "full", (LEAN, FULL), (LEAN, FULL), (FULL, False)),
        ("tensorrt_rtx", "auto", (FULL, RTX), (FULL, RTX), (RTX, False)),
        ("tensorrt", "auto", (RTX,), (RTX,), "here is no such runtime"),
        ("tensorrt_rtx", "auto", (FULL, LEAN), (FULL, LEAN), "here is no such runtime"),
        ("tensorrt", "full", (LEAN,), (LEAN,), "here is no such runtime"),
        ("tensorrt", "auto", (FULL, LEAN), (), f"here is {FULL} and {LEAN}. Install one that fits: pip install it."),
    ],
)
def test_an_engine_is_loaded_by_the_first_runtime_of_its_family_that_fits(monkeypatch, name, kind, here, fits, taken):
    class Need:
        install = "pip install it"

        def takes(self, one):
            return one in fits

        def __str__(self):
            return "the need"

    monkeypatch.setattr(engines, "backend_of", lambda _: TensorRT(name))
    monkeypatch.setattr(engines, "installed", lambda: here)
    if isinstance(taken, str):
        with pytest.raises(BackendError) as failure:
            engines._loader(None, Need(), kind, "e.plan")
        assert str(failure.value).startswith(f"e.plan: the need; {taken}")
        return
    backend, said = engines._loader(None, Need(), kind, "e.plan")
    assert (backend.name, backend.lean, said) == (name, taken[1], str(taken[0]))


@pytest.mark.parametrize("digest", ["0" * 64, "f" * 64, None])
def test_a_recipe_is_of_the_model_that_it_made_alone(monkeypatch, digest):
    document = SimpleNamespace(tuned=None if digest is None else SimpleNamespace(sha256=digest))
    monkeypatch.setattr(engines, "Recipe", SimpleNamespace(load=lambda _: document))
    monkeypatch.setattr(engines, "file_digest", lambda _: "5" * 64)
    with pytest.raises(RecipeError, match="it did not make net"):
        engines._recipe_of(SimpleNamespace(name="net"), "r.yaml")
    document.tuned = SimpleNamespace(sha256="5" * 64)
    assert engines._recipe_of(SimpleNamespace(name="net"), "r.yaml") is document


@pytest.mark.parametrize(("save", "files"), [(None, ()), ("whole.plan", ("written",))])
def test_weights_are_put_in_before_an_engine_is_loaded_and_it_is_written_where_that_is_asked(monkeypatch, save, files):
    order = []
    whole = SimpleNamespace(data="whole", manifest="whole manifest")
    backend = SimpleNamespace(
        refit=lambda engine, of: order.append(("refit", engine.data, of)) or whole,
        load=lambda data, manifest: order.append(("load", data, manifest)),
    )
    stripped = SimpleNamespace(data="stripped", manifest={})
    monkeypatch.setattr(engines, "read_engine", lambda *_, **__: stripped)
    monkeypatch.setattr(engines, "need_of", lambda _: "need")
    monkeypatch.setattr(engines, "_loader", lambda *_: (backend, "rt"))
    monkeypatch.setattr(engines, "load_model", str)
    monkeypatch.setattr(engines, "write_engine", lambda engine, path: order.append((engine.data, path)) or "written")
    said = []
    result = run_engine("e.plan", weights="m.onnx", save=save, say=said.append)
    wrote = [] if save is None else [("whole", Path(save))]
    assert order == [("refit", "stripped", "m.onnx"), *wrote, ("load", "whole", "whole manifest")]
    assert (result.files, result.samples, said) == (files, 0, ["e.plan: need"])
