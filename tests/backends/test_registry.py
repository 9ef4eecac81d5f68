"""What `workbench doctor` says of the backends."""

from __future__ import annotations

from workbench.backends.registry import backends


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
