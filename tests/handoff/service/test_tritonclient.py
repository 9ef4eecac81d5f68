"""The unmodified client of Triton talks to the service, whatever it asks."""

from __future__ import annotations

import numpy as np
import pytest
import tritonclient.http as httpclient
from tritonclient.utils import InferenceServerException


def rows(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 3, 8, 8)).astype(np.float32)


def given(x, *, binary=True, name="x", datatype="FP32"):
    one = httpclient.InferInput(name, list(x.shape), datatype)
    one.set_data_from_numpy(x, binary_data=binary)
    return one


def test_health_and_metadata(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("small_cnn")
    assert client.is_model_ready("small_cnn", "1")
    assert not client.is_model_ready("other")
    assert client.get_server_metadata()["name"] == "trt-workbench"
    metadata = client.get_model_metadata("small_cnn")
    assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 3, 8, 8]}]
    assert metadata["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [-1, 5]}]
    assert "requests run together" in metadata["parameters"]["batching"]
    config = client.get_model_config("small_cnn")
    assert config["max_batch_size"] == 8
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [3, 8, 8]}]
    assert client.get_model_repository_index() == [
        {"name": "small_cnn", "version": "1", "state": "READY", "reason": ""}
    ]


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_json_and_bytes_give_the_same_answer(client, single, binary_in, binary_out):
    x = rows(3)
    records = [httpclient.InferRequestedOutput("y", binary_data=binary_out)]
    result = client.infer("small_cnn", [given(x, binary=binary_in)], outputs=records, request_id="mine")
    assert np.array_equal(result.as_numpy("y"), single(x))
    answer = result.get_response()
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("mine", "small_cnn", "1")


def test_all_outputs_where_none_are_named(client, single):
    x = rows(1)
    assert np.array_equal(client.infer("small_cnn", [given(x)]).as_numpy("y"), single(x))


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
def test_compressed_requests(client, single, compression):
    x = rows(2)
    result = client.infer("small_cnn", [given(x)], request_compression_algorithm=compression)
    assert np.array_equal(result.as_numpy("y"), single(x))


def test_more_rows_than_a_run_has(client, single):
    x = rows(21)
    actual = client.infer("small_cnn", [given(x)]).as_numpy("y")
    np.testing.assert_allclose(actual, single(x), atol=1e-6 * np.abs(actual).max())


def test_statistics(client):
    before = client.get_inference_statistics("small_cnn")["model_stats"][0]
    client.infer("small_cnn", [given(rows(2))])
    with pytest.raises(InferenceServerException):
        client.infer("small_cnn", [given(rows(2), name="z")])
    after = client.get_inference_statistics()["model_stats"][0]
    assert after["inference_count"] - before["inference_count"] == 2
    assert after["execution_count"] - before["execution_count"] == 1
    for kind in ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output"):
        one, two = before["inference_stats"][kind], after["inference_stats"][kind]
        assert two["count"] - one["count"] == 1, kind
        # A lone request of a quick engine does not wait at all.
        assert two["ns"] > one["ns"] or kind == "queue", kind
    assert {entry["batch_size"] for entry in after["batch_stats"]} >= {2}


@pytest.mark.parametrize(
    ("x", "name", "datatype", "message"),
    [
        (rows(1), "z", "FP32", "input 'z': the model has no such input. The inputs are x."),
        (rows(1).astype(np.float64), "x", "FP64", "datatype 'FP64', the model takes FP32"),
        (rows(1)[0], "x", "FP32", r"shape \[3, 8, 8\], the model takes \[-1, 3, 8, 8\]"),
        (rows(1)[:, :2], "x", "FP32", r"shape \[1, 2, 8, 8\]"),
        (rows(0), "x", "FP32", r"first axes of \[0\] rows"),
    ],
)
@pytest.mark.parametrize("binary", [True, False])
def test_inputs_that_do_not_fit(client, x, name, datatype, message, binary):
    with pytest.raises(InferenceServerException, match=message) as caught:
        client.infer("small_cnn", [given(x, name=name, datatype=datatype, binary=binary)])
    assert caught.value.status() == "400"


def test_what_is_not_there(client):
    with pytest.raises(InferenceServerException, match="other: there is no such model") as caught:
        client.infer("other", [given(rows(1))])
    assert caught.value.status() == "404"
    with pytest.raises(InferenceServerException, match="there is no version 7"):
        client.infer("small_cnn", [given(rows(1))], model_version="7")
    with pytest.raises(InferenceServerException, match="the model has no such output"):
        client.infer("small_cnn", [given(rows(1))], outputs=[httpclient.InferRequestedOutput("z")])
    with pytest.raises(InferenceServerException, match="no classification"):
        client.infer("small_cnn", [given(rows(1))], outputs=[httpclient.InferRequestedOutput("y", class_count=2)])
    with pytest.raises(InferenceServerException, match="keeps no sequences"):
        client.infer("small_cnn", [given(rows(1))], sequence_id=3, sequence_start=True)
    shared = httpclient.InferInput("x", [1, 3, 8, 8], "FP32")
    shared.set_shared_memory("region", 768)
    with pytest.raises(InferenceServerException, match="no shared memory"):
        client.infer("small_cnn", [shared])
    with pytest.raises(InferenceServerException, match="listed at /docs"):
        client.load_model("small_cnn")
