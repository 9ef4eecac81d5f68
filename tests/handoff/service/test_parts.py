"""The parts of the service one by one, each at its bounds."""

from __future__ import annotations

import asyncio
import errno
import gzip
import json
import os
import signal
import socket
import threading
import zlib
from types import SimpleNamespace

import numpy as np
import pytest

from workbench.backends import write_engine
from workbench.calibration import Preprocessing
from workbench.errors import BackendError, OptionError
from workbench.handoff import Port, open_deployment
from workbench.handoff.service import (
    Postprocessing,
    Settings,
    batching,
    engine_for,
    images,
    listen,
    routes,
    rows,
    server,
    url_of,
)
from workbench.handoff.service.batching import Batcher, Batching, Ran
from workbench.handoff.service.bodies import Gone, receive_body
from workbench.handoff.service.metrics import MULTIPROCESS, Metrics
from workbench.handoff.service.postprocessing import _overlap
from workbench.handoff.service.protocol import decode
from workbench.handoff.service.request_error import RequestError, fault, send_error
from workbench.handoff.service.rows import _difference, _powers_of_two, rows_of
from workbench.handoff.service.service import Served, Service, _header_length

# The port


def test_a_port_that_cannot_be_had_is_refused_in_a_line(monkeypatch):
    with listen("127.0.0.1", 0) as opened:
        host, port = opened.getsockname()
        assert url_of(opened) == f"http://{host}:{port}"
        with pytest.raises(OptionError, match=f"`port` {port} on 127.0.0.1: it is in use; choose another"):
            listen("127.0.0.1", port)
    with pytest.raises(OptionError, match="`port` 65536: a port is 0 to 65535"):
        listen("127.0.0.1", 65536)
    with pytest.raises(OptionError, match=r"this machine has no address 192\.0\.2\.1"):
        listen("192.0.2.1", 0)  # set aside for documentation
    with pytest.raises(OptionError, match=r"this machine has no address 999\.1\.1\.1"):
        listen("999.1.1.1", 0)

    def refused(number):
        def create(*_, **__):
            raise OSError(number, "why")

        return create

    for number, reason in (
        (errno.EACCES, "this user may not open it; choose a `port` above 1023"),
        (errno.EMFILE, "cannot be opened: why"),
    ):
        monkeypatch.setattr(socket, "create_server", refused(number))
        with pytest.raises(OptionError, match=f"`port` 80 on 127.0.0.1: {reason}"):
            listen("127.0.0.1", 80)


@pytest.mark.parametrize(("host", "family"), [("::1", socket.AF_INET6), ("127.0.0.1", socket.AF_INET)])
def test_an_address_is_of_its_family(monkeypatch, host, family):
    asked = []
    monkeypatch.setattr(socket, "create_server", lambda address, **options: asked.append((address, options)))
    listen(host, 8)
    assert asked == [((host, 8), {"family": family, "backlog": 2048})]
    opened = SimpleNamespace(getsockname=lambda: (host, 8, 0, 0))
    assert url_of(opened) == ("http://[::1]:8" if ":" in host else "http://127.0.0.1:8")


def test_who_ends_a_server_is_told_at_once_that_it_is_not_ready(monkeypatch):
    service = SimpleNamespace(ending=False)
    monkeypatch.setattr(server, "_ending", [service])
    monkeypatch.setattr(server.uvicorn.Server, "handle_exit", lambda *_: None)
    server._Server(SimpleNamespace()).handle_exit(15, None)
    assert service.ending


@pytest.mark.parametrize("workers", [1, 3])
def test_one_process_serves_itself_and_several_count_together(monkeypatch, workers):
    ran = []

    class Runs:
        def __init__(self, config, sockets=None):
            self.config, self.sockets = config, sockets

        def run(self, sockets=None):
            ran.append((type(self).__name__, self.sockets or sockets, os.environ.get(MULTIPROCESS), self.config))

    monkeypatch.delenv(MULTIPROCESS, raising=False)
    monkeypatch.setattr(server, "_Server", type("Alone", (Runs,), {}))
    monkeypatch.setattr(server, "Multiprocess", type("Several", (Runs,), {}))
    before = signal.getsignal(signal.SIGTERM)
    server.run_server("make", "a socket", workers=workers)
    ((kind, sockets, folder, config),) = ran
    assert (kind, sockets) == ("Alone" if workers == 1 else "Several", ["a socket"])
    assert (folder is None) == (workers == 1)
    assert MULTIPROCESS not in os.environ
    assert (config.workers, config.lifespan, config.ws, config.app.make) == (workers, "on", "none", "make")
    assert (config.timeout_keep_alive, config.timeout_graceful_shutdown) == (30, server.GRACE_S)
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_signal_that_ended_a_server_ends_nothing_else():
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("only the main thread takes signals")
    before = signal.getsignal(signal.SIGTERM)
    with server._quiet_end():
        signal.raise_signal(signal.SIGTERM)
    with server._quiet_end():
        raise KeyboardInterrupt
    assert signal.getsignal(signal.SIGTERM) == before
    done = []

    def elsewhere():  # only the main thread has signals
        with server._quiet_end():
            done.append(signal.getsignal(signal.SIGTERM) == before)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert done == [True]


def test_each_process_makes_its_service_and_lets_go_of_the_interpreter_soon(monkeypatch):
    made, ending, intervals = [], [], []
    monkeypatch.setattr(server, "_ending", ending)
    monkeypatch.setattr(server, "Application", lambda service: ("application of", service))
    monkeypatch.setattr(server, "sys", SimpleNamespace(setswitchinterval=intervals.append))
    assert server._Application(lambda: made.append(1) or "service")() == ("application of", "service")
    assert (made, ending, intervals) == ([1], ["service"], [server.SWITCH_S])


def test_whoever_started_a_service_is_told(capsys):
    server.say("it runs")
    assert capsys.readouterr().err == "it runs\n"


# Bodies


def received(*messages, headers=None, settings=None):
    """What becomes of a body that arrives in these messages."""
    waiting = list(messages)

    async def receive():
        if not waiting:
            await asyncio.sleep(10)
        return waiting.pop(0)

    settings = settings or Settings(body_bytes=8, transfer_s=0.05)
    return asyncio.run(receive_body(receive, headers or {}, settings))


def part(body, *, more=False):
    return {"type": "http.request", "body": body, "more_body": more}


@pytest.mark.parametrize(
    "messages",
    [
        [part(b"12345678")],
        [part(b"1234", more=True), part(b"5678")],
        [part(b"12345678", more=True), part(b"")],
        [part(b"", more=True), {"type": "http.request", "more_body": True}, part(b"12345678")],
    ],
)
def test_a_body_may_be_as_large_as_the_bound(messages):
    assert received(*messages) == b"12345678"
    assert received(*messages, headers={b"content-length": b"8", b"content-encoding": b" Identity "}) == b"12345678"


@pytest.mark.parametrize(
    ("messages", "headers"),
    [
        ([part(b"123456789")], {}),
        ([part(b"1234", more=True), part(b"56789")], {}),
        ([part(b"123456789", more=True), part(b"")], {}),
        ([part(b"")], {b"content-length": b"9"}),
        ([part(b"")], {b"content-length": b"x"}),
    ],
)
def test_a_body_may_not_be_larger(messages, headers):
    with pytest.raises(RequestError, match="the body is larger than 0 MiB") as caught:
        received(*messages, headers=headers)
    assert (caught.value.status, caught.value.closing) == (413, True)


@pytest.mark.parametrize(("encoding", "pack"), [(b"gzip", gzip.compress), (b"deflate", zlib.compress)])
def test_a_packed_body_may_be_as_large_as_the_bound_when_it_is_unpacked(encoding, pack):
    settings = Settings(body_bytes=99, transfer_s=0.05)
    assert received(part(pack(bytes(99))), headers={b"content-encoding": encoding}, settings=settings) == bytes(99)
    with pytest.raises(RequestError, match="the body is larger than") as caught:
        received(part(pack(bytes(100))), headers={b"content-encoding": encoding}, settings=settings)
    assert caught.value.status == 413
    for wrong, what in ((b"nonsense", "the body is no"), (pack(b"1" * 9)[:-1], "body ends early")):
        with pytest.raises(RequestError, match=what) as caught:
            received(part(wrong), headers={b"content-encoding": encoding}, settings=settings)
        assert caught.value.status == 400


def test_a_body_that_does_not_come_in_time_or_whose_sender_is_gone():
    for messages in ([], [part(b"1", more=True)]):
        with pytest.raises(RequestError, match=r"did not arrive within 0\.05 s") as caught:
            received(*messages)
        assert (caught.value.status, caught.value.closing) == (408, True)
    gone = {"type": "http.disconnect"}
    for messages in ([gone], [part(b"1", more=True), gone]):
        with pytest.raises(Gone):
            received(*messages)
    with pytest.raises(RequestError, match="'br' is not known") as caught:
        received(part(b"1"), headers={b"content-encoding": b"br"})
    assert caught.value.status == 415


def test_an_error_is_sent_with_its_headers(caplog):
    sent = []

    async def send(message):
        sent.append(message)

    error = RequestError(503, "what", where="here", fix="Do.", retry_after=7, closing=True, allow="POST")
    asyncio.run(send_error(send, error))
    start, body = sent
    assert (start["status"], dict(start["headers"])) == (
        503,
        {
            b"content-type": b"application/json",
            b"content-length": str(len(body["body"])).encode(),
            b"retry-after": b"7",
            b"allow": b"POST",
            b"connection": b"close",
        },
    )
    assert json.loads(body["body"]) == {"error": "here: what. Do."}
    assert RequestError(404, "what").headers == {}
    told = fault(ZeroDivisionError("secret"))
    assert (told.status, "ZeroDivisionError" in str(told), "secret" in str(told)) == (500, True, False)
    assert "secret" in caplog.text


# Requests


@pytest.mark.parametrize(("stated", "length"), [(b"7", 7), (b" 0 ", 0), (b"9" * 18, int("9" * 18))])
def test_the_length_of_the_head_is_a_number(stated, length):
    assert _header_length({b"inference-header-content-length": stated}) == length
    assert _header_length({}) is None


@pytest.mark.parametrize("stated", [b"", b"-1", b"1.0", b"9" * 19])
def test_what_is_no_length_of_a_head_is_refused(stated):
    with pytest.raises(RequestError, match="is no number") as caught:
        _header_length({b"inference-header-content-length": stated})
    assert caught.value.status == 400


PORTS = {"x": Port("x", "FP32", (-1, 2))}
ENTRY = {"name": "x", "shape": [1, 2], "datatype": "FP32"}


def asked(entry=None, content=b"", **more):
    head = json.dumps({"inputs": [ENTRY | (entry or {"data": [1, 2]})], **more}).encode()
    return decode(head + content, len(head) if content else None, PORTS, PORTS)


def test_a_request_is_read_with_its_time_its_name_and_what_it_wants():
    plain = asked()
    assert (plain.outputs, plain.id, plain.timeout_s) == ([("x", False)], None, None)
    assert asked(parameters={"timeout": 2_500_000}).timeout_s == 2.5
    assert asked(parameters={"timeout": 1}).timeout_s == 1e-6
    assert asked(parameters={"timeout": 0}).timeout_s is None
    assert asked(parameters={"binary_data_output": True}).outputs == [("x", True)]
    outputs = [{"name": "x", "parameters": {"binary_data": False}}, {"name": "x", "parameters": {"binary_data": True}}]
    assert asked(parameters={"binary_data_output": True}, outputs=outputs).outputs == [("x", True)]
    assert asked(parameters={"binary_data_output": True}, outputs=outputs[:1]).outputs == [("x", False)]
    assert asked(id="mine").id == "mine"
    content = np.array([1, 2], "<f4").tobytes()
    bytes_behind = asked({"parameters": {"binary_data_size": 8}}, content)
    assert bytes_behind.feeds["x"].tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("entry", "more", "message"),
    [
        (None, {"parameters": {"timeout": -1}}, "'timeout' is no number of microseconds"),
        (None, {"parameters": {"timeout": 1.5}}, "'timeout' is no number of microseconds"),
        (None, {"parameters": {"timeout": True}}, "'timeout' is no number of microseconds"),
        (None, {"parameters": {"binary_data_output": 1}}, "'binary_data_output' is 1"),
        (None, {"id": 7}, "'id' is no text"),
        ({"data": [1, 2], "parameters": {"binary_data_size": 8}}, {}, "it has data and binary_data_size"),
        ({"parameters": {}}, {}, "it has no data and no binary_data_size"),
        ({"parameters": {"binary_data_size": True}}, {}, "binary_data_size is True, and 0 bytes are left"),
        ({"parameters": {"binary_data_size": 1}}, {}, "binary_data_size is 1, and 0 bytes are left"),
        ({"name": 7, "data": []}, {}, "the model has no such input"),
        (None, {"outputs": [{"name": 7}]}, "the model has no such output"),
        (None, {"outputs": 7}, "'outputs' is no list of objects"),
    ],
)
def test_a_request_that_is_none_is_400(entry, more, message):
    with pytest.raises(RequestError, match=message) as caught:
        asked(entry, **more)
    assert caught.value.status == 400


def test_rows_of_inputs_are_as_many_and_hold_something():
    def counted(feeds, most=8):
        model = SimpleNamespace(loaded=SimpleNamespace(rows=SimpleNamespace(most=most)))
        return Served._rows(model, feeds)

    assert counted({"a": np.zeros((3, 2)), "b": np.zeros((3, 1))}) == 3
    for feeds, what in (
        ({"a": np.zeros((3, 2)), "b": np.zeros((2, 1))}, r"first axes of \[2, 3\] rows"),
        ({"a": np.zeros((0, 2))}, r"first axes of \[0\] rows"),
        ({"a": np.zeros((9, 0))}, "9 rows without values"),
    ):
        with pytest.raises(RequestError, match=what) as caught:
            counted(feeds)
        assert caught.value.status == 400
    assert [counted({"a": np.zeros((rows, 0))}) for rows in (7, 8)] == [7, 8]
    assert counted({"a": np.zeros((9, 1))}) == 9
    assert counted({"a": np.zeros((3, 2)), "b": np.zeros((2, 1))}, most=1) is None


def test_as_many_requests_are_let_in_as_may_be():
    service = Service([], Settings(concurrency=2))
    service.admit()
    service.admit()
    with pytest.raises(RequestError, match="2 requests are in flight already") as caught:
        service.admit()
    assert (caught.value.status, caught.value.retry_after, caught.value.closing) == (429, 1, False)
    service.leave()
    service.admit()
    service.close()
    with pytest.raises(RequestError, match="the service ends") as caught:
        service.admit()
    assert (caught.value.status, caught.value.retry_after, caught.value.closing) == (503, 1, True)


def test_a_model_has_one_version():
    service = Service([])
    service.models["small_cnn"] = SimpleNamespace()
    assert service.model("small_cnn") is service.model("small_cnn", "1")
    for name, version, what in (
        ("small_cnn", "2", "there is no version 2"),
        ("other", None, "other: there is no such model. There are small_cnn"),
    ):
        with pytest.raises(RequestError, match=what) as caught:
            service.model(name, version)
        assert caught.value.status == 404


# Counters


def test_counters_become_tritons_statistics():
    metrics = Metrics(["m", "other"])
    model = metrics.of["m"]
    model.ran(Ran(2, 0.5, {}))
    model.ran(Ran(2, 0.25, {}))
    model.ran(Ran(4, 1.0, {}))
    model.answered(0.125, seconds=2.0, input_s=0.5, output_s=0.25)
    model.answered(0.0, seconds=1.0, input_s=0.5, output_s=0.5)
    model.refused(400, 4.0)
    model.counted(3)
    assert metrics.statistics()["m"] == {
        "name": "m",
        "version": "1",
        "inference_count": 8,
        "execution_count": 3,
        "inference_stats": {
            "success": {"count": 2, "ns": 3_000_000_000},
            "fail": {"count": 1, "ns": 4_000_000_000},
            "queue": {"count": 2, "ns": 125_000_000},
            "compute_input": {"count": 2, "ns": 1_000_000_000},
            "compute_infer": {"count": 2, "ns": 1_750_000_000},
            "compute_output": {"count": 2, "ns": 750_000_000},
        },
        "batch_stats": [
            {
                "batch_size": rows,
                "compute_input": {"count": 0, "ns": 0},
                "compute_infer": {"count": count, "ns": ns},
                "compute_output": {"count": 0, "ns": 0},
            }
            for rows, count, ns in ((2, 2, 750_000_000), (4, 1, 1_000_000_000))
        ],
    }
    assert metrics.statistics()["other"]["inference_count"] == 0
    text = metrics.text().decode()
    for line in (
        'serve_requests_total{model="m",status="200"} 2.0',
        'serve_requests_total{model="m",status="400"} 1.0',
        'serve_watched_rows_total{model="m"} 3.0',
        'serve_batch_rows_sum{model="m"} 8.0',
        'serve_request_seconds_bucket{le="2.0",model="m",outcome="success"} 2.0',
        'serve_request_seconds_bucket{le="1.0",model="m",outcome="success"} 1.0',
    ):
        assert line in text


# Engines and rows


def test_an_engine_of_a_file_is_of_this_very_model(tuned_cnn, tmp_path):
    deployment = open_deployment(tuned_cnn)
    built = engine_for(deployment, "onnxruntime", 4)
    (tmp_path / "e").write_bytes(b"")
    with pytest.raises(BackendError, match="an engine without a manifest"):
        engine_for(deployment, "onnxruntime", 4, tmp_path / "e")
    write_engine(built, tmp_path / "mine.engine")
    assert engine_for(deployment, "tensorrt", 4, tmp_path / "mine.engine").data == built.data
    manifest = json.loads((tmp_path / "mine.engine.json").read_text())
    manifest |= {"model_sha256": "0" * 64, "model": "other.onnx"}
    (tmp_path / "mine.engine.json").write_text(json.dumps(manifest))
    with pytest.raises(BackendError, match=r"it is an engine of other\.onnx, not of .*tuned\.onnx"):
        engine_for(deployment, "onnxruntime", 4, tmp_path / "mine.engine")


def test_onnx_runtime_takes_no_bf16():
    deployment = SimpleNamespace(inputs=[Port("x", "FP32", (1,)), Port("z", "BF16", (1,))], batches=False)
    with pytest.raises(BackendError, match="input 'z': ONNX Runtime takes no BF16 from Python"):
        engine_for(deployment, "onnxruntime", 4)


def rowed(monkeypatch, run, *, shapes=((-1, 2), (-1, 2)), batches=True, most=4, **options):
    ports = [[Port("x", "FP32", shapes[0])], [Port("y", "FP32", shapes[1])]]
    deployment = SimpleNamespace(name="m", model=None, inputs=ports[0], outputs=ports[1], batches=batches)
    first = {"x": np.arange(2.0).reshape(1, 2) if shapes[0][0] < 0 else np.arange(2.0 * shapes[0][0]).reshape(-1, 2)}
    monkeypatch.setattr(rows, "random_inputs", lambda *_, **__: first)
    return rows_of(run, deployment, most, **options)


def test_rows_run_one_by_one_where_they_cannot_be_tried(monkeypatch):
    def refuses(_):
        raise BackendError("not these")

    assert rowed(monkeypatch, refuses).why == (
        "requests run one by one: no inputs could be made up to try more (not these)"
    )

    def double(feeds):
        return {"y": 2 * feeds["x"]}

    assert rowed(monkeypatch, double).why == "requests run together, bit for bit as alone"
    assert rowed(monkeypatch, double).most == 4
    assert rowed(monkeypatch, double, most=1).why == "requests run one by one: one row was asked for"
    none = rowed(monkeypatch, double, batches=False)
    assert none.why == "requests run one by one: inputs and outputs have no batch axis in common"
    assert (none.most, none.sizes, none.difference) == (1, None, 0.0)
    one = rowed(monkeypatch, double, batches=False, shapes=((1, 2), (1, 2)))
    assert one.most == 1

    def alone(feeds):
        if len(feeds["x"]) > 1:
            raise BackendError("too many")
        return double(feeds)

    assert rowed(monkeypatch, alone).why == "requests run one by one: several rows do not run: too many"

    def longer(_):
        return {"y": np.zeros((7, 2))}

    assert "an output of shape [7, 2] in place of" in rowed(monkeypatch, longer).why


@pytest.mark.parametrize(("noise", "together"), [(0.0, True), (0.03, True), (0.033, False)])
def test_rows_run_together_up_to_30_db_of_noise(monkeypatch, noise, together):
    """Noise of 10 ** (-30 / 20) of the signal is 0.0316 of it."""

    def noisy(feeds):
        return {"y": (feeds["x"] + 1) * (1 + noise * (len(feeds["x"]) > 1))}

    found = rowed(monkeypatch, noisy)
    assert (found.most == 4) == together
    if noise > 0 and together:
        assert found.difference == pytest.approx(noise)
        assert found.why == "requests run together, values within 0.03 of the largest as alone"
        exact = rowed(monkeypatch, noisy, exact=True)
        assert exact.why.endswith(
            "company changes values by up to 0.03 of the largest, and exact answers are asked for"
        )


def test_a_fixed_batch_is_tried_with_other_neighbours(monkeypatch):
    fixed = {"shapes": ((3, 2), (3, 2)), "batches": False}
    found = rowed(monkeypatch, lambda feeds: {"y": feeds["x"] * 2}, **fixed)
    assert (found.most, found.sizes) == (3, (3,))
    mixing = rowed(monkeypatch, lambda feeds: {"y": feeds["x"] - feeds["x"].mean(0)}, **fixed)
    assert mixing.why.endswith("what is in a row changes the result of its neighbours")


def test_engines_of_a_gpu_run_powers_of_two_up_to_the_most():
    assert [_powers_of_two(most) for most in (1, 2, 3, 4, 12)] == [(1,), (1, 2), (1, 2, 3), (1, 2, 4), (1, 2, 4, 8, 12)]


def test_differences_are_parts_of_the_largest_and_of_the_power():
    a, b = np.array([[3.0, -4.0]]), np.array([[3.0, -3.0]])
    assert _difference(a, b) == (0.25, 1 / 25)
    assert _difference(a, a) == (0.0, 0.0)
    assert _difference(0 * a, 0 * b + 0.5) == (0.5, 0.5)
    assert _difference(np.zeros((0, 2)), np.zeros((0, 2))) == (0.0, 0.0)
    assert _difference(np.array([1.0, np.nan]), np.array([1.0, np.nan])) == (0.0, 0.0)
    text = np.array(["a", "b"], object), np.array(["a", "c"], object)
    assert _difference(*text) == (0.5, 0.5)
    assert _difference(text[0][:0], text[1][:0]) == (0.0, 0.0)


# The queue


def test_a_queue_takes_as_many_as_it_may_and_says_when_to_come_again():
    batcher = Batcher(lambda feeds: {"y": feeds["x"]}, Batching(queued=0))

    async def ask():
        batcher.submit({"x": np.zeros(1)}, 1e9, asyncio.get_running_loop())

    with pytest.raises(RequestError, match="0 requests wait already") as caught:
        asyncio.run(ask())
    assert (caught.value.status, caught.value.retry_after) == (503, 1)
    batcher.close()
    with pytest.raises(RequestError, match="the service ends") as caught:
        asyncio.run(ask())
    assert (caught.value.status, caught.value.closing) == (503, True)


def test_what_the_model_cannot_run_is_the_requests_fault_and_what_breaks_is_ours():
    told = batching._failed(BackendError("bad shape"))
    assert (told.status, "the model cannot run this: bad shape" in str(told)) == (400, True)
    broken = RuntimeError("x")
    assert batching._failed(broken) is broken


# Images


@pytest.mark.parametrize(("size", "fits"), [((5000, 5000), True), ((5001, 5000), False)])
def test_an_image_may_have_25_million_pixels(size, fits):
    image = SimpleNamespace(width=size[0], height=size[1])
    if fits:
        images._check_size(image)
        return
    with pytest.raises(RequestError, match="5001 x 5000 pixels, and 25 million are the most") as caught:
        images._check_size(image)
    assert caught.value.status == 413


@pytest.mark.parametrize(
    "ports",
    [
        [Port("x", "FP32", (1, 3, 8, 8)), Port("z", "FP32", (1, 3, 8, 8))],
        [Port("x", "FP32", (1, 3, 8))],
        [Port("x", "FP32", (2, 3, 8, 8))],
    ],
)
def test_a_model_that_does_not_take_one_image_is_refused(ports):
    deployment = SimpleNamespace(name="m", inputs=ports, preprocessing=Preprocessing())
    with pytest.raises(OptionError, match="m does not take one image"):
        images.images_of(deployment, None, Postprocessing())


def test_two_boxes_overlap_by_their_intersection_over_their_union():
    box, others = np.array([0.0, 0, 2, 2]), np.array([[1.0, 1, 3, 3], [0, 0, 2, 2], [2, 0, 4, 2], [5, 5, 5, 5]])
    np.testing.assert_allclose(_overlap(box, others), [1 / 7, 1, 0, 0])
    assert _overlap(np.zeros(4), np.zeros((1, 4))).tolist() == [0.0]


def test_scores_of_each_box_are_shares_of_its_own():
    boxes, logits = np.array([[0, 0, 0.4, 1], [0.5, 0, 1, 1]]), np.array([[0.0, 2.0], [3.0, 0.0]])
    reading = Postprocessing(kind="detections", boxes="b", scores="s", softmax=True)
    answer = reading({"b": boxes[None], "s": logits[None]}, image=(10, 10), size=(10, 10))["detections"]
    shares = [1 / (1 + np.exp(-3)), 1 / (1 + np.exp(-2))]
    assert [(one["class"], one["score"]) for one in answer] == [
        (0, pytest.approx(shares[0])),
        (1, pytest.approx(shares[1])),
    ]


def test_detections_at_the_bounds_of_score_and_overlap_are_kept():
    boxes = np.array([[0, 0, 0.4, 1], [0.2, 0, 0.6, 1], [0.5, 0, 1, 1]])  # the first two share a third
    scores = np.array([[0.9], [0.8], [0.5]])

    def found(**bounds):
        reading = Postprocessing(kind="detections", boxes="b", scores="s", **bounds)
        results = reading({"b": boxes[None], "s": scores[None]}, image=(10, 10), size=(10, 10))["detections"]
        return [one["score"] for one in results]

    third = float(_overlap(boxes[0], boxes[1:2])[0])
    assert found(overlap=third) == [0.9, 0.8, 0.5]
    assert found(overlap=np.nextafter(third, 0)) == [0.9, 0.5]
    assert found(overlap=1.0, threshold=0.5001) == [0.9, 0.8]
    assert found(overlap=1.0, top=1) == [0.9]


# What random mutants had survived


@pytest.mark.parametrize(("most", "ran"), [(1, [5]), (2, [2, 2, 1]), (5, [5]), (8, [5])])
def test_requests_beyond_the_most_rows_run_in_pieces_and_whole_inputs_in_one(most, ran):
    sizes = []

    def run(feeds):
        sizes.append(len(feeds["x"]))
        return {"y": feeds["x"] + 1}

    batcher = Batcher(run, Batching(rows=most))
    x = np.arange(5.0)
    np.testing.assert_array_equal(batcher._in_pieces({"x": x}, 5)["y"], x + 1)
    batcher.close()
    assert sizes == ran


@pytest.mark.parametrize(("rows", "batch", "dims"), [(1, 0, [4, 3]), (2, 2, [3]), (8, 8, [3])])
def test_the_batch_is_no_dimension_where_requests_run_together(rows, batch, dims):
    port = Port("x", "FP32", (4, 3))
    loaded = SimpleNamespace(name="net", backend="onnxruntime", inputs={"x": port}, outputs={"x": port})
    served = SimpleNamespace(loaded=loaded, batcher=SimpleNamespace(batching=Batching(rows=rows)))
    config = routes._config(served)
    assert (config["max_batch_size"], config["input"][0]["dims"]) == (batch, dims)


@pytest.mark.parametrize(("graphs", "quick"), [(1, True), (2, False)])
def test_of_a_model_with_branches_no_run_is_known_to_be_quick(monkeypatch, graphs, quick):
    monkeypatch.setattr("workbench.handoff.service.service.graphs_of", lambda _: range(graphs))
    model = SimpleNamespace(ir_model=None)
    loaded = SimpleNamespace(
        rows=SimpleNamespace(most=1, sizes=None), deployment=SimpleNamespace(model=model), run=lambda feeds: feeds
    )
    served = Served(loaded, SimpleNamespace(ran=None), wait_s=0.0, queued=1)
    served.batcher.close()
    assert (served.batcher.batching.quick_s > 0) == quick
