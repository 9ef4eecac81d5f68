"""All that is known of an engine from its files, in text and JSON: what `workbench engine` prints."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import onnx

from workbench.display import Card, Shown
from workbench.engine.findings import Finding, find, findings_table
from workbench.engine.fusion import FusionMap, fusion_map
from workbench.engine.load import load_report
from workbench.engine.precision import NodePrecision, compare_precision, realized_precision
from workbench.engine.tables import convolutions_table
from workbench.engine.traits import kind_of_layer, layer_precision
from workbench.engine.work import memory_timeline

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from workbench.engine.report import EngineReport, Layer
    from workbench.graph import Model

__all__ = ["EngineSummary", "load_engine", "summarize"]

_MIB = 2**20


@dataclass(frozen=True)
class EngineSummary(Shown):
    """A report with what was made of it; `model` is the one it was mapped to, where it was given as a `Model`."""

    report: EngineReport
    fusion: FusionMap
    findings: list[Finding]
    verdicts: list[NodePrecision] = field(default_factory=list)
    model: Model | None = None

    def facts(self) -> dict[str, str]:
        """Return the engine in a few facts, name to value, as people read them."""
        report = self.report
        facts = {
            "Read from": report.dialect + (f", TensorRT {report.tensorrt_version}" if report.tensorrt_version else "")
        }
        if report.layers:
            memory = memory_timeline(report)
            reformats = f"{len(report.reformat_layers)} of them Reformat (with Q/DQ alone)"
            facts["Layers"] = f"{len(report.layers)}, {reformats}"
            profiles = {layer.profile for layer in report.layers}
            if len(profiles) > 1:
                facts["Profiles"] = f"{len(profiles)} optimization profiles, each with layers of its own"
            facts["Weights"] = _at_least(report.weight_bytes, len(report.unknown_weights), "layers")
            facts["Peak activations"] = f"{_at_least(memory.peak, len(memory.unknown), 'tensors')} between layers"
            facts["Precision"] = self._precisions()
        if report.layers_ms is not None:
            runs = "" if report.profile_count is None else f", {report.profile_count} inferences"
            facts["Sum of layers"] = f"{report.layers_ms:.4f} ms (profiled{runs})"
        if report.timing is not None:
            statistics = ", ".join(f"{name} {value:.4f}" for name, value in report.timing.ms.items())
            facts["GPU compute time"] = f"{statistics} ms"
            if report.timing.throughput is not None:
                facts["Throughput"] = f"{report.timing.throughput:.1f} inferences/s"
        for binding in report.bindings:
            shape = "unknown shape" if binding.dims is None else "x".join(map(str, binding.dims)) or "scalar"
            facts[f"{(binding.mode or 'binding').capitalize()} {binding.name}"] = f"{shape}, {binding.format.short}"
        if "Selected Device" in report.device:
            facts["Device"] = str(report.device["Selected Device"])
        if "Clocks" in report.device:
            facts["Clocks while timed"] = str(report.device["Clocks"])
        if "Precision" in report.build:
            facts["Built with"] = str(report.build["Precision"])
        return facts

    def against(self, requested: Mapping[str, str]) -> EngineSummary:
        """Return it set against another plan: source node to precision.

        Raises
        ------
        ReportError
            A requested precision is no precision.
        """
        verdicts = compare_precision(self.report, self.fusion, requested)
        return (
            self
            if verdicts == self.verdicts
            else replace(self, verdicts=verdicts, findings=find(self.report, self.fusion, requested))
        )

    def findings_table(self) -> pd.DataFrame:
        """Return one row a finding, the dearest first; see `workbench.engine.findings_table`."""
        return findings_table(self.findings)

    def convolutions(self) -> pd.DataFrame:
        """Return one row a convolution: what it computes, how fast, and by which kernel."""
        return convolutions_table(self.report)

    def text(self, top: int = 10) -> str:
        """Return facts, the slowest layers, findings and the fusion map's coverage, for a terminal."""
        lines = [self.report.name, ""]
        facts = self.facts()
        width = max(map(len, facts))
        lines += [f"{name:<{width}}  {value}" for name, value in facts.items()]
        if timed := self._timed():
            lines += ["", f"Slowest layers (of {len(timed)} that take time)"]
            total = sum(ms for ms, _ in timed)
            lines += [
                f"  {ms:8.4f} ms {ms / total:6.1%}  {_precision(layer):<7} {layer.name}" for ms, layer in timed[:top]
            ]
        lines += ["", f"Findings ({len(self.findings)})" if self.findings else "No findings"]
        alike = _alike(self.findings)
        for finding, *others in alike[:top]:
            cost = "   unknown" if finding.cost_ms is None else f"{finding.cost_ms:7.4f} ms"
            lines += [
                f"  {cost} {finding.bound:<7} {finding.title}: {finding.where}",
                f"      {finding.evidence}",
                f"      {finding.fix}",
                *([f"      {finding.suggestion.line}"] if finding.suggestion else []),
                *([f"      and {len(others)} alike: {_few([other.where for other in others])}"] if others else []),
            ]
        if len(alike) > top:
            lines.append(f"  and {sum(map(len, alike[top:]))} more")
        differing = [verdict for verdict in self.verdicts if verdict.status != "as requested"]
        if self.verdicts:
            lines += [
                "",
                f"Precision: {len(self.verdicts) - len(differing)} of {len(self.verdicts)} nodes as requested",
            ]
            lines += [
                f"  {v.node}: {v.requested} asked for, {v.realized.precision or v.status} made" for v in differing[:top]
            ]
        lines += ["", "Source nodes", *(f"  {line}" for line in self.fusion.summary().splitlines())]
        lines += [f"note: {note}" for note in self.report.notes]
        return "\n".join(lines)

    def json(self) -> str:
        """Return everything as JSON; what is unknown is null."""
        report = self.report
        realized = realized_precision(report, self.fusion)
        data: dict[str, Any] = {
            "schema": 1,
            "name": report.name,
            "dialect": report.dialect,
            "tensorrt_version": report.tensorrt_version,
            "layers_ms": report.layers_ms,
            "weight_bytes": report.weight_bytes,
            "layers_with_unknown_weights": len(report.unknown_weights),
            "timing": None if report.timing is None else asdict(report.timing),
            "bindings": [
                {"name": b.name, "mode": b.mode, "dims": b.dims, "dtype": b.format.dtype, "format": b.format.text}
                for b in report.bindings
            ],
            "profiles": [asdict(profile) for profile in report.profiles],
            "layers": [
                {
                    "name": layer.name,
                    "type": layer.type,
                    "kind": kind_of_layer(layer),
                    "precision": layer_precision(layer).name,
                    "ms": layer.ms,
                    "tactic": layer.tactic,
                    "profile": layer.profile,
                    "weight_bytes": layer.weight_bytes,
                    "nodes": self.fusion.by_layer[layer.name].nodes,
                    "absorbed": self.fusion.by_layer[layer.name].absorbed,
                    "known_from": self.fusion.by_layer[layer.name].how,
                }
                for layer in report.layers
            ],
            "realized_precision": {node: one.precision for node, one in realized.items()},
            "vanished": dict(self.fusion.vanished),
            "unaccounted": self.fusion.unaccounted,
            "coverage": self.fusion.coverage,
            "findings": [asdict(finding) for finding in self.findings],
            "requested": [{"node": v.node, "requested": v.requested, "status": v.status} for v in self.verdicts],
            "notes": report.notes,
        }
        return json.dumps(data, indent=1)

    def _precisions(self) -> str:
        counts: dict[str, int] = {}
        for layer in self.report.layers:
            if kind_of_layer(layer) in {"conv", "matmul", "pool", "softmax", "pointwise", "myelin"}:
                name = _precision(layer)
                counts[name] = counts.get(name, 0) + 1
        ordered = sorted(counts.items(), key=lambda item: -item[1])
        return ", ".join(f"{count} {name}" for name, count in ordered) or "no computing layer"

    def _timed(self) -> list[tuple[float, Layer]]:
        """Return the layers that take time with their milliseconds, the slowest first."""
        timed = [(layer.ms, layer) for layer in self.report.layers if layer.ms]
        return sorted(timed, key=lambda pair: -pair[0])

    def _card(self) -> Card:
        report, total = self.report, self.report.layers_ms
        times = f", {total:.4f} ms" if total is not None else ""
        headline = f"{report.name}: {len(report.layers)} layers{times}, {len(self.findings)} findings"
        if timed := self._timed():
            slowest = tuple((layer.name, _precision(layer), ms) for ms, layer in timed)
            return Card(headline, ("slowest layers", "precision", "ms"), slowest)
        return Card(headline, ("", ""), tuple(self.facts().items()))


def _precision(layer: Layer) -> str:
    return layer_precision(layer).name or "unknown"


def _at_least(size: int, unknown: int, of: str) -> str:
    """Say a size of which a part is not known; a size of which nothing is known is not 0."""
    if not unknown:
        return f"{size / _MIB:.2f} MiB"
    return f"at least {size / _MIB:.2f} MiB ({unknown} {of} unknown)" if size else f"unknown ({unknown} {of})"


def summarize(
    report: EngineReport,
    model: onnx.ModelProto | Model | None = None,
    requested: Mapping[str, str] | None = None,
) -> EngineSummary:
    """Map, lint and compare one report.

    Parameters
    ----------
    model
        The ONNX model the engine was built from.
    requested
        Source node to precision, as planned.

    Raises
    ------
    ReportError
        The model does not match, or a requested precision is no precision.
    """
    fusion = fusion_map(report, model)
    verdicts = compare_precision(report, fusion, requested) if requested else []
    loaded = None if model is None or isinstance(model, onnx.ModelProto) else model
    return EngineSummary(report, fusion, find(report, fusion, requested), verdicts, loaded)


def load_engine(
    graph: Any,
    *,
    profile: Any = None,
    timing: Any = None,
    metadata: Any = (),
    model: onnx.ModelProto | Model | str | os.PathLike[str] | None = None,
    requested: Mapping[str, str] | None = None,
    tensorrt_version: str | None = None,
) -> EngineSummary:
    """Read an engine's files and summarize them: the whole of `workbench engine GRAPH_JSON ...`.

    The parameters are those of `load_report` and `summarize`, the model may be its file; so are the errors.
    """
    if isinstance(model, (str, os.PathLike)):
        from workbench.graph import load_model

        model = load_model(model)
    report = load_report(graph, profile=profile, timing=timing, metadata=metadata, tensorrt_version=tensorrt_version)
    return summarize(report, model, requested)


def _alike(findings: list[Finding]) -> list[list[Finding]]:
    """Put findings of one title together where no profile tells them apart by cost."""
    groups: dict[object, list[Finding]] = {}
    for i, finding in enumerate(findings):
        groups.setdefault(finding.title if finding.cost_ms is None else i, []).append(finding)
    return list(groups.values())


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if names[3:] else "")
