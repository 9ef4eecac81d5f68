"""Where an engine's time goes, as numbers: its slowest layers, its precisions, what it converts, its roofline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from workbench.engine.traits import kind_of_layer, layer_precision
from workbench.engine.work import layer_bytes, layer_ops

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from workbench.engine.report import EngineReport, Layer

__all__ = [
    "PRECISION_ORDER",
    "UNKNOWN",
    "Dot",
    "PrecisionTotal",
    "Transitions",
    "layer_brief",
    "layer_label",
    "precision_share",
    "roofline_dots",
    "top_layers",
    "transitions",
]

UNKNOWN = "unknown"
_MOVES = {"reformat", "noop", "qdq", "cast"}


class PrecisionTotal(NamedTuple):
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


def layer_label(layer: Layer) -> str:
    """Return what people call a layer: its source nodes where its metadata tells them, else its name."""
    if layer.reformats is not None:
        return f"reformat for {layer.reformats}"
    return " + ".join(layer.sources) or layer.name


def layer_brief(layer: Layer) -> str:
    """Return the first source node, and how many more there are."""
    nodes = layer.sources or (layer_label(layer),)
    return nodes[0] + (f" +{len(nodes) - 1}" if nodes[1:] else "")


def top_layers(report: EngineReport, top: int = 10) -> pd.DataFrame:
    """Return the slowest layers with percent, cumulative percent, precision and tactic."""
    table = report.layers_table().dropna(subset=["ms"]).sort_values("ms", ascending=False, ignore_index=True)
    table = table.assign(cumulative_percent=table["percent"].cumsum())
    names = {layer.name: _precision(layer) for layer in report.layers}
    table = table.assign(precision=table["layer"].map(names))
    columns = ["layer", "type", "precision", "ms", "percent", "cumulative_percent", "tactic"]
    chosen: pd.DataFrame = table[columns].head(top)
    return chosen


def precision_share(report: EngineReport) -> list[PrecisionTotal]:
    """Return layers and time by computing precision, free layers (NoOp) and constants left out."""
    layers_of: dict[str, list[Layer]] = {}
    for layer in report.layers:
        if kind_of_layer(layer) not in {"noop", "constant", "control"}:
            layers_of.setdefault(_precision(layer), []).append(layer)
    shares = []
    for name in _sorted(layers_of):
        times = [layer.ms for layer in layers_of[name] if layer.ms is not None]
        shares.append(PrecisionTotal(name, len(layers_of[name]), sum(times) if times else None))
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


def _precision(layer: Layer) -> str:
    return layer_precision(layer).name or UNKNOWN


def _sorted(names: Iterable[str]) -> list[str]:
    order = {name: at for at, name in enumerate(PRECISION_ORDER)}
    return sorted(names, key=lambda name: order.get(name, len(order)))
