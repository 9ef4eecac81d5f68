"""The fusion map: which source nodes became which layer, and where the rest went."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from workbench.display import Card, Shown
from workbench.engine.names import foreign_range, is_view_of, name_parts, original_of, reformat_target
from workbench.engine.source import SourceGraph, SourceNode, source_graph
from workbench.engine.vanished import why_vanished
from workbench.errors import ReportError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx
    import pandas as pd

    from workbench.engine.report import EngineReport, Layer
    from workbench.graph import Model

__all__ = ["FusionMap", "LayerNodes", "fusion_map"]

How = Literal["metadata", "name", "tensors", "serves", "none"]

_MATCH = 0.5
"""Fewer than this share of the engine's node names, or of the model's nodes, found on the other side: no match."""


@dataclass(frozen=True, slots=True)
class LayerNodes:
    """What one layer was made of.

    Attributes
    ----------
    nodes
        Source nodes the layer is made of, as far as the engine states them.
    absorbed
        Further source nodes between the layer's input and output tensors, such as Q/DQ: the layer does their work.
    how
        Where `nodes` are known from: the layer's metadata, its name, its tensors; "serves" for a reformat made for
        another layer; "none" where nothing tells.
    serves
        The layer, or the engine's input or output, that a reformat was made for.
    """

    layer: str
    nodes: tuple[str, ...]
    how: How
    absorbed: tuple[str, ...] = ()
    serves: str | None = None


@dataclass(frozen=True)
class FusionMap(Shown):
    """Source nodes and engine layers, both ways.

    Attributes
    ----------
    graph
        The ONNX graph, or None where no model was given: `nodes` are then the names the engine states.
    vanished
        Nodes that no layer does, with the reason: constant folding, removed identities, ...
    unaccounted
        Nodes of which nothing is known.
    foreign
        Node names the engine states that are not in the model.
    """

    groups: tuple[LayerNodes, ...]
    graph: SourceGraph | None
    vanished: Mapping[str, str]
    unaccounted: tuple[str, ...]
    foreign: tuple[str, ...]

    @cached_property
    def by_layer(self) -> dict[str, LayerNodes]:
        """Layer name to what it was made of."""
        return {group.layer: group for group in self.groups}

    @cached_property
    def by_node(self) -> dict[str, tuple[str, ...]]:
        """Source node to the layers that do its work, in execution order."""
        layers_of: dict[str, list[str]] = {}
        for group in self.groups:
            for node in (*group.nodes, *group.absorbed):
                layers_of.setdefault(node, []).append(group.layer)
        return {node: tuple(layers) for node, layers in layers_of.items()}

    @property
    def coverage(self) -> float | None:
        """Share of the model's nodes that are accounted for, by a layer or a reason; None without a model."""
        if self.graph is None:
            return None
        return 1 - len(self.unaccounted) / len(self.graph.nodes) if self.graph.nodes else 1.0

    def table(self) -> pd.DataFrame:
        """Return one row a source node: name, op type, layers, how it is known, and the reason where it vanished."""
        import pandas as pd

        how = {node: group.how for group in reversed(self.groups) for node in group.nodes}
        op_types = {} if self.graph is None else {node.name: node.op_type for node in self.graph.nodes}
        names = list(op_types) if self.graph is not None else list(self.by_node)
        rows = [
            {
                "node": name,
                "op_type": op_types.get(name),
                "layers": list(self.by_node.get(name, ())),
                "known_from": how.get(name, "tensors" if name in self.by_node else None),
                "vanished": self.vanished.get(name),
            }
            for name in names
        ]
        table: pd.DataFrame = pd.DataFrame(rows, columns=["node", "op_type", "layers", "known_from", "vanished"])
        return table

    def _card(self) -> Card:
        return Card.of_text(self.summary())

    def summary(self) -> str:
        """Return the coverage in words, a line a fact."""
        if self.graph is None:
            return f"{len(self.by_node)} source nodes are named by the engine (no model to check them against)"
        done = sum(node.name in self.by_node for node in self.graph.nodes)
        head = (
            f"{len(self.graph.nodes)} source nodes: {done} in layers, {len(self.vanished)} vanished for a known reason"
        )
        lines = [f"{head}, {len(self.unaccounted)} unaccounted for ({self.coverage:.1%} covered)"]
        if self.unaccounted:
            lines.append(
                "unaccounted for: " + ", ".join(self.unaccounted[:8]) + (", ..." if self.unaccounted[8:] else "")
            )
        unnamed = sum(not node.named for node in self.graph.nodes)
        if unnamed:
            lines.append(f"{unnamed} nodes have no name in the model: TensorRT calls them node_of_<first output>")
        if self.graph.duplicates:
            lines.append("names shared by several nodes, told apart by none: " + ", ".join(self.graph.duplicates[:5]))
        if self.foreign:
            lines.append(f"{len(self.foreign)} names in the engine are not in the model, such as {self.foreign[0]}")
        return "\n".join(lines)


def fusion_map(report: EngineReport, model: onnx.ModelProto | Model | None = None) -> FusionMap:
    """Map layers to source nodes: from `Metadata`, else the layer's name, else its tensors.

    Parameters
    ----------
    report
        The engine.
    model
        The ONNX model it was built from; without it the names are taken as the engine states them.

    Raises
    ------
    ReportError
        The model is not the engine's: fewer than half of the names match.
    """
    if model is None:
        return FusionMap(tuple(_stated(layer) for layer in report.layers), None, {}, (), ())
    graph = source_graph(model)
    aliases = _aliases(report, graph)
    foreign: dict[str, None] = {}
    groups = [_of_layer(layer, graph, aliases, foreign) for layer in report.layers]
    stated = frozenset(node for group in groups for node in group.nodes)
    groups = [
        _by_tensors(group, layer, graph, aliases, stated) for group, layer in zip(groups, report.layers, strict=True)
    ]
    _check_match(report, groups, foreign)
    taken = frozenset(node for group in groups for node in group.nodes)
    groups = [
        _with_absorbed(group, layer, graph, aliases, taken) for group, layer in zip(groups, report.layers, strict=True)
    ]
    in_layers = {node for group in groups for node in (*group.nodes, *group.absorbed)}
    vanished = why_vanished(graph, in_layers)
    unaccounted = tuple(n.name for n in graph.nodes if n.name not in in_layers and n.name not in vanished)
    fusion = FusionMap(tuple(groups), graph, vanished, unaccounted, tuple(foreign))
    if graph.nodes and (fusion.coverage or 0) < _MATCH:
        raise ReportError(
            f"the model does not match the engine: {len(unaccounted)} of its {len(graph.nodes)} nodes are in no layer, "
            f"such as {unaccounted[0]!r}",
            where=report.name,
            fix="Give the very model the engine was built from",
        )
    return fusion


def _stated(layer: Layer) -> LayerNodes:
    serves = reformat_target(layer.base_name)
    if layer.sources:
        return LayerNodes(layer.name, layer.sources, "metadata", serves=serves)
    if serves is not None:
        return LayerNodes(layer.name, (), "serves", serves=serves)
    parts = tuple(is_view_of(part) or part for part in name_parts(layer.name))
    return LayerNodes(layer.name, tuple(dict.fromkeys(parts)), "name" if parts else "none")


def _of_layer(layer: Layer, graph: SourceGraph, aliases: dict[str, str], foreign: dict[str, None]) -> LayerNodes:
    stated = _stated(layer)
    nodes: list[str] = []
    for name in stated.nodes:
        original = original_of(name)
        if name in graph.by_name:
            nodes.append(graph.by_name[name].name)
        elif original in graph.by_name:
            nodes.append(graph.by_name[original].name)
        elif ends := foreign_range(name):
            inside, bounded = _region(layer, graph, aliases)
            nodes.extend(node.name for node in (inside if inside and bounded else graph.between(*ends)))
            nodes.extend(end for end in ends if end in graph.by_name)
        elif stated.how == "name" and "+" in name and all(part in graph.by_name for part in name.split("+")):
            nodes.extend(name.split("+"))
        elif layer.type == "Constant" and name in graph.producer:
            nodes.append(graph.producer[name].name)
        elif name not in graph.tensors and not name.startswith("(Unnamed Layer"):
            foreign.setdefault(name)
    how = stated.how if nodes or stated.how == "serves" else "none"
    return LayerNodes(layer.name, tuple(dict.fromkeys(nodes)), how, serves=stated.serves)


def _by_tensors(
    group: LayerNodes, layer: Layer, graph: SourceGraph, aliases: dict[str, str], stated: frozenset[str]
) -> LayerNodes:
    """Give a layer that states no node those between its tensors that no other layer states."""
    if group.how != "none":
        return group
    inside, bounded = _region(layer, graph, aliases, beyond=stated)
    if not inside or not bounded:
        return group
    return replace(group, nodes=tuple(node.name for node in reversed(inside)), how="tensors")


def _region(
    layer: Layer, graph: SourceGraph, aliases: dict[str, str], beyond: frozenset[str] = frozenset()
) -> tuple[list[SourceNode], bool]:
    """Return the nodes between a layer's inputs and outputs, and whether its inputs bound them.

    Of those nodes only the ones that are reached around the nodes `beyond`, which are other layers' work.
    """
    ends = [aliases.get(tensor.name, tensor.name) for tensor in layer.outputs]
    starts = frozenset(aliases.get(tensor.name, tensor.name) for tensor in layer.inputs)
    if not ends or any(name not in graph.producer for name in ends):
        return [], False
    inside, bounded = graph.upstream(ends, stop=starts)
    return graph.upstream(ends, stop=starts, beyond=beyond)[0] if beyond else inside, bounded


def _with_absorbed(
    group: LayerNodes, layer: Layer, graph: SourceGraph, aliases: dict[str, str], taken: frozenset[str]
) -> LayerNodes:
    """Add the nodes between a layer's tensors that no layer states, Q/DQ above all: it does their work."""
    inside, bounded = _region(layer, graph, aliases, beyond=taken.difference(group.nodes))
    if not bounded:
        return group
    absorbed = tuple(node.name for node in reversed(inside) if node.name not in taken)
    return replace(group, absorbed=absorbed)


def _aliases(report: EngineReport, graph: SourceGraph) -> dict[str, str]:
    """Name the tensors on either side of a reformat by the one that the model knows."""
    aliases: dict[str, str] = {}
    for layer in report.layers:
        if layer.reformats is None or len(layer.inputs) != 1 or len(layer.outputs) != 1:
            continue
        before, after = layer.inputs[0].name, layer.outputs[0].name
        if after not in graph.tensors:
            aliases[after] = aliases.get(before, before)
        elif before not in graph.tensors:
            aliases[before] = after
    return aliases


def _check_match(report: EngineReport, groups: list[LayerNodes], foreign: dict[str, None]) -> None:
    nodes = {node for group in groups for node in group.nodes}
    stated = len(nodes) + len(foreign)
    if stated and len(nodes) / stated < _MATCH:
        raise ReportError(
            f"the model does not match the engine: only {len(nodes)} of {stated} node names of the engine are in it; "
            f"{next(iter(foreign))!r} is not",
            where=report.name,
            fix="Give the very model the engine was built from",
        )
