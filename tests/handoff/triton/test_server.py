"""What is handed over, loaded and asked in a real Triton server; `tests.kit.triton_server` says what is not its own."""

from __future__ import annotations

import queue
import re
import time
from functools import partial

import numpy as np
import pytest
from onnx import TensorProto, helper
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput

from tests.handoff.triton.test_batching import bench
from tests.handoff.triton.test_repository import deployed, network, plan
from tests.kit import models, triton_server
from tests.kit.awaited import PATIENCE_S
from workbench.graph import load_model
from workbench.jobs import handoff_triton

pytestmark = pytest.mark.skipif(triton_server.missing() is not None, reason=str(triton_server.missing()))

LABELS = ("cat", "dog", "owl", "fox", "bee")


@pytest.fixture(scope="module")
def served(tuned_cnn, tmp_path_factory):
    """A server with several models; its client and its log."""
    folder = tmp_path_factory.mktemp("triton")
    out = folder / "repo"
    (folder / "labels.txt").write_text("\n".join(LABELS))
    measured = bench(folder / "bench", ("small_cnn-b1", "qdq", 1, 20.0), ("small_cnn-b16", "qdq", 16, 40.0))
    for version in (1, 2):
        handoff_triton(tuned_cnn, out, bench=[measured], labels=folder / "labels.txt", version=version)
    kinds = {"a": (TensorProto.INT64, ["n"]), "b": (TensorProto.BOOL, ["n", 2]), "c": (TensorProto.FLOAT16, ["n", "t"])}
    odd = deployed(folder / "odd", network(kinds, {f"{name}.out": kind for name, kind in kinds.items()}))
    handoff_triton(odd, out, name="odd")
    fixed = {"x": (TensorProto.FLOAT, [4, 3])}
    handoff_triton(deployed(folder / "fixed", network(fixed, {"y": fixed["x"]})), out, name="fixed")
    handoff_triton(deployed(folder / "recurrent", recurrent()), out, name="recurrent", state=["h=h.out"])
    place = folder / "plan"
    place.mkdir()
    handoff_triton(tuned_cnn, out, name="plan", engine=plan(place, tuned_cnn / "tuned.onnx"))
    with triton_server.running(out, folder) as (address, log):
        client = InferenceServerClient(address)
        yield client, log
        client.close()


def recurrent():
    """A model that adds its input to its state."""
    ports = {name: [1, 3] for name in ("x", "h", "y", "h.out")}
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in ports.items()}
    nodes = [helper.make_node("Add", ["x", "h"], ["h.out"], "add"), helper.make_node("Neg", ["h.out"], ["y"], "neg")]
    graph = helper.make_graph(nodes, "g", [values["x"], values["h"]], [values["y"], values["h.out"]])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def asked(name, array, kind="FP32"):
    arguments = InferInput(name, list(array.shape), kind)
    arguments.set_data_from_numpy(array)
    return arguments


def test_every_model_is_ready_and_described_as_it_is(served):
    client, log = served
    by_name = {model["name"]: model for model in client.get_model_repository_index(as_json=True)["models"]}
    engine = by_name.pop("plan")
    states = {name: model["state"] for name, model in by_name.items()}
    assert states == dict.fromkeys(("fixed", "odd", "recurrent", "small_cnn"), "READY"), log.read_text()[-3000:]
    # An engine's configuration is taken, too; what is missing here is TensorRT.
    assert "unable to find backend library for backend 'tensorrt'" in engine["reason"]
    metadata = client.get_model_metadata("small_cnn", as_json=True)
    assert metadata["versions"] == ["2"]
    assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": ["-1", "3", "8", "8"]}]
    assert client.get_model_metadata("fixed", as_json=True)["inputs"][0]["shape"] == ["4", "3"]


def test_the_warm_ups_ran_the_smallest_and_the_largest_batch(served):
    runs = re.findall(r"RUN small_cnn (\d+)", served[1].read_text())
    # On each of the two instances.
    assert sorted(map(int, runs[:4])) == [1, 1, 16, 16]


def test_answers_and_labels_are_those_of_the_model(served, tuned_cnn, small_data):
    client = served[0]
    with np.load(small_data) as samples:
        x = samples["x"][:5]
    expected = models.run(load_model(tuned_cnn / "tuned.onnx"), {"x": x})[0]
    answer = client.infer("small_cnn", [asked("x", x)]).as_numpy("y")
    np.testing.assert_allclose(answer, expected, atol=1e-5)
    best = client.infer("small_cnn", [asked("x", x)], outputs=[InferRequestedOutput("y", class_count=1)]).as_numpy("y")
    assert [text[0].decode().split(":")[2] for text in best] == [LABELS[i] for i in answer.argmax(1)]


def test_requests_that_come_together_run_together_and_each_gets_its_own_answer(served, tuned_cnn, small_data):
    client = served[0]
    with np.load(small_data) as samples:
        x = samples["x"]
    expected = models.run(load_model(tuned_cnn / "tuned.onnx"), {"x": x})[0]
    answers, end = queue.Queue(), time.monotonic() + PATIENCE_S
    # They wait up to 20 ms for each other, as the curve says, and no more than 16 go together; on a busy machine so
    # many do not come so soon each time.
    largest = 0
    while largest != 16:
        assert time.monotonic() < end
        for i in range(48):
            keep = partial(lambda i, result, error: answers.put((i, result, error)), i)
            client.async_infer("small_cnn", [asked("x", x[i % 12][None])], keep)
        for _ in range(48):
            i, answer, error = answers.get(timeout=PATIENCE_S)
            assert error is None
            np.testing.assert_allclose(answer.as_numpy("y")[0], expected[i % 12], atol=1e-5)
        value = client.get_inference_statistics("small_cnn", as_json=True)["model_stats"][0]["batch_stats"]
        largest = max(int(entry["batch_size"]) for entry in value)
        assert largest <= 16


def test_scalars_of_a_batch_and_free_lengths_come_through(served):
    a, b, c = np.arange(3), np.array([[True, False]] * 3), np.ones((3, 7), np.float16)
    records = [asked("a", a.reshape(3, 1), "INT64"), asked("b", b, "BOOL"), asked("c", c, "FP16")]
    answer = served[0].infer("odd", records)
    np.testing.assert_array_equal(answer.as_numpy("a.out").ravel(), a)
    np.testing.assert_array_equal(answer.as_numpy("b.out"), b)
    np.testing.assert_array_equal(answer.as_numpy("c.out"), c)


def test_triton_takes_the_state_of_a_recurrent_model_for_its_own(served):
    client = served[0]
    value = client.get_model_config("recurrent", as_json=True)["config"]
    (state,) = value["sequence_batching"]["state"]
    assert (state["input_name"], state["output_name"], state["dims"]) == ("h", "h.out", ["1", "3"])
    assert [port["name"] for port in client.get_model_metadata("recurrent", as_json=True)["inputs"]] == ["x"]
