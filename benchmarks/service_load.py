"""The HTTP service under load, against bare FastAPI services that call `session.run` for each request.

All serve the same model on loopback, answer the same requests with the same tensors, and are loaded in turns by wrk
(https://github.com/wg/wrk; Debian's package has its name), so that whatever else the machine does meets all. What
counts is their ratio. Of the two bare ones, ONNX Runtime's threads spin for more work after a run in one, as they do
unless told otherwise; in the other they sleep, as in the service. With --soak the service alone is loaded for a while,
and its memory is watched.

    python benchmarks/service_load.py
    python benchmarks/service_load.py --soak 600
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

import workbench

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
NAME = "residual_cnn"
URL = "/v2/models/" + NAME + "/infer"
READY_S = 120.0

BARE = """
import json, sys
import numpy as np, onnxruntime
from fastapi import FastAPI, Request, Response

app = FastAPI()
options = onnxruntime.SessionOptions()
options.add_session_config_entry("session.intra_op.allow_spinning", "{spinning:d}")
session = onnxruntime.InferenceSession({model!r}, options, providers=["CPUExecutionProvider"])

@app.get("/v2/health/ready")
def ready():
    return {{}}

@app.post("{url}")
async def infer(request: Request):
    body = await request.body()
    length = int(request.headers["Inference-Header-Content-Length"])
    tensor = json.loads(body[:length])["inputs"][0]
    x = np.frombuffer(body, np.float32, offset=length).reshape(tensor["shape"])
    y = session.run(None, {{tensor["name"]: x}})[0]
    output = {{"name": "logits", "datatype": "FP32", "shape": y.shape}}
    output["parameters"] = {{"binary_data_size": y.nbytes}}
    head = json.dumps({{"model_name": "{name}", "outputs": [output]}}).encode()
    headers = {{"Inference-Header-Content-Length": str(len(head))}}
    return Response(head + y.tobytes(), media_type="application/octet-stream", headers=headers)
"""

# wrk prints percentiles rounded to two figures; its script sees them whole.
SCRIPT = """
wrk.method = "POST"
local file = io.open("{body}", "rb")
wrk.body = file:read("*a")
file:close()
wrk.headers["Inference-Header-Content-Length"] = "{length}"
done = function(summary, latency)
  local wrong = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.status
    + summary.errors.timeout
  io.write(string.format('{{"requests": %d, "us": %d, "wrong": %d, "p50": %d, "p99": %d}}\\n',
    summary.requests, summary.duration, wrong, latency:percentile(50), latency:percentile(99)))
end
"""


def tuned(folder: Path) -> Path:
    """Tune the sample model, to INT8."""
    script = ROOT / "sample_models/glyphs.py"
    subprocess.run([sys.executable, script, "--split", "calibration", "--count", "200", "--out", folder], check=True)
    model = ROOT / "sample_models" / f"{NAME}.onnx"
    workbench.tune(model, folder / "samples.npz", folder / "tuned", runs=0, batch=32)
    return folder / "tuned"


def write_request(folder: Path, rows: int) -> Path:
    """Write wrk's script with a request of some rows, as Triton's client makes it."""
    x = np.random.default_rng(0).normal(size=(rows, 1, 32, 32)).astype(np.float32)
    tensor = InferInput("image", list(x.shape), "FP32")
    tensor.set_data_from_numpy(x)
    body, length = InferenceServerClient.generate_request_body([tensor], outputs=[InferRequestedOutput("logits")])
    (folder / f"{rows}.body").write_bytes(body)
    script = folder / f"{rows}.lua"
    script.write_text(SCRIPT.format(body=folder / f"{rows}.body", length=length))
    return script


@contextlib.contextmanager
def process(command: list[str], port: int, folder: Path) -> Iterator[psutil.Process]:
    """Run a server until the end of the block; begin when it is ready."""
    with (folder / f"{port}.log").open("w") as log:
        started = subprocess.Popen(command, cwd=folder, stderr=log, stdout=log)
    try:
        end = time.monotonic() + READY_S
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready"):
                break
            if time.monotonic() > end or started.poll() is not None:
                sys.exit(f"it does not start:\n{(folder / f'{port}.log').read_text()}")
            time.sleep(0.1)
        yield psutil.Process(started.pid)
    finally:
        started.terminate()
        started.wait(60)


def load(server: psutil.Process, port: int, script: Path, clients: int, seconds: int) -> dict[str, float]:
    """Load a server; return what wrk says, and the processor time that the server took a request, in seconds."""
    before = sum(server.cpu_times()[:2])
    address = f"http://127.0.0.1:{port}{URL}"
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script), address]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    summary = json.loads(re.search(r"^\{.*\}$", text, re.MULTILINE)[0])
    if summary["wrong"]:
        sys.exit(f"{summary['wrong']} requests failed:\n{text}")
    if not summary["requests"]:
        sys.exit(f"nothing was answered in {seconds} s: the service hangs, or the machine has no time for it")
    return {
        "throughput": summary["requests"] / summary["us"] * 1e6,
        "p50": summary["p50"],
        "p99": summary["p99"],
        "processor time": (sum(server.cpu_times()[:2]) - before) / summary["requests"],
    }


def against_bare(folder: Path, model: Path, options: argparse.Namespace) -> None:
    """Print the ratios of the service to the bare ones: medians over rounds."""
    commands = {}
    for name, spinning in (("bare", True), ("still", False)):
        program = BARE.format(model=str(model / "tuned.onnx"), url=URL, name=NAME, spinning=spinning)
        (folder / f"{name}.py").write_text(program)
        commands[name] = [sys.executable, "-m", "uvicorn", f"{name}:app", "--no-access-log"]
    commands["service"] = [sys.executable, "-m", "workbench", "serve", str(model)]
    script = write_request(folder, 1)
    with contextlib.ExitStack() as stack:
        servers = {}
        for port, (name, command) in enumerate(commands.items(), options.port):
            servers[name] = stack.enter_context(process([*command, "--port", str(port)], port, folder)), port
            load(*servers[name], script, 8, 1)
        for clients in options.clients:
            seen: dict[str, list[dict[str, float]]] = {name: [] for name in servers}
            for turn in range(options.rounds):
                for name in sorted(servers, reverse=turn % 2 == 1):
                    seen[name].append(load(*servers[name], script, clients, options.seconds))
                print(
                    f"  {clients} clients: {'; '.join(f'{n} {described(s[-1])}' for n, s in seen.items())}", flush=True
                )
            for name, what in (("bare", "a bare service"), ("still", "a bare one whose threads do not spin")):
                medians = ", ".join(ratios(key, seen["service"], seen[name]) for key in seen[name][0])
                print(
                    f"{clients} clients, service to {what}, {options.rounds} rounds of {options.seconds} s: {medians}"
                )


def ratios(key: str, ours: list[dict[str, float]], others: list[dict[str, float]]) -> str:
    """Return the ratio of a figure in words: median, least and most."""
    values = [one[key] / other[key] for one, other in zip(ours, others, strict=True)]
    return f"{key} {statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def described(seen: dict[str, float]) -> str:
    latency = f"p50 {seen['p50'] / 1e3:.2f} ms p99 {seen['p99'] / 1e3:.2f} ms"
    return f"{seen['throughput']:.0f}/s {latency} {seen['processor time'] * 1e6:.0f} us of processor"


def soak(folder: Path, model: Path, options: argparse.Namespace) -> None:
    """Load the service with requests of several sizes, and print its memory as time goes by."""
    scripts = [write_request(folder, rows) for rows in (1, 3, 20)]
    ours = [sys.executable, "-m", "workbench", "serve", str(model), "--port", str(options.port)]
    with process(ours, options.port, folder) as server:
        begin, turn, seen = time.monotonic(), 0, []
        while time.monotonic() - begin < options.soak:
            load(
                server,
                options.port,
                scripts[turn % len(scripts)],
                options.clients[-1],
                max(1, min(5, int(options.soak) // 6)),
            )
            turn += 1
            seen.append(server.memory_info().rss / 2**20)
            print(f"  {time.monotonic() - begin:.0f} s: {seen[-1]:.1f} MiB, {server.num_fds()} descriptors", flush=True)
        fifth = max(len(seen) // 5, 1)
        early, late = max(seen[fifth : 2 * fifth], default=seen[-1]), max(seen[-fifth:])
        print(f"memory in {options.soak:g} s: at most {early:.1f} MiB in the second fifth, {late:.1f} MiB in the last")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 32], help="connections at a time")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=3, help="of each load")
    parser.add_argument("--soak", type=float, default=0.0, help="seconds of load on the service alone")
    parser.add_argument("--port", type=int, default=18700, help="this one and the next two are used")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is missing: apt install wrk")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = tuned(folder)
        if options.soak:
            soak(folder, model, options)
        else:
            against_bare(folder, model, options)


if __name__ == "__main__":
    main()
