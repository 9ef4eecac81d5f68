"""Where an engine's time goes, laid out for bars and treemaps: no drawing here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple

from workbench.engine import UNKNOWN, kind_of_layer, layer_brief, layer_label, layer_precision

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.engine import EngineReport, FusionMap, Layer

__all__ = [
    "Bar",
    "Rectangle",
    "latency_bars",
    "layer_cells",
    "short",
    "squarify",
]

_ASPECT = 1.6
"""Width over height of a treemap's picture, so that rectangles come out square in it."""


class Bar(NamedTuple):
    """One layer's latency: milliseconds, share of the sum, computing precision and kind; `label` is for people.

    `nodes` are those of the source that it does, where they are known.
    """

    layer: str
    label: str
    ms: float
    share: float
    precision: str
    kind: str
    nodes: tuple[str, ...] = ()


class Rectangle(NamedTuple):
    """A rectangle of a treemap, in a unit square with its origin at the lower left."""

    group: str
    layer: str
    label: str
    ms: float
    precision: str
    x: float
    y: float
    width: float
    height: float
    nodes: tuple[str, ...] = ()


def short(name: str, width: int = 44) -> str:
    """Cut a layer's name in the middle: both its ends tell layers apart."""
    if len(name) <= width:
        return name
    tail = width // 2
    return f"{name[: width - tail - 3]}...{name[-tail:]}"


def latency_bars(report: EngineReport, top: int | None = None, fusion: FusionMap | None = None) -> list[Bar]:
    """Return the layers with a time, in execution order, or the `top` slowest, slowest first."""
    total = report.layers_ms or 0.0
    bars = [
        Bar(
            layer.name,
            layer_label(layer),
            layer.ms,
            layer.ms / total if total else 0.0,
            _precision(layer),
            kind_of_layer(layer),
            _nodes(fusion, layer),
        )
        for layer in report.layers
        if layer.ms is not None
    ]
    return bars if top is None else sorted(bars, key=lambda bar: -bar.ms)[:top]


def _nodes(fusion: FusionMap | None, layer: Layer) -> tuple[str, ...]:
    group = None if fusion is None else fusion.by_layer.get(layer.name)
    return () if group is None else tuple(group.nodes)


def layer_cells(
    report: EngineReport, by: Literal["type", "scope"] = "type", fusion: FusionMap | None = None
) -> list[Rectangle]:
    """Lay out a treemap of time: groups by layer type or by name scope, a rectangle a layer.

    Parameters
    ----------
    fusion
        Tells source nodes where the engine's metadata does not.
    """
    timed = [layer for layer in report.layers if layer.ms]
    scopes = _scopes(report, fusion) if by == "scope" else {}
    groups: dict[str, list[Layer]] = {}
    for layer in timed:
        key = scopes.get(layer.name, "no scope") if by == "scope" else kind_of_layer(layer)
        groups.setdefault(key, []).append(layer)
    ordered = sorted(groups.items(), key=lambda item: -_ms(item[1]))
    outer = squarify([_ms(layers) for _, layers in ordered], 0.0, 0.0, _ASPECT, 1.0)
    cells = []
    for (group, members), (x, y, width, height) in zip(ordered, outer, strict=True):
        inside = sorted(members, key=lambda layer: -(layer.ms or 0))
        for layer, box in zip(inside, squarify([one.ms or 0 for one in inside], x, y, width, height), strict=True):
            left, low, wide, high = box
            cells.append(
                Rectangle(
                    group,
                    layer.name,
                    layer_brief(layer),
                    layer.ms or 0,
                    _precision(layer),
                    left / _ASPECT,
                    low,
                    wide / _ASPECT,
                    high,
                    _nodes(fusion, layer),
                )
            )
    return cells


def squarify(
    sizes: Sequence[float], x: float, y: float, width: float, height: float
) -> list[tuple[float, float, float, float]]:
    """Fill a rectangle with one rectangle a size, in order, as square as they come.

    The squarified treemap of Bruls, Huizing and van Wijk (2000): a row along the shorter side takes sizes as long as
    its worst aspect ratio improves. Sizes must be positive and are best sorted, largest first. What is less than a
    billionth of the whole is drawn as that: no picture shows it, and no float could divide by it.
    """
    boxes: list[tuple[float, float, float, float]] = []
    least = 1e-9 * sum(sizes)
    rest = [max(size, least) for size in sizes]
    while rest:
        scale = width * height / sum(rest)
        side = min(width, height)
        count = 1
        while count < len(rest) and _worst(rest[: count + 1], side, scale) <= _worst(rest[:count], side, scale):
            count += 1
        row, rest = rest[:count], rest[count:]
        depth = sum(row) * scale / side
        at = 0.0
        for size in row:
            along = size * scale / depth
            boxes.append((x, y + at, depth, along) if width >= height else (x + at, y, along, depth))
            at += along
        if width >= height:
            x, width = x + depth, width - depth
        else:
            y, height = y + depth, height - depth
    return boxes


def _worst(row: Sequence[float], side: float, scale: float) -> float:
    total = sum(row) * scale
    return max(max(side**2 * size * scale / total**2, total**2 / (side**2 * size * scale)) for size in row)


def _scopes(report: EngineReport, fusion: FusionMap | None) -> dict[str, str]:
    """Give each layer the first part of its nodes' names that tells layers apart."""
    named: dict[str, list[str]] = {}
    for layer in report.layers:
        group = fusion.by_layer.get(layer.name) if fusion else None
        nodes = (group.nodes if group else layer.sources) or ((layer.reformats or layer.base_name),)
        named[layer.name] = [part for part in re.split(r"[/.]", nodes[0].split(" + ")[0]) if part]
    while named and all(len(parts) > 1 for parts in named.values()) and len({p[0] for p in named.values()}) == 1:
        named = {name: parts[1:] for name, parts in named.items()}
    return {name: parts[0] if len(parts) > 1 else "no scope" for name, parts in named.items()}


def _ms(layers: Sequence[Layer]) -> float:
    return sum(layer.ms or 0 for layer in layers)


def _precision(layer: Layer) -> str:
    return layer_precision(layer).name or UNKNOWN
