"""What `workbench doctor` says of the backends, and which one runs an engine."""

from __future__ import annotations

import pytest

from workbench.backends import registry
from workbench.backends.needs import Runtime
from workbench.backends.protocol import Capabilities, Engine
from workbench.backends.registry import Availability, backend_named, backend_of, backends, with_weights
from workbench.backends.tensorrt import TensorRT
from workbench.errors import BackendError


def test_every_backend_has_a_reason():
    by_name = {backend.name: backend for backend in backends()}
    assert list(by_name)[:3] == ["onnxruntime", "tensorrt", "tensorrt_rtx"]
    # The lean runtime is named where it is installed.
    assert all("tensorrt_lean" in name and "version" in by_name[name].reason for name in list(by_name)[3:])
    assert by_name["onnxruntime"].works
    for name, extra in (("tensorrt", "[tensorrt]"), ("tensorrt_rtx", "[rtx]")):
        if not by_name[name].works and "missing" in by_name[name].reason:
            assert f'pip install "trt-workbench{extra}"' in by_name[name].reason
        assert by_name[name].reason


@pytest.mark.parametrize(("kind", "named"), [("full", False), ("lean", True), ("rtx", False)])
def test_the_lean_runtime_is_named_where_it_is_installed(monkeypatch, kind, named):
    able = Capabilities("tensorrt", "10.1", build=False, run=True, targets=("sm90",))
    monkeypatch.setattr(registry, "installed", lambda: (Runtime(kind, "m", "10.1"),))
    monkeypatch.setattr(
        TensorRT,
        "capabilities",
        lambda backend: able if backend.lean else Capabilities("x", None, build=False, run=False),
    )
    lean = [one for one in backends() if one.name not in ("onnxruntime", "x")]
    assert (
        lean
        == [Availability("tensorrt_lean", works=True, reason="version 10.1; runs, strongly typed, for sm90")] * named
    )


@pytest.mark.parametrize(
    ("build", "run", "more", "works", "reason"),
    [
        (
            True,
            True,
            {"targets": ("sm86", "sm89")},
            True,
            "version 8.6; builds and runs, strongly typed, for sm86, sm89",
        ),
        (True, False, {"targets": ("sm86",), "typing": "weak"}, True, "version 8.6; builds, weakly typed, for sm86"),
        (False, True, {"targets": ("sm86",)}, True, "version 8.6; runs, strongly typed, for sm86"),
        (False, False, {"reason": "no GPU"}, False, "version 8.6; no GPU"),
        (False, False, {}, False, "version 8.6"),
    ],
)
def test_a_backend_is_told_with_what_it_does_and_why_not_more(monkeypatch, build, run, more, works, reason):
    able = Capabilities("it", "8.6", build=build, run=run, **more)
    monkeypatch.setattr(TensorRT, "capabilities", lambda _: able)
    monkeypatch.setattr(registry, "installed", list)
    assert backends()[1:] == [Availability("it", works=works, reason=reason)] * 2


@pytest.mark.parametrize(("stated", "reason"), [("install it", "install it"), (None, "missing")])
def test_a_backend_without_a_version_is_missing(monkeypatch, stated, reason):
    able = Capabilities("it", None, build=True, run=True, reason=stated)
    monkeypatch.setattr(TensorRT, "capabilities", lambda _: able)
    assert backends()[1] == Availability("it", works=False, reason=reason)


def test_an_engine_is_run_by_the_backend_of_its_name():
    assert [backend_named(name).name for name in ("onnxruntime", "tensorrt", "tensorrt_rtx")] == [
        *("onnxruntime", "tensorrt", "tensorrt_rtx"),
    ]
    assert backend_of(Engine("tensorrt_rtx", b"", {})).name == "tensorrt_rtx"
    with pytest.raises(BackendError) as caught:
        backend_of(Engine("zz", b"", {}))
    assert str(caught.value) == "there is no backend 'zz'. Use onnxruntime, tensorrt or tensorrt_rtx."


def test_only_an_engine_without_its_weights_is_given_some(monkeypatch):
    monkeypatch.setattr(TensorRT, "refit", lambda _, engine, model: (engine, model))
    whole, stripped = (Engine("tensorrt", b"", {"options": {"strip": strip}}) for strip in (False, True))
    assert with_weights(whole, "model") is whole
    assert with_weights(stripped, "model") == (stripped, "model")
