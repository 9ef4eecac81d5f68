"""What comes over the wire and is no plain request: each is answered or refused as HTTP has it, and leaves nothing."""

from __future__ import annotations

import json
import socket

import pytest

from tests.kit.awaited import PATIENCE_S

PATH = b"/v2/models/small_cnn/infer"
BODY = json.dumps(
    {"inputs": [{"name": "x", "shape": [1, 3, 8, 8], "datatype": "FP32", "data": [0.5] * 192}], "id": "mine"}
).encode()
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
END = b"Connection: close\r\n"
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"


def said(service, sent):
    """Send bytes; return the status and all that came until the service closed the connection."""
    received = b""
    with socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE_S) as raw:
        raw.sendall(sent)
        while part := raw.recv(1 << 16):
            received += part
    return int(received.split()[1]), received


def request(headers=LENGTH + END, body=BODY, *, path=PATH, method=b"POST"):
    return b"%b %b HTTP/1.1\r\nHost: x\r\n%b\r\n%b" % (method, path, headers, body)


@pytest.mark.parametrize(
    "sent",
    [
        request(),
        request(b"Transfer-Encoding: chunked\r\n" + END, b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)),
        request(LENGTH + b"Expect: 100-continue\r\n" + END),
        request(LENGTH + b"a: " + b"x" * 60_000 + b"\r\n" + END),
        request().replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
    ids=["plain", "in pieces", "after a go-ahead", "long headers", "HTTP/1.0"],
)
def test_what_http_allows_is_answered(served, sent):
    received = said(served, sent)[1]
    assert b" 200 OK" in received
    assert b'"id":"mine"' in received


def test_headers_may_have_64_kib_without_their_signs(served):
    """Names and values count: those of the request itself, and one that fills the rest, or a byte more."""
    own = sum(len(line.replace(b": ", b"")) for line in (b"Host: x\r\n" + LENGTH + END).split(b"\r\n"))
    value = b"x" * ((64 << 10) - own - len(b"long"))
    assert said(served, request(LENGTH + b"long: " + value + b"\r\n" + END))[0] == 200
    status, received = said(served, request(LENGTH + b"long: " + value + b"x\r\n" + END))
    assert status == 431
    assert b"the headers are longer than 64 KiB" in received


@pytest.mark.parametrize("pieces", [1, 2, 7])
def test_a_client_that_offers_http_2_is_answered_in_http_1(served, pieces):
    """So do Java's client and ``curl --http2`` in the first request of a connection."""
    sent = request(LENGTH + H2C) + request()
    with socket.create_connection(("127.0.0.1", served.port), timeout=PATIENCE_S) as raw:
        step = len(sent) // pieces + 1
        for i in range(0, len(sent), step):
            raw.sendall(sent[i : i + step])
        received = b""
        while part := raw.recv(1 << 16):
            received += part
    assert received.count(b"HTTP/1.1 200 OK") == received.count(b'"id":"mine"') == 2


@pytest.mark.parametrize("offered", [b"websocket", b"TLS/1.0, IRC/6.9"])
def test_no_connection_becomes_another_protocol(served, offered):
    headers = LENGTH + b"Connection: Upgrade, close\r\nUpgrade: " + offered + b"\r\n"
    assert said(served, request(headers))[0] == 200


@pytest.mark.parametrize(
    ("sent", "status", "message"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, b"this is no HTTP/1.1 request"),
        (request(b"Content-Length: -5\r\n"), 400, b"this is no HTTP/1.1 request"),
        (request(LENGTH + b"Content-Length: 5\r\n"), 400, b"this is no HTTP/1.1 request"),
        (request(LENGTH + b"Transfer-Encoding: chunked\r\n"), 400, b"this is no HTTP/1.1 request"),
        (request(b"Transfer-Encoding: chunked\r\n", b"zz\r\nabc"), 400, b"this is no HTTP/1.1 request"),
        (b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", 400, b"this is no HTTP/1.1 request"),
        (request(b"Content-Length: %d\r\n" % 2**63), 413, b"the body is larger than 64 MiB"),
        # The last header is the one too many: all has arrived when it is refused.
        (request((b"a: " + b"x" * 997 + b"\r\n") * 66, b""), 431, b"the headers are longer than 64 KiB"),
        (request(END, b"", method=b"GET"), 405, b"inference takes no GET. Send the request as POST."),
        (request(END, b"", path=PATH + b"/../../../etc/passwd"), 404, b"there is no such page"),
        (request(END, b"", path=b"/v2/models/%00%ff/infer"), 404, b"there is no such model"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else str(value),
)
def test_what_it_does_not_allow_is_refused_in_a_sentence(served, sent, status, message):
    actual, received = said(served, sent)
    head, _, content = received.partition(b"\r\n\r\n")
    assert (actual, message in json.loads(content)["error"].encode()) == (status, True)
    assert (b"allow: POST" in head) == (status == 405)


def test_a_header_without_an_end_ends_the_connection(served):
    with socket.create_connection(("127.0.0.1", served.port), timeout=PATIENCE_S) as raw:
        received = b""
        try:
            raw.sendall(b"POST / HTTP/1.1\r\nHost: x\r\na: ")
            for _ in range(100):
                raw.sendall(b"x" * 30_000)
            while part := raw.recv(1 << 16):
                received += part
        except ConnectionError:
            pass  # closed while bytes of ours were on their way, which may take the answer with them
    assert not received or b" 431 " in received


def test_whoever_watches_may_ask_for_the_status_alone(served):
    for page in (b"/v2/health/live", b"/v2/health/ready"):
        assert said(served, request(END, b"", method=b"HEAD", path=page))[0] == 200
