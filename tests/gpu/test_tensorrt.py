"""The whole TensorRT path on a real GPU: build, run, time, profile, inspect, store."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from workbench.backends import manifest
from workbench.backends.protocol import BuildOptions, ShapeRange, TimingOptions
from workbench.backends.tensorrt.backend import BuildError, TensorRT
from workbench.errors import BackendError
from workbench.graph.load import from_proto, load_model

TENSORRT = TensorRT()
ABLE = TENSORRT.capabilities()
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not ABLE.run, reason=f"TensorRT cannot run here: {ABLE.reason}"),
]

# cuBLAS and cuDNN need not be there.
OPTIONS = BuildOptions(
    tactic_sources=("EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"),
    workspace_bytes=1 << 30,
    optimization_level=1,
    tf32=False,
)


def network(*, qdq: bool = False, half: bool = False, batch: int | str = "n"):
    """Conv, Relu, Conv with a residual Add, and a mean; seeded weights."""
    rng = np.random.default_rng(0)
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    dtype = np.float16 if half else np.float32
    weights = {
        "w1": rng.normal(0, 0.2, (32, 16, 3, 3)).astype(dtype),
        "w2": rng.normal(0, 0.1, (32, 32, 3, 3)).astype(dtype),
        "b1": rng.normal(0, 0.1, 32).astype(dtype),
    }
    nodes = []

    def quantized(name: str, scale: float) -> str:
        if not qdq:
            return name
        weights.setdefault("zero", np.array(0, np.int8))
        weights[f"{name}_scale"] = np.array(scale, dtype)
        nodes.append(
            helper.make_node("QuantizeLinear", [name, f"{name}_scale", "zero"], [f"{name}_q"], name=f"{name}_Q")
        )
        nodes.append(
            helper.make_node(
                "DequantizeLinear", [f"{name}_q", f"{name}_scale", "zero"], [f"{name}_dq"], name=f"{name}_DQ"
            )
        )
        return f"{name}_dq"

    nodes.append(
        helper.make_node(
            "Conv",
            [quantized("x", 0.01), quantized("w1", 0.006), "b1"],
            ["c1"],
            "c1",
            kernel_shape=[3, 3],
            pads=[1] * 4,
        )
    )
    nodes.append(helper.make_node("Relu", ["c1"], ["r1"], "r1"))
    inner = quantized("r1", 0.02)
    nodes.append(
        helper.make_node("Conv", [inner, quantized("w2", 0.004)], ["c2"], "c2", kernel_shape=[3, 3], pads=[1] * 4)
    )
    nodes.append(helper.make_node("Add", ["c2", inner], ["a"], "a"))
    nodes.append(helper.make_node("GlobalAveragePool", ["a"], ["y"], "y"))
    graph = helper.make_graph(
        nodes,
        "residual",
        [helper.make_tensor_value_info("x", kind, [batch, 16, 24, 24])],
        [helper.make_tensor_value_info("y", kind, [batch, 32, 1, 1])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def reference(model, x):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = ort.InferenceSession(model.to_bytes(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def sample(batch: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(0, 1, (batch, 16, 24, 24)).astype(np.float32)


@pytest.fixture(scope="module")
def engine():
    return TENSORRT.build(network(), OPTIONS)


@pytest.mark.parametrize("batch", [1, 5])
def test_numbers_are_those_of_onnx_runtime(engine, batch):
    x = sample(batch)
    y = TENSORRT.run(engine, {"x": x})["y"]
    np.testing.assert_allclose(y, reference(network(), x), atol=1e-3, rtol=1e-3)


def test_feeds_of_several_shapes_run_in_one_child(engine):
    feeds = [{"x": sample(batch)} for batch in (1, 5, 5, 2)]
    for feed, result in zip(feeds, TENSORRT.run_each(engine, feeds), strict=True):
        np.testing.assert_allclose(result["y"], reference(network(), feed["x"]), atol=1e-3, rtol=1e-3)


def test_an_input_is_whole_before_the_engine_reads_it():
    shape = (64, 512, 512)  # 64 MiB: what copies it returns long before its end
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *shape]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"], "relu")], "relu", tensors[:1], tensors[1:])
    model = from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    profile = {"x": ShapeRange((1, *shape), (1, *shape), (2, *shape))}
    engine = TENSORRT.build(model, replace(OPTIONS, profiles=(profile,)))
    feeds = [{"x": np.full((1 + at % 2, *shape), at + 1, np.float32)} for at in range(10)]
    for feed, result in zip(feeds, TENSORRT.run_each(engine, iter(feeds)), strict=True):
        assert np.array_equal(result["y"], feed["x"])


def test_a_shape_outside_the_profile_is_refused_with_its_bounds(engine):
    with pytest.raises(BackendError, match=r"\(9, 16, 24, 24\) is outside optimization profile 0.*\(8, 16, 24, 24\)"):
        TENSORRT.run(engine, {"x": sample(9)})


def test_the_manifest_tells_what_it_was_made_of(engine):
    facts = engine.manifest
    assert facts["model_sha256"] == network().digest
    assert facts["version"] == ABLE.version
    assert facts["device"]["name"]
    assert facts["options"]["tf32"] is False
    assert facts["profile"] == [
        {"input": "x", "min": (1, 16, 24, 24), "opt": (1, 16, 24, 24), "max": (8, 16, 24, 24), "given": False}
    ]
    json.dumps(facts)


def test_stored_engines_load_and_foreign_ones_are_refused(engine, tmp_path):
    path = manifest.write_engine(engine, tmp_path / "model.plan")
    again = manifest.read_engine(path)
    x = sample(2)
    np.testing.assert_array_equal(TENSORRT.run(again, {"x": x})["y"], TENSORRT.run(engine, {"x": x})["y"])
    other = {**engine.manifest, "device": {**engine.manifest["device"], "name": "Other", "capability": (7, 5)}}
    with pytest.raises(BackendError, match=r"built for Other \(compute capability 7.5\)"):
        TENSORRT.run(type(engine)(engine.backend, engine.data, other), {"x": x})


def test_timing(engine):
    timing = TENSORRT.time(engine, TimingOptions(warm_up_s=0.2, runs=100, shapes={"x": (4, 16, 24, 24)}))
    assert 0 < timing.median_ms <= timing.p90_ms <= timing.p95_ms <= timing.p99_ms < 100
    assert timing.runs == 100
    assert timing.warm_up_runs >= 1
    assert timing.throughput > 10
    assert timing.conditions["shapes"]["x"] == [4, 16, 24, 24]
    assert timing.conditions["context_device_bytes"] >= 0
    clocks = timing.conditions["clocks"]
    assert 0 < clocks["sm_clock_mhz"][0] <= clocks["sm_clock_mhz"][1]
    assert clocks["readings"] == 2


@pytest.mark.parametrize("options", [{"cuda_graph": True}, {"streams": 3}, {"cuda_graph": True, "streams": 2}])
def test_cuda_graphs_and_streams(engine, options):
    timing = TENSORRT.time(engine, TimingOptions(warm_up_s=0.1, runs=60, **options))
    assert 0 < timing.median_ms < 100
    assert all(timing.conditions[name] == value for name, value in options.items())


def test_profile_and_inspector_name_the_same_layers(engine):
    layers = TENSORRT.profile(engine, TimingOptions(warm_up_s=0.1, runs=20))
    report = json.loads(TENSORRT.inspect(engine), strict=False)
    inspected = {layer["Name"] if isinstance(layer, dict) else layer for layer in report["Layers"]}
    assert {layer.name for layer in layers} <= inspected
    assert sum(layer.median_ms for layer in layers) > 0


def test_a_stripped_engine_computes_again_once_its_weights_are_back(engine):
    try:
        stripped = TENSORRT.build(network(), replace(OPTIONS, strip=True))
    except BackendError as error:
        pytest.skip(f"this version strips nothing: {error}")
    with pytest.raises(BackendError, match="without its weights"):
        TENSORRT.run(stripped, {"x": sample(2)})
    whole = TENSORRT.refit(stripped, network())
    assert len(whole.data) > len(stripped.data)
    expected = TENSORRT.run(engine, {"x": sample(2)})["y"]
    np.testing.assert_allclose(TENSORRT.run(whole, {"x": sample(2)})["y"], expected, atol=1e-3, rtol=1e-3)


def test_types_follow_from_the_graph():
    full, half = (TENSORRT.build(network(half=h), OPTIONS) for h in (False, True))
    texts = [TENSORRT.inspect(e) for e in (full, half)]
    assert "FP16" not in texts[0]
    assert "Half" in texts[1] or "FP16" in texts[1]


def test_explicit_int8():
    model = network(qdq=True)
    engine = TENSORRT.build(model, OPTIONS)
    assert "Int8" in TENSORRT.inspect(engine)
    x = sample(2)
    expected = reference(model, x)
    got = TENSORRT.run(engine, {"x": x})["y"]
    assert 10 * np.log10((expected**2).sum() / ((expected - got) ** 2).sum()) > 30  # dB


def test_several_profiles():
    profiles = tuple({"x": ShapeRange.fixed((n, 16, 24, 24))} for n in (1, 32))
    from dataclasses import replace

    engine = TENSORRT.build(network(), replace(OPTIONS, profiles=profiles))
    timing = TENSORRT.time(engine, TimingOptions(warm_up_s=0.1, runs=20, profile_index=1))
    assert timing.conditions["shapes"]["x"] == [32, 16, 24, 24]
    with pytest.raises(BackendError, match="no optimization profile 2; the engine has 2"):
        TENSORRT.time(engine, TimingOptions(profile_index=2))


def test_the_timing_cache_is_written_and_read(tmp_path):
    from dataclasses import replace

    cache = tmp_path / "timing.cache"
    options = replace(OPTIONS, timing_cache=str(cache))
    TENSORRT.build(network(), options)
    assert cache.stat().st_size > 0
    TENSORRT.build(network(), options)


def test_a_refused_model_names_the_node():
    model = network()
    proto = onnx.load_from_string(model.to_bytes())
    proto.graph.node[1].op_type = "Unheard"
    with pytest.raises(BuildError, match="refused the Unheard") as caught:
        TENSORRT.build(from_proto(proto), OPTIONS)
    assert caught.value.where == "r1"
    assert caught.value.log


@pytest.mark.skipif(ABLE.typing != "weak", reason="implicit INT8 ended with TensorRT 8")
def test_implicit_int8_from_a_stored_cache(shared):
    from dataclasses import replace

    stored = sorted((shared / "calibration_caches/recorded").rglob("ultraface_rfb320*entropy2*.cache"))
    if not stored:
        pytest.skip("no recorded calibration cache of ultraface_rfb320 in ../shared")
    options = replace(OPTIONS, calibration_cache=str(stored[0]), weak_types=("fp16",))
    engine = TENSORRT.build(load_model(shared / "models/ultraface_rfb320/model.onnx"), options)
    assert "Int8" in TENSORRT.inspect(engine)


@pytest.mark.skipif(ABLE.typing != "weak", reason="builder precision constraints ended with TensorRT 8")
def test_layer_precisions_are_obeyed():
    from dataclasses import replace

    options = replace(OPTIONS, layer_precisions={"*": "fp16", "c2": "fp32"})
    layers = json.loads(TENSORRT.inspect(TENSORRT.build(network(batch=4), options)), strict=False)["Layers"]
    read = {
        name: layer["Inputs"][0]["Format/Datatype"]
        for layer in layers
        for name in ("c1", "c2")
        if name in layer["Metadata"]
    }
    assert ("FP16" in read["c1"], "FP16" in read["c2"]) == (True, False)


@pytest.mark.skipif(ABLE.typing != "weak", reason="builder precision constraints ended with TensorRT 8")
def test_a_layer_precision_of_no_layer_is_refused():
    from dataclasses import replace

    with pytest.raises(BackendError, match="'nowhere'"):
        TENSORRT.build(network(), replace(OPTIONS, layer_precisions={"nowhere": "fp16"}))
