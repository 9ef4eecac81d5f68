"""The description of a service, for programs and for people."""

from __future__ import annotations

import json
import urllib.request

from workbench.handoff.service.described import STATUSES


def got(served, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{served.port}{path}") as answer:
        return answer.headers["content-type"], answer.read().decode()


def test_inference_is_described_with_a_request_that_the_service_answers(served):
    kind, text = got(served, "/openapi.json")
    assert kind == "application/json"
    (post,) = json.loads(text)["paths"]["/v2/models/small_cnn/infer"].values()
    assert post["summary"] == "Run the model"
    assert set(post["responses"]) == set(STATUSES)
    assert post["requestBody"]["required"] is True
    (header,) = post["parameters"]
    assert (header["name"], header["required"]) == ("Inference-Header-Content-Length", False)
    schema = post["requestBody"]["content"]["application/json"]["schema"]
    assert schema["example"] == {
        "inputs": [{"name": "x", "shape": [1, 3, 8, 8], "datatype": "FP32", "data": []}],
        "outputs": [{"name": "y", "parameters": {"binary_data": False}}],
    }
    assert schema["required"] == ["inputs"]
    example = schema["example"]
    example["inputs"][0]["data"] = [0.5] * 192
    address = f"http://127.0.0.1:{served.port}/v2/models/small_cnn/infer"
    asked = urllib.request.Request(address, json.dumps(example).encode(), method="POST")
    with urllib.request.urlopen(asked) as answer:  # noqa: S310
        assert json.loads(answer.read())["outputs"][0]["shape"] == [1, 5]


def test_what_is_there_is_described_once(served):
    paths = json.loads(got(served, "/openapi.json")[1])["paths"]
    of_model = [f"/v2/models/{{model}}{path}" for path in ("", "/ready", "/config", "/stats")]
    read = ["/v2/health/live", "/v2/health/ready", "/v2", "/v2/models/stats", "/metrics", *of_model]
    posted = ["/v2/models/{model}/image", "/v2/repository/index", "/v2/models/small_cnn/infer"]
    assert {(path, method) for path, methods in paths.items() for method in methods} == {
        *((path, "get") for path in read),
        *((path, "post") for path in posted),
    }
    assert paths["/v2/models/{model}/image"]["post"]["requestBody"]["required"]


def test_the_page_lists_what_there_is_and_every_status(served):
    kind, page = got(served, "/docs")
    assert kind.startswith("text/html")
    assert "<td>POST</td><td><code>/v2/models/small_cnn/infer</code></td><td>Run the model</td>" in page
    assert "<td>GET</td><td><code>/metrics</code></td>" in page
    assert all(f"<td>{status}</td><td>{text}</td>" in page for status, text in STATUSES.items())
