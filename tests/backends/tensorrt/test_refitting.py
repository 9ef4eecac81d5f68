"""Weights go back only into an engine that takes them, which its manifest tells before anything is loaded."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
from onnx import helper

from tests.kit.models import model, weight
from workbench.backends import backend_named, need_of, with_weights, write_engine
from workbench.backends.compiler import compile_for, rtx_capabilities
from workbench.backends.manifest import make_manifest, tensors_of
from workbench.backends.protocol import BuildOptions, Engine
from workbench.backends.tensorrt import TensorRT
from workbench.backends.tensorrt.refitting import check_weights, refit_file, refitted_manifest
from workbench.child import Child, run
from workbench.errors import BackendError
from workbench.graph import save_model
from workbench.jobs import run_engine
from workbench.jobs.bench.rows import BenchRow
from workbench.jobs.bench.run import Bench

NODES = [helper.make_node("MatMul", ["x", "w"], ["y"], "product")]


def product(seed=0, width=16):
    return model(NODES, {"x": [4, 16]}, {"y": [4, width]}, [weight("w", 16, width, seed=seed)])


@pytest.fixture(scope="module")
def plan():
    """A real plan for another GPU; TensorRT-RTX strips weights only where a GPU is, so only its manifest says so."""
    if not rtx_capabilities().build:
        pytest.skip("TensorRT-RTX is missing")
    outcome = compile_for(product(), "sm86", BuildOptions(), child=Child(), keep_engine=True)
    manifest = make_manifest("tensorrt_rtx", product(), outcome.value, BuildOptions(), None, "sm86")
    return Engine("tensorrt_rtx", outcome.value.engine, manifest)


def asked(plan, **options):
    return replace(plan, manifest={**plan.manifest, "options": asdict(BuildOptions(**options))})


@pytest.mark.parametrize(
    ("options", "other", "message"),
    [
        ({}, product(), r"engine of .*: it holds its weights, and was not built to take others\. Run it without"),
        ({"strip": True}, product(1), r"takes back the weights that it was built with, and those of .* are others"),
        ({"strip": True, "refit": True}, product(0, 8), r"has other inputs or outputs than the engine"),
        ({"refit": True}, product(0, 8), r"has other inputs or outputs than the engine"),
    ],
)
def test_weights_that_an_engine_does_not_take_are_refused_from_its_manifest(plan, options, other, message):
    with pytest.raises(BackendError, match=message):
        TensorRT("tensorrt_rtx").refit(asked(plan, **options), other)


@pytest.mark.parametrize(
    ("options", "seed"), [({"strip": True}, 0), ({"refit": True}, 1), ({"strip": True, "refit": True}, 1)]
)
def test_weights_that_it_takes_come_as_far_as_the_gpu(plan, options, seed):
    engine = asked(plan, **options)
    check_weights(engine.manifest, product(seed))
    if rtx_capabilities().run:
        pytest.skip("there is a GPU, and the plan was not stripped")
    with pytest.raises(BackendError, match="GPU"):
        TensorRT("tensorrt_rtx").refit(engine, product(seed))


def built_of(network, **options):
    tensors = {"inputs": tensors_of(network.inputs), "outputs": tensors_of(network.outputs)}
    return {"model": "built", "model_sha256": network.digest, "options": options, **tensors}


@pytest.mark.parametrize(
    ("options", "other", "what"),
    [
        ({"strip": True}, product(0), None),
        ({"strip": True}, product(1), "it takes back the weights that it was built with, and those of g are others"),
        ({"refit": True}, product(0), None),
        ({"refit": True}, product(1), None),
        ({"refit": True, "strip": True}, product(1), None),
        ({"refit": True}, product(0, 8), "g has other inputs or outputs than the engine"),
        ({}, product(0), "it holds its weights, and was not built to take others"),
        ({"strip": False, "refit": False}, product(0), "it holds its weights, and was not built to take others"),
    ],
)
def test_which_weights_an_engine_takes(options, other, what):
    manifest = built_of(product(), **options)
    if what is None:
        check_weights(manifest, other)
        check_weights({**manifest, "options": None, "trusted": True}, other)
        return
    with pytest.raises(BackendError) as caught:
        check_weights(manifest, other)
    assert (caught.value.where, caught.value.what) == ("engine of built", what)
    check_weights({**manifest, "trusted": True}, other)  # nothing is known of it


@pytest.mark.parametrize("part", ["inputs", "outputs"])
def test_a_model_of_other_ends_is_of_another_graph(part):
    with pytest.raises(BackendError, match="other inputs or outputs"):
        check_weights(built_of(product(), refit=True) | {part: []}, product(1))


def test_a_refitted_engine_is_told_of_as_one_that_was_built_whole():
    manifest = built_of(product(), strip=True, refit=True, tf32=False) | {"engine_bytes": 3}
    assert refitted_manifest(manifest, b"whole", product(1)) == {
        **manifest,
        "engine_sha256": hashlib.sha256(b"whole").hexdigest(),
        "engine_bytes": 5,
        "model": "g",
        "model_sha256": product(1).digest,
        "options": {"strip": False, "refit": False, "tf32": False},
        "refitted": True,
    }
    assert refitted_manifest({"options": None}, b"", product())["options"] == {"strip": False, "refit": False}


def test_a_refitted_engine_needs_no_weights_and_takes_none(plan):
    stripped = asked(plan, strip=True)
    assert need_of(stripped.manifest).stripped
    refitted = refitted_manifest(stripped.manifest, b"whole", product())
    assert not need_of(refitted).stripped
    assert refitted["engine_bytes"] == 5
    with pytest.raises(BackendError, match="holds its weights"):
        check_weights(refitted, product())


def test_an_engine_that_holds_its_weights_is_left_alone(plan):
    assert with_weights(plan, product(1)) is plan
    with pytest.raises(BackendError, match=r"those of .* are others"):
        with_weights(asked(plan, strip=True), product(1))


def test_a_bench_measures_no_engine_without_weights(plan, tmp_path, monkeypatch):
    """What cannot be refitted here is built, and not measured."""
    if rtx_capabilities().run:
        pytest.skip("there is a GPU, and the plan was not stripped")
    stripped = asked(plan, strip=True)
    monkeypatch.setattr(TensorRT, "build", lambda *_, **__: stripped)
    bench = Bench([], tmp_path, package="tensorrt_rtx")
    row = bench._keep(BenchRow("m", "given", "skipped", ""), SimpleNamespace(ranges_from=None), product(), None, None)
    assert (row.status, "GPU" in row.reason, bench._built) == ("built", True, {})


def test_a_stripped_engine_is_never_run_without_weights(plan):
    with pytest.raises(BackendError, match=r"written without its weights\. Give the ONNX file .*--weights"):
        TensorRT("tensorrt_rtx").run(asked(plan, strip=True), {})


def test_a_runtime_without_a_parser_says_who_can(tmp_path):
    if importlib.util.find_spec("tensorrt_lean_bindings") is None:
        pytest.skip("the lean runtime is missing")
    with pytest.raises(BackendError, match=r"cannot read weights out of an ONNX file\. The full runtime"):
        run(Child(), "refitting", refit_file, "tensorrt_lean_bindings", str(tmp_path / "a.plan"), "a.onnx")


def test_all_that_the_refit_calls_is_there():
    """None of it runs without a GPU; that a real package has it all can be seen without one."""
    trt = pytest.importorskip("tensorrt_rtx")
    of_engine = ("create_serialization_config", "serialize_with_config", "get_engine_stat")
    assert all(hasattr(trt.ICudaEngine, name) for name in of_engine)
    assert all(hasattr(trt.OnnxParserRefitter, name) for name in ("refit_from_file", "num_errors", "get_error"))
    assert all(hasattr(trt.Refitter, name) for name in ("get_missing_weights", "refit_cuda_engine"))
    assert hasattr(trt.ISerializationConfig, "clear_flag")
    assert hasattr(trt.SerializationFlag, "EXCLUDE_WEIGHTS")
    assert hasattr(trt.EngineStat, "STRIPPED_WEIGHTS_SIZE")


def test_onnx_runtime_holds_its_weights():
    backend = backend_named("onnxruntime")
    engine = backend.build(product(), BuildOptions(), child=Child())
    with pytest.raises(BackendError, match=r"holds its weights, and takes no others\. Leave the weights out"):
        backend.refit(engine, product())


def test_the_command_says_the_same(plan, tmp_path):
    path = write_engine(asked(plan, strip=True), tmp_path / "a.plan")
    other = save_model(product(1), tmp_path / "other.onnx")[0]
    with pytest.raises(BackendError, match=r"--weights FILE"):
        run_engine(path)
    with pytest.raises(BackendError, match="are others"):
        run_engine(path, weights=other)
