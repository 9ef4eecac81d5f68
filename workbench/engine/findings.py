"""The alarm list: what costs time in an engine, the dearest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.engine.finding import EVERYWHERE, GPU, Finding, Lint, Scene, Suggestion
from workbench.engine.fusion import fusion_map
from workbench.engine.lints import compute, moves
from workbench.engine.precision import compare_precision

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd

    from workbench.engine.fusion import FusionMap
    from workbench.engine.report import EngineReport

__all__ = ["LINTS", "Finding", "Suggestion", "find", "findings_table"]

_SMALL_BATCH = 8


def find(
    report: EngineReport, fusion: FusionMap | None = None, requested: Mapping[str, str] | None = None
) -> list[Finding]:
    """Return all findings, sorted by the time they cost; those whose cost cannot be told come last.

    Only lints that are for the report's backend look: what costs time on a GPU says nothing of a processor. Costs
    overlap (a layer may be slow for two reasons) and are not to be added up.

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
    found = [finding for lint in LINTS if report.backend in lint.backends for finding in lint.check(scene)]
    return sorted(found, key=lambda finding: (finding.cost_ms is None, -(finding.cost_ms or 0)))


def findings_table(findings: Sequence[Finding]) -> pd.DataFrame:
    """Return one row a finding: kind, title, milliseconds, bound, layers, nodes, evidence, fix, and the fix as a line.

    `line` is missing where no edit, rule or build option does it.
    """
    import pandas as pd

    columns = ["kind", "title", "cost_ms", "bound", "layers", "nodes", "evidence", "fix"]
    rows = [
        {column: getattr(finding, column) for column in columns}
        | {"line": None if finding.suggestion is None else finding.suggestion.line}
        for finding in findings
    ]
    table: pd.DataFrame = pd.DataFrame(rows, columns=[*columns, "line"])
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
        suggestion=Suggestion("edit", (), "set_batch", (("size", _SMALL_BATCH),)),
    )


LINTS = (
    Lint(compute.silent_fp32, GPU),
    Lint(compute.wide_myelin, GPU),
    Lint(compute.wider_than_asked, EVERYWHERE),
    Lint(compute.no_tensor_cores, GPU),
    Lint(compute.alignment, GPU),
    Lint(compute.unfused, EVERYWHERE),
    Lint(compute.float_output, GPU),
    Lint(moves.reformats, EVERYWHERE),
    Lint(moves.lone_qdq, EVERYWHERE),
    Lint(moves.casts, EVERYWHERE),
    Lint(moves.converting_slices, GPU),
    Lint(_small_batch, GPU),
)
"""Every lint, with the backends whose reports it is for."""
