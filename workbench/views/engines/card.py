"""The report card: one self-contained page with everything about an engine, for a browser and for the record."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

from workbench.engine import (
    GPU_LIMITS,
    convolutions_table,
    kinds_table,
    memory_table,
    memory_timeline,
    precision_share,
    realized_precision,
    roofline_dots,
    tactics_table,
    top_layers,
    transitions,
)
from workbench.views.engines.charts import (
    LatencyBars,
    LatencyOrder,
    LatencyTreemap,
    LayerMemory,
    MemoryTimeline,
    PrecisionShare,
    Roofline,
    TransitionMatrix,
)
from workbench.views.engines.comparison import ComparisonBars, TotalBars, kind_stacks
from workbench.views.engines.data import latency_bars, layer_cells
from workbench.views.engines.sunburst import Sunburst, sunburst_arcs
from workbench.views.kit import FONT, LIGHT, css_variables, escape, of_opened

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd

    from workbench.engine import EngineComparison, EngineReport, EngineSummary, Finding, GpuLimits
    from workbench.views.engines.selection import LayerGraph
    from workbench.views.kit import Chart

__all__ = ["report_card"]

_TOP = 20
"""Rows in the lists of slowest layers and of findings; further ones are folded away."""
_SWITCHED = ("paper", "panel", "ink", "muted", "line", "edge", "unknown")
_CSS = """
body{margin:0 auto;max-width:60rem;padding:1.5rem;background:var(--wb-paper);color:var(--wb-ink);font:15px/1.5 FONT}
h1{font-size:1.5rem;overflow-wrap:anywhere}
h2{font-size:1.15rem;margin-top:2.2rem;border-bottom:1px solid var(--wb-line)}
table{border-collapse:collapse;width:100%;font-size:.82rem}
th,td{text-align:left;padding:.25rem .5rem;border-bottom:1px solid var(--wb-line)}
th,td{vertical-align:top}td{overflow-wrap:anywhere}
th{color:var(--wb-muted);font-weight:600;white-space:nowrap}td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.scroll{overflow-x:auto}.scroll>svg{display:block;margin:auto}nav{color:var(--wb-muted)}a{color:inherit}
.pair{display:flex;flex-wrap:wrap;gap:1rem}.pair>figure{flex:1 1 22rem;min-width:0}
figure{margin:1rem 0}figure svg{max-width:100%;height:auto;display:block}
summary{cursor:pointer;color:var(--wb-muted)}p.note{color:var(--wb-muted)}code{font-size:.95em;overflow-wrap:anywhere}
@media print{details>*{display:block}body{max-width:none}}
"""


@of_opened
def report_card(
    summary: EngineSummary,
    *,
    limits: GpuLimits | None = None,
    gpu: str | None = None,
    comparison: EngineComparison | None = None,
    others: Sequence[EngineReport] | None = None,
    theme: Literal["auto", "light", "dark"] = "auto",
) -> str:
    """Return a self-contained HTML page: no script, no font and no picture is loaded from anywhere.

    Parameters
    ----------
    summary
        From `workbench.engine.summary`.
    limits
        The GPU's peak rates; without them there is no roofline.
    gpu
        The GPU by its name in `workbench.engine.GPU_LIMITS`, in place of its rates.
    comparison
        With other engines, from `compare_engines`.
    others
        The reports that `comparison` was made of, for their time by kind and by precision.
    theme
        "auto" follows the reader's system.
    """
    if gpu is not None:
        limits = GPU_LIMITS[gpu]
    report = summary.report
    sections: dict[str, Iterable[str]] = {
        "Findings": [_findings(summary)],
        "Latency": _latency(summary),
        "Precision": _precision(summary),
        "Memory": _memory(summary),
        "Convolutions and tactics": _convolutions(summary),
        "Roofline": [_roofline(summary, limits)],
    }
    if comparison is not None:
        sections["Comparison"] = _comparison(comparison, others or [])
    sections |= {"Source nodes": _fusion(summary), "Graphs": _graphs(summary), "All layers": [_layers(summary)]}
    links = " · ".join(f"<a href='#{_anchor(name)}'>{escape(name)}</a>" for name in sections)
    parts = [f"<h1>{escape(report.name)}</h1>", f"<nav>{links}</nav>", _facts(summary.facts())]
    parts += [f"<p class=note>Note: {escape(note)}.</p>" for note in report.notes]
    for name, content in sections.items():
        parts += [f"<h2 id={_anchor(name)}>{escape(name)}</h2>", *content]
    css = css_variables(theme) + _CSS.replace("FONT", FONT).replace("\n", "")
    head = f"<meta charset=utf-8><title>{escape(report.name)}</title><meta name=viewport content='width=device-width'>"
    return f"<!doctype html><html lang=en><head>{head}<style>{css}</style></head><body>{''.join(parts)}</body></html>"


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-")


def _latency(summary: EngineSummary) -> Iterable[str]:
    report = summary.report
    bars = latency_bars(report)
    if not any(bar.ms for bar in bars):
        return ["<p class=note>There is no profile: give one to see where the time goes.</p>"]
    by_type = LatencyTreemap(layer_cells(report, "type"), "Time by kind of layer")
    by_scope = LatencyTreemap(layer_cells(report, "scope", summary.fusion), "Time by name scope")
    around = {
        "by kind": Sunburst(sunburst_arcs(report, "type"), "Time by kind and type"),
        "by scope": Sunburst(sunburst_arcs(report, "scope", summary.fusion), "Time by name scope"),
    }
    columns = {"layer": "layer", "precision": "precision", "ms": "ms", "percent": "%", "cumulative_percent": "sum %"}
    rows = top_layers(report, _TOP)[list(columns)].itertuples(index=False, name=None)
    kinds = report.types_table().itertuples(index=False, name=None)
    return [
        _figure(LatencyBars(latency_bars(report, _TOP)), "slowest layers", "bars"),
        _figure(LatencyOrder(bars), "latency in execution order", "order"),
        _figure(by_type, "time by kind of layer", "kinds"),
        _figure(by_scope, "time by name scope", "scopes"),
        f"<div class=pair>{''.join(_figure(chart, f'rings of time {k}', k[3:]) for k, chart in around.items())}</div>",
        _folded(f"The {_TOP} slowest layers as a table", _table(list(columns.values()), rows)),
        _folded("Time by layer type", _table(["type", "layers", "ms"], kinds)),
        _folded("Time by kind", _frame(kinds_table(report))),
    ]


def _precision(summary: EngineSummary) -> list[str]:
    report = summary.report
    if not report.layers:
        return ["<p class=note>There are no layers.</p>"]
    parts = [_figure(PrecisionShare(precision_share(report)), "precision of the computing layers", "share")]
    if (edges := transitions(report)).names:
        parts.append(_figure(TransitionMatrix(edges), "precision transitions", "transitions"))
    if summary.verdicts:
        rows = [
            (v.node, v.requested, v.realized.precision or "unknown", v.status, v.realized.evidence)
            for v in summary.verdicts
            if v.status != "as requested"
        ]
        agreed = len(summary.verdicts) - len(rows)
        parts.append(f"<p>{agreed} of {len(summary.verdicts)} nodes are as requested.</p>")
        parts.append(_table(["node", "requested", "realized", "status", "evidence"], rows) if rows else "")
    realized = realized_precision(report, summary.fusion).values()
    nodes = [(one.node, one.precision or "unknown", ", ".join(one.layers), one.evidence) for one in realized]
    parts.append(_folded("Realized precision of every node", _table(["node", "precision", "layers", "told by"], nodes)))
    return parts


def _findings(summary: EngineSummary) -> str:
    if not summary.findings:
        return "<p>Nothing was found.</p>"
    columns = ["cost", "what", "where", "evidence", "fix", "as a line"]
    rows = [
        (
            _cost(f),
            f.title,
            f.where,
            f.evidence,
            f.fix,
            "" if f.suggestion is None else f.suggestion.line,
        )
        for f in summary.findings
    ]
    note = "<p class=note>Sorted by cost; ≤ is the time of layers that would still run, only faster. Costs overlap.</p>"
    rest = _folded(f"{len(rows) - _TOP} more", _table(columns, rows[_TOP:])) if len(rows) > _TOP else ""
    return note + _table(columns, rows[:_TOP]) + rest


def _memory(summary: EngineSummary) -> list[str]:
    use, table = memory_timeline(summary.report), memory_table(summary.report)
    sizes = table[["weight_bytes", "input_bytes", "output_bytes"]].astype(object)
    if not any(use.live) and not any(use.ends) and not any(size for size in sizes["weight_bytes"].dropna()):
        return ["<p class=note>The sizes of the tensors are not told.</p>"]
    rows = sizes.where(sizes.notna(), None).itertuples(index=False, name=None)
    return [
        _figure(MemoryTimeline(use), "activation memory", "memory"),
        _figure(LayerMemory(list(rows)), "memory of each layer", "layer-memory"),
        _folded("Memory of each layer, in bytes", _frame(table)),
    ]


def _convolutions(summary: EngineSummary) -> list[str]:
    convolutions = convolutions_table(summary.report)
    tactics = _folded("Every tactic, and how many layers run it", _frame(tactics_table(summary.report)))
    if convolutions.empty:
        return ["<p class=note>There is no convolution or matrix product that tells its shape.</p>", tactics]
    order = convolutions.sort_values("ms", ascending=False) if convolutions["ms"].notna().any() else convolutions
    first = ["layer", "ms", "precision", "kernel", "stride", "groups", "in_channels", "out_channels", "activation"]
    second = ["layer", "input", "output", "ops_per_byte", "tops", "gb_per_s", "tensor_cores", "tactic"]
    return [
        _folded(f"{len(order)} convolutions and matrix products: shapes", _frame(order[first])),
        _folded("The same: what they move, how fast, and by which kernel", _frame(order[second])),
        tactics,
    ]


def _graphs(summary: EngineSummary) -> list[str]:
    """Draw the engine's graph, and the source graph with its layers outlined where there is a model."""
    from workbench.views.engines.fusion_view import FusionView
    from workbench.views.engines.picture import EngineGraph
    from workbench.views.graphs import svg

    if not summary.report.layers:
        return ["<p class=note>There are no layers.</p>"]
    graphs: dict[str, LayerGraph] = {"The engine's layers, by precision": EngineGraph(summary)}
    if summary.model is not None:
        graphs = {"The source graph: outlined is what became one layer": FusionView(summary), **graphs}
    drawn = ((title, svg(graph.drawing(), inside=True)) for title, graph in graphs.items())
    return [_folded(title, f"<div class=scroll>{picture}</div>") for title, picture in drawn]


class _Figure(str):
    """Text that stays on one line."""

    __slots__ = ()


def _cost(finding: Finding) -> _Figure:
    if finding.cost_ms is None:
        return _Figure("unknown")
    return _Figure(("" if finding.bound == "all" else "≤ ") + f"{finding.cost_ms:.4f} ms")


def _roofline(summary: EngineSummary, limits: GpuLimits | None) -> str:
    if limits is None:
        return "<p class=note>Name the GPU's limits to see how far each layer is from them.</p>"
    dots = roofline_dots(summary.report)
    if not dots:
        return "<p class=note>No layer's operations, bytes and time are all known.</p>"
    source = f"<p class=note>Limits: {escape(limits.source)}.</p>"
    return _figure(Roofline(dots, limits), f"roofline under {limits.name}", "roofline") + source


def _comparison(comparison: EngineComparison, others: Sequence[EngineReport]) -> list[str]:
    parts = []
    if any(report.profiled for report in others):
        parts.append(_figure(kind_stacks(others), "time of each engine by kind of layer", "stack-kinds"))
        parts.append(_figure(kind_stacks(others, "precision"), "time of each engine by precision", "stack-precisions"))
    if any(total is not None for total in comparison.totals):
        parts.append(_figure(TotalBars(comparison), "sum of layers of each engine", "totals"))
        parts.append(_figure(ComparisonBars(comparison), "groups with the largest difference", "groups"))
    changed = [
        (group.name, name, group.change[i])
        for group in comparison.groups
        for i, name in enumerate(comparison.names)
        if group.change[i] not in {"", "same layers"}
    ]
    parts.append(_table(["nodes", "engine", "fused differently"], changed) if changed else "<p>All fused alike.</p>")
    table = comparison.table()
    parts.append(_folded("Every group", _table(list(table.columns), table.itertuples(index=False, name=None))))
    return parts


def _fusion(summary: EngineSummary) -> list[str]:
    lines = "<br>".join(escape(line) for line in summary.fusion.summary().splitlines())
    table = summary.fusion.table()
    rows = (
        (node, op or "", ", ".join(layers), how or "", gone or "")
        for node, op, layers, how, gone in table.astype(object)
        .where(table.notna(), None)
        .itertuples(index=False, name=None)
    )
    columns = ["node", "operator", "layers", "known from", "vanished because"]
    return [f"<p>{lines}</p>", _folded("Every source node", _table(columns, rows))]


def _layers(summary: EngineSummary) -> str:
    table = summary.report.layers_table()
    columns = ["layer", "type", "ms", "inputs", "outputs", "weight_bytes", "tactic", "nodes"]
    rows = table[columns].itertuples(index=False, name=None)
    return _folded(f"{len(table)} layers, in execution order", _table(columns, rows))


def _facts(facts: dict[str, str]) -> str:
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in facts.items())
    return f"<table>{rows}</table>"


def _frame(table: pd.DataFrame) -> str:
    """Return a DataFrame as a table; what is missing in it is unknown."""
    plain = table.astype(object)
    rows = plain.where(plain.notna(), None).itertuples(index=False, name=None)
    return _table([str(column).replace("_", " ") for column in table.columns], rows)


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    head = "".join(f"<th>{escape(str(column))}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(_cell(value) for value in row)}</tr>" for row in rows)
    return f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def _cell(value: Any) -> str:
    import pandas as pd

    if value is None or value is pd.NA or (isinstance(value, float) and value != value):  # noqa: PLR0124 - NaN
        return "<td>unknown</td>"
    if isinstance(value, bool):
        return f"<td>{'yes' if value else 'no'}</td>"
    if isinstance(value, float):
        return f"<td class=n>{value:.4f}</td>" if abs(value) < 1 else f"<td class=n>{value:.2f}</td>"
    if isinstance(value, int):
        return f"<td class=n>{value:,}</td>"
    if isinstance(value, _Figure):
        return f"<td class=n>{escape(value)}</td>"
    return f"<td>{escape(str(value))}</td>"


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{content}</details>"


def _figure(chart: Chart, label: str, key: str) -> str:
    """Put a chart into the page: colours follow the page's theme, and identifiers are its own."""
    svg = chart.svg("light")
    for name in _SWITCHED:
        svg = svg.replace(getattr(LIGHT, name), f"var(--wb-{name})")
    svg = re.sub(r'\bid="', f'id="{key}-', svg)
    svg = re.sub(r"url\(#", f"url(#{key}-", svg)
    svg = re.sub(r'(xlink:href|href)="#', rf'\1="#{key}-', svg)
    return f'<figure role=img aria-label="{escape(label)}">{svg}</figure>'
