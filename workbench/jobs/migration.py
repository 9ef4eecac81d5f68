"""From TensorRT's implicit INT8 to an explicit graph: a calibration cache and trtexec's flags in, Q/DQ pairs out.

Up to TensorRT 10 a builder took ranges from a calibration cache and chose by itself which layers to run in INT8, within
what ``--layerPrecisions`` and ``--layerOutputTypes`` allowed. TensorRT 11 takes neither: precision stands in the graph.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from workbench.display import ShownText
from workbench.errors import PrecisionError
from workbench.graph.select import pick, select
from workbench.jobs.options import MigrateOptions, job
from workbench.names import QUANTIZED
from workbench.precision.operators import activations
from workbench.precision.plan import Imported, PrecisionPlan, Rule, import_trtexec, literal
from workbench.results import together
from workbench.session import history_of, open_model

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from workbench.calibration import CacheMatch
    from workbench.names import Precision
    from workbench.precision.plan import Resolution
    from workbench.session import Workbench

__all__ = ["Migration", "migrate"]


@dataclass(frozen=True)
class Migration(ShownText):
    """What a migration came to.

    Attributes
    ----------
    workbench
        With the recipe and the lowered model.
    match
        How the cache and the model go together.
    notes
        One sentence for each flag that is no rule here.
    untold
        Quantized nodes of which the engine's report does not say what they ran in.
    without_range
        Node address to the tensors it reads whose range the cache lacks: the node stays in floating point, as it did
        with TensorRT.
    files
        What was written.
    """

    workbench: Workbench
    match: CacheMatch
    notes: tuple[str, ...]
    without_range: Mapping[str, tuple[str, ...]]
    untold: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()

    @property
    def resolution(self) -> Resolution:
        """What each node gets."""
        return self.workbench.plan.resolve()

    def text(self) -> str:
        """Return the report in a few lines."""
        nodes = self.resolution.decisions.values()
        quantized = [decision.op_type for decision in nodes if decision.precision in QUANTIZED]
        kinds = ", ".join(f"{quantized.count(kind)} {kind}" for kind in sorted(set(quantized)))
        lines = [f"cache: {self.match}", f"quantized: {len(quantized)} of {len(nodes)} nodes ({kinds or 'none'})"]
        refused = [d for d in nodes if d.requested in QUANTIZED and d.precision not in QUANTIZED]
        lines += [f"left in {d.precision}: {d.node!r}, {'; '.join(d.reasons)}" for d in refused]
        lines += [
            f"left in floating point: {node!r}, the cache has no range of {', '.join(map(repr, tensors))}"
            for node, tensors in self.without_range.items()
        ]
        if self.untold:
            many = (
                f"{len(self.untold)} of these nodes, {self.untold[0]!r} is the first"
                if len(self.untold) > 1
                else repr(self.untold[0])
            )
            lines.append(f"engine: its report does not say what it ran {many} in; they are quantized as without it")
        lines += [f"note: {sentence}" for sentence in history_of(self.workbench).unchecked]
        return "\n".join([*lines, *(f"left out: {note}" for note in self.notes)])


@job(MigrateOptions)
def migrate(options: MigrateOptions) -> Migration:
    """See `MigrateOptions`."""
    done = _migrated(options)
    return done if options.out is None else replace(done, files=_write(options.out, done))


def _migrated(options: MigrateOptions) -> Migration:
    wb = open_model(options.model)
    wb.plan.set_target(options.target)
    flags = _imported(wb, options.layer_precisions, options.layer_output_types)
    wb.prepare()
    match = wb.ranges.use_cache(options.cache)
    wb.plan.use("int8+fp16" if options.fp16 else "int8")
    notes = list(flags.notes)
    for rule in flags.plan.rules:
        if select(wb.model, rule.select, required=False):
            wb.plan.add(rule)
        else:
            notes.append(f"{rule}: its nodes were folded into others")
    rest: Precision = "fp16" if options.fp16 else "fp32"
    untold: list[str] = []
    if options.engine is not None:
        floating, untold = _told_by_engine(wb, options.engine)
        _set(wb, floating, rest)
    without = _leave_floating(wb, rest)
    if not wb.plan.resolve().to_quantize():
        raise PrecisionError(
            f"nothing is left to quantize: {match}",
            where=options.cache,
            fix="Take the cache that was made with this export; see what the flags and the engine leave.",
        )
    wb.tune()
    quantized = wb.plan.resolve().to_quantize()
    return Migration(wb, match, tuple(notes), without, tuple(node for node in untold if node in quantized))


def _write(out: Path, migration: Migration) -> tuple[Path, ...]:
    """Write the model of a migration, and its recipe beside it.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    with together(out.parent):
        return (*migration.workbench.tuned.save(out), migration.workbench.recipe.save(out.with_suffix(".recipe.yaml")))


def _imported(wb: Workbench, precisions: str | None, output_types: str | None) -> Imported:
    """Read the flags on the model as it was given to trtexec."""
    specs = [("--layerPrecisions", precisions), ("--layerOutputTypes", output_types)]
    words = [f"{option}={shlex.quote(value)}" for option, value in specs if value]
    return import_trtexec(" ".join(words), wb.model) if words else Imported(PrecisionPlan(), ())


def _told_by_engine(wb: Workbench, engine: str | os.PathLike[str]) -> tuple[list[str], list[str]]:
    """Return, of the nodes to quantize, those that an engine did not run so, and those of which it says nothing."""
    from workbench.engine import fusion_map, load_report, realized_precision

    report = load_report(engine)
    realized = realized_precision(report, fusion_map(report, wb.source))
    precisions = {node: one.precision for node, one in realized.items() if one.precision is not None}
    planned = wb.plan.resolve().to_quantize()
    floating = [node for node in planned if precisions.get(node, "int8") not in QUANTIZED]
    return floating, [node for node in planned if node not in precisions]


def _set(wb: Workbench, nodes: Collection[str], precision: Precision) -> None:
    if nodes:
        selector = pick("name", *(literal(node) for node in nodes))
        wb.plan.add(Rule(select=str(selector), precision=precision))


def _leave_floating(wb: Workbench, rest: Precision) -> dict[str, tuple[str, ...]]:
    """Take nodes out of INT8 whose inputs have no range, until all others have theirs."""
    without: dict[str, tuple[str, ...]] = {}
    while True:
        resolution = wb.plan.resolve()
        lacking: dict[str, list[str]] = {}
        whole = [n for n in resolution.to_quantize() if not (rule := resolution.rule(n)) or not rule.weight_only]
        for edge in activations(wb.model, whole):
            if edge.tensor not in wb.ranges:
                lacking.setdefault(edge.node, []).append(edge.tensor)
        if not lacking:
            return without
        without |= {node: tuple(dict.fromkeys(tensors)) for node, tensors in lacking.items()}
        _set(wb, lacking, rest)
