"""The fusion view: the source graph, with an outline around the nodes that became one layer of the engine."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from workbench.errors import ReportError
from workbench.views.engines.layers import engine_columns, engine_network, with_nodes
from workbench.views.engines.selection import LayerGraph
from workbench.views.graphs import (
    GraphPicture,
    Hull,
    Item,
    Key,
    Overlay,
    Paint,
    cost_columns,
    network_of,
    outlines,
    paint,
)
from workbench.views.kit import OKABE_ITO, request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.engine import EngineSummary, NodePrecision
    from workbench.graph import Model
    from workbench.session import Workbench
    from workbench.views.graphs import Panel, Scene, ShownScopes

__all__ = ["FusionPicture", "FusionView"]

_LAYER, _SCOPE = "layer:", "layers of "
GONE = "in no layer"


class FusionPicture(GraphPicture):
    """A model's graph with the layers of an engine outlined.

    Every layer's nodes are within one outline, or within several of the same colour where others stand between them. A
    closed scope has one outline for all its layers.

    Parameters
    ----------
    summary
        The engine, mapped to the model.
    model
        The model.
    profile
        The optimization profile whose layers are shown.
    """

    def __init__(self, summary: EngineSummary, model: Model, profile: int = 0, title: str | None = None) -> None:
        network = network_of(model)
        engine = summary.report.name
        super().__init__(network, title if title is not None else f"{model.name}, as layers of {engine}")
        self.summary, self.profile = summary, profile
        self.layers = engine_network(summary.report, summary.fusion, profile)
        self.layers.ops = [
            type(op)(_LAYER + op.name, op.op_type, op.inputs, op.outputs, op.scope, op.label) for op in self.layers.ops
        ]
        self.number = {op.name: at for at, op in enumerate(self.layers.ops)}
        self.of_node: dict[str, list[str]] = {
            node: here
            for node, names in summary.fusion.by_node.items()
            if node in network.index and (here := [_LAYER + n for n in names if _LAYER + n in self.number])
        }
        describe = network.describe
        network.describe = lambda name: {**describe(name), **self.facts(name)}

    def facts(self, node: str) -> dict[str, str]:
        """Return what happened to a source node."""
        layers = self.of_node.get(node)
        if not layers:
            return {GONE: self.summary.fusion.vanished.get(node, "nothing tells why")}
        report = self.summary.report
        facts = {"layer" if len(layers) == 1 else "layers": ", ".join(name.removeprefix(_LAYER) for name in layers)}
        times = [report.layer(name.removeprefix(_LAYER)).ms for name in layers]
        measured = [ms for ms in times if ms is not None]
        asked = next((v for v in self.summary.verdicts if v.node == node), None)
        if asked is not None:
            facts |= {"requested": asked.requested, "realized": asked.realized.precision or asked.status}
        return facts | ({"time of the layer": f"{sum(measured):.4f} ms"} if measured else {})

    def groups(self, panel: Panel) -> dict[str, list[Item]]:
        """Return the outlines of a picture: a layer's nodes that are seen one by one, and each closed scope."""
        items: dict[str, list[Item]] = {}
        for item in panel.walk():
            if not item.ops or item.kind in {"stub", "port"} or item.panel is not None:
                continue
            layers = self._layers(item)
            # Only what a layer has to itself is in its outline; a scope of several layers has its own.
            alone = len(layers) == 1 and all(self.of_node.get(self.seen.ops[at].name) for at in self._drawn(item))
            if (item.kind == "op" and layers) or alone:
                items.setdefault(next(iter(layers)), []).append(item)
            elif layers:
                items[_SCOPE + item.id] = [item]
        return items

    def paint(self, panel: Panel) -> Paint:
        """Return the colours: of the outlines by a column over layers, of the nodes by any other."""
        columns = self.overlay.values if self.overlay else {}
        if not any(name in columns for name in self.number):
            return super().paint(panel)
        groups = self.groups(panel)
        items = [
            Item(name, "op" if name in self.number else "scope", "", ops=self._numbers(name, inside))
            for name, inside in groups.items()
        ]
        painted = paint(items, self.layers, self.overlay)
        for name, inside in groups.items():
            if name.startswith(_SCOPE) and name in painted.strip:
                painted.strip[inside[0].id] = painted.strip.pop(name)
        gone = [item for item in panel.walk() if item.kind == "op" and not self._layers(item)]
        painted.fill |= {item.id: None for item in gone}
        painted.text |= {item.id: GONE for item in gone}
        if gone:
            # One entry for both greys: they are not told apart by colour.
            painted.legend = [key for key in painted.legend if key.colour is not None]
            painted.legend.append(Key(None, f"unknown, or {GONE}"))
        return painted

    def hulls(self, panel: Panel, laid: Scene) -> list[Hull]:
        """Return the outlines, with what they say."""
        groups = self.groups(panel)
        ids = {name: [item.id for item in inside] for name, inside in groups.items()}
        links = [(wire.tail, wire.head) for wire in laid.wires]
        return [
            Hull(name, loops, self._label(name, groups[name]), self._tag(name, groups[name]))
            for name, loops in outlines(laid, ids, links).items()
            if loops
        ]

    def selected_items(self, panel: Panel, shown: ShownScopes | None = None) -> set[str]:
        """Return the things that hold a selected node, and the outlines all of whose nodes are selected."""
        items = super().selected_items(panel, shown)
        chosen = set((shown or self.shown).selected)
        for name, inside in self.groups(panel).items():
            nodes = {self.seen.ops[at].name for item in inside for at in item.ops if self._drawn(item)}
            if nodes and nodes <= chosen:
                items.add(name)
        return items

    def members(self, name: str) -> list[str]:
        """Return the source nodes of a layer, or of the scope within an outline."""
        if name.startswith(_SCOPE):
            return self.scopes.members(self.shown, name.removeprefix(_SCOPE))
        return [node for node, layers in self.of_node.items() if name in layers]

    def _drawn(self, item: Item) -> list[int]:
        return [at for at in item.ops if self.seen.host[at] == at]

    def _layers(self, item: Item) -> Counter[str]:
        """Return the layers of an item's nodes; of several that do one node the first stands for it."""
        names = [self.of_node.get(self.seen.ops[at].name) for at in item.ops]
        return Counter(layers[0] for layers in names if layers)

    def _numbers(self, name: str, inside: Sequence[Item]) -> list[int]:
        if name in self.number:
            return [self.number[name]]
        return [self.number[layer] for item in inside for layer in self._layers(item)]

    def _ms(self, layers: Sequence[str]) -> float | None:
        times = [self.summary.report.layer(name.removeprefix(_LAYER)).ms for name in layers]
        measured = [ms for ms in times if ms is not None]
        return sum(measured) if measured else None

    def _tag(self, name: str, inside: Sequence[Item]) -> str:
        layers = [name] if name in self.number else list(self._layers(inside[0]))
        ms = self._ms(layers)
        many = f"{len(layers)} layers" if len(layers) > 1 else ""
        return " · ".join(part for part in (many, "" if ms is None else f"{ms:.3f} ms") if part)

    def _label(self, name: str, inside: Sequence[Item]) -> str:
        if name in self.number:
            layer = name.removeprefix(_LAYER)
            ms = self._ms([name])
            nodes = len(self.members(name))
            took = "time unknown" if ms is None else f"{ms:.4f} ms"
            return f"{layer}\n{self.layers.ops[self.number[name]].op_type}, {nodes} nodes, {took}"
        return f"{inside[0].label}\n{self._tag(name, inside)}"


def _differs(verdict: NodePrecision) -> str:
    return f"{verdict.requested} asked for, {verdict.realized.precision or verdict.status} made"


class FusionView(LayerGraph):
    """The source graph with its layers outlined, live in a notebook and as a picture everywhere else.

    A click on an outline selects the layer, one on a node the layer that does its work; `selected_layer` says which,
    and takes one.

    Parameters
    ----------
    summary
        The engine, from `workbench.engine.summary`, mapped to a model.
    model
        The model it was built from; the summary's where left out.
    color
        The column that colours: "precision", "latency", "kind", "findings", ... and "requested", which sets nodes
        against the plan, where the summary knows it.
    profile
        The optimization profile.
    height
        Of the drawing area, in CSS pixels.
    session
        The workbench whose plan and selection are followed, if there is one.

    Raises
    ------
    ReportError
        There is no model.
    """

    def __init__(
        self,
        summary: EngineSummary,
        model: Model | None = None,
        *,
        color: str = "precision",
        profile: int = 0,
        height: int = 520,
        session: Workbench | None = None,
    ) -> None:
        source = model or summary.model
        if source is None:
            raise ReportError(
                "there is no source graph to show layers on", where=summary.report.name, fix="Give the model it is of."
            )
        picture = FusionPicture(summary, source, profile)
        super().__init__(summary, picture, {}, profile=profile, height=height, session=session)
        self.model = source
        self.fusion_picture = picture
        self.columns = {**self.engine_columns(), **cost_columns(source)}
        self.colour(color)

    def engine_columns(self) -> dict[str, Overlay]:
        """Return the columns over layers and nodes, and what was requested where a plan is known."""
        summary, picture = self.summary, self.fusion_picture
        columns = engine_columns(summary.report, summary.findings, self.profile, _LAYER)
        over = {name: with_nodes(column, picture.of_node) for name, column in columns.items()}
        if summary.verdicts or self._session is not None:
            over["requested"] = Overlay(
                "requested and realized",
                {v.node: v.status if v.status == "as requested" else _differs(v) for v in summary.verdicts},
                gather="any",
                order=[*dict.fromkeys(map(_differs, summary.verdicts)), "as requested"],
                colours={"as requested": OKABE_ITO["grey"]},
            )
        return over

    def renew(self) -> None:
        """Set the engine against the plan as it is now."""
        super().renew()
        self.fusion_picture.summary = self.summary

    def nodes_of(self, layer: str) -> list[str]:
        """Return the source nodes that a layer does."""
        return self.fusion_picture.members(_LAYER + layer)

    def layer_of(self, names: Sequence[str]) -> str | None:
        """Return the layer that does the first of some nodes."""
        layers = [self.fusion_picture.of_node.get(name) for name in names]
        return next((names[0].removeprefix(_LAYER) for names in layers if names), None)

    @request
    def _on_select(self, id: str | None, pane: int, add: bool) -> None:  # noqa: A002
        if id is not None and id.startswith(_LAYER):
            self.selected_layer = id.removeprefix(_LAYER)
        elif id is None:
            self.choose([])
        else:
            self.choose(self.members(id.removeprefix(_SCOPE), pane, add=add))
