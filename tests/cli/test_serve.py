"""The verb ``serve``: a real process, its end, and what it cannot serve, in one line each."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

import numpy as np
import psutil
import pytest

import workbench
from tests.kit.awaited import PATIENCE_S, until
from tests.kit.places import ROOT
from workbench.backends import BuildOptions, backend_named, write_engine
from workbench.child import Child

pytest.importorskip("uvicorn", reason="uvicorn comes with the extra [serve]")
COMMAND = [sys.executable, "-m", "workbench", "serve"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
X = np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def folder(small_cnn, small_data, tmp_path_factory):
    out = tmp_path_factory.mktemp("serve") / "out"
    workbench.tune(small_cnn, small_data, out, runs=0)
    return out


@contextlib.contextmanager
def serving(*arguments):
    """Start the program; give it, and the address that it says."""
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    try:
        line = process.stderr.readline()
        url = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert url, line + process.stderr.read()
        yield process, url[0]
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(PATIENCE_S)
        process.stdout.close()
        process.stderr.close()


def asked(url, path, content=None):
    """Return the body of an answer; an HTTPException where it is none of success."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE_S)
    with contextlib.closing(connection):
        connection.request("GET" if content is None else "POST", path, content)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise http.client.HTTPException(f"{answer.status}: {body!r}")
        return body


def infer(url, x=X):
    entry = {"name": "x", "shape": list(x.shape), "datatype": "FP32", "data": x.ravel().tolist()}
    value = json.loads(asked(url, "/v2/models/small_cnn/infer", json.dumps({"inputs": [entry]})))["outputs"][0]
    return np.array(value["data"], np.float32).reshape(value["shape"])


def test_it_answers_describes_itself_and_ends_in_order(folder):
    with serving(folder, "--exact") as (process, url):
        expected = infer(url)
        assert expected.shape == (1, 5)
        metrics = asked(url, "/metrics").decode()
        assert 'serve_request_seconds_count{model="small_cnn",outcome="success"} 1.0' in metrics
        assert 'serve_batch_rows_sum{model="small_cnn"} 1.0' in metrics
        assert "serve_queue_seconds_bucket" in metrics
        described = json.loads(asked(url, "/openapi.json"))
        assert described["paths"]["/v2/models/small_cnn/infer"]["post"]["responses"].keys() >= {"413", "429", "503"}
        page = asked(url, "/docs").decode()
        assert "/v2/models/small_cnn/infer" in page
        assert not re.search("https?://", page), "the page needs a network"
        with ThreadPoolExecutor(8) as pool:
            sent = [pool.submit(infer, url) for _ in range(64)]
            wait(sent, return_when=FIRST_COMPLETED)
            process.send_signal(signal.SIGTERM)
            errors = [one.exception() for one in sent]
        assert all(np.array_equal(one.result(), expected) for one in sent if one.exception() is None)
        # What comes after the end is refused, in words or by a port that is closed; nothing is half an answer.
        for error in filter(None, errors):
            assert isinstance(error, (http.client.HTTPException, OSError)), error
        message, _ = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0
        assert "has ended" in message


def test_a_worker_that_is_killed_is_replaced_and_no_answer_is_wrong(folder):
    with serving(folder, "--exact", "--workers", 2) as (process, url):
        expected = infer(url)
        workers = children(process.pid)
        assert len(workers) == 2
        stop, wrong, lost, right = threading.Event(), [], [], []

        def ask():
            while not stop.is_set():
                with contextlib.suppress(http.client.HTTPException, OSError):  # the connections of a worker that died
                    lost.append(1)
                    (right if np.array_equal(infer(url), expected) else wrong).append(1)
                    lost.pop()

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        until(lambda: len(right) > 20, "answers come")
        os.kill(workers[0], signal.SIGKILL)
        until(lambda: {*children(process.pid)} - {*workers}, "the worker is replaced", pause_s=0.05)
        stop.set()
        for thread in threads:
            thread.join()
        assert not wrong
        assert len(lost) <= 8, "more was lost than the dead worker had"
        assert np.array_equal(infer(url), expected)
        counted = re.search(
            r'serve_requests_total\{model="small_cnn",status="200"\} ([\d.]+)', asked(url, "/metrics").decode()
        )
        assert float(counted[1]) >= len(right)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0


def children(pid):
    """Return the workers among the processes that a process started."""
    records = []
    for one in psutil.Process(pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if "resource_tracker" not in " ".join(one.cmdline()):
                records.append(one.pid)
    return records


def refused(capsys, *arguments):
    from workbench import cli

    with pytest.raises(SystemExit) as end:
        cli.main(["serve", *map(str, arguments)])
    message = capsys.readouterr().err.strip()
    return end.value.code, message


def test_what_cannot_be_served_is_one_line(tmp_path, capsys):
    code, message = refused(capsys, tmp_path)
    assert (code, message.count("\n")) == (5, 0)
    assert "not what a tuning writes: there is no tuned.onnx" in message
    code, message = refused(capsys, tmp_path / "nowhere")
    assert (code, "there is no such folder" in message) == (5, True)


def test_images_that_nobody_can_make_inputs_of(folder, capsys):
    code, message = refused(capsys, folder, "--postprocess", "kind=classes")
    assert (code, "--preprocess: calibration was not on images" in message) == (2, True)
    code, message = refused(capsys, folder, "--postprocess", "kind=words")
    assert (code, "--postprocess: kind" in message) == (2, True)


def test_a_port_in_use(folder, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, message = refused(capsys, folder, "--port", port)
    assert code == 2
    assert f"--port {port} on 127.0.0.1: it is in use; choose another --port" in message


def test_an_address_that_is_not_here(folder, capsys):
    code, message = refused(capsys, folder, "--host", "192.0.2.1", "--port", "0")
    assert (code, "--host: this machine has no address 192.0.2.1; 0.0.0.0 stands for all" in message) == (2, True)


def test_two_models_of_one_name(folder, tmp_path, capsys):
    other = shutil.copytree(folder, tmp_path / "other")
    code, message = refused(capsys, folder, other)
    assert code == 2
    assert f"{folder} and {other} are both called small_cnn; give one another name: small_cnn_2={other}" in message


def test_an_engine_of_another_machine_or_another_model(folder, small_cnn, tmp_path, capsys):
    runtime = backend_named("onnxruntime")
    tuned = workbench.load_model(folder / "tuned.onnx")
    path = write_engine(runtime.build(tuned, BuildOptions(), child=Child()), tmp_path / "model.engine")
    manifest = json.loads(path.with_name("model.engine.json").read_text())
    manifest["device"]["name"] = "another processor"
    path.with_name("model.engine.json").write_text(json.dumps(manifest))
    code, message = refused(capsys, folder, "--engine", path)
    assert (code, "made for another processor" in message) == (7, True)
    other = runtime.build(workbench.load_model(small_cnn), BuildOptions(), child=Child())
    wrong = write_engine(other, tmp_path / "wrong.engine")
    code, message = refused(capsys, folder, "--engine", wrong)
    assert (code, "not of" in message) == (7, True)
    wrong.with_name("wrong.engine.json").rename(tmp_path / "kept.json")
    code, message = refused(capsys, folder, "--engine", wrong)
    assert (code, "without a manifest, which says what model it is of. Build one of" in message) == (7, True)
    (tmp_path / "kept.json").rename(wrong.with_name("wrong.engine.json"))
    gpu = {**json.loads(wrong.with_name("wrong.engine.json").read_text()), "backend": "tensorrt"}
    gpu["model_sha256"] = tuned.digest
    wrong.with_name("wrong.engine.json").write_text(json.dumps(gpu))
    code, message = refused(capsys, folder, "--engine", wrong)
    assert (code, "tensorrt" in message) == (7, True), message
    # Weights that were left out are put back from the folder, before which the engine has to fit.
    stripped = {**gpu, "backend": "tensorrt_rtx", "options": {"strip": True}}
    wrong.with_name("wrong.engine.json").write_text(json.dumps(stripped))
    code, message = refused(capsys, folder, "--engine", wrong)
    assert (code, "without its weights" in message, "tensorrt_rtx" in message) == (7, False, True), message
