"""The report as one HTML page that needs nothing else: no network, no script, right in light and dark."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.handoff.document import html_document, html_table, picture
from workbench.handoff.tuning_report import before_after, precisions
from workbench.session import remarks, verdict
from workbench.views.kit import escape, escape_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from workbench.evaluate import Comparison
    from workbench.graph import Model
    from workbench.recipe import GateResult
    from workbench.session import Workbench

__all__ = ["page"]

MOST_OF_A_KIND = 5


def page(wb: Workbench, comparison: Comparison, verdicts: Sequence[GateResult]) -> str:
    """Return the report of a tuning as an HTML document."""
    from workbench.views.plans import tuning_chart

    resolution = wb.plan.resolve()
    chart = tuning_chart(wb.model, resolution, wb.ranges, wb.ranges.statistics)
    refused = [decision for decision in resolution.decisions.values() if not decision.kept]
    body = [
        f"<h1>{escape(wb.source.name)}: tuned to {escape(precisions(wb))}</h1>",
        f'<p class="muted">{escape(_subtitle(wb, comparison))}</p>',
        _verdict(wb, comparison, verdicts),
        _gates(verdicts),
        html_table(
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
    if sentences := remarks(wb, comparison):
        body += ["<h2>To be noted</h2>", *(f"<p>{escape(sentence)}</p>" for sentence in sentences)]
    if refused:
        body += [
            "<h2>Asked for, and not given</h2>",
            html_table(("node", "operator", "why"), ((d.node, d.op_type, "; ".join(d.reasons)) for d in refused)),
        ]
    if wb.source.quirks:
        body += [
            "<h2>Noticed in the model</h2>",
            html_table(("where", "what"), _quirks(wb.source)),
        ]
    if wb.advice:
        body += ["<h2>Before you build an engine</h2>", *(f"<p>{escape(sentence)}</p>" for sentence in wb.advice)]
    body += [
        "<h2>Recipe</h2>",
        (
            "<details><summary>The recipe that makes this model again</summary>"
            f"<pre>{escape_lines(wb.recipe.to_yaml())}</pre></details>"
        ),
    ]
    return html_document(f"{wb.source.name}: tuning report", body)


def _quirks(model: Model) -> Iterator[tuple[str, str]]:
    """Yield the first of each kind, and how many more there are: a model without names has hundreds."""
    kinds: dict[str, list[tuple[str, str]]] = {}
    for quirk in model.quirks:
        kinds.setdefault(quirk.kind, []).append((quirk.where, quirk.text))
    for rows in kinds.values():
        yield from rows[:MOST_OF_A_KIND]
        if more := rows[MOST_OF_A_KIND:]:
            yield "…", f"and {len(more):,} more of this kind"


def _verdict(wb: Workbench, comparison: Comparison, gates: Sequence[GateResult]) -> str:
    judgement = verdict(wb, comparison, gates)
    notes = "".join(f'<br><span class="muted">{escape(note)}</span>' for note in judgement.notes)
    style = {"good": "good", "bad": "bad"}.get(judgement.kind, "")
    return f'<p><b class="{style}">{escape(judgement.headline)}.</b> {escape(judgement.next)}{notes}</p>'


def _subtitle(wb: Workbench, comparison: Comparison) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in wb.recipe.environment.items())
    return f"{comparison.samples} samples. Model sha256 {wb.source.digest[:16]}. {versions}."


def _gates(verdicts: Sequence[GateResult]) -> str:
    return "".join(
        f"<p>Gate <b>{escape(gate.gate)}</b>: {escape(gate.value_text)}, "
        f'<b class="{"good" if gate.passed else "bad"}">{escape(gate.outcome)}</b></p>'
        for gate in verdicts
    )
