"""What the engine charts show, as plain data: no drawing here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from workbench.engine import kind_of_layer, layer_bytes, layer_ops, layer_precision

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd

    from workbench.engine import EngineReport, FusionMap, Layer

__all__ = [
    "PRECISION_ORDER",
    "UNKNOWN",
    "Bar",
    "Cell",
    "Dot",
    "Share",
    "Transitions",
    "latency_bars",
    "layer_brief",
    "layer_cells",
    "layer_label",
    "precision_share",
    "roofline_dots",
    "short",
    "squarify",
    "top_layers",
    "transitions",
]

UNKNOWN = "unknown"
_MOVES = {"reformat", "noop", "qdq", "cast"}


class Bar(NamedTuple):
    """One layer's latency: milliseconds, share of the sum, computing precision and kind; `label` is for people."""

    layer: str
    label: str
    ms: float
    share: float
    precision: str
    kind: str


class Cell(NamedTuple):
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


class Share(NamedTuple):
    """Layers and milliseconds of one precision; milliseconds are None without a profile."""

    precision: str
    layers: int
    ms: float | None


class Dot(NamedTuple):
    """A layer in a roofline: operations a byte, operations a second, precision, milliseconds."""

    layer: str
    label: str
    intensity: float
    rate: float
    precision: str
    ms: float


@dataclass(frozen=True)
class Transitions:
    """Edges between computing layers, by the precision on either side.

    Attributes
    ----------
    names
        Precisions, narrow to wide; rows are where data comes from, columns where it goes.
    edges
        Number of edges.
    conversion_ms
        Milliseconds in reformats, Q/DQ and casts on those edges; 0.0 where there are none or no profile.
    """

    names: tuple[str, ...]
    edges: tuple[tuple[int, ...], ...]
    conversion_ms: tuple[tuple[float, ...], ...]


PRECISION_ORDER = (
    "fp4",
    "int4",
    "fp8",
    "int8",
    "fp16",
    "bf16",
    "tf32",
    "fp32",
    "bool",
    "uint8",
    "int32",
    "int64",
    UNKNOWN,
)


def short(name: str, width: int = 44) -> str:
    """Cut a layer's name in the middle: both its ends tell layers apart."""
    if len(name) <= width:
        return name
    tail = width // 2
    return f"{name[: width - tail - 3]}...{name[-tail:]}"


def layer_label(layer: Layer) -> str:
    """Return what people call a layer: its source nodes where its metadata tells them, else its name."""
    if layer.reformats is not None:
        return f"reformat for {layer.reformats}"
    return " + ".join(layer.sources) or layer.name


def layer_brief(layer: Layer) -> str:
    """Return the first source node, and how many more there are."""
    nodes = layer.sources or (layer_label(layer),)
    return nodes[0] + (f" +{len(nodes) - 1}" if nodes[1:] else "")


def latency_bars(report: EngineReport, top: int | None = None) -> list[Bar]:
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
        )
        for layer in report.layers
        if layer.ms is not None
    ]
    return bars if top is None else sorted(bars, key=lambda bar: -bar.ms)[:top]


def top_layers(report: EngineReport, top: int = 10) -> pd.DataFrame:
    """Return the slowest layers with percent, cumulative percent, precision and tactic."""
    table = report.layers_table().dropna(subset=["ms"]).sort_values("ms", ascending=False, ignore_index=True)
    table = table.assign(cumulative_percent=table["percent"].cumsum())
    names = {layer.name: _precision(layer) for layer in report.layers}
    table = table.assign(precision=table["layer"].map(names))
    columns = ["layer", "type", "precision", "ms", "percent", "cumulative_percent", "tactic"]
    chosen: pd.DataFrame = table[columns].head(top)
    return chosen


def precision_share(report: EngineReport) -> list[Share]:
    """Return layers and time by computing precision, free layers (NoOp) and constants left out."""
    found: dict[str, list[Layer]] = {}
    for layer in report.layers:
        if kind_of_layer(layer) not in {"noop", "constant", "control"}:
            found.setdefault(_precision(layer), []).append(layer)
    shares = []
    for name in _sorted(found):
        times = [layer.ms for layer in found[name] if layer.ms is not None]
        shares.append(Share(name, len(found[name]), sum(times) if times else None))
    return shares


def transitions(report: EngineReport, profile: int = 0) -> Transitions:
    """Count the edges between computing layers by precision, looking through layers that only convert or move."""
    layers = [layer for layer in report.layers if layer.profile == profile]
    maker = {tensor.name: layer for layer in layers for tensor in layer.outputs}
    ends = {b.name: b.format.dtype or UNKNOWN for b in report.bindings if b.mode is not None}
    edges: dict[tuple[str, str], int] = {}
    moving: dict[tuple[str, str], dict[str, float]] = {}

    def trace(tensor: str, to: str, passed: tuple[Layer, ...]) -> None:
        layer = maker.get(tensor)
        if layer is not None and kind_of_layer(layer) in _MOVES and layer not in passed:
            for source in layer.inputs:
                trace(source.name, to, (*passed, layer))
            return
        start = _precision(layer) if layer is not None else ends.get(tensor, UNKNOWN)
        edges[start, to] = edges.get((start, to), 0) + 1
        moving.setdefault((start, to), {}).update({one.name: one.ms or 0.0 for one in passed})

    for layer in layers:
        if kind_of_layer(layer) not in _MOVES | {"control"}:
            for tensor in layer.inputs:
                trace(tensor.name, _precision(layer), ())
    for binding in report.bindings:
        if binding.mode == "output" and binding.name in maker:
            trace(binding.name, ends[binding.name], ())
    names = tuple(_sorted({name for edge in edges for name in edge}))
    return Transitions(
        names,
        tuple(tuple(edges.get((a, b), 0) for b in names) for a in names),
        tuple(tuple(sum(moving.get((a, b), {}).values()) for b in names) for a in names),
    )


def roofline_dots(report: EngineReport) -> list[Dot]:
    """Return the convolutions and matrix products whose operations, bytes and time are all known."""
    dots = []
    for layer in report.layers:
        ops, size = layer_ops(layer), layer_bytes(layer)
        if ops and size and layer.ms:
            dots.append(
                Dot(layer.name, layer_label(layer), ops / size, ops / (layer.ms / 1e3), _precision(layer), layer.ms)
            )
    return dots


def layer_cells(
    report: EngineReport, by: Literal["type", "scope"] = "type", fusion: FusionMap | None = None, aspect: float = 1.6
) -> list[Cell]:
    """Lay out a treemap of time: groups by layer type or by name scope, a rectangle a layer.

    Parameters
    ----------
    fusion
        Tells source nodes where the engine's metadata does not.
    aspect
        Width over height of the picture, so that rectangles come out square in it.
    """
    timed = [layer for layer in report.layers if layer.ms]
    scopes = _scopes(report, fusion) if by == "scope" else {}
    groups: dict[str, list[Layer]] = {}
    for layer in timed:
        key = scopes.get(layer.name, "no scope") if by == "scope" else kind_of_layer(layer)
        groups.setdefault(key, []).append(layer)
    ordered = sorted(groups.items(), key=lambda item: -_ms(item[1]))
    outer = squarify([_ms(layers) for _, layers in ordered], 0.0, 0.0, aspect, 1.0)
    cells = []
    for (group, members), (x, y, width, height) in zip(ordered, outer, strict=True):
        inside = sorted(members, key=lambda layer: -(layer.ms or 0))
        for layer, box in zip(inside, squarify([one.ms or 0 for one in inside], x, y, width, height), strict=True):
            left, low, wide, high = box
            cells.append(
                Cell(
                    group,
                    layer.name,
                    layer_brief(layer),
                    layer.ms or 0,
                    _precision(layer),
                    left / aspect,
                    low,
                    wide / aspect,
                    high,
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


def _sorted(names: Iterable[str]) -> list[str]:
    order = {name: at for at, name in enumerate(PRECISION_ORDER)}
    return sorted(names, key=lambda name: order.get(name, len(order)))
