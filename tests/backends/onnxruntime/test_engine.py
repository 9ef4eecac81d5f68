"""ONNX Runtime as a compiler: what it really runs, mapped back, timed and read by the engine report."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

from workbench.backends.manifest import read_engine, write_engine
from workbench.backends.onnxruntime.engine import OnnxRuntime
from workbench.backends.protocol import Backend, BuildOptions, ShapeRange, TimingOptions
from workbench.engine.findings import find
from workbench.engine.summary import load_engine
from workbench.errors import BackendError
from workbench.graph.load import load_model
from workbench.runtime.session import Session
from workbench.session import open_model

QUICK = TimingOptions(warm_up_s=0.0, runs=5)


@pytest.fixture(scope="module")
def model(small_cnn):
    return load_model(small_cnn)


@pytest.fixture(scope="module")
def engine(model):
    return OnnxRuntime().build(model)


@pytest.fixture(scope="module")
def backend():
    return OnnxRuntime()


def test_it_follows_the_protocol(backend):
    assert isinstance(backend, Backend)
    able = backend.capabilities()
    assert able.build
    assert able.run
    assert able.targets[0]


def test_fused_nodes_are_mapped_back_to_all_source_nodes(model, engine):
    sources = engine.manifest["sources"]
    claimed = [node for nodes in sources.values() for node in nodes]
    assert sorted(claimed) == sorted(model.nodes)  # each once
    assert len([nodes for nodes in sources.values() if len(nodes) > 1]) >= 1
    fused = next(nodes for nodes in sources.values() if "stem/conv" in nodes)
    assert fused == ["stem/conv", "stem/relu"]


def test_what_runs_is_what_was_built(backend, engine, model):
    feeds = {"x": np.random.default_rng(0).normal(size=(3, 3, 8, 8)).astype(np.float32)}
    expected = Session(model).run(feeds)["y"]
    np.testing.assert_allclose(backend.run(engine, feeds)["y"], expected, rtol=1e-5, atol=1e-5)


def test_report_profile_and_timing_are_of_one_engine(backend, engine, model):
    layers = backend.profile(engine, QUICK)
    summary = load_engine(backend.inspect(engine), profile=layers, model=model)
    report = summary.report
    assert report.dialect.startswith("ONNX Runtime")
    assert {layer.name for layer in report.layers} == set(engine.manifest["sources"])
    assert {layer.name for layer in layers} == {layer.name for layer in report.layers if layer.ms is not None}
    assert summary.fusion.coverage == 1.0
    assert [b.dims for b in report.bindings] == [(1, 3, 8, 8), (1, 5)]
    assert all(tensor.nbytes for layer in report.layers for tensor in layer.outputs)
    assert report.layers_ms == pytest.approx(sum(layer.mean_ms for layer in layers))
    assert list(find(report)) == [], "what makes a GPU slow says nothing of a processor"
    timing = backend.time(engine, QUICK)
    assert timing.runs == 5
    assert "nothing about a GPU" in timing.conditions["note"]


def test_a_quantized_model_shows_its_integer_tensors(backend, small_cnn, small_data):
    wb = open_model(small_cnn)
    wb.prepare()
    wb.calibrate(small_data)
    tuned = wb.tune().model
    engine = backend.build(tuned)
    report = load_engine(backend.inspect(engine), model=tuned).report
    kinds = {tensor.dtype for layer in report.layers for tensor in layer.outputs}
    assert kinds & {"int8", "uint8"}


def test_a_profile_sets_the_shape_that_is_timed(backend, model):
    options = BuildOptions(profiles=({"x": ShapeRange((1, 3, 8, 8), (4, 3, 8, 8), (8, 3, 8, 8))},))
    engine = backend.build(model, options)
    assert backend.time(engine, QUICK).conditions["shapes"] == {"x": [4, 3, 8, 8]}
    arguments = TimingOptions(warm_up_s=0.0, runs=2, shapes={"x": (2, 3, 8, 8)})
    assert backend.time(engine, arguments).conditions["shapes"] == {"x": [2, 3, 8, 8]}
    with pytest.raises(BackendError, match="no input"):
        backend.build(model, BuildOptions(profiles=({"z": ShapeRange.fixed((1,))},)))


def test_what_it_cannot_do_is_an_error(backend, engine, model):
    with pytest.raises(BackendError, match="has no workspace_bytes"):
        backend.build(model, BuildOptions(workspace_bytes=1))
    with pytest.raises(BackendError, match="no CUDA graphs"):
        backend.time(engine, TimingOptions(cuda_graph=True))
    with pytest.raises(BackendError, match="is no input"):
        backend.time(engine, TimingOptions(runs=1, shapes={"z": (1,)}))
    with pytest.raises(BackendError, match="ONNX Runtime fails"):
        backend.time(engine, TimingOptions(runs=1, shapes={"x": (1, 9, 8, 8)}))


def test_a_stored_engine_is_refused_elsewhere(backend, engine, tmp_path):
    path = write_engine(engine, tmp_path / "small.engine")
    stored = read_engine(path)
    assert backend.load(stored.data, stored.manifest).data == engine.data
    other = {**stored.manifest, "device": {"name": "another processor"}}
    with pytest.raises(BackendError, match="made for another processor"):
        backend.load(stored.data, other)


@pytest.mark.parametrize("name", ["mnist_cntk", "gtcrn_simple", "vit_mnist_selftrained", "ultraface_rfb320_qdq"])
def test_real_models_are_accounted_for(backend, shared, name):
    path = next(iter(sorted((shared / "models" / name).glob("*.onnx"))), None)
    if path is None:
        pytest.skip(f"{name} is not in ../shared")
    model = load_model(path)
    engine = backend.build(model)
    report = json.loads(backend.inspect(engine))
    summary = load_engine(report, model=model)
    assert summary.fusion.coverage > 0.95, summary.fusion.summary()
    assert summary.report.layers


def test_times_are_of_single_runs_and_a_profile_of_the_nodes_that_run(backend, engine):
    timing = backend.time(engine, QUICK)
    assert len(timing.latencies_ms) == timing.runs == 5
    assert 0 < timing.median_ms < 10_000
    names = {node.name for node in onnx.load_from_string(engine.data).graph.node}
    assert {layer.name for layer in backend.profile(engine, QUICK)} == names
