"""The real lean runtime: found without being loaded, and an engine that it does not take never reaches it."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys

import pytest

from tests.kit.places import ROOT
from workbench.backends import write_engine
from workbench.backends.needs import installed, this_platform
from workbench.backends.protocol import Engine
from workbench.backends.tensorrt import TensorRT
from workbench.errors import BackendError

HERE = [name for name in ("tensorrt_lean", "tensorrt_lean_bindings") if importlib.util.find_spec(name) is not None]
pytestmark = pytest.mark.skipif(not HERE, reason='the lean runtime is missing: pip install "trt-workbench[lean]"')

DATA = b"no engine at all"


def written(folder, version, **options):
    facts = {
        "format": "workbench-engine/1",
        "backend": "tensorrt",
        "version": version,
        "engine_sha256": hashlib.sha256(DATA).hexdigest(),
        "model": "resnet50",
        "inputs": [{"name": "x", "dtype": "FLOAT", "shape": [1, 3]}],
        "options": options,
        "device": {"name": "NVIDIA H200", "capability": [9, 0]},
        "platform": this_platform(),
    }
    return write_engine(Engine("tensorrt", DATA, facts), folder / "a.plan"), facts


def test_it_is_found_with_its_version_and_is_not_imported():
    (lean,) = [one for one in installed() if one.kind == "lean"]
    assert lean.module == HERE[0]
    assert int(lean.version.split(".")[0]) >= 10
    code = "import sys; from workbench.backends.needs import installed; print(len(installed()))"
    code += f"; print({HERE[0]!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split()[1] == "False"


def test_what_it_can_do_here_is_said():
    able = TensorRT(lean=True).capabilities()
    assert able.version
    assert not able.build
    assert able.run or "GPU" in able.reason


@pytest.mark.parametrize(
    ("version", "options"),
    [
        ("8.6.0", {}),
        ("8.6.0", {"version_compatible": True, "exclude_lean_runtime": True}),
        ("99.0.0", {"version_compatible": True}),
    ],
)
def test_an_engine_that_it_does_not_take_is_refused_before_it_is_loaded(tmp_path, version, options):
    _, facts = written(tmp_path, version, **options)
    with pytest.raises(BackendError, match=rf"built with tensorrt {version}; this is the lean runtime of TensorRT 1"):
        TensorRT(lean=True).load(DATA, facts)


def test_an_engine_that_it_takes_comes_as_far_as_the_gpu_or_the_library(tmp_path):
    """With no GPU the missing GPU is what is said; with one, the library refuses bytes that are no engine."""
    lean = TensorRT(lean=True)
    _, facts = written(tmp_path, lean.runtime().version, version_compatible=True, hardware_compatible=True)
    with pytest.raises(BackendError, match=r"GPU|refused the engine"):
        lean.run(Engine("tensorrt", DATA, facts), {})
