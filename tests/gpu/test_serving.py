"""The HTTP service with an engine of TensorRT, on a real GPU."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from workbench.backends import BuildOptions, write_engine
from workbench.backends.tensorrt.backend import TensorRT
from workbench.handoff import open_deployment

httpclient = pytest.importorskip("tritonclient.http", reason="tritonclient comes with the extra [dev]")
pytest.importorskip("uvicorn", reason="uvicorn comes with the extra [serve]")

from tests.kit.serving import running, saved  # noqa: E402 - it starts services
from workbench.handoff.service import engine_for, load  # noqa: E402

TENSORRT = TensorRT()
ABLE = TENSORRT.capabilities()
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not ABLE.run, reason=f"TensorRT cannot run here: {ABLE.reason}"),
]
OPTIONS = BuildOptions(
    tactic_sources=("EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"), workspace_bytes=1 << 30, tf32=False
)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory):
    weight = np.random.default_rng(0).normal(size=(8, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node(
            "Constant", [], ["w"], "w", value=helper.make_tensor("w", 1, weight.shape, weight.ravel().tolist())
        ),
        helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["y"], "relu"),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 16, 16])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 8, 16, 16])
    return open_deployment(saved(tmp_path_factory.mktemp("gpu"), [x], [y], nodes))


@pytest.fixture(scope="module")
def engine(deployment):
    return TENSORRT.build(deployment.model, OPTIONS)


def rows(count):
    return np.random.default_rng(count).normal(size=(count, 3, 16, 16)).astype(np.float32)


def reference(deployment, x):
    session = onnxruntime.InferenceSession(str(deployment.file), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def test_an_engine_that_stays_loaded_runs_shape_after_shape(deployment, engine):
    with TensorRT().opened(engine) as run:
        for count in (1, 5, 2, 8, 3, 1, 7, 5):
            np.testing.assert_allclose(run({"x": rows(count)})["y"], reference(deployment, rows(count)), atol=1e-3)


def test_it_answers_over_http(deployment, engine, tmp_path):
    stored = engine_for(deployment, "tensorrt", 8, write_engine(engine, tmp_path / "model.plan"))
    loaded = load(deployment, stored, most=16)
    assert loaded.rows.sizes == (1, 2, 4, 8)
    with running([loaded]) as service, httpclient.InferenceServerClient(service.address) as client:
        for count in (1, 3, 11):
            tensor = httpclient.InferInput("x", [count, 3, 16, 16], "FP32")
            tensor.set_data_from_numpy(rows(count))
            actual = client.infer("source", [tensor]).as_numpy("y")
            np.testing.assert_allclose(actual, reference(deployment, rows(count)), atol=1e-3)
