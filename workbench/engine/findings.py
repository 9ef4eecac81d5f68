"""The alarm list: what costs time in an engine, the dearest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.engine.finding import Finding, Scene, Suggestion
from workbench.engine.fusion import fusion_map
from workbench.engine.lints import compute, moves
from workbench.engine.precision import compare_precision

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd

    from workbench.engine.fusion import FusionMap
    from workbench.engine.report import EngineReport

__all__ = ["Finding", "Suggestion", "find", "findings_table"]

_SMALL_BATCH = 8


def find(
    report: EngineReport, fusion: FusionMap | None = None, requested: Mapping[str, str] | None = None
) -> list[Finding]:
    """Return all findings, sorted by the time they cost; those whose cost cannot be told come last.

    Costs overlap (a layer may be slow for two reasons) and are not to be added up.

    Parameters
    ----------
    fusion
        From `fusion_map`; made from the engine's own names otherwise.
    requested
        Source node to the precision asked for; nodes that got more bits become findings.
    """
    fusion = fusion or fusion_map(report)
    verdicts = {v.node: v for v in compare_precision(report, fusion, requested)} if requested else {}
    scene = Scene(report, fusion, verdicts)
    found = [finding for lint in _LINTS for finding in lint(scene)]
    return sorted(found, key=lambda finding: (finding.cost_ms is None, -(finding.cost_ms or 0)))


def findings_table(findings: Sequence[Finding]) -> pd.DataFrame:
    """Return one row a finding: kind, title, milliseconds, bound, layers, nodes, evidence, fix."""
    import pandas as pd

    columns = ["kind", "title", "cost_ms", "bound", "layers", "nodes", "evidence", "fix"]
    table: pd.DataFrame = pd.DataFrame(
        [{column: getattr(finding, column) for column in columns} for finding in findings], columns=columns
    )
    return table


def _small_batch(scene: Scene) -> Iterator[Finding]:
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
        suggestion=Suggestion("build", (), f"batch of {_SMALL_BATCH} or more"),
    )


_LINTS = (
    compute.silent_fp32,
    compute.wider_than_asked,
    compute.no_tensor_cores,
    compute.alignment,
    compute.unfused,
    compute.float_output,
    moves.reformats,
    moves.lone_qdq,
    moves.casts,
    moves.converting_slices,
    _small_batch,
)
