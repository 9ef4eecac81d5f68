"""Realized precision of each source node, beside the requested one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from workbench.engine.formats import parse_dtype
from workbench.engine.traits import IDLE_KINDS, kind_of_layer, layer_precision
from workbench.errors import ReportError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from workbench.engine.fusion import FusionMap
    from workbench.engine.report import EngineReport

__all__ = ["RANK", "NodePrecision", "Realized", "compare_precision", "realized_precision", "realized_table"]

RANK = {"fp4": 0, "int4": 0, "fp8": 1, "int8": 1, "fp16": 2, "bf16": 2, "tf32": 3, "fp32": 4}


@dataclass(frozen=True, slots=True)
class Realized:
    """The precision one source node got.

    Attributes
    ----------
    precision
        Such as "int8" or "tf32"; None where the engine does not tell, or the node is in no layer.
    layers
        The layers that do its work.
    evidence
        What tells the precision, or why there is none.
    """

    node: str
    precision: str | None
    layers: tuple[str, ...]
    evidence: str


@dataclass(frozen=True, slots=True)
class NodePrecision:
    """Requested against realized, of one source node.

    `status` is "as requested"; "wider" (more bits than asked for: slower than hoped), "narrower" (fewer bits: less
    accurate than asked for), "different" (as many bits of another type); "unknown" where the engine does not tell; or
    "vanished" where the node is in no layer.
    """

    node: str
    requested: str
    realized: Realized
    status: Literal["as requested", "wider", "narrower", "different", "unknown", "vanished"]


def realized_precision(report: EngineReport, fusion: FusionMap) -> dict[str, Realized]:
    """Return what each source node that a layer states really runs in.

    Nodes that a layer merely absorbs (Q/DQ, folded constants) compute nothing of their own and are left out; nodes that
    vanished are in with their reason.
    """
    layers = {layer.name: layer for layer in report.layers}
    by_node: dict[str, list[str]] = {}
    for group in fusion.groups:
        for node in group.nodes:
            by_node.setdefault(node, []).append(group.layer)
    realized: dict[str, Realized] = {}
    for node, names in by_node.items():
        # `fc` may be in its own layer and in a free reshape after it: the one that computes decides.
        working = [name for name in names if kind_of_layer(layers[name]) not in IDLE_KINDS] or names
        precisions = [layer_precision(layers[name]) for name in working]
        distinct = sorted({precision.name for precision in precisions if precision.name is not None})
        realized[node] = Realized(node, "+".join(distinct) or None, tuple(working), precisions[0].evidence)
    for node, reason in fusion.vanished.items():
        realized.setdefault(node, Realized(node, None, (), reason))
    return realized


def realized_table(report: EngineReport, fusion: FusionMap) -> pd.DataFrame:
    """Return one row a source node: name, precision, layers, evidence."""
    import pandas as pd

    rows = [
        {"node": r.node, "precision": r.precision, "layers": list(r.layers), "evidence": r.evidence}
        for r in realized_precision(report, fusion).values()
    ]
    table: pd.DataFrame = pd.DataFrame(rows, columns=["node", "precision", "layers", "evidence"])
    return table


def compare_precision(report: EngineReport, fusion: FusionMap, requested: Mapping[str, str]) -> list[NodePrecision]:
    """Set what a plan asked for, node by node, against what the compiler did.

    Parameters
    ----------
    requested
        Source node to precision ("int8", "fp16", "tf32", ...).

    Raises
    ------
    ReportError
        A requested precision is not a known name.
    """
    realized = realized_precision(report, fusion)
    verdicts = []
    for node, asked in requested.items():
        precision = _plain(asked, node)
        got = realized.get(node) or Realized(node, None, fusion.by_node.get(node, ()), "the engine does not name it")
        verdicts.append(NodePrecision(node, precision, got, _status(precision, got)))
    return verdicts


def _plain(text: str, node: str) -> str:
    name = "tf32" if text.lower() == "tf32" else parse_dtype(text)
    if name not in RANK:
        fix = "Use one of " + ", ".join(sorted(RANK))
        raise ReportError(f"{text!r} is no precision", where=node, fix=fix)
    return name


def _status(
    requested: str, got: Realized
) -> Literal["as requested", "wider", "narrower", "different", "unknown", "vanished"]:
    if got.precision is None:
        return "unknown" if got.layers else "vanished"
    parts = got.precision.split("+")
    if parts == [requested]:
        return "as requested"
    if any(part not in RANK for part in parts):
        return "different"
    widest, narrowest = max(RANK[part] for part in parts), min(RANK[part] for part in parts)
    if widest > RANK[requested]:
        return "wider"
    return "narrower" if narrowest < RANK[requested] else "different"
