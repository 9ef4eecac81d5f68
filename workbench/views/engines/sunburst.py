"""The sunburst: where the time goes, as rings around the whole; groups inside, layers outside."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from workbench.engine import UNKNOWN, kind_of_layer, layer_brief, layer_precision
from workbench.views.engines.charts import on_fill, precision_legend
from workbench.views.engines.data import short
from workbench.views.graphs import split_name, text_width
from workbench.views.kit import Chart, precision_colour

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from workbench.engine import EngineReport, FusionMap, Layer
    from workbench.views.kit import Theme

__all__ = ["Arc", "Sunburst", "sunburst_arcs"]

_SCOPES = 2
"""Rings of scopes; deeper ones are not told apart."""
_INCHES = 2.75
"""From the centre to the outermost ring."""
_POINTS = 7.0
_HOLE = 0.24


class Arc(NamedTuple):
    """A piece of a ring: `ring` counts from the inside, `start` and `stop` are shares of the whole, clockwise from top.

    `precision` is that of a layer; groups have None.
    """

    ring: int
    label: str
    ms: float
    start: float
    stop: float
    precision: str | None = None


def sunburst_arcs(
    report: EngineReport, by: Literal["type", "scope"] = "type", fusion: FusionMap | None = None
) -> list[Arc]:
    """Return the rings of time: by kind of layer and type, or by the name scopes of source nodes; layers outermost.

    Parameters
    ----------
    fusion
        Tells source nodes where the engine's metadata does not.
    """
    timed = [layer for layer in report.layers if layer.ms]
    total = sum(layer.ms or 0.0 for layer in timed)
    if not total:
        return []
    paths = _types(timed) if by == "type" else _scopes(timed, fusion)
    arcs: list[Arc] = []

    def grow(layers: Sequence[Layer], ring: int, start: float) -> None:
        if ring == max(map(len, paths.values())):
            for layer in sorted(layers, key=lambda one: -(one.ms or 0.0)):
                stop = start + (layer.ms or 0.0) / total
                precision = layer_precision(layer).name or UNKNOWN
                arcs.append(Arc(ring, _label(layer), layer.ms or 0.0, start, stop, precision))
                start = stop
            return
        groups: dict[str, list[Layer]] = {}
        for layer in layers:
            groups.setdefault(paths[id(layer)][ring], []).append(layer)
        for name, inside in sorted(groups.items(), key=lambda pair: -_ms(pair[1])):
            stop = start + _ms(inside) / total
            if name:
                arcs.append(Arc(ring, name, _ms(inside), start, stop))
            grow(inside, ring + 1, start)
            start = stop

    grow(timed, 0, 0.0)
    return arcs


def _types(layers: Sequence[Layer]) -> dict[int, tuple[str, ...]]:
    return {id(layer): (kind_of_layer(layer), layer.type or UNKNOWN) for layer in layers}


def _scopes(layers: Sequence[Layer], fusion: FusionMap | None) -> dict[int, tuple[str, ...]]:
    """Return the scopes of each layer, all equally deep; a scope around everything tells nothing and is left out."""
    scopes_of: dict[int, list[str]] = {}
    for layer in layers:
        group = fusion.by_layer.get(layer.name) if fusion else None
        if fusion and group is not None and not group.nodes and group.serves is not None:
            group = fusion.by_layer.get(group.serves)
        nodes = (group.nodes if group else ()) or layer.sources or (layer.base_name,)
        foreign = "ForeignNode[" in nodes[0]
        scopes_of[id(layer)] = ["Myelin graph"] if foreign else list(split_name(nodes[0].split(" + ")[0], "")[0])
    while all(scopes_of.values()) and len({scopes[0] for scopes in scopes_of.values()}) == 1:
        scopes_of = {key: scopes[1:] for key, scopes in scopes_of.items()}
    deep = min(max(map(len, scopes_of.values())), _SCOPES) or 1
    named = {key: scopes[:deep] or ["no scope"] for key, scopes in scopes_of.items()}
    # Rings that a shallow scope does not reach stay empty there.
    return {key: (*scopes, *[""] * (deep - len(scopes))) for key, scopes in named.items()}


def _label(layer: Layer) -> str:
    if layer.reformats is not None:
        return "reformat"
    brief = layer_brief(layer)
    return brief if "ForeignNode[" in brief else split_name(brief, "")[1]


def _ms(layers: Sequence[Layer]) -> float:
    return sum(layer.ms or 0.0 for layer in layers)


@dataclass(frozen=True)
class Sunburst(Chart):
    """Rings of time: groups, named and with their share, and outside the layers, coloured by precision."""

    arcs: Sequence[Arc]
    title: str

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        return 2 * _INCHES + 0.7, 2 * _INCHES + 1.15

    def draw(self, figure: Figure, colours: Theme) -> None:
        """Draw wedges; a name that has no room in its wedge is left to the tables."""
        from matplotlib.patches import Wedge

        axes = figure.add_subplot()
        axes.set(xlim=(-1.02, 1.02), ylim=(-1.02, 1.02), xticks=[], yticks=[], aspect="equal", title=self.title)
        axes.spines[:].set_visible(False)
        rings = 1 + max((arc.ring for arc in self.arcs), default=0)
        thick = (1 - _HOLE) / rings
        for arc in self.arcs:
            fill = colours.panel if arc.precision is None else precision_colour(arc.precision, colours)
            inner = _HOLE + arc.ring * thick
            angles = 90 - 360 * arc.stop, 90 - 360 * arc.start
            edge = colours.line if arc.precision is None else colours.paper
            axes.add_patch(Wedge((0, 0), inner + thick, *angles, width=thick, fc=fill, ec=edge, lw=0.9))
            self._name(axes, arc, inner, thick, colours.ink if arc.precision is None else on_fill(fill, colours))
        total = sum(arc.ms for arc in self.arcs if arc.precision is not None)
        words = f"{total:.3f}\nms" if self.arcs else "no profile"
        axes.text(0, 0, words, ha="center", va="center", fontsize=10, weight="bold", color=colours.ink)
        precision_legend(axes, [arc.precision for arc in self.arcs if arc.precision], colours, below=True)

    def _name(self, axes: Axes, arc: Arc, inner: float, thick: float, ink: str) -> None:
        """Write a wedge's name along the ring or along the radius, whichever has room."""
        share = arc.stop - arc.start
        middle, angle = inner + thick / 2, 90 - 180 * (arc.start + arc.stop)
        name = short(arc.label, 18)
        words = f"{name} · {share:.0%}" if arc.precision is None else name
        wide, high = text_width(words, _POINTS) * 1.12 / 72, _POINTS * 1.35 / 72
        # Along the ring a straight line of text must stay within the curve: the room is a chord of its inner side.
        reach = inner * _INCHES * 2 * math.sin(min(math.pi * share, math.pi / 2))
        if wide < reach and high < thick * _INCHES:
            turn = (angle - 90) % 360
        elif wide < thick * _INCHES and high < inner * _INCHES * 2 * math.pi * share:
            turn = angle % 360
        else:
            return
        turn = turn - 180 if 90 < turn < 270 else turn
        spot = math.radians(angle)
        axes.text(
            middle * math.cos(spot),
            middle * math.sin(spot),
            words,
            rotation=turn,
            rotation_mode="anchor",
            ha="center",
            va="center",
            fontsize=_POINTS,
            color=ink,
            weight="bold" if arc.precision is None else "normal",
        )
