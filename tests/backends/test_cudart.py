"""Without a GPU, or without CUDA, the reason is said; with one, tests/gpu uses all of it."""

from __future__ import annotations

import pytest

from workbench.backends import cudart
from workbench.errors import BackendError


@pytest.fixture
def fresh():
    cudart.cuda.cache_clear()
    yield
    cudart.cuda.cache_clear()


@pytest.mark.usefixtures("fresh")
def test_a_wrong_library_is_named(monkeypatch):
    monkeypatch.setenv("CUDART", "/no/such/libcudart.so")
    with pytest.raises(BackendError, match=r"/no/such/libcudart\.so.*Check CUDART"):
        cudart.cuda()


@pytest.mark.usefixtures("fresh")
def test_no_library_says_what_to_install(monkeypatch):
    monkeypatch.delenv("CUDART", raising=False)
    monkeypatch.setattr(cudart, "_candidates", lambda: iter(()))
    with pytest.raises(BackendError, match="pip install nvidia-cuda-runtime"):
        cudart.cuda()


def test_the_device_or_the_reason_why_there_is_none():
    if cudart.find_library() is None:
        pytest.skip("no CUDA runtime library here")
    reason = None
    try:
        device = cudart.first_device()
    except BackendError as error:
        reason = error
    if reason is not None:
        assert "cudaGetDeviceCount failed: cudaError" in reason.what
        assert "GPU" in (reason.fix or "")
    else:
        assert device.name
        assert device.target == f"sm{device.capability[0]}{device.capability[1]}"
