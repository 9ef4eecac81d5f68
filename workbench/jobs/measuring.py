"""What a job measures so that gates can be judged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.display import in_words
from workbench.errors import BackendError, OptionError, WorkbenchError
from workbench.graph import file_bytes
from workbench.handoff import macs_share
from workbench.recipe import METRICS, Evidence, Gate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from workbench.engine import EngineSummary
    from workbench.evaluate import Agreement
    from workbench.names import BackendName
    from workbench.session import Workbench

__all__ = ["built_evidence", "gates_of", "needs", "read_evidence", "result_evidence"]


def gates_of(texts: Iterable[str]) -> tuple[Gate, ...]:
    """Read gates as a person writes them.

    Raises
    ------
    OptionError
        One is none.
    """
    try:
        return tuple(Gate.read(text) for text in texts)
    except OptionError as error:
        raise OptionError(f"`gates`: {error.what}", where=error.where, fix=error.fix) from error


def needs(gates: Iterable[Gate], *sources: str) -> bool:
    """Say whether some gate is on what one of these measures."""
    return any(METRICS[gate.metric].source in sources for gate in gates)


def result_evidence(wb: Workbench, comparison: Agreement | None, lacking: str = "") -> Evidence:
    """Return what is known of a tuned model without an engine.

    Parameters
    ----------
    wb
        The session.
    comparison
        Against the original.
    lacking
        Why there is none.
    """
    return Evidence(
        comparison=comparison,
        conditions=wb.recipe.pays.where or "",
        pays=wb.recipe.pays,
        file_bytes=file_bytes(wb.tuned),
        int8_share=macs_share(wb),
        lacking={"comparison": lacking} if lacking else {},
    )


def built_evidence(wb: Workbench, backend: BackendName, runs: int) -> dict[str, Any]:
    """Build an engine of the tuned model here, time it, and look at it; what fails is said, not raised."""
    from workbench.backends import TimingOptions, backend_of, with_weights

    try:
        engine = with_weights(wb.build(backend), wb.tuned)
    except WorkbenchError as error:
        return {"lacking": dict.fromkeys(("engine", "timing"), str(error))}
    evidence: dict[str, Any] = {"engine_bytes": len(engine.data)}
    runner = backend_of(engine)
    try:
        timing = runner.time(engine, TimingOptions(runs=max(runs, 1)))
        evidence |= {"latency_ms": Evidence.percentiles(timing), "throughput": timing.throughput}
        scratch = timing.conditions.get("engine_scratch_bytes")
        evidence["device_bytes"] = None if scratch is None else int(scratch)
        named = ("backend", "version", "device", "note")
        conditions = [in_words(timing.conditions[name]) for name in named if timing.conditions.get(name)]
        evidence["conditions"] = ", ".join([*conditions, f"{timing.runs} runs"])
        evidence["engine"] = wb.engines.inspect(engine)
    except BackendError as error:
        evidence["lacking"] = dict.fromkeys(("engine", "timing"), str(error))
    return evidence


def read_evidence(summary: EngineSummary) -> dict[str, Any]:
    """Return what the files of an engine tell that was built and timed elsewhere."""
    timing = summary.report.timing
    evidence: dict[str, Any] = {"engine": summary, "conditions": f"{summary.report.name}, {summary.report.dialect}"}
    if timing is None:
        evidence["lacking"] = {"timing": "the files have no times of whole inferences: give timing"}
        return evidence
    names = {"p50": "median", "p90": "p90", "p95": "p95", "p99": "p99"}
    latency = {ours: timing.ms[theirs] for ours, theirs in names.items() if theirs in timing.ms}
    return evidence | {"latency_ms": latency, "throughput": timing.throughput}
