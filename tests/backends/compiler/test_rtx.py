"""Where TensorRT-RTX can build and run, and what it is asked to build."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from onnx import helper

from tests.kit.models import model
from workbench.backends import cudart
from workbench.backends.compiler import rtx
from workbench.backends.cudart import CudaDevice
from workbench.backends.protocol import BuildOptions, Capabilities
from workbench.child import Child
from workbench.errors import BackendError

CHILD = Child()


def installed(monkeypatch, *, there):
    finder = SimpleNamespace(find_spec=lambda name: (there and name == "tensorrt_rtx") or None)
    monkeypatch.setattr(rtx, "importlib", SimpleNamespace(util=finder))
    monkeypatch.setattr("importlib.metadata.version", lambda name: f"version of {name}")


def test_it_is_missing_where_it_is_not_installed(monkeypatch):
    installed(monkeypatch, there=False)
    assert rtx.rtx_capabilities() == Capabilities(
        "tensorrt_rtx",
        None,
        build=False,
        run=False,
        reason='the package tensorrt_rtx is missing: pip install "trt-workbench[rtx]"',
    )
    with pytest.raises(BackendError, match=r"TensorRT-RTX is not installed\. Install it: pip install"):
        rtx.compile_for(None, "sm86", BuildOptions(), child=CHILD)


@pytest.mark.parametrize(
    ("capability", "run", "reason"),
    [
        ((8, 6), True, None),
        ((12, 1), True, None),
        ((9, 0), False, "it does not run on a GPU (sm90)"),
        (None, False, "no GPU to run on: there is none"),
    ],
)
def test_it_builds_anywhere_and_runs_on_the_gpus_that_it_builds_for(monkeypatch, capability, run, reason):
    def device():
        if capability is None:
            raise BackendError("there is none")
        return CudaDevice("a GPU", capability, 1, 1, 1)

    installed(monkeypatch, there=True)
    monkeypatch.setattr(cudart, "first_device", device)
    targets = ("sm75", "sm80", "sm86", "sm89", "sm120", "sm121")
    name = "a GPU, 1 multiprocessors" if run else None
    assert rtx.rtx_capabilities() == Capabilities(
        "tensorrt_rtx", "version of tensorrt_rtx", build=True, run=run, targets=targets, reason=reason, device=name
    )


def test_a_model_is_compiled_for_a_target_that_it_knows(monkeypatch):
    installed(monkeypatch, there=True)
    monkeypatch.setattr(rtx, "compile_in_child", lambda *given, **named: (given, named))
    network = model([helper.make_node("Relu", ["x"], ["y"], "r")], {"x": [2]}, {"y": [2]})
    (package, compiled, options), named = rtx.compile_for(network, "sm89", BuildOptions(), child=CHILD)
    assert (package, compiled) == ("tensorrt_rtx", network)
    assert isinstance(options.workspace_bytes, int)  # the suggested limit is in its place
    what = f"TensorRT-RTX for sm89 on {network.name}"
    assert named == {"child": CHILD, "what": what, "target": "sm89", "keep_engine": False}
    assert rtx.compile_for(network, "sm89", options, child=CHILD, keep_engine=True)[1]["keep_engine"]
    with pytest.raises(BackendError) as caught:
        rtx.compile_for(network, "sm90", BuildOptions(), child=CHILD)
    assert str(caught.value) == ("unknown target 'sm90'. TensorRT-RTX builds for sm75, sm80, sm86, sm89, sm120, sm121.")
