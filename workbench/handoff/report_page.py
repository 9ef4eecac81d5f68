"""The report as one HTML page that needs nothing else: no network, no script, right in light and dark."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from workbench.handoff.tuning_report import before_after, precisions
from workbench.session import remarks
from workbench.views.kit import FONT, css_variables, escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from workbench.evaluate import Comparison
    from workbench.recipe import GateResult
    from workbench.session import Workbench
    from workbench.views.kit import Pictured

__all__ = ["page", "picture"]

_STYLE = f"""
{css_variables()}
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.5 {FONT}; color: var(--wb-ink); background: var(--wb-paper); margin: 2rem auto;
       max-width: 60rem; padding: 0 1rem; }}
h1 {{ font-size: 1.5rem; }} h2 {{ font-size: 1.1rem; margin-top: 2rem; }}
table {{ border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }}
th, td {{ text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; }}
th, td {{ border-bottom: 1px solid var(--wb-line); }}
td.n {{ text-align: right; white-space: nowrap; }} th.n {{ text-align: right; }}
.muted {{ color: var(--wb-muted); }} .good {{ color: var(--wb-good); }} .bad {{ color: var(--wb-bad); }}
img {{ max-width: 100%; height: auto; }}
pre {{ background: var(--wb-panel); padding: 1rem; overflow-x: auto; font-size: 12px; }}
.scroll {{ overflow-x: auto; }} td.name {{ overflow-wrap: anywhere; }}
"""


def page(wb: Workbench, comparison: Comparison, verdicts: Sequence[GateResult]) -> str:
    """Return the report of a tuning as an HTML document."""
    from workbench.views.plans import tuning_chart

    resolution = wb.plan.resolve()
    chart = tuning_chart(wb.model, resolution, wb.ranges, wb.ranges.statistics)
    refused = [decision for decision in resolution.decisions.values() if not decision.kept]
    body = [
        f"<h1>{escape(wb.source.name)}: tuned to {escape(precisions(wb))}</h1>",
        f'<p class="muted">{escape(_subtitle(wb, comparison))}</p>',
        _gates(verdicts),
        _table(
            ("", "original", "tuned", "change"),
            ((row.what, row.original, row.tuned, row.change) for row in before_after(wb, comparison)),
            numeric=(1, 2),
        ),
        (
            '<p class="muted">Outputs are compared with Q/DQ computed as written. Latency is ONNX Runtime on this '
            "processor and says nothing about a GPU.</p>"
        ),
        "<h2>Along the network</h2>",
        picture(chart, chart.title),
    ]
    if said := remarks(wb, comparison):
        body += ["<h2>To be noted</h2>", *(f"<p>{escape(sentence)}</p>" for sentence in said)]
    if refused:
        body += [
            "<h2>Asked for, and not given</h2>",
            _table(("node", "operator", "why"), ((d.node, d.op_type, "; ".join(d.reasons)) for d in refused)),
        ]
    if wb.source.quirks:
        body += [
            "<h2>Noticed in the model</h2>",
            _table(("where", "what"), ((q.where, q.text) for q in wb.source.quirks)),
        ]
    if wb.advice:
        body += ["<h2>Before you build an engine</h2>", *(f"<p>{escape(sentence)}</p>" for sentence in wb.advice)]
    body += [
        "<h2>Recipe</h2>",
        (
            "<details><summary>The recipe that makes this model again</summary>"
            f"<pre>{escape(wb.recipe.to_yaml())}</pre></details>"
        ),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(wb.source.name)}: tuning report</title><style>{_STYLE}</style></head><body>"
        f"{''.join(body)}</body></html>\n"
    )


def picture(view: Pictured, alt: str) -> str:
    """Return a view as HTML: both themes are embedded, the reader's preference picks one."""
    light, dark = (_data_uri(view.svg("light")), _data_uri(view.svg("dark")))
    return (
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img alt="{escape(alt)}" src="{light}"></picture>'
    )


def _data_uri(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def _subtitle(wb: Workbench, comparison: Comparison) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in wb.recipe.environment.items())
    return f"{comparison.samples} samples. Model sha256 {wb.source.digest[:16]}. {versions}."


def _gates(verdicts: Sequence[GateResult]) -> str:
    lines = []
    for verdict in verdicts:
        mark, style = ("passed", "good") if verdict.passed else ("failed", "bad")
        value = "not measured" if verdict.value is None else f"{verdict.value:.3g}"
        why = f" ({escape(verdict.reason)})" if verdict.reason else ""
        lines.append(f'<p>Gate <b>{escape(verdict.gate)}</b>: {value}, <b class="{style}">{mark}</b>{why}</p>')
    return "".join(lines)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numeric: Sequence[int] = ()) -> str:
    def cell(tag: str, column: int, text: str) -> str:
        style = ' class="n"' if column in numeric else ' class="name"'
        return f"<{tag}{style}>{escape(text)}</{tag}>"

    lines = "".join("<tr>" + "".join(cell("td", i, text) for i, text in enumerate(row)) + "</tr>" for row in rows)
    heads = "".join(cell("th", i, text) for i, text in enumerate(head))
    return f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div>'
