"""A real Triton server on this machine, from the package that brings one: nvidia-pytriton.

Its Python backend reads NumPy 2's arrays wrongly, so `make test` installs it with an older one beside the environment,
in ``.venv/triton-server``. It has no backend for ONNX Runtime or TensorRT: see `tests.kit.triton_model`. All else is
Triton's: reading and checking configurations, versions, warm-up, batching, states, the protocol.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
import venv
from pathlib import Path
from typing import TYPE_CHECKING

from tests.kit.awaited import PATIENCE_S
from tests.kit.places import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

HOME = Path(sys.prefix, "triton-server")
PARTS = HOME / "pytriton/tritonserver"
PROGRAM = PARTS / "bin/tritonserver"
STUB = PARTS / f"python_backend_stubs/3.{sys.version_info.minor}/triton_python_backend_stub"
PYTHON = Path(sysconfig.get_config_var("LIBDIR") or ".") / f"libpython3.{sys.version_info.minor}.so.1.0"


def missing() -> str | None:
    """Say what is missing for a server, or None."""
    if not PROGRAM.is_file():
        return f"Triton is missing: pip install --no-deps --target {HOME} nvidia-pytriton==0.7.0 numpy==1.26.4"
    if not STUB.is_file() or not PYTHON.is_file():
        return "Triton's Python backend has no stub for this Python, or this Python has no shared library"
    return None


@contextlib.contextmanager
def running(repository: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """Start a server on a repository; give the address of its gRPC service, and its log.

    The only change to a configuration: instances go to the processor, since there is no GPU.
    """
    served = folder / "served"
    shutil.copytree(repository, served)
    for config in served.glob("*/config.pbtxt"):
        text = config.read_text()
        assert "KIND_GPU" in text
        config.write_text(text.replace("KIND_GPU", "KIND_CPU"))
    backends = folder / "backends"
    shutil.copytree(PARTS / "backends/python", backends / "python")
    shutil.copy(STUB, backends / "python")
    (backends / "python" / STUB.name).chmod(0o755)
    (backends / "onnxruntime").mkdir()
    shutil.copy(ROOT / "tests/kit/triton_model.py", backends / "onnxruntime/model.py")
    environment = os.environ | {
        "LD_LIBRARY_PATH": os.pathsep.join(map(str, (PYTHON.parent, HOME / "nvidia_pytriton.libs"))),
        "PATH": os.pathsep.join((str(_environment(folder) / "bin"), os.environ["PATH"])),
    }
    log = folder / "server.log"
    PROGRAM.chmod(0o755)
    command = [PROGRAM, f"--model-repository={served}", f"--backend-directory={backends}", "--exit-on-error=false"]
    ports = _free_ports(3)  # at the very end, since nobody keeps them
    for name, port in zip(("http", "grpc", "metrics"), ports, strict=True):
        command += [f"--{name}-port={port}", f"--{name}-address=127.0.0.1"]
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, env=environment)
    try:
        _wait(process, log)
        yield f"127.0.0.1:{ports[1]}", log
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _environment(folder: Path) -> Path:
    """Make an environment of this one's packages, but for the older NumPy; the backend knows no other way to them."""
    venv.create(folder / "env", symlinks=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder / "env")}))
    (packages / "both.pth").write_text(f"{HOME}\n{sysconfig.get_path('purelib')}\n")
    return folder / "env"


def _wait(process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + PATIENCE_S
    while "Started GRPCInferenceService" not in log.read_text(errors="replace"):
        assert process.poll() is None, log.read_text(errors="replace")[-3000:]
        assert time.monotonic() < end, log.read_text(errors="replace")[-3000:]
        time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
