"""Engines for fewer inputs at a time than the GPU could do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.engine.finding import Finding, Suggestion

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workbench.engine.finding import EngineScene

__all__ = ["small_batch"]

_SMALL_BATCH = 8


def small_batch(scene: EngineScene) -> Iterator[Finding]:
    """Find an engine of a few samples, whose throughput would grow with the batch."""
    image = next((b for b in scene.report.bindings if b.mode == "input" and b.dims and len(b.dims) > 1), None)
    if image is None or image.dims is None or not 0 < image.dims[0] < _SMALL_BATCH:
        return
    working = list(scene.kinds("conv", "matmul"))
    if not working:
        return
    yield Finding(
        kind="small-batch",
        title=f"Batch of {image.dims[0]}",
        evidence=f"{image.name} is {list(image.dims)}: throughput grows with the batch until the GPU is full",
        fix="Where throughput counts more than latency, build for a larger batch and measure both",
        layers=tuple(layer.name for layer in working),
        suggestion=Suggestion("edit", (), "set_batch", (("size", _SMALL_BATCH),)),
    )
