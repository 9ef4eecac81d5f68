"""What a client may not do, and what the others notice of it: nothing."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
import zlib
from dataclasses import replace

import numpy as np
import pytest

from tests.kit.awaited import PATIENCE_S, until
from tests.kit.serving import loaded, running
from workbench.handoff.service import Settings
from workbench.handoff.service.connections import PatientProtocol

PATH = "/v2/models/small_cnn/infer"
X = np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)


def body(x=X, **parameters):
    """A request with its tensor behind the JSON; returns the headers too."""
    entry = {"name": "x", "shape": list(x.shape), "datatype": "FP32", "parameters": {"binary_data_size": x.nbytes}}
    head = json.dumps({"inputs": [entry], "parameters": parameters}).encode()
    return head + x.tobytes(), {"Inference-Header-Content-Length": str(len(head))}


def post(service, content, headers=None, path=PATH):
    """Return the status and the answer, JSON read."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=PATIENCE_S)
    connection.request("POST", path, content, headers or {})
    answer = connection.getresponse()
    message = answer.read()
    connection.close()
    return answer.status, json.loads(message), answer.headers


def answers(service):
    """Say whether a plain request is still answered."""
    return post(service, *body())[0] == 200


MALFORMED = {
    "no JSON": (b"{", {}, "the request is no JSON"),
    "no object": (b"[]", {}, "no JSON object"),
    "deep": (b'{"inputs":' + b"[" * 100_000, {}, "the request is no JSON"),
    "no inputs": (b"{}", {}, "input 'x': it is missing"),
    "inputs of another kind": (b'{"inputs": 7}', {}, "'inputs' is no list of objects"),
    "a name of another kind": (b'{"inputs": [{"name": ["x"]}]}', {}, "no such input"),
    "a path": (b'{"inputs": [{"name": "../../etc/passwd"}]}', {}, "no such input"),
    "parameters of another kind": (b'{"parameters": [1], "inputs": []}', {}, "'parameters' is no object"),
    "an id of another kind": (
        b'{"id": 7, "inputs": [{"name":"x","datatype":"FP32","shape":[0,3,8,8],"data":[]}]}',
        {},
        "id",
    ),
    "a negative time": (b'{"parameters":{"timeout":-1},"inputs":[]}', {}, "missing"),
    "a length of another kind": (b"{}", {"Inference-Header-Content-Length": "x"}, "is no number"),
    "a length beyond the end": (b"{}", {"Inference-Header-Content-Length": "99"}, "the body has 2 bytes"),
    "bytes that belong to nothing": (b"{}1234", {"Inference-Header-Content-Length": "2"}, "4 bytes belong to no input"),
    "no gzip": (b"{}", {"Content-Encoding": "gzip"}, "the body is no gzip"),
    "a gzip that ends early": (zlib.compress(b"{}" * 999)[:-3], {"Content-Encoding": "deflate"}, "ends early"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_requests_are_one_sentence(served, case):
    content, headers, messages = MALFORMED[case]
    status, message, _ = post(served, content, headers)
    assert status == 400
    assert messages in message["error"]
    assert answers(served)


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        ({"shape": [1, 3, 8, 9]}, "the model takes"),
        ({"shape": [1, 3, 8, True]}, "is no list of lengths"),
        ({"shape": "1,3,8,8"}, "is no list of lengths"),
        ({"shape": [1] * 99}, "is no list of lengths"),
        ({"shape": [2**62, 3, 8, 8]}, "values, and"),
        ({"data": ["a"] * 192}, "no FP32 values"),
        ({"data": [[1.0], [1.0, 2.0]]}, "no FP32 values"),
        ({"data": None}, "no FP32 values"),
        ({"data": [1.0]}, "1 values, and"),
        ({"data": [1e300] * 192}, "no FP32 values"),
        ({"datatype": None}, "datatype None"),
        ({"parameters": {"binary_data_size": -1}}, "binary_data_size is -1"),
        ({"parameters": {"binary_data_size": 1.5}}, "binary_data_size is 1.5"),
    ],
)
def test_tensors_that_are_none(served, change, messages):
    entry = {"name": "x", "shape": [1, 3, 8, 8], "datatype": "FP32", **change}
    if "parameters" not in change:
        entry.setdefault("data", [0.0] * 192)
    status, message, _ = post(served, json.dumps({"inputs": [entry]}))
    assert (status, messages in message["error"]) == (400, True), message


def test_an_input_that_is_given_twice(served):
    entry = {"name": "x", "shape": [1, 3, 8, 8], "datatype": "FP32", "data": [0.0] * 192}
    assert "given twice" in post(served, json.dumps({"inputs": [entry, entry]}))[1]["error"]


@pytest.fixture(scope="module")
def narrow(tuned_cnn):
    """A service that allows little: 64 KiB, two requests at a time, one that waits."""
    model = loaded(tuned_cnn)
    gate, begun = threading.Event(), threading.Event()
    gate.set()
    run = model.run

    def slowly(feeds):
        begun.set()
        gate.wait(PATIENCE_S)
        return run(feeds)

    held = type(model)(**{**vars(model), "run": slowly})
    settings = Settings(body_bytes=64 << 10, concurrency=3, timeout_s=PATIENCE_S)
    with running([held], settings, queued=1) as service:
        service.gate, service.begun = gate, begun
        # One that is slow, though its last run was not.
        batcher = service.service.models["small_cnn"].batcher
        batcher.batching = replace(batcher.batching, quick_s=0.0)
        yield service


def test_a_body_that_is_too_large(narrow):
    status, message, headers = post(narrow, *body(np.zeros((100, 3, 8, 8), np.float32)))
    assert status == 413
    assert "raise --max-body-mib" in message["error"]
    assert headers["connection"] == "close"
    assert answers(narrow)


def test_a_body_that_grows_too_large_on_its_way(narrow):
    with socket.create_connection(("127.0.0.1", narrow.port), timeout=PATIENCE_S) as raw:
        raw.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" % PATH.encode())
        piece = b"4000\r\n" + bytes(0x4000) + b"\r\n"
        for _ in range(5):
            raw.sendall(piece)
        assert raw.recv(100).startswith(b"HTTP/1.1 413 ")
    assert answers(narrow)


def test_a_small_body_that_is_large_once_unpacked(narrow):
    status, message, _ = post(narrow, zlib.compress(bytes(1 << 20)), {"Content-Encoding": "deflate"})
    assert (status, "larger than" in message["error"]) == (413, True)


def test_a_body_that_never_ends(narrow, monkeypatch):
    monkeypatch.setattr(narrow.service, "settings", replace(narrow.service.settings, transfer_s=0.3))
    with socket.create_connection(("127.0.0.1", narrow.port), timeout=PATIENCE_S) as raw:
        raw.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n{" % PATH.encode())
        assert raw.recv(100).startswith(b"HTTP/1.1 408 ")
    monkeypatch.undo()
    assert answers(narrow)


def test_compression_that_nobody_knows(narrow):
    assert post(narrow, b"{}", {"Content-Encoding": "br"})[0] == 415


def held_up(service):
    """Send a request that runs until the gate opens."""
    service.gate.clear()
    service.begun.clear()
    threads, records = in_background(service, 1)
    assert service.begun.wait(PATIENCE_S)
    return threads, records


def in_background(service, count, **parameters):
    records = []
    threads = [
        threading.Thread(target=lambda: records.append(post(service, *body(**parameters)))) for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    return threads, records


def test_too_many_requests_and_a_full_queue(narrow):
    batcher = narrow.service.models["small_cnn"].batcher
    threads, actual = held_up(narrow)
    more, also = in_background(narrow, 1)
    until(lambda: batcher.queued == 1, "the next one waits")
    status, message, headers = post(narrow, *body())
    assert status == 503
    assert "1 requests wait already" in message["error"]
    assert headers["retry-after"] == "1"
    narrow.service._in_flight += 1
    status, message, headers = post(narrow, *body())
    narrow.service._in_flight -= 1
    assert status == 429
    assert "requests are in flight already" in message["error"]
    assert headers["retry-after"] == "1"
    narrow.gate.set()
    for thread in (*threads, *more):
        thread.join()
    assert [status for status, _, _ in (*actual, *also)] == [200, 200]
    assert narrow.service._in_flight == 0


def test_a_deadline_that_passes_in_the_queue(narrow):
    threads, actual = held_up(narrow)
    more, late = in_background(narrow, 1, timeout=50_000)
    until(lambda: narrow.service.models["small_cnn"].batcher.queued == 1, "the next one waits")
    time.sleep(0.1)
    narrow.gate.set()
    for thread in (*threads, *more):
        thread.join()
    assert actual[0][0] == 200
    assert late[0][0] == 504
    assert "the deadline passed after" in late[0][1]["error"]


def test_clients_that_go_away_leave_nothing(served):
    content, headers = body(np.repeat(X, 64, 0))
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
    for sent in (len(content), len(content) // 2, 10, 0) * 10:
        with socket.create_connection(("127.0.0.1", served.port), timeout=PATIENCE_S) as raw:
            raw.sendall(head.encode() + content[:sent])
    until(lambda: served.service._in_flight == 0, "they are gone")
    assert served.service.models["small_cnn"].batcher.queued == 0
    assert answers(served)


def test_connections_that_never_say_what_they_want_are_closed(served, monkeypatch):
    begun = (b"", b"GET /v2 HTTP/1.1\r\nHost:", b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\nGET /v")
    monkeypatch.setattr(PatientProtocol, "patience_s", 1.0)  # long enough to say it
    with contextlib.ExitStack() as stack:
        address = ("127.0.0.1", served.port)
        opened = [stack.enter_context(socket.create_connection(address, timeout=PATIENCE_S)) for _ in begun]
        for raw, words in zip(opened, begun, strict=True):
            raw.sendall(words)
        for raw, words in zip(opened, begun, strict=True):
            received = b""
            while part := raw.recv(1000):
                received += part
            assert received.count(b"HTTP/1.1 200") == words.count(b"\r\n\r\n")
    monkeypatch.undo()
    assert answers(served)


def test_json_that_would_hold_up_the_others(served):
    status, content, _ = post(served, b'{"inputs": [' + b" " * (17 << 20) + b"]}")
    assert (status, "in the binary extension" in content["error"]) == (413, True)


def test_a_client_that_does_not_read_holds_nobody_up(tuned_cnn):
    content, headers = body(np.repeat(X, 4000, 0))
    text = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with (
        running([loaded(tuned_cnn)]) as service,
        socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE_S) as raw,
    ):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.sendall(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n{text}\r\n".encode())
        raw.sendall(content)
        service.service.settings = Settings(transfer_s=0.5)  # of the answer
        until(lambda: service.service._in_flight == 0, "they are gone")
        assert answers(service)
