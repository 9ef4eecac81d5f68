"""The alarm list: what costs time in an engine, the dearest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.engine.finding import EngineScene, Finding, Suggestion
from workbench.engine.fusion import fusion_map
from workbench.engine.lints import LINTS
from workbench.engine.precision import compare_precision

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from workbench.engine.fusion import FusionMap
    from workbench.engine.report import EngineReport

__all__ = ["Finding", "Suggestion", "find", "findings_table"]


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
    scene = EngineScene(report, fusion, verdicts)
    findings = [finding for lint in LINTS if report.backend in lint.backends for finding in lint.check(scene)]
    return sorted(findings, key=lambda finding: (finding.cost_ms is None, -(finding.cost_ms or 0)))


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
