"""Metadata files that TREx wrote beside an engine: performance summary, build options, device."""

from __future__ import annotations

from typing import Any

from workbench.engine.dialects.numbers import measured
from workbench.engine.report import RunTimes
from workbench.errors import ReportError

__all__ = ["read_build", "read_device", "read_performance"]

# Newer logs of trtexec report more percentiles; the order is that of its summary lines.
_STATISTICS = {
    5: ("min", "max", "mean", "median", "p99"),
    7: ("min", "max", "mean", "median", "p90", "p95", "p99"),
}


def read_performance(data: dict[str, Any], where: str) -> tuple[RunTimes, dict[str, Any], dict[str, Any]]:
    """Return timing (GPU compute time), the device and the inference options of a `*.profile.metadata.json`.

    Raises
    ------
    ReportError
        `GPU Compute Time` is not a list of five or seven numbers.
    """
    summary = data.get("performance_summary")
    values = summary.get("GPU Compute Time") if isinstance(summary, dict) else None
    read = [measured(value) for value in values] if isinstance(values, list) else []
    numbers = [number for number in read if number is not None]
    names = _STATISTICS.get(len(numbers)) if len(numbers) == len(read) else None
    if not isinstance(summary, dict) or names is None:
        fix = "Give the *.profile.metadata.json that TREx wrote"
        raise ReportError("no `GPU Compute Time` with five or seven statistics", where=where, fix=fix)
    timing = RunTimes(dict(zip(names, numbers, strict=True)), throughput=measured(summary.get("Throughput")))
    return timing, _options(data, "device_information"), _options(data, "inference_options")


def read_build(data: dict[str, Any]) -> dict[str, Any]:
    """Return model and build options of a `*.build.metadata.json`."""
    return {**_options(data, "model_options"), **_options(data, "build_options")}


def read_device(data: list[Any]) -> dict[str, Any]:
    """Return the first GPU of a `*.metadata.json`, with `Compute Capability` worded as the other files word it."""
    device = dict(data[0]) if data and isinstance(data[0], dict) else {}
    capability = device.get("ComputeCapability")
    if isinstance(capability, list) and len(capability) >= 2 and all(str(part).isdecimal() for part in capability[:2]):
        device["Compute Capability"] = float(f"{capability[0]}.{capability[1]}")
    if "Name" in device:
        device["Selected Device"] = device["Name"]
    return device


def _options(data: dict[str, Any], key: str) -> dict[str, Any]:
    options = data.get(key)
    return dict(options) if isinstance(options, dict) else {}
