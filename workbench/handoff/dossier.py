"""The page that a customer files: what was done, on which machine, what it gained and cost, and how to do it again."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from workbench.graph import SMALLEST_WORKSPACE
from workbench.handoff.document import html_document, html_table, picture
from workbench.handoff.tuning_report import before_after, precisions
from workbench.recipe.steps import CalibrateStep
from workbench.session import remarks
from workbench.views.kit import escape, escape_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from workbench.backends import Timing
    from workbench.calibration import Drift
    from workbench.engine import EngineSummary
    from workbench.evaluate import Comparison
    from workbench.recipe import Gate, GateResult
    from workbench.session import Workbench

__all__ = ["Dossier", "TimedBatch", "dossier_page"]

MOST_ROWS = 80
CJK = re.compile("[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff]")
LEVELS = {"p50_ms": "p50", "p90_ms": "p90", "p95_ms": "p95", "p99_ms": "p99"}


@dataclass(frozen=True)
class TimedBatch:
    """An engine as it was timed at one batch.

    Parameters
    ----------
    batch
        Samples an inference.
    timing
        What was measured.
    device_mib
        Memory that the engine needs beside inputs and outputs; ``None`` where the backend does not tell.
    activations_mib
        Peak of the tensors alive at once, computed from shapes; ``None`` where a shape is not known.
    """

    batch: int
    timing: Timing
    device_mib: float | None = None
    activations_mib: float | None = None


@dataclass(frozen=True)
class Dossier:
    """Everything that a dossier tells; ``None`` and empty is what was not measured.

    Parameters
    ----------
    title
        Of the page.
    wb
        The session with the tuned model.
    gates, verdicts
        What has to hold, and what became of it.
    machine
        Name to value: system, processor, GPU, driver.
    comparison
        Results of the tuned model against the original's.
    before, after
        The original's engine and the tuned one's, timed on this machine in this run.
    batches
        The tuned model's engine at several batches.
    engine
        What the tuned engine is made of.
    drift
        The field's samples against the calibration's, the worst tensor first; ``None`` where there were none.
    field_samples
        How many there were.
    suggested_workspace_mib
        For builds: about 1.5 times the peak.
    notes
        What could not be measured, and why, a sentence each.
    replay
        Commands that make it again.
    """

    title: str
    wb: Workbench
    gates: Sequence[Gate] = ()
    verdicts: Sequence[GateResult] = ()
    machine: Mapping[str, str] = field(default_factory=dict)
    comparison: Comparison | None = None
    before: Timing | None = None
    after: Timing | None = None
    batches: Sequence[TimedBatch] = ()
    engine: EngineSummary | None = None
    drift: Sequence[Drift] | None = None
    field_samples: int = 0
    suggested_workspace_mib: float | None = None
    notes: Sequence[str] = ()
    replay: Sequence[str] = ()


def dossier_page(dossier: Dossier) -> str:
    """Return the dossier as one HTML document that loads nothing."""
    parts = (_head, _gained, _service, _scaling, _accuracy, _precision, _calibration, _engine, _advice, _again)
    body = [line for part in parts for line in part(dossier)]
    return html_document(dossier.title, body, language="zh" if CJK.search(dossier.title) else "en")


def _head(dossier: Dossier) -> Iterator[str]:
    wb = dossier.wb
    yield f"<h1>{escape(dossier.title)}</h1>"
    failed = sum(not verdict.passed for verdict in dossier.verdicts)
    if dossier.verdicts:
        count = len(dossier.verdicts)
        facts = (
            f"{failed} of {count} gates failed"
            if failed
            else "the gate holds"
            if count == 1
            else f"all {count} gates hold"
        )
        yield f'<p><b class="{"bad" if failed else "good"}">{facts}</b></p>'
    rows = [
        ("model", f"{wb.source.name}, sha256 {wb.source.digest}"),
        ("tuned to", precisions(wb)),
        ("tuned.onnx", "not tuned" if wb.recipe.tuned is None else f"sha256 {wb.recipe.tuned.sha256}"),
        ("target", wb.recipe.target or "any"),
        *dossier.machine.items(),
        *((f"version of {name}", version) for name, version in wb.recipe.environment.items()),
    ]
    yield html_table(("what, and on which machine", ""), rows)
    yield from (f'<p class="muted">Not measured: {escape(note)}</p>' for note in dossier.notes)
    if dossier.verdicts:
        yield "<h2>Gates</h2>"
        judged = [(one.gate, one.value_text, one.outcome, one.conditions) for one in dossier.verdicts]
        yield html_table(("what has to hold", "measured", "", "on"), judged)


def _gained(dossier: Dossier) -> Iterator[str]:
    yield "<h2>Before and after</h2>"
    rows: list[tuple[str, str, str, str]] = []
    if dossier.comparison is not None:
        rows += [(r.what, r.original, r.tuned, r.change) for r in before_after(dossier.wb, dossier.comparison)]
    before, after = dossier.before, dossier.after
    if before is not None and after is not None:
        for name, a, b in (
            ("engine, median", before.median_ms, after.median_ms),
            ("engine, p95", before.p95_ms, after.p95_ms),
            ("engine, p99", before.p99_ms, after.p99_ms),
        ):
            rows.append((name, f"{a:.3f} ms", f"{b:.3f} ms", f"x{b / a:.2f}"))
        a, b = before.throughput, after.throughput
        rows.append(("engine, inferences a second", f"{a:.1f}", f"{b:.1f}", f"x{b / a:.2f}"))
    yield html_table(("", "original", "tuned", "change"), rows, numeric=(1, 2)) if rows else _nothing("a comparison")
    if after is not None:
        yield _conditions("Engines were timed under", after)


def _service(dossier: Dossier) -> Iterator[str]:
    from workbench.views.plans import LatencyChart

    after = dossier.after
    if after is None or not after.latencies_ms:
        return
    levels = tuple(
        (LEVELS[gate.metric], gate.at_most, verdict.passed)
        for gate, verdict in zip(dossier.gates, dossier.verdicts, strict=True)
        if gate.metric in LEVELS and gate.at_most is not None
    )
    timed = [("original", dossier.before), ("tuned", after)]
    shown = tuple((name, one.latencies_ms) for name, one in timed if one is not None and one.latencies_ms)
    title = f"{after.runs} inferences each, {_device(after)}"
    yield "<h2>Latency and the service level</h2>"
    for (name, bound, met), verdict in zip(levels, _levelled(dossier), strict=True):
        style = "good" if met else "bad"
        judged = f'<b class="{style}">{escape(verdict.outcome)}</b>, {escape(verdict.value_text)}'
        yield f"<p>{name} &lt;= {bound:g} ms: {judged}</p>"
    yield picture(LatencyChart(shown, levels, title), f"Distribution of latencies: {title}")


def _levelled(dossier: Dossier) -> list[GateResult]:
    return [
        verdict
        for gate, verdict in zip(dossier.gates, dossier.verdicts, strict=True)
        if gate.metric in LEVELS and gate.at_most is not None
    ]


def _scaling(dossier: Dossier) -> Iterator[str]:
    from workbench.views.plans import BatchChart

    served = list(dossier.batches)
    if not served:
        return
    yield "<h2>Throughput and memory against the batch</h2>"
    measured = all(one.device_mib is not None for one in served)
    values = [one.device_mib if measured else one.activations_mib for one in served]
    memory = tuple(value for value in values if value is not None)
    label = "device memory" if measured else "activations, computed"
    rates = tuple(one.batch * one.timing.throughput for one in served)
    chart = BatchChart(
        tuple(one.batch for one in served),
        rates,
        memory if len(memory) == len(served) else (),
        label,
        f"tuned model, {served[0].timing.runs} inferences each, {_device(served[0].timing)}",
    )
    yield picture(chart, chart.title)
    rows = [
        (
            str(one.batch),
            f"{rate:.1f}",
            f"{one.timing.median_ms:.3f}",
            f"{one.timing.p95_ms:.3f}",
            "unknown" if value is None else f"{value:.2f}",
        )
        for one, rate, value in zip(served, rates, values, strict=True)
    ]
    heads = ("samples an inference", "samples/s", "median [ms]", "p95 [ms]", f"{label} [MiB]")
    yield html_table(heads, rows, numeric=(0, 1, 2, 3, 4))


def _accuracy(dossier: Dossier) -> Iterator[str]:
    comparison = dossier.comparison
    if comparison is None:
        return
    yield "<h2>Accuracy</h2>"
    top1 = comparison.accuracy
    if top1 is None:
        yield f'<p class="muted">No labels were given: outputs were compared on {comparison.samples} samples.</p>'
    else:
        ends = top1.interval(0.95)
        level = "" if ends is None else f", 95% confidence interval {ends[0]:+.2f} to {ends[1]:+.2f} points"
        yield (
            f"<p>Top-1 {top1.original:.2%} before and {top1.tuned:.2%} after, on {top1.samples} labelled samples: "
            f"{top1.drop:.2f} points lost{level}.</p>"
        )
    rows = [
        (one.name, f"{one.sqnr_db:.2f}", f"{one.cosine:.6f}", f"{one.max_error:.4g}", str(one.nonfinite))
        for one in comparison.outputs
    ]
    yield html_table(("output", "SQNR [dB]", "cosine", "largest error", "not finite"), rows, numeric=(1, 2, 3, 4))
    yield '<p class="muted">Outputs are compared with Q/DQ computed as written, on ONNX Runtime.</p>'


def _precision(dossier: Dossier) -> Iterator[str]:
    from workbench.views.plans import tuning_chart

    wb = dossier.wb
    resolution = wb.plan.resolve()
    chart = tuning_chart(wb.model, resolution, wb.ranges, wb.ranges.statistics)
    yield "<h2>Precision of each layer, and why</h2>"
    yield picture(chart, chart.title)
    decided = [one for one in resolution.decisions.values() if one.rule is not None or one.reasons]
    rows = [
        (
            one.node,
            one.op_type,
            one.precision.upper(),
            "; ".join(one.reasons) or ("as it is" if one.rule is None else str(resolution.rules[one.rule])),
        )
        for one in decided[:MOST_ROWS]
    ]
    yield html_table(("node", "operator", "precision", "why"), rows)
    if len(decided) > MOST_ROWS:
        yield f'<p class="muted">and {len(decided) - MOST_ROWS} more, which the recipe holds</p>'


def _calibration(dossier: Dossier) -> Iterator[str]:
    steps = dossier.wb.recipe.of_kind(CalibrateStep)
    yield "<h2>Calibration</h2>"
    if not steps:
        yield _nothing("a calibration: the ranges came from elsewhere, or there are none")
    for step in steps:
        source = step.samples.source.get("path", "memory")
        line = f"{step.samples.count} samples of {source}, method {step.method}, {len(step.ranges)} ranges"
        yield f'<p>{escape(line)}<br><span class="muted">fingerprint {escape(step.samples.fingerprint)}</span></p>'
    if dossier.drift is None:
        line = "No samples from the field were given: whether calibration was like them is not known."
        yield f'<p class="muted">{line}</p>'
        return
    warned = [one.warning for one in dossier.drift if one.warning is not None]
    count = f"{len(warned)} of {len(dossier.drift)} tensors leave their ranges"
    yield f'<p class="{"bad" if warned else "good"}">{count} on {dossier.field_samples} samples from the field.</p>'
    rows = [
        (one.name, f"{one.score:.3f}", f"{one.amax_ratio:.2f}", f"{one.outside:.3%}", f"{one.outside_calibration:.3%}")
        for one in dossier.drift[:10]
    ]
    heads = ("tensor, the worst first", "drift, 0 to 1", "largest value, ratio", "beyond the range", "in calibration")
    yield html_table(heads, rows, numeric=(1, 2, 3, 4))


def _engine(dossier: Dossier) -> Iterator[str]:
    if dossier.engine is None:
        return
    engine = dossier.engine
    yield "<h2>What the compiler made</h2>"
    yield html_table(("engine", ""), engine.facts().items())
    yield "<h2>Fusion</h2>"
    yield f"<pre>{escape_lines(engine.fusion.summary())}</pre>"
    yield "<h2>Findings left</h2>"
    if not engine.findings:
        yield "<p>None.</p>"
        return
    rows = [
        (one.title, one.where, "unknown" if one.cost_ms is None else f"{one.cost_ms:.4f}", one.fix)
        for one in engine.findings[:15]
    ]
    yield html_table(("finding", "where", "cost [ms]", "what to do"), rows, numeric=(2,))
    if len(engine.findings) > 15:
        yield f'<p class="muted">and {len(engine.findings) - 15} more</p>'


def _advice(dossier: Dossier) -> Iterator[str]:
    sentences = list(_sentences(dossier))
    if sentences:
        yield "<h2>Advice that applies here</h2><ul>"
        yield from (f"<li>{escape(sentence)}</li>" for sentence in sentences)
        yield "</ul>"


def _sentences(dossier: Dossier) -> Iterator[str]:
    wb, comparison = dossier.wb, dossier.comparison
    if comparison is not None:
        worst = comparison.worst_sqnr_db
        if worst < 25.0 and wb.plan.resolve().nodes("int8"):
            yield f"FP16 first: the worst output is sensitive ({worst:.1f} dB of SQNR in INT8)."
        yield from remarks(wb, comparison)
    warned = [] if dossier.drift is None else [one for one in dossier.drift if one.warning is not None]
    if warned:
        yield f"Calibrate on data like the field's: {warned[0].warning}."
    elif dossier.drift is None and wb.recipe.of_kind(CalibrateStep):
        yield "Compare the calibration's data with the field's (--field): ranges hold for values like theirs."
    pinned = ", ".join(f"{name}=={version}" for name, version in wb.recipe.environment.items() if name != "python")
    yield f"Pin the versions that made this: {pinned}."
    if dossier.suggested_workspace_mib is not None:
        yield (
            f"Give builds {dossier.suggested_workspace_mib:.0f} MiB of workspace: about 1.5 times the peak of the "
            f"graph's tensors, as computed from its shapes, and no less than {SMALLEST_WORKSPACE >> 20}."
        )
    yield from wb.advice


def _again(dossier: Dossier) -> Iterator[str]:
    yield "<h2>How to make it again</h2>"
    if dossier.replay:
        yield f"<pre>{escape_lines(chr(10).join(dossier.replay))}</pre>"
    yield f"<details><summary>The recipe</summary><pre>{escape_lines(dossier.wb.recipe.to_yaml())}</pre></details>"


def _conditions(words: str, timing: Timing) -> str:
    stated = ", ".join(
        f"{name} {_text(value)}" for name, value in timing.conditions.items() if value not in (None, "", {})
    )
    return f'<p class="muted">{words}: {escape(stated)}, {timing.runs} runs after {timing.warm_up_runs} to warm up.</p>'


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key} {_text(one)}" for key, one in value.items())
    if isinstance(value, (list, tuple)):
        return "x".join(map(str, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _device(timing: Timing) -> str:
    device = timing.conditions.get("device")
    name = device.get("name", "") if isinstance(device, dict) else device
    return (
        f"{timing.conditions.get('backend', '')} on {_text(name)}"
        if name
        else str(timing.conditions.get("backend", ""))
    )


def _nothing(what: str) -> str:
    return f'<p class="muted">There is not {escape(what)}.</p>'
