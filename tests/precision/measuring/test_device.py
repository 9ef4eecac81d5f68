"""By which name a device is held, and what a scheduler needs: without either."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from workbench.errors import BackendError
from workbench.precision.measuring import cluster
from workbench.precision.measuring.cluster import alone_on_device, scheduler_client


@pytest.mark.parametrize(
    ("backend", "device"),
    [("onnxruntime", "processor"), ("tensorrt", "0000:3b:00.0"), ("tensorrt_rtx", "0000:3b:00.0")],
)
def test_a_device_is_held_by_the_name_of_its_host_and_bus(tmp_path, monkeypatch, backend, device):
    monkeypatch.setattr(cluster, "socket", SimpleNamespace(gethostname=lambda: "a host/9_x"))
    monkeypatch.setattr(cluster, "tempfile", SimpleNamespace(gettempdir=lambda: str(tmp_path)))
    monkeypatch.setattr(cluster, "bus_id", lambda: "0000:3b:00.0")
    with alone_on_device(backend) as name:
        assert name == f"a host/9_x.{device}"
        (lock,) = tmp_path.iterdir()
        assert lock.name == f".trt-workbench.a-host-9_x.{device.replace(':', '-')}.device.lock"
    assert not list(tmp_path.iterdir())


def test_a_scheduler_needs_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(BackendError, match=r'needs the package distributed\. pip install "trt-workbench\[cluster\]"'),
        scheduler_client("tcp://127.0.0.1:1"),
    ):
        pass
