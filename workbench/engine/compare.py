"""Two or more engines side by side, aligned by the source nodes they share."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from workbench.display import Card, Shown
from workbench.engine.findings import find
from workbench.engine.fusion import fusion_map
from workbench.engine.load import load_report
from workbench.engine.moved import moved, reason_for
from workbench.engine.summary import EngineSummary
from workbench.engine.traits import IDLE_KINDS, kind_of_layer, layer_precision
from workbench.errors import ReportError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx
    import pandas as pd

    from workbench.engine.fusion import FusionMap
    from workbench.engine.moved import MovedEdge
    from workbench.engine.report import EngineReport, Layer
    from workbench.graph import Model

__all__ = ["EngineComparison", "LayerGroup", "compare_engines"]

_MOST_REASONS = 2


@dataclass(frozen=True, slots=True)
class LayerGroup:
    """Layers of each engine that do the work of the same source nodes: the smallest such sets.

    Attributes
    ----------
    nodes
        The source nodes, or the layer's own name where it has none.
    layers, ms, precision
        One entry an engine; `ms` is None without a profile, and 0.0 where the engine has no such layer.
    change
        One entry an engine: how its fusion differs from the first engine's, in words; "" for the first.
    """

    nodes: tuple[str, ...]
    layers: tuple[tuple[str, ...], ...]
    ms: tuple[float | None, ...]
    precision: tuple[str | None, ...]
    change: tuple[str, ...]

    @property
    def name(self) -> str:
        """The nodes in a few words."""
        return self.nodes[0] if len(self.nodes) == 1 else f"{self.nodes[0]} ... {self.nodes[-1]} ({len(self.nodes)})"

    def speedup(self, engine: int) -> float | None:
        """Time in the first engine over time in this one; None where either is unknown or nothing."""
        first, here = self.ms[0], self.ms[engine]
        return None if not first or not here else first / here


@dataclass(frozen=True)
class EngineComparison(Shown):
    """Engines aligned group by group, in the first engine's execution order."""

    names: tuple[str, ...]
    groups: tuple[LayerGroup, ...]
    totals: tuple[float | None, ...]

    @cached_property
    def shared(self) -> tuple[LayerGroup, ...]:
        """Groups that every engine has layers for."""
        return tuple(group for group in self.groups if all(group.layers))

    def table(self) -> pd.DataFrame:
        """Return one row a group: nodes, then layers, milliseconds, precision, speedup and change of each engine."""
        import pandas as pd

        rows = []
        for group in self.groups:
            row: dict[str, object] = {"nodes": " + ".join(group.nodes)}
            for i, name in enumerate(self.names):
                row[f"{name} layers"] = len(group.layers[i])
                row[f"{name} ms"] = group.ms[i]
                row[f"{name} precision"] = group.precision[i]
                if i:
                    row[f"{name} speedup"] = group.speedup(i)
                    row[f"{name} change"] = group.change[i]
            rows.append(row)
        table: pd.DataFrame = pd.DataFrame(rows)
        return table

    def _card(self) -> Card:
        saved = {group: self._saved(group) for group in self.groups}
        most = sorted(self.groups, key=lambda group: -abs(saved[group] or 0.0))
        rows = tuple((group.name, *group.ms, saved[group], group.change[-1]) for group in most)
        head, *notes = self.summary(top=0).splitlines()
        return Card(
            head, ("source nodes", *(f"{name} ms" for name in self.names), "saved ms", "fusion"), rows, tuple(notes)
        )

    def _saved(self, group: LayerGroup) -> float | None:
        first, last = group.ms[0], group.ms[-1]
        return None if first is None or last is None else first - last

    def summary(self, top: int = 5) -> str:
        """Return the comparison in words: totals, the largest gains and losses, and what was fused differently."""
        lines = []
        for i, name in enumerate(self.names):
            total, first = self.totals[i], self.totals[0]
            speed = "" if not i or not total or not first else f", {first / total:.2f}x {self.names[0]}"
            lines.append(f"{name}: " + ("no profile" if total is None else f"{total:.3f} ms in layers{speed}"))
        lines.append(f"{len(self.shared)} of {len(self.groups)} groups are in every engine")
        for i, name in enumerate(self.names[1:], start=1):
            gains = [
                (group, group.ms[0] - here)
                for group in self.groups
                if group.ms[0] is not None and (here := group.ms[i]) is not None
            ]
            gains.sort(key=lambda pair: -abs(pair[1]))
            for group, gain in gains[:top]:
                if gain:
                    verb = "saves" if gain > 0 else "loses"
                    precision = f" ({group.precision[0]} -> {group.precision[i]})"
                    lines.append(f"{name} {verb} {abs(gain):.4f} ms in {group.name}{precision}")
            changed = [group for group in self.groups if group.change[i] not in {"", "same layers"}]
            lines.append(f"{name}: {len(changed)} groups are fused differently")
            lines.extend(f"  {group.name}: {group.change[i]}" for group in changed[:top])
        return "\n".join(lines)


def compare_engines(
    engines: Sequence[EngineReport | EngineSummary | str | os.PathLike[str]],
    model: onnx.ModelProto | Model | None = None,
    *,
    models: Sequence[onnx.ModelProto | Model | None] = (),
    profile: int = 0,
) -> EngineComparison:
    """Align engines by the source nodes they share, never by position.

    Layers of all engines that share a source node, directly or through others, are one group; reformats go with the
    layer they serve.

    Parameters
    ----------
    engines
        Two or more engines of one model, what `load_engine` made of them, or the files of their layers; the first is
        what the others are compared with.
    model
        Its ONNX graph, which makes the alignment surer where engines lack metadata.
    models
        The ONNX file behind each engine, as far as they are known, where the engines come from different ones: a
        fusion that differs is then explained by the Q/DQ or Cast that one file has there and the other has not.
    profile
        Index of the optimization profile.

    Raises
    ------
    ReportError
        There are fewer than two engines, or two of them share no source node.
    """
    reports = [_report(engine) for engine in engines]
    if len(reports) < 2:
        raise ReportError("there is nothing to compare", where="compare_engines", fix="Give two engines or more")
    names = _unique([report.name for report in reports])
    behind = [*models, *[None] * (len(reports) - len(models))]
    fusions = [fusion_map(one, own or model) for one, own in zip(reports, behind, strict=True)]
    moves = [[] if own is None or behind[0] is None else moved(behind[0], own) for own in behind]
    _check_shared(names, fusions)
    links = _Links()
    for i, (report, fusion) in enumerate(zip(reports, fusions, strict=True)):
        for layer in report.layers:
            group = fusion.by_layer[layer.name]
            for node in group.nodes:
                links.join(("layer", i, layer.name), ("node", node))
            if group.serves is not None:
                suffix = f" [profile {layer.profile}]" if layer.profile else ""
                links.join(("layer", i, layer.name), ("layer", i, group.serves + suffix))
    members: dict[object, list[list[Layer]]] = {}
    for i, report in enumerate(reports):
        for layer in report.layers:
            if layer.profile == profile:
                sides = members.setdefault(links.find(("layer", i, layer.name)), [[] for _ in reports])
                sides[i].append(layer)
    causes = [_causes(report, fusion) for report, fusion in zip(reports, fusions, strict=True)]
    groups = [_group(layers, fusions, causes, moves, names) for layers in members.values()]
    return EngineComparison(tuple(names), tuple(groups), tuple(report.layers_ms for report in reports))


def _group(
    members: list[list[Layer]],
    fusions: list[FusionMap],
    causes: list[dict[str, str]],
    moves: list[list[MovedEdge]],
    names: list[str],
) -> LayerGroup:
    nodes = dict.fromkeys(
        node for i, layers in enumerate(members) for layer in layers for node in fusions[i].by_layer[layer.name].nodes
    )
    parts = [_parts(layers, fusions[i]) for i, layers in enumerate(members)]
    changes = [""]
    for i in range(1, len(members)):
        change = _change(parts[0], parts[i], names[0], names[i])
        reason = next((causes[i][layer.name] for layer in members[i] if layer.name in causes[i]), None)
        reason = reason if len(parts[i]) > len(parts[0]) else None
        if change != "same layers" and moves[i]:
            homes = [_homes(members[at], fusions[at]) for at in (0, i)]
            reasons = reason_for(nodes, moves[i], *homes)
            sentences = [move.words(names[0], names[i]) for move in reasons[:_MOST_REASONS]]
            more = f" (and {len(reasons) - _MOST_REASONS} more)" if len(reasons) > _MOST_REASONS else ""
            reason = "; ".join(sentences) + more if sentences else reason
        changes.append(f"{change}, because {reason}" if reason else change)
    return LayerGroup(
        nodes=tuple(nodes) or (next(layer.name for layers in members for layer in layers),),
        layers=tuple(tuple(layer.name for layer in layers) for layers in members),
        ms=tuple(_time(layers) for layers in members),
        precision=tuple(_precision(layers) for layers in members),
        change=tuple(changes),
    )


def _homes(layers: list[Layer], fusion: FusionMap) -> dict[str, str]:
    """Return node to the working layer that does it."""
    working = [layer for layer in layers if kind_of_layer(layer) not in IDLE_KINDS]
    return {node: layer.name for layer in reversed(working) for node in fusion.by_layer[layer.name].nodes}


def _parts(layers: list[Layer], fusion: FusionMap) -> list[str]:
    """Return what each working layer is made of, in execution order."""
    working = [layer for layer in layers if kind_of_layer(layer) not in IDLE_KINDS]
    return [" + ".join(fusion.by_layer[layer.name].nodes) or layer.name for layer in working]


def _change(before: list[str], after: list[str], first: str, here: str) -> str:
    if not before and not after:
        return "same layers"
    if not after:
        return f"only in {first}"
    if not before:
        return f"only in {here}"
    if sorted(before) == sorted(after):
        return "same layers"
    was, now = " | ".join(before), " | ".join(after)
    if len(after) == 1 and len(before) > 1:
        return f"these {len(before)} layers became one: {was}"
    if len(before) == 1 and len(after) > 1:
        return f"this layer became {len(after)}: {now}"
    if len(before) == len(after):
        return f"cut differently: {was} became {now}"
    return f"{len(before)} layers became {len(after)}: {was} became {now}"


def _causes(report: EngineReport, fusion: FusionMap) -> dict[str, str]:
    """Say of layers what broke their fusion, from the findings."""
    causes: dict[str, str] = {}
    for finding in find(report, fusion):
        if finding.kind == "unfused":
            causes.setdefault(finding.layers[0], finding.evidence)
        elif finding.kind == "lone-qdq":
            causes.setdefault(
                finding.layers[0], f"{finding.layers[0]} stands alone {finding.title.split('alone ')[-1]}"
            )
    return causes


def _time(layers: list[Layer]) -> float | None:
    times = [layer.ms for layer in layers]
    if not layers:
        return 0.0
    return None if None in times else sum(time for time in times if time is not None)


def _precision(layers: list[Layer]) -> str | None:
    working = [layer for layer in layers if kind_of_layer(layer) not in IDLE_KINDS] or layers
    precisions = {name for layer in working if (name := layer_precision(layer).name) is not None}
    return "+".join(sorted(precisions)) or None


def _check_shared(names: list[str], fusions: list[FusionMap]) -> None:
    first = {node for group in fusions[0].groups for node in group.nodes}
    for name, fusion in zip(names[1:], fusions[1:], strict=True):
        here = {node for group in fusion.groups for node in group.nodes}
        if not first & here:
            raise ReportError(
                f"{names[0]} and {name} share no source node: {min(first, default='nothing')!r} against "
                f"{min(here, default='nothing')!r}",
                where="compare_engines",
                fix="Compare engines of one model whose nodes have the same names",
            )


def _report(engine: EngineReport | EngineSummary | str | os.PathLike[str]) -> EngineReport:
    if isinstance(engine, EngineSummary):
        return engine.report
    return load_report(engine) if isinstance(engine, (str, os.PathLike)) else engine


def _unique(names: list[str]) -> list[str]:
    return [name if names.count(name) == 1 else f"{name} ({i + 1})" for i, name in enumerate(names)]


class _Links:
    """Disjoint sets, joined as they are found to be one."""

    def __init__(self) -> None:
        self._parent: dict[object, object] = {}

    def find(self, key: object) -> object:
        self._parent.setdefault(key, key)
        while self._parent[key] != key:
            self._parent[key] = self._parent[self._parent[key]]
            key = self._parent[key]
        return key

    def join(self, one: object, other: object) -> None:
        self._parent[self.find(other)] = self.find(one)
