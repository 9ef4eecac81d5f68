"""The jobs that only look: what a model is, what an engine is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.display import ShownText
from workbench.engine import GPU_LIMITS, compare_engines, engine_onnx, judge_against, load_engine, load_report
from workbench.errors import OptionError
from workbench.files import write_bytes, write_text
from workbench.graph import Summary, load_model, summary
from workbench.handoff.ci import Case, gate_cases, sarif
from workbench.jobs.options import EngineOptions, InspectOptions, job
from workbench.jobs.telling import tell_ci
from workbench.jobs.verbs import EXIT_GATE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from workbench.engine import EngineComparison, EngineReport, EngineSummary

MOST_LINES = 5
"""Places where something got worse that a comment names."""

__all__ = ["EngineResult", "inspect", "read_engine"]


@dataclass(frozen=True)
class EngineResult(ShownText):
    """What an engine is made of.

    Parameters
    ----------
    summary
        All that is known of it.
    comparison
        Against another engine, where one was given.
    files
        What was written.
    cases
        The outcome of each gate, and of what must not get worse.
    """

    summary: EngineSummary
    comparison: EngineComparison | None = None
    files: tuple[Path, ...] = ()
    cases: tuple[Case, ...] = ()

    @property
    def exit_code(self) -> int:
        """What the command line ends with."""
        return EXIT_GATE if any(case.passed is False for case in self.cases) else 0

    def text(self) -> str:
        """Return it as text."""
        parts = [self.summary.text()]
        if self.comparison is not None:
            parts.append(self.comparison.summary())
        if self.cases:
            parts.append("\n".join(f"{case.name}: {case.message}" for case in self.cases))
        return "\n\n".join(parts)

    def to_json(self) -> str:
        """Return the summary as JSON.

        Raises
        ------
        OptionError
            There is a comparison, which has no JSON.
        """
        if self.comparison is not None:
            raise OptionError("--json is about one engine; the comparison is text, or in `html`")
        return self.summary.json()


@job(EngineOptions)
def read_engine(options: EngineOptions) -> EngineResult:
    """See `EngineOptions`."""
    source = None if options.model is None else load_model(options.model)
    requested = None
    if options.recipe is not None:
        from workbench.session import open_recipe

        wb = open_recipe(options.recipe, model=options.model, allow_scripts=options.allow_scripts)
        source = wb.tuned
        requested = wb.plan.precisions
    engine = load_engine(
        options.graph,
        profile=options.profile,
        timing=options.timing,
        metadata=options.metadata,
        model=source,
        requested=requested,
        tensorrt_version=options.tensorrt_version,
    )
    comparison, engines = None, [engine.report]
    if options.against is not None:
        other = load_report(options.against, profile=options.against_profile, timing=options.against_timing)
        behind = None if options.against_model is None else load_model(options.against_model)
        engines = [other, engine.report]
        comparison = compare_engines(engines, source, models=[behind, source] if behind else [])
    files = []
    if options.onnx is not None:
        files.append(write_bytes(options.onnx, engine_onnx(engine.report).SerializeToString(deterministic=True)))
    if options.html is not None:
        from workbench.views.engines import report_card

        limits = None if options.gpu is None else GPU_LIMITS[options.gpu]
        page = report_card(engine, limits=limits, comparison=comparison, others=engines)
        files.append(write_text(options.html, page))
    cases = _cases(options, engine, comparison, engines)
    if options.sarif is not None:
        files.append(write_text(options.sarif, sarif(engine.findings, options.graph)))
    files += tell_ci(
        f"engine {engine.report.name}",
        cases,
        junit_file=options.junit,
        summary=options.summary,
        notes=[f"{case.name}: {line}" for case in cases if case.passed is False for line in _first(case.details)],
    )
    return EngineResult(engine, comparison, tuple(files), tuple(cases))


def _cases(
    options: EngineOptions, engine: EngineSummary, comparison: EngineComparison | None, engines: Sequence[EngineReport]
) -> list[Case]:
    """Judge the gates, and what must not get worse."""
    cases = []
    if options.gates:
        from workbench.jobs.measuring import gates_of, read_evidence
        from workbench.recipe import Evidence, check_gates

        evidence = Evidence(**read_evidence(engine))
        cases += gate_cases(engine.report.name, check_gates(gates_of(options.gates), evidence))
    if options.no_worse is not None and comparison is not None:
        judged = judge_against(engines[0], engines[1], comparison, tolerance=options.no_worse)
        group = f"against {engines[0].name}"
        cases += [
            Case(group, one.what, one.passed, one.message + ("" if one.passed else ", WORSE"), "\n".join(one.details))
            for one in judged
        ]
    return cases


def _first(details: str) -> list[str]:
    lines = details.splitlines()
    more = len(lines) - MOST_LINES
    return lines[:MOST_LINES] + ([f"and {more} more"] if more > 0 else [])


@job(InspectOptions)
def inspect(options: InspectOptions) -> Summary:
    """See `InspectOptions`."""
    return summary(load_model(options.model))
