"""What `workbench doctor` says of the backends."""

from __future__ import annotations

from workbench.backends.registry import backends


def test_every_backend_has_a_reason():
    found = {backend.name: backend for backend in backends()}
    assert list(found)[:3] == ["onnxruntime", "tensorrt", "tensorrt_rtx"]
    # The lean runtime is named where it is installed.
    assert all("tensorrt_lean" in name and "version" in found[name].reason for name in list(found)[3:])
    assert found["onnxruntime"].works
    for name, extra in (("tensorrt", "[tensorrt]"), ("tensorrt_rtx", "[rtx]")):
        if not found[name].works and "missing" in found[name].reason:
            assert f'pip install "trt-workbench{extra}"' in found[name].reason
        assert found[name].reason
