"""What the time of an engine is made of: memory and arithmetic, the launch of kernels, and the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.engine import GPU_LIMITS, layer_bytes, layer_ops, layer_precision

if TYPE_CHECKING:
    from workbench.engine import EngineReport, GpuLimits

__all__ = ["least_ms", "limits_of", "what_limits"]


def limits_of(device: str) -> GpuLimits | None:
    """Return the published peaks of a GPU by the name that its driver gives it; None where it is none of those known.

    The same chip on a PCIe card is slower than as a module, so the two are told apart.
    """
    for name, limits in GPU_LIMITS.items():
        chip, *form = name.split()
        fits = not form or ("PCIe" in form) == ("PCIe" in device)
        if fits and chip in device.replace("-", " ").split():
            return limits
    return None


def least_ms(report: EngineReport, limits: GpuLimits) -> float:
    """Return what an engine's layers take at least: each the longer of moving its bytes and doing its operations.

    The roofline (S. Williams et al., CACM 52 (4), 2009), layer by layer. Layers whose bytes are not told count nothing,
    so that the truth is higher; what lies in a cache need not be moved, so that it may be lower.
    """
    seconds = 0.0
    for layer in report.layers:
        moved = (layer_bytes(layer) or 0) / limits.bandwidth
        peak = limits.peak.get(layer_precision(layer).name or "", max(limits.peak.values()))
        seconds += max(moved, (layer_ops(layer) or 0) / peak)
    return 1e3 * seconds


def what_limits(
    name: str, report: EngineReport, device: str, latency_ms: float, graph_ms: float | None
) -> tuple[str, ...]:
    """Say what an engine's time is made of, a sentence each.

    Parameters
    ----------
    name
        What it is called.
    report
        What it is made of.
    device
        The GPU, by the name that its driver gives it.
    latency_ms, graph_ms
        One inference, and one that is replayed as a CUDA graph.
    """
    sentences = []
    if graph_ms is not None:
        share = 1 - graph_ms / latency_ms
        sentences.append(f"as a CUDA graph {name} takes {graph_ms:.4f} ms, {share:.0%} less, for launching its kernels")
    limits = limits_of(device)
    if limits is not None:
        least = least_ms(report, limits)
        share = least / (graph_ms or latency_ms)
        layers = (
            f"memory and arithmetic of its {len(report.layers)} layers need {least:.4f} ms on {limits.name} (roofline)"
        )
        sentences.append(f"{layers}, {share:.0%} of that: the rest is what small kernels take to start and end")
    return tuple(sentences)
