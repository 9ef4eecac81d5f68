#!/bin/sh
# uvicorn 0.54.0 with httptools 0.9.0: a POST that offers another protocol (Upgrade: h2c, as curl --http2 and Java's
# HttpClient, whose default is HTTP/2, send with the first request of each connection) reaches the application with an
# empty body, and nothing is said to the client. RFC 9110 7.8 lets a server ignore the offer, not the content. With h11
# the same request arrives whole. Also: with httptools the headers of a request may be of any length (here 4 MiB).
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q uvicorn==0.54.0 httptools==0.9.0 h11==0.16.0
cat > "$work/look.py" <<'PY'
import socket
import sys
import threading
import time

import httptools
import uvicorn


async def app(scope, receive, send):
    assert scope["type"] == "http"
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    answer = b"%d bytes of body, %d of headers" % (len(body), sum(len(n) + len(v) for n, v in scope["headers"]))
    headers = [(b"content-length", b"%d" % len(answer)), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


def asked(kind, headers):
    config = uvicorn.Config(app, port=0, http=kind, ws="none", lifespan="off", log_level="error")
    server = uvicorn.Server(config)
    opened = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    received = b""
    with socket.create_connection(opened.getsockname(), timeout=20) as raw:
        raw.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n" + headers + b"\r\nhello")
        while part := raw.recv(65536):
            received += part
    server.should_exit = True
    thread.join(20)
    return received.split(b"\r\n\r\n")[-1].decode()


H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"
seen = {
    "httptools": asked("httptools", b""),
    "httptools, h2c offered": asked("httptools", H2C),
    "h11, h2c offered": asked("h11", H2C),
    "httptools, long headers": asked("httptools", b"a: " + b"x" * (1 << 22) + b"\r\n"),
}
print("uvicorn", uvicorn.__version__, "httptools", httptools.__version__)
for name, answer in seen.items():
    print(f"{name}: {answer}")
lost = [int(answer.split()[0]) for answer in seen.values()]
sys.exit("changed" if lost != [5, 0, 5, 5] or int(seen["httptools, long headers"].split()[4]) < 1 << 22 else 0)
PY
"$work/venv/bin/python" "$work/look.py"
