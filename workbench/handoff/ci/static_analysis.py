"""SARIF 2.1.0 (OASIS), which code hosts show beside the code: one result a finding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from workbench import __version__

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from workbench.engine import Finding

__all__ = ["sarif"]

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def sarif(findings: Iterable[Finding], file: str | os.PathLike[str]) -> str:
    """Return the findings of an engine as a SARIF log.

    Parameters
    ----------
    findings
        What the lints found.
    file
        The file that they were found in; as it is given, so that a relative path stays one.
    """
    results = list(findings)
    kinds = {one.kind: one for one in reversed(results)}
    rules = [{"id": kind, "shortDescription": {"text": kinds[kind].title}} for kind in sorted(kinds)]
    artifact = {"uri": quote(Path(file).as_posix())}
    driver = {"name": "trt-workbench", "version": __version__, "rules": rules}
    run = {"tool": {"driver": driver}, "results": [_result(one, artifact, sorted(kinds)) for one in results]}
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


def _result(finding: Finding, artifact: dict[str, str], kinds: list[str]) -> dict[str, Any]:
    cost = "" if finding.cost_ms is None else f" ({finding.bound} of {finding.cost_ms:.4f} ms)"
    logical = [{"name": name, "kind": "member"} for name in finding.nodes or finding.layers]
    return {
        "ruleId": finding.kind,
        "ruleIndex": kinds.index(finding.kind),
        "level": "note" if finding.cost_ms is None else "warning",
        "message": {"text": f"{finding.title}{cost}: {finding.where}. {finding.evidence}. {finding.fix}"},
        "locations": [
            # Code hosts show only what has a line; an inspector's file has one record a layer and no useful line.
            {
                "physicalLocation": {"artifactLocation": artifact, "region": {"startLine": 1}},
                "logicalLocations": logical,
            }
        ],
        "partialFingerprints": {"layers/v1": f"{finding.kind}:{','.join(finding.layers)}"},
        "properties": {"cost_ms": finding.cost_ms, "layers": list(finding.layers), "nodes": list(finding.nodes)},
    }
