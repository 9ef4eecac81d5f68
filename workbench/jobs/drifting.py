"""The job: compare what a service saw in the field with what its model was calibrated on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.calibration import Statistics, at
from workbench.display import ShownText, counted
from workbench.errors import ReportError
from workbench.files import write_bytes, write_text
from workbench.handoff import open_deployment
from workbench.jobs.options import DriftOptions, job
from workbench.jobs.verbs import Gated
from workbench.recipe import METRICS, Evidence, Gate, GateResult, check_gates
from workbench.recipe.steps import CalibrateStep
from workbench.session import Judgement

if TYPE_CHECKING:
    from workbench.calibration import Drift
    from workbench.handoff import Deployment
    from workbench.views.calibration import DriftChart

__all__ = ["DriftResult", "drift"]

MOST_LINES = 20
NOTICED = 0.01
"""The share of a tensor's values that is not clipped without harm."""


@dataclass(frozen=True)
class DriftResult(Gated, ShownText):
    """How far the field is from calibration.

    Parameters
    ----------
    chart
        The comparison; its ``drifts`` are the worst first.
    sentences
        What is clipped in the field and was not in calibration, the worst first.
    verdicts
        The outcome of each gate: those asked for, and those of the recipe that are on the field.
    rows
        How many rows the field's statistics are of.
    files
        What was written.
    """

    chart: DriftChart
    sentences: tuple[str, ...]
    verdicts: tuple[GateResult, ...]
    rows: int
    files: tuple[Path, ...] = ()

    @property
    def drifts(self) -> tuple[Drift, ...]:
        """The comparison, tensor by tensor, the worst first."""
        return self.chart.drifts

    def text(self) -> str:
        """Return the worst tensors, what is clipped, the gates and the verdict."""
        lines = [f"{'drift':>6}  {'clipped':>8}  {'calibrated':>10}  {'largest':>8}  tensor, on {self.rows} rows"]
        lines += [
            f"{one.score:6.3f}  {one.outside:8.3%}  {one.outside_calibration:10.3%}  {one.amax_ratio:7.2f}x  {one.name}"
            for one in self.drifts[:MOST_LINES]
        ]
        more = len(self.drifts) - MOST_LINES
        lines += [f"and {more} tensors more"] if more > 0 else []
        gates = [f"gate {verdict}" for verdict in self.verdicts]
        return "\n".join([*lines, *self.sentences, *gates, self.verdict.text()])

    @property
    def verdict(self) -> Judgement:
        """What it comes to, and one thing to do next."""
        clipped = [one for one in self.drifts if one.warning is not None]
        missed = [one for one in self.verdicts if not one.passed]
        worst = max(clipped or self.drifts, key=lambda one: one.outside if clipped else one.score)
        if clipped:
            headline = f"the ranges of {len(clipped)} of {counted(len(self.drifts), 'tensor')} clip more in the field"
            headline += f", {worst.name} most: {worst.outside:.1%} of its values"
        else:
            headline = f"the ranges hold in the field; {worst.name} drifts most: {worst.score:.3f}"
        if missed:
            more = f" ({len(missed)} gates are missed)" if len(missed) > 1 else ""
            headline += f"; gate {missed[0]}{more}"
        if not clipped and not missed:
            return Judgement(
                "good", headline, "Keep counting, and make it a gate: --gate 'field_clipped <= 1'.", "build"
            )
        return Judgement(
            "bad" if missed or worst.outside >= NOTICED else "fair",
            headline,
            "Tune again on samples of the field as well, and compare on those.",
            "calibrate",
        )


@job(DriftOptions)
def drift(options: DriftOptions) -> DriftResult:
    """See `DriftOptions`."""
    from workbench.views.calibration import drift_chart

    deployment = open_deployment(options.folder)
    if not deployment.statistics.is_file():
        raise ReportError(
            "there is no statistics.npz, so it is not known what calibration saw",
            where=options.folder,
            fix="Tune again, or write it: wb.ranges.statistics.save(FOLDER/statistics.npz).",
        )
    calibration, field = Statistics.load(deployment.statistics), Statistics.load(options.field)
    ranges = {name: at(calibration[name], amax) for name, amax in deployment.ranges.items() if name in calibration}
    if not ranges.keys() & field.keys():
        raise ReportError(
            "none of its tensors has a range in this model",
            where=options.field,
            fix=f"Give statistics of what {deployment.name} saw.",
        )
    chart = drift_chart(calibration, field, ranges, labels=("calibration", options.field.stem))
    gates = [Gate.read(text) for text in options.gate]
    gates += [gate for gate in deployment.recipe.gates if METRICS[gate.metric].source == "field"]
    files = []
    if options.picture is not None:
        svg = options.picture.suffix.lower() == ".svg"
        files.append(write_text(options.picture, chart.svg()) if svg else write_bytes(options.picture, chart.png()))
    return DriftResult(
        chart,
        tuple(_sentence(one, deployment, options.field.stem) for one in chart.drifts if one.warning is not None),
        tuple(check_gates(gates, Evidence(drifts=chart.drifts))),
        max(one.samples for one in field.values()),
        tuple(files),
    )


def _sentence(one: Drift, deployment: Deployment, field: str) -> str:
    step = deployment.recipe.newest(CalibrateStep)
    source = {} if step is None else step.samples.source
    calibrated = Path(source["path"]).stem if "path" in source else source.get("kind", "other samples")
    readers = ", ".join(deployment.readers(one.name)) or one.name
    return f"{field} clips {one.outside:.1%} in {readers} (tensor {one.name}); calibrated on {calibrated}"
