#!/bin/sh
# uvicorn 0.54.0 with httptools 0.9.0 on Linux: a client that connects and sends nothing, or half of its headers, is waited
# for without end. timeout_keep_alive (here 1 s) closes connections only after an answer, and there is no other time
# limit for headers. Such connections take descriptors until none is left.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q uvicorn==0.54.0 httptools==0.9.0
cat > "$work/look.py" <<'PY'
import socket, threading, time
import httptools, uvicorn

async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

listening = socket.create_server(("127.0.0.1", 0))
config = uvicorn.Config(app, http="httptools", timeout_keep_alive=1, log_level="error", lifespan="off")
server = uvicorn.Server(config)
threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True).start()
while not server.started:
    time.sleep(0.05)

def open_after(sent, seconds):
    """Say whether the server still holds a connection some seconds after something was sent."""
    with socket.create_connection(listening.getsockname()) as client:
        client.settimeout(seconds)
        client.sendall(sent)
        try:
            while client.recv(1000):
                pass
        except TimeoutError:
            return True
        return False

whole, half = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HTTP/1.1\r\nHost:"
seen = {
    "an answered request, then silence": open_after(whole, 4),
    "nothing at all": open_after(b"", 4),
    "half of the headers": open_after(half, 4),
}
print(f"uvicorn {uvicorn.__version__}, httptools {httptools.__version__}; 4 s later, with timeout_keep_alive=1:")
for what, held in seen.items():
    print(f"  {what:45} {'still open' if held else 'closed'}")
server.should_exit = True
assert list(seen.values()) == [False, True, True], "changed"
PY
"$work/venv/bin/python" "$work/look.py"
