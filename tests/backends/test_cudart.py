"""Without a GPU, or without CUDA's bindings, the reason is said; with them, tests/gpu uses all of it."""

from __future__ import annotations

import sys

import pytest

from workbench.backends import cudart
from workbench.backends.clocks import Clocks
from workbench.errors import BackendError


@pytest.fixture
def fresh():
    cudart.cuda.cache_clear()
    yield
    cudart.cuda.cache_clear()


@pytest.mark.usefixtures("fresh")
def test_missing_bindings_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(BackendError, match=r"CUDA cannot be called.*pip install cuda-bindings"):
        cudart.cuda()


def test_the_device_or_the_reason_why_there_is_none():
    pytest.importorskip("cuda.bindings.runtime", reason="CUDA's bindings are not installed")
    reason = None
    try:
        device = cudart.first_device()
    except BackendError as error:
        reason = error
    if reason is not None:
        assert "cudaGetDeviceCount failed: cudaError" in reason.what
        assert "GPU" in (reason.fix or "") or "cuda-bindings==" in (reason.fix or "")
    else:
        assert device.name
        assert device.target == f"sm{device.capability[0]}{device.capability[1]}"


def test_clocks_or_the_reason_why_there_are_none():
    pytest.importorskip("cuda.bindings.runtime", reason="CUDA's bindings are not installed")
    clocks = Clocks(cudart.cuda())
    clocks.read()
    value = clocks.conditions()["clocks"]
    if isinstance(value, str):
        assert value.startswith("unknown: ")
        assert len(value) > len("unknown: ")
    else:
        low, high = value["sm_clock_mhz"]
        assert 0 < low <= high
        assert value["readings"] == 1
