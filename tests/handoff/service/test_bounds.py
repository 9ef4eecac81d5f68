"""What a request, an engine, an image or a connection may be at most, from both sides, and what is answered then."""

from __future__ import annotations

import asyncio
import contextlib
import json
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest

from workbench.backends import BuildOptions
from workbench.errors import BackendError, OptionError
from workbench.handoff import Port
from workbench.handoff.service import (
    Postprocessing,
    Service,
    Settings,
    engine,
    engine_for,
    images,
    load,
    routes,
    rows,
    server,
)
from workbench.handoff.service import service as service_module
from workbench.handoff.service.application import Application
from workbench.handoff.service.batching import Batching, Ran
from workbench.handoff.service.bodies import receive_body
from workbench.handoff.service.connections import HttpToolsProtocol, PatientProtocol
from workbench.handoff.service.metrics import Metrics
from workbench.handoff.service.protocol import InferRequest, decode, encode
from workbench.handoff.service.request_error import RequestError
from workbench.handoff.service.rows import Rows, rows_of
from workbench.handoff.service.tensors import from_bytes, from_json, shape_of, to_bytes, to_json

X = Port("x", "FP32", (-1, 2))
PORTS = {"x": X}


def refused(call, *given, **how):
    with pytest.raises(RequestError) as caught:
        call(*given, **how)
    return caught.value.status, caught.value.what


def test_what_is_allowed_where_nothing_is_said():
    assert Settings() == Settings(body_bytes=64 * 1024 * 1024, concurrency=256, timeout_s=30.0, transfer_s=30.0)


# Tensors


def test_a_tensor_has_32_axes_at_most():
    assert shape_of([1] * 32, Port("x", "FP32", (1,) * 32)) == (1,) * 32
    said = str([1] * 33)[:60]
    assert refused(shape_of, [1] * 33, Port("x", "FP32", (1,) * 33)) == (400, f"shape {said} is no list of lengths")


@pytest.mark.parametrize(
    ("shape", "what"),
    [
        ([0, 2], None),
        ([9, 2], None),
        ([-1, 2], "shape [-1, 2] is no list of lengths"),
        ([1, 3], "shape [1, 3], the model takes [-1, 2]"),
        ([1, 1], "shape [1, 1], the model takes [-1, 2]"),
        ([1], "shape [1], the model takes [-1, 2]"),
        ([1, 2, 1], "shape [1, 2, 1], the model takes [-1, 2]"),
        ((1, 2), "shape (1, 2) is no list of lengths"),
        ([1, 2.0], "shape [1, 2.0] is no list of lengths"),
    ],
)
def test_a_shape_is_the_models_but_where_that_is_free(shape, what):
    if what is None:
        assert shape_of(shape, X) == tuple(shape)
    else:
        assert refused(shape_of, shape, X) == (400, what)


@pytest.mark.parametrize("count", [7, 9])
def test_there_are_as_many_bytes_as_the_shape_says(count):
    assert from_bytes(memoryview(bytes(8)), (1, 2), X).tolist() == [[0, 0]]
    what = f"{count} bytes, and [1, 2] of FP32 are 8"
    assert refused(from_bytes, memoryview(bytes(count)), (1, 2), X) == (400, what)


@pytest.mark.parametrize(
    ("content", "count", "texts"),
    [
        (b"", 0, []),
        (b"\1\0\0\0a", 1, ["a"]),
        (b"\0\0\0\0\2\0\0\0bc", 2, ["", "bc"]),
        (b"\1\0\0\0a", 2, "its bytes are not 2 texts"),
        (b"\1\0\0\0a\0\0\0\0", 1, "its bytes are not 1 texts"),
        (b"\2\0\0\0a", 1, "its bytes are not 1 texts"),
        (b"\1\0\0", 1, "its bytes are not 1 texts"),
        (b"\1\0\0\0\xff", 1, "a text is no UTF-8"),
    ],
)
def test_each_text_has_its_length_before_it(content, count, texts):
    port = Port("t", "BYTES", (-1,))
    if isinstance(texts, str):
        assert refused(from_bytes, memoryview(content), (count,), port) == (400, texts)
    else:
        assert from_bytes(memoryview(content), (count,), port).tolist() == texts
        assert to_bytes(np.array(texts, object)) == content
    assert to_bytes(np.array([b"\xff", "a"], object)) == b"\1\0\0\0\xff\1\0\0\0a"


def test_two_million_values_are_written_as_json_and_no_more():
    values = np.zeros(2 * 1024 * 1024, np.uint8)
    assert len(to_json(values, "y")) == 2 * 1024 * 1024
    assert refused(to_json, np.zeros(len(values) + 1, np.uint8), "y")[1] == "2097153 values are too many for JSON"


def test_bfloat16_goes_as_bytes_alone():
    port = Port("x", "BF16", (-1,))
    values = np.array([1.5, -2.0], ml_dtypes.bfloat16)
    read = from_bytes(memoryview(values.tobytes()), (2,), port)
    assert (read.dtype, read.tolist()) == (values.dtype, [1.5, -2.0])
    assert refused(to_json, values, "y") == (400, "BF16 cannot be written in JSON")
    assert refused(from_json, [1.5], (1,), port) == (400, "BF16 cannot be written in JSON")


def test_json_has_as_many_values_as_the_shape_says():
    assert from_json([[1, 2], [3, 4]], (2, 2), X).tolist() == [[1, 2], [3, 4]]
    assert from_json([], (0, 2), X).shape == (0, 2)
    assert refused(from_json, [1, 2, 3], (1, 2), X) == (400, "3 values, and [1, 2] are 2")
    assert refused(from_json, True, (), Port("x", "FP32", ())) == (400, "its data are no FP32 values")


# Requests


def test_sixteen_mebibytes_of_json_are_read_and_no_more():
    most = 16 * 1024 * 1024
    assert refused(decode, b" " * most, None, PORTS, PORTS)[0] == 400
    what = "16 MiB of JSON, which others would wait for; 16 MiB are the most"
    assert refused(decode, b" " * (most + 1), None, PORTS, PORTS) == (413, what)


@pytest.mark.parametrize(
    ("length", "what"),
    [
        (-1, "Inference-Header-Content-Length is -1, and the body has 2 bytes"),
        (3, "Inference-Header-Content-Length is 3, and the body has 2 bytes"),
        (0, "the request is no JSON"),
        (2, "it is missing"),
    ],
)
def test_the_head_is_no_longer_than_the_body(length, what):
    status, said = refused(decode, b"{}", length, PORTS, PORTS)
    assert (status, said[: len(what)]) == (400, what)


def test_bytes_of_several_inputs_stand_in_their_order_and_all_belong_to_one():
    ports = {"a": Port("a", "UINT8", (-1,)), "b": Port("b", "UINT8", (-1,))}

    def asked(content, *sizes):
        entries = [
            {"name": name, "shape": [size], "datatype": "UINT8", "parameters": {"binary_data_size": size}}
            for name, size in zip("ba", sizes, strict=False)
        ]
        head = json.dumps({"inputs": entries}).encode()
        return decode(head + content, len(head), ports, ports).feeds

    read = asked(b"\1\2\3\4\5", 2, 3)
    assert (read["b"].tolist(), read["a"].tolist()) == ([1, 2], [3, 4, 5])
    assert refused(asked, b"\1\2\3", 1, 1)[1] == "1 bytes belong to no input"
    assert refused(asked, b"\1\2\3", 1, 3)[1] == "binary_data_size is 3, and 2 bytes are left"
    assert refused(asked, b"\1", 1)[1] == "it is missing"


def test_an_answer_says_how_long_its_json_is_where_bytes_follow_it():
    results = {"x": np.array([[1.0, 2.0]], np.float32), "z": np.array([3.0], np.float32)}
    ports = {"x": X, "z": Port("z", "FP32", (-1,))}
    both = InferRequest({}, [("z", True), ("x", False)])
    (head, content), length = encode("m", both, results, ports)
    assert (length, content) == (len(head), results["z"].tobytes())
    assert json.loads(head) == {
        "model_name": "m",
        "model_version": "1",
        "outputs": [
            {"name": "z", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 4}},
            {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]},
        ],
    }
    parts, length = encode("m", InferRequest({}, [("x", False)], id="mine"), results, ports)
    assert (len(parts), length, json.loads(parts[0])["id"]) == (1, None, "mine")


def test_a_body_that_is_too_large_says_the_bound_and_an_unknown_form_its_name():
    async def receive():
        return {"type": "http.request", "body": b""}

    def body(**headers):
        named = {name.replace("_", "-").encode(): value for name, value in headers.items()}
        return asyncio.run(receive_body(receive, named, Settings(body_bytes=3 << 20)))

    assert refused(body, content_length=b"%d" % ((3 << 20) + 1)) == (413, "the body is larger than 3 MiB")
    assert body(content_length=b"%d" % (3 << 20)) == b""
    assert refused(body, content_encoding=b"x" * 41) == (415, f"Content-Encoding {'x' * 40!r} is not known")


# The application, and the service behind it


def answered(app, method, path, body=b"", headers=()):
    """Ask an ASGI application; return the status, the headers and the body."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": body}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": list(headers),
        "http_version": "1.1",
        "scheme": "http",
        "server": ("127.0.0.1", 1),
        "client": ("127.0.0.1", 2),
        "root_path": "",
    }
    asyncio.run(app(scope, receive, send))
    start, *rest = sent
    return start["status"], dict(start["headers"]), b"".join(message.get("body", b"") for message in rest)


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/v2/models/m/infer", ("m", None)),
        ("/v2/models/m/versions/3/infer", ("m", "3")),
        ("/v2/models/m/infer/", None),
        ("/v2/models/a/b/infer", None),
    ],
)
def test_inference_goes_to_the_service_by_model_and_version_and_all_else_elsewhere(path, asked):
    seen = []

    async def infer(name, version, headers, *_):
        seen.append((name, version, headers))

    async def others(scope, *_):
        seen.append(scope["path"])

    made = object.__new__(Application)
    made.service, made._others = SimpleNamespace(infer=infer), others

    async def ask():
        await made({"type": "http", "path": path, "method": "POST", "headers": [(b"a", b"b")]}, None, None)
        await made({"type": "lifespan", "path": path}, None, None)

    asyncio.run(ask())
    assert seen == [path if asked is None else (*asked, {b"a": b"b"}), path]


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_inference_is_asked_by_post(method):
    status, headers, body = answered(Application(Service([])), method, "/v2/models/m/infer")
    assert (status, headers[b"allow"]) == (405, b"POST")
    assert json.loads(body) == {"error": f"inference takes no {method}. Send the request as POST."}


def test_a_service_that_ends_is_live_and_not_ready():
    service = Service([])
    app = Application(service)
    for ending, ready in ((False, 200), (True, 503)):
        service.ending = ending
        assert [answered(app, "GET", f"/v2/health/{page}")[0] for page in ("live", "ready")] == [200, ready]


def test_a_page_that_there_is_not_is_said_with_where_pages_are_listed():
    app = Application(Service([]))
    for method, path, status, said in (
        ("GET", "/v3", 404, "there is no such page"),
        ("DELETE", "/v2", 405, "this page takes no DELETE"),
    ):
        got, headers, body = answered(app, method, path)
        assert (got, headers[b"content-type"]) == (status, b"application/json")
        assert json.loads(body) == {"error": f"{said}. What there is, is listed at /docs."}
    got, headers, body = answered(app, "GET", "/v2")
    assert (got, headers[b"content-type"]) == (200, b"application/json")
    assert json.loads(body)["extensions"] == routes.EXTENSIONS
    assert answered(app, "GET", "/metrics")[1][b"content-type"] == routes.METRICS.encode()
    assert answered(app, "GET", "/v2/models/m")[0] == 404
    with pytest.raises(ZeroDivisionError):
        asyncio.run(routes._refused(None, ZeroDivisionError()))
    odd = asyncio.run(routes._unknown(SimpleNamespace(method="GET"), ValueError("odd")))
    assert (odd.status_code, json.loads(odd.body)["error"].split(".")[0]) == (500, "odd")


@pytest.mark.parametrize(
    ("batching", "expected"),
    [
        (Batching(rows=4, wait_s=0.25), {"max_queue_delay_microseconds": 250_000, "preferred_batch_size": []}),
        (Batching(rows=1, wait_s=0.25), None),
    ],
)
def test_how_long_requests_wait_is_told_in_the_words_of_triton(batching, expected):
    text = Port("t", "BYTES", (-1, 3))
    loaded = SimpleNamespace(name="net", backend="onnxruntime", inputs={"t": text}, outputs={"x": X})
    config = routes._config(SimpleNamespace(loaded=loaded, batcher=SimpleNamespace(batching=batching)))
    assert config.get("dynamic_batching") == expected
    assert [one["data_type"] for one in (*config["input"], *config["output"])] == ["TYPE_STRING", "TYPE_FP32"]
    assert (config["name"], config["platform"]) == ("net", "onnxruntime_onnx")


class Model:
    """Stands for a loaded model that doubles."""

    name = "m"
    inputs = outputs = PORTS
    rows = Rows(4, None, 0.0, "why")
    closed = 0

    def __init__(self):
        self.deployment = SimpleNamespace(model=SimpleNamespace(ir_model=None))
        self.closing = SimpleNamespace(close=lambda: setattr(self, "closed", self.closed + 1))

    def run(self, feeds):
        return {"x": 2 * feeds["x"]}


@pytest.fixture
def service(monkeypatch):
    monkeypatch.setattr(service_module, "graphs_of", lambda _: ["main"])
    made = Service([Model()])
    yield made
    made.close()


HEAD = json.dumps({"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}).encode()


def counted(service, line):
    return f"{line} 1.0" in service.metrics.text().decode()


def test_models_are_served_as_documented_where_nothing_is_said(service):
    served = service.models["m"]
    assert served.batcher.batching == Batching(4, 0.0, 256, None)
    assert (served.images, service.ending, service.settings) == (None, False, Settings())
    loaded = served.loaded
    service.close()
    assert (service.ending, loaded.closed) == (True, 1)


def test_an_answer_is_json_of_its_length(service):
    status, headers, body = answered(Application(service), "POST", "/v2/models/m/infer", HEAD)
    assert (status, headers) == (
        200,
        {b"content-length": str(len(body)).encode(), b"content-type": b"application/json"},
    )
    assert json.loads(body)["outputs"][0]["data"] == [2.0, 4.0]
    assert counted(service, 'serve_requests_total{model="m",status="200"}')
    assert service._in_flight == 0


def test_an_answer_with_bytes_says_where_they_begin(service):
    asked = HEAD[:-1] + b', "parameters": {"binary_data_output": true}}'
    _, headers, body = answered(Application(service), "POST", "/v2/models/m/infer", asked)
    begin = int(headers[b"inference-header-content-length"])
    assert headers[b"content-type"] == b"application/octet-stream"
    assert np.frombuffer(body[begin:], "<f4").tolist() == [2.0, 4.0]
    assert json.loads(body[:begin])["model_name"] == "m"


def test_what_is_refused_is_counted_by_its_status(service, caplog):
    app = Application(service)
    assert answered(app, "POST", "/v2/models/m/infer", b"{}")[0] == 400
    assert counted(service, 'serve_requests_total{model="m",status="400"}')
    service.models["m"].batcher.run_at_once = lambda *_, **__: 1 / 0
    status, _, body = answered(app, "POST", "/v2/models/m/infer", HEAD)
    assert (status, b"ZeroDivisionError" in body) == (500, True)
    assert "ZeroDivisionError" in caplog.text
    assert answered(app, "POST", "/v2/models/none/infer", HEAD)[0] == 404
    assert service._in_flight == 0


def test_a_client_that_went_away_is_told_nothing_and_counted(service):
    sent = []

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    asyncio.run(service.infer("m", None, {}, receive, send))
    assert sent == []
    assert counted(service, 'serve_requests_total{model="m",status="499"}')
    assert counted(service, 'serve_request_seconds_count{model="m",outcome="fail"}')


@pytest.mark.parametrize(("own", "given"), [(None, 7.0), (2_000_000, 2.0), (9_000_000, 7.0)])
def test_a_request_waits_no_longer_than_it_or_the_service_says(service, own, given):
    service.settings = Settings(timeout_s=7.0)
    asked = []

    async def run(_, timeout_s, *, alone):
        asked.append((timeout_s, alone))
        return {"x": np.zeros((1, 2), np.float32)}, 0.0

    service.models["m"].run = run
    timeout = b"" if own is None else b', "parameters": {"timeout": %d}' % own
    answered(Application(service), "POST", "/v2/models/m/infer", HEAD[:-1] + timeout + b"}")
    assert asked == [(given, True)]
    service._in_flight = 1
    answered(Application(service), "POST", "/v2/models/m/infer", HEAD)
    assert asked[1:] == [(7.0, False)]
    service._in_flight = 0


@pytest.mark.parametrize(("size", "guarded"), [(64 * 1024, False), (64 * 1024 + 1, True)])
def test_whoever_does_not_read_a_long_answer_is_not_waited_for(service, monkeypatch, size, guarded):
    asked, sent = [], []
    monkeypatch.setattr(
        service_module,
        "anyio",
        SimpleNamespace(move_on_after=lambda seconds: asked.append(seconds) or contextlib.nullcontext()),
    )

    async def send(message):
        sent.append(message)

    asyncio.run(service._send(send, [b"a" * (size - 1), b"b"], None))
    assert asked == [30.0] * guarded
    assert [len(message.get("body", b"")) for message in sent] == [0, size]
    assert dict(sent[0]["headers"])[b"content-length"] == b"%d" % size


def test_what_a_model_sees_in_an_image_is_answered_with_the_size_that_it_is_made_of(service):
    seen = []

    class Looking:
        preprocessing = SimpleNamespace(size=(8, 9))

        async def read(self, body):
            return {"x": np.array([[1.0, 2.0]], np.float32)}, (len(body), 5)

        def postprocessing(self, results, *, image, size):
            seen.append((results["x"].tolist(), image, size))
            return {"classes": []}

    app, path = Application(service), "/v2/models/m/image"
    status, _, body = answered(app, "POST", path, b"abc")
    assert (status, b"it takes no images" in body) == (404, True)
    service.models["m"].images = Looking()
    status, _, body = answered(app, "POST", path, b"abc")
    assert (status, json.loads(body)) == (200, {"model_name": "m", "classes": []})
    Looking.preprocessing = SimpleNamespace(size=None)
    answered(app, "POST", path, b"abcd")
    assert seen == [([[2.0, 4.0]], (3, 5), (8, 9)), ([[2.0, 4.0]], (4, 5), (4, 5))]
    Looking.postprocessing = lambda *_, **__: 1 / 0
    status, _, body = answered(app, "POST", path, b"abc")
    assert (status, b"ZeroDivisionError" in body) == (500, True)
    assert counted(service, 'serve_requests_total{model="m",status="499"}')
    service.ending = True
    assert answered(app, "POST", path, b"abc")[0] == 503
    assert counted(service, 'serve_requests_total{model="m",status="503"}')
    assert service._in_flight == 0


def test_every_watcher_sees_each_run_with_its_own_counters_first(service):
    served, seen = service.models["m"], []
    served.watchers.append(seen.append)
    run = Ran(3, 0.5, {})
    served._ran(run)
    assert seen == [run]
    assert counted(service, 'serve_batch_rows_count{model="m"}')


def test_times_and_rows_are_counted_in_these_buckets():
    metrics = Metrics(["m"])
    metrics.of["m"].ran(Ran(1, 0.0, {}))
    metrics.of["m"].answered(0.0, seconds=0.0, input_s=0.0, output_s=0.0)
    text = metrics.text().decode()

    def bounds(name):
        found = [line for line in text.splitlines() if line.startswith(f"{name}_bucket")]
        return [float(line.split('le="')[1].split('"')[0]) for line in found if "fail" not in line]

    seconds = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, np.inf]
    for name in ("serve_request_seconds", "serve_queue_seconds", "serve_run_seconds"):
        assert bounds(name) == seconds
    assert bounds("serve_batch_rows") == [1, 2, 4, 8, 16, 32, 64, 128, np.inf]


# Engines


@pytest.mark.parametrize(
    ("shapes", "batches", "profile"),
    [
        (((-1, 3), (-1,)), True, {"a": ((1, 3), (4, 3)), "b": ((1,), (4,))}),
        (((-1, 3), (-1, -1)), True, None),
        (((-1, 3), (-1, 0)), True, None),
        (((2, 3), (2,)), False, None),
    ],
)
def test_an_engine_is_built_for_a_row_up_to_the_most_where_rows_alone_are_free(monkeypatch, shapes, batches, profile):
    asked = []
    builder = SimpleNamespace(build=lambda of, options, **_: asked.append((of, options)) or "engine")
    monkeypatch.setattr(engine, "backend_named", lambda _: builder)
    ports = tuple(Port(name, "FP32", shape) for name, shape in zip("ab", shapes, strict=True))
    deployment = SimpleNamespace(inputs=ports, batches=batches, model="model")
    assert engine_for(deployment, "onnxruntime", 4) == "engine"
    ((of, options),) = asked
    assert (of, options == BuildOptions(profiles=options.profiles)) == ("model", True)
    if profile is None:
        assert options.profiles is None
        return
    (made,) = options.profiles
    assert {name: (one.min, one.opt, one.max) for name, one in made.items()} == {
        name: (low, high, high) for name, (low, high) in profile.items()
    }


def test_bf16_is_for_other_backends_than_onnx_runtime(monkeypatch):
    monkeypatch.setattr(engine, "backend_named", lambda name: SimpleNamespace(build=lambda *_, **__: name))
    deployment = SimpleNamespace(inputs=(Port("x", "BF16", (1,)),), batches=False, model=None)
    assert engine_for(deployment, "tensorrt", 4) == "tensorrt"
    with pytest.raises(BackendError, match="ONNX Runtime takes no BF16"):
        engine_for(deployment, "onnxruntime", 4)


@pytest.mark.parametrize("digest", ["0" * 64, "f" * 64])
def test_an_engine_of_any_other_model_is_refused(monkeypatch, tmp_path, digest):
    manifest = {"model_sha256": digest, "model": "other"}
    monkeypatch.setattr(engine, "read_engine", lambda _: SimpleNamespace(manifest=manifest))
    deployment = SimpleNamespace(model=SimpleNamespace(digest="5" * 64), file="tuned.onnx")
    with pytest.raises(BackendError, match=r"it is an engine of other, not of tuned\.onnx"):
        engine_for(deployment, "onnxruntime", 4, tmp_path / "none")


@pytest.mark.parametrize(
    ("backend", "profile", "most", "steps"),
    [
        ("onnxruntime", (), 8, False),
        ("tensorrt", ({"max": [5, 3]}, {"max": []}, {"max": [6]}), 5, True),
        ("tensorrt", ({"max": [16, 3]},), 8, True),
    ],
)
def test_no_more_rows_are_tried_than_an_engine_takes(monkeypatch, backend, profile, most, steps):
    tried, closed = [], []

    @contextlib.contextmanager
    def opened(_):
        yield "run"
        closed.append(True)

    found = Rows(4, None, 0.0, "why")
    monkeypatch.setattr(engine, "backend_of", lambda _: SimpleNamespace(opened=opened))
    monkeypatch.setattr(engine, "rows_of", lambda run, _, most, **how: tried.append((run, most, how)) or found)
    ports = (Port("x", "FP32", (1, 3)),)
    deployment = SimpleNamespace(inputs=ports, outputs=ports)
    built = SimpleNamespace(backend=backend, manifest={"profile": profile} if profile else {})
    loaded = load(deployment, built, most=8, exact=True)
    assert tried == [("run", most, {"steps": steps, "exact": True})]
    assert loaded.inputs == loaded.outputs == {"x": Port("x", "FP32", (-1, 3))}
    loaded.closing.close()
    found = Rows(1, None, 0.0, "why")
    assert load(deployment, built, most=8).inputs == {"x": ports[0]}
    assert closed == [True]

    def fail(*_, **__):
        raise BackendError("no GPU")

    monkeypatch.setattr(engine, "rows_of", fail)
    with pytest.raises(BackendError, match="no GPU"):
        load(deployment, built, most=8)
    assert len(closed) >= 1


# Rows


def tried(monkeypatch, most=8, *, first=None, shapes=((-1, 2), (-1, 2)), batches=True, run=None, **how):
    """Return what was found of an engine that doubles, and all that it ran."""
    ports = [[Port(name, "FP32", shape)] for name, shape in zip("xy", shapes, strict=True)]
    deployment = SimpleNamespace(name="m", model=None, inputs=ports[0], outputs=ports[1], batches=batches)
    given = np.array([[3.0, 5.0]]) if first is None else first
    monkeypatch.setattr(rows, "random_inputs", lambda *_, **__: {"x": given})
    ran = []
    found = rows_of(run or (lambda feeds: ran.append(feeds["x"]) or {"y": 2 * feeds["x"]}), deployment, most, **how)
    return found, ran


@pytest.mark.parametrize(
    ("most", "ran"), [(8, [1, 1, 1, 3, 8]), (3, [1, 1, 1, 3]), (2, [1, 1, 2]), (5, [1, 1, 1, 3, 5])]
)
def test_up_to_three_rows_are_run_alone_and_then_in_company_few_and_many(monkeypatch, most, ran):
    found, feeds = tried(monkeypatch, most)
    assert (found.most, [len(one) for one in feeds]) == (most, ran)
    alone = feeds[: min(most, 3)]
    for one in feeds[len(alone) :]:
        np.testing.assert_array_equal(one, np.concatenate([alone[at % len(alone)] for at in range(len(one))]))
    assert all(sorted(one[0]) == [3.0, 5.0] for one in alone)


def test_rows_of_a_fixed_batch_are_moved_up_and_followed_by_zeros(monkeypatch):
    x = np.arange(1.0, 11).reshape(5, 2)
    found, feeds = tried(monkeypatch, first=x, shapes=((5, 2), (5, 2)), batches=False)
    assert (found.most, found.sizes) == (5, (5,))
    np.testing.assert_array_equal(feeds[1], np.concatenate([x[2:], 0 * x[:2]]))
    two, feeds = tried(monkeypatch, first=x[:2], shapes=((2, 2), (2, 2)), batches=False, steps=True)
    assert (two.most, two.sizes) == (2, (2,))
    np.testing.assert_array_equal(feeds[1], [x[1], 0 * x[0]])


@pytest.mark.parametrize("shapes", [((3, 2), (4, 2)), ((), (3,)), ((1, 2), (1, 2))])
def test_without_a_batch_in_common_requests_run_alone(monkeypatch, shapes):
    found, _ = tried(monkeypatch, shapes=shapes, batches=False)
    assert found == Rows(1, None, 0.0, "requests run one by one: inputs and outputs have no batch axis in common")


def test_steps_are_powers_of_two_where_rows_run_together(monkeypatch):
    assert tried(monkeypatch, 6, steps=True)[0].sizes == (1, 2, 4, 6)
    assert tried(monkeypatch, 6)[0].sizes is None


def test_other_lengths_are_tried_where_a_model_takes_not_the_first(monkeypatch):
    asked = []

    def inputs(_, *, free):
        asked.append(free)
        if len(asked) < 3:
            raise BackendError(f"not of {len(asked)}")
        return {"x": np.zeros((1, 2))}

    deployment = SimpleNamespace(name="m", model=None, inputs=[X], outputs=[X], batches=False)
    monkeypatch.setattr(rows, "random_inputs", inputs)
    assert "no batch axis" in rows_of(lambda feeds: feeds, deployment, 4).why
    assert asked == list(rows.FREE_LENGTHS)[:3]

    def none(*_, **__):
        asked.append(None)
        raise BackendError(f"not of {len(asked)}")

    asked.clear()
    monkeypatch.setattr(rows, "random_inputs", none)
    assert rows_of(lambda feeds: feeds, deployment, 4).why.endswith("try more (not of 1)")
    assert len(asked) == len(rows.FREE_LENGTHS)


# Images


@pytest.mark.parametrize(("processors", "tokens"), [(3, 3), (None, 1)])
def test_as_many_images_are_decoded_at_a_time_as_there_are_processors(monkeypatch, processors, tokens):
    monkeypatch.setattr(images, "_limiters", [])
    monkeypatch.setattr(images, "os", SimpleNamespace(cpu_count=lambda: processors))

    async def limits():
        return images._limiter(), images._limiter()

    first, second = asyncio.run(limits())
    assert (first.total_tokens, first is second) == (tokens, True)


@pytest.mark.parametrize("shape", [(1, 3, 8, 8, 1), (1, 3, 8), (2, 3, 8, 8)])
def test_one_image_is_four_axes_and_one_row(shape):
    deployment = SimpleNamespace(name="m", inputs=[Port("x", "FP32", shape)], preprocessing="given")
    with pytest.raises(OptionError, match="m does not take one image"):
        images.images_of(deployment, None, Postprocessing())


@pytest.mark.parametrize("rows_", [1, -1])
def test_how_images_are_taken_is_as_said_or_else_as_in_calibration(rows_):
    def sized(name):
        return SimpleNamespace(sized_for=lambda of: f"{name} for {of}")

    outputs = [Port("y", "FP32", (-1, 5)), Port("z", "FP32", (-1, 6))]
    deployment = SimpleNamespace(
        name="m",
        inputs=[Port("x", "FP16", (rows_, 3, 8, 8))],
        outputs=outputs,
        preprocessing=sized("calibrated"),
        model="net",
    )
    made = images.images_of(deployment, None, Postprocessing())
    assert (made.input, made.dtype, made.preprocessing) == ("x", np.float16, "calibrated for net")
    assert made.postprocessing.scores == "y"
    assert images.images_of(deployment, sized("said"), Postprocessing()).preprocessing == "said for net"


def test_what_is_made_of_outputs_where_nothing_is_said():
    assert Postprocessing() == Postprocessing(
        kind="classes",
        top=5,
        softmax=False,
        form="corners",
        units="relative",
        background=None,
        threshold=0.5,
        overlap=0.45,
    )
    assert Postprocessing.parse("top=1").top == 1


@pytest.mark.parametrize(
    ("given", "ranks", "said"),
    [
        ({}, {"y": 2, "z": 9}, None),
        ({}, {"y": 3}, "y has 3 axes, and classes are read from 2"),
        ({"kind": "detections", "boxes": "b", "scores": "s"}, {"s": 3, "b": 3}, None),
        ({"kind": "detections", "boxes": "b", "scores": "s"}, {"s": 3, "b": 2}, "b has 2 axes, and detections are"),
        ({"kind": "detections", "boxes": "b", "scores": "s"}, {"s": 4, "b": 3}, "s has 4 axes, and detections are"),
    ],
)
def test_outputs_have_the_axes_that_are_read(given, ranks, said):
    outputs = [Port(name, "FP32", (1,) * rank) for name, rank in ranks.items()]
    if said is None:
        assert Postprocessing(**given).checked(outputs).scores in ("y", "s")
        return
    with pytest.raises(OptionError, match=said):
        Postprocessing(**given).checked(outputs)


def test_classes_are_those_of_the_first_row_and_large_logits_are_shares_too():
    scores = np.array([[1000.0, 1001.0, 999.0], [9000.0, 0, 0]])
    answer = Postprocessing(scores="s", softmax=True, top=2)({"s": scores}, image=(1, 1), size=(1, 1))
    whole = 1 + np.exp(-1.0) + np.exp(-2.0)
    assert answer == {
        "classes": [
            {"class": 1, "score": pytest.approx(1 / whole)},
            {"class": 0, "score": pytest.approx(np.exp(-1.0) / whole)},
        ]
    }


def test_boxes_in_pixels_are_scaled_by_height_and_by_width():
    reading = Postprocessing(kind="detections", boxes="b", scores="s", units="pixels")
    boxes = np.array([[[2.0, 3.0, 6.0, 5.0]], [[0, 0, 1, 1]]])
    (one,) = reading({"b": boxes, "s": np.full((2, 1, 1), 0.9)}, image=(100, 300), size=(10, 20))["detections"]
    assert one["box"] == [30.0, 30.0, 90.0, 50.0]


def test_many_detections_of_one_class_do_not_push_out_better_ones_of_the_next():
    boxes = np.array([[0.1 * at, 0, 0.1 * at + 0.05, 1] for at in range(6)])
    scores = np.array([[0.6, 0.1], [0.61, 0.1], [0.62, 0.1], [0.63, 0.1], [0.1, 0.9], [0.1, 0.8]])

    def best(top):
        reading = Postprocessing(kind="detections", boxes="b", scores="s", top=top)
        found = reading({"b": boxes[None], "s": scores[None]}, image=(10, 10), size=(10, 10))["detections"]
        return [(one["class"], one["score"]) for one in found]

    assert best(1) == [(1, 0.9)]
    assert best(3) == [(1, 0.9), (1, 0.8), (0, 0.63)]
    assert best(9) == [(1, 0.9), (1, 0.8), (0, 0.63), (0, 0.62), (0, 0.61), (0, 0.6)]


# Connections


@pytest.fixture
def connection(monkeypatch):
    """A connection whose parts are seen through, and what was done to it."""
    made, done = object.__new__(PatientProtocol), []
    made.done = done
    timer = SimpleNamespace(cancel=lambda: done.append("cancelled"))
    made.loop = SimpleNamespace(call_later=lambda seconds, _: done.append(seconds) or timer)
    made.transport = SimpleNamespace(close=lambda: done.append("closed"), is_closing=lambda: False, write=done.append)
    for name in (
        "connection_made",
        "connection_lost",
        "on_message_begin",
        "on_headers_complete",
        "on_message_complete",
    ):
        monkeypatch.setattr(HttpToolsProtocol, name, lambda *_, name=name: done.append(name))
    monkeypatch.setattr(HttpToolsProtocol, "on_header", lambda _, *pair: done.append(pair))
    made._unset_keepalive_if_required = lambda: None
    return made


def test_a_connection_is_waited_for_half_a_minute_and_anew_for_each_request(connection):
    connection.connection_made(connection.transport)
    connection._headers_bytes = connection._unfinished_bytes = 9
    connection.on_message_begin()
    assert connection.done == ["connection_made", 30.0, "on_message_begin", "cancelled", 30.0]
    assert (connection._headers_bytes, connection._unfinished_bytes) == (0, 0)
    connection.connection_lost(None)
    connection.connection_lost(None)
    assert connection.done[5:] == ["cancelled", "connection_lost", "connection_lost"]


def test_headers_may_be_as_long_as_the_bound(connection):
    connection.head_bytes = 10
    connection.on_header(b"abc", b"1234")
    connection.on_header(b"ab", b"1")
    with pytest.raises(ValueError, match="11"):
        connection.on_header(b"", b"1")
    assert connection.done == [(b"abc", b"1234"), (b"ab", b"1")]


@pytest.mark.parametrize(
    ("headers", "unfinished", "status", "said"),
    [
        (2048, 2048, 400, "this is no HTTP/1.1 request"),
        (2049, 0, 431, "the headers are longer than 2 KiB"),
        (0, 2049, 431, "the headers are longer than 2 KiB"),
    ],
)
def test_what_is_wrong_with_a_request_is_said_and_its_connection_closed(connection, headers, unfinished, status, said):
    connection.head_bytes = 2048
    connection._headers_bytes, connection._unfinished_bytes = headers, unfinished
    connection.send_400_response("")
    answer, closed = connection.done
    head, _, content = answer.partition(b"\r\n\r\n")
    assert (head.split(b" ")[1], closed) == (str(status).encode(), "closed")
    assert json.loads(content)["error"].startswith(said)
    assert f"content-length: {len(content)}".encode() in head


@pytest.mark.parametrize(("bound", "refused_"), [(10, False), (9, True)])
def test_bytes_of_a_header_without_an_end_are_counted(connection, bound, refused_):
    connection.head_bytes, connection._timer = bound, "a timer"
    connection.parser = SimpleNamespace(feed_data=lambda _: None)
    connection.send_400_response = lambda _: connection.done.append("refused")
    connection.data_received(b"12345")
    connection.data_received(b"67890")
    assert connection.done == ["refused"] * refused_
    connection._timer = None  # the headers are complete, and how long a body is is not counted here
    connection.data_received(b"1" * 99)
    assert connection.done == ["refused"] * refused_


def test_a_request_is_read_again_with_all_its_headers_but_the_offer(connection):
    connection.parser = SimpleNamespace(get_method=lambda: b"POST")
    connection.url = b"/v2"
    connection.headers = [(b"accept", b"*"), (b"upgrade", b"h2c"), (b"x-last", b"7")]
    connection.data_received = connection.done.append
    connection._go_on(b"rest")
    assert connection.done == [b"POST /v2 HTTP/1.1\r\naccept: *\r\nx-last: 7\r\n\r\nrest"]


# The process


def test_a_server_says_nothing_of_itself_and_of_each_request(monkeypatch):
    configs = []
    monkeypatch.setattr(server, "_Server", lambda config: configs.append(config) or SimpleNamespace(run=lambda **_: 0))
    server.run_server("make", "a socket")
    (config,) = configs
    assert (config.access_log, config.server_header, config.factory, config.log_level) == (
        False,
        False,
        True,
        "warning",
    )
    assert (server.GRACE_S, server.SWITCH_S) == (30, 0.0005)


@pytest.mark.parametrize(("tuned", "digest"), [(SimpleNamespace(sha256="f0"), "f0"), (None, "")])
def test_a_model_is_described_by_what_runs_it_and_what_made_it(tuned, digest):
    deployment = SimpleNamespace(recipe=SimpleNamespace(tuned=tuned))
    loaded = SimpleNamespace(
        name="net", backend="tensorrt", inputs=PORTS, outputs={}, rows=SimpleNamespace(why="why"), deployment=deployment
    )
    assert routes._metadata(SimpleNamespace(loaded=loaded)) == {
        "name": "net",
        "versions": ["1"],
        "platform": "tensorrt_onnx",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
        "outputs": [],
        "parameters": {"batching": "why", "recipe_sha256": digest},
    }
