"""An engine's layers as a graph, and as columns to colour by: data for both engine graphs, no drawing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from workbench.engine import PRECISION_ORDER, UNKNOWN, kind_of_layer, layer_brief, layer_bytes, layer_precision
from workbench.views.graphs import Network, Op, Overlay, split_name
from workbench.views.kit import OKABE_ITO, PRECISION_COLOURS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from workbench.engine import EngineReport, EngineSummary, EngineTensor, Finding, FusionMap, Layer

__all__ = ["bytes_text", "engine_columns", "engine_network", "layer_facts", "layers_by_name", "with_nodes"]


def layers_by_name(report: EngineReport, profile: int = 0) -> dict[str, Layer]:
    """Return the layers of one optimization profile; a name that comes again gets a number."""
    layers: dict[str, Layer] = {}
    for layer in report.layers:
        if layer.profile == profile:
            name, count = layer.name, 1
            while name in layers:
                count += 1
                name = f"{layer.name} ({count})"
            layers[name] = layer
    return layers


def engine_network(report: EngineReport, fusion: FusionMap, profile: int = 0) -> Network:
    """Return an engine's layers as a graph, joined by the tensors that the inspector names.

    A layer is in the scope of its first source node, a reformat in that of the layer it serves.
    """
    layers = layers_by_name(report, profile)
    ops = []
    for name, layer in layers.items():
        kind = layer.type or kind_of_layer(layer)
        # A constant is drawn too: in an engine it is a layer like any other.
        op_type = "Constant layer" if kind == "Constant" else kind
        reads = tuple(dict.fromkeys(tensor.name for tensor in layer.inputs))
        makes = tuple(tensor.name for tensor in layer.outputs)
        ops.append(Op(name, op_type, reads, makes, _scope(layer, fusion), _label(layer)))
    tensors = {t.name: t for layer in layers.values() for t in (*layer.inputs, *layer.outputs)}
    bindings = {binding.name: binding.mode for binding in report.bindings}
    outputs = {tensor for op in ops for tensor in op.outputs}
    inputs = [name for name in tensors if bindings.get(name) == "input" or (not bindings and name not in outputs)]
    return Network(
        ops,
        inputs,
        [name for name in tensors if bindings.get(name) == "output"],
        lambda name: _described(layers[name], report) if name in layers else {},
        {name: _tensor_text(tensor) for name, tensor in tensors.items()},
    )


def engine_columns(
    report: EngineReport, findings: list[Finding], profile: int = 0, prefix: str = ""
) -> dict[str, Overlay]:
    """Return the columns over layers, each layer under its name with `prefix` before it.

    "precision", "kind", "latency" (where there is a profile), "bytes moved", "weights", and "findings": the kind of
    finding that costs a layer most.
    """
    layers = {prefix + name: layer for name, layer in layers_by_name(report, profile).items()}
    worst: dict[str, str] = {}
    for finding in findings:
        for name in finding.layers:
            worst.setdefault(name, finding.kind)
    columns = [
        Overlay(
            "precision",
            {name: layer_precision(layer).name for name, layer in layers.items()},
            order=[name for name in PRECISION_ORDER if name != UNKNOWN],
            colours=PRECISION_COLOURS,
        ),
        Overlay("kind", {name: kind_of_layer(layer) for name, layer in layers.items()}),
    ]
    if report.profiled:
        columns.append(Overlay("latency", {name: layer.ms for name, layer in layers.items()}, unit="ms"))
    columns += [
        Overlay("bytes moved", {name: layer_bytes(layer) for name, layer in layers.items()}, unit="B"),
        Overlay("weights", {name: layer.weight_bytes for name, layer in layers.items()}, unit="B"),
        Overlay(
            "findings",
            {name: worst.get(layer.name, "none") for name, layer in layers.items()},
            gather="any",
            order=[*dict.fromkeys(worst.values()), "none"],
            colours={"none": OKABE_ITO["grey"]},
        ),
    ]
    return {column.title: column for column in columns}


def layer_facts(summary: EngineSummary, name: str, profile: int = 0) -> list[tuple[str, str]]:
    """Return all that is known of a layer, as names and values for people; what is unknown says so.

    Raises
    ------
    KeyError
        There is no such layer in this profile.
    """
    report, layer = summary.report, layers_by_name(summary.report, profile)[name]
    group = summary.fusion.by_layer.get(layer.name)
    precision = layer_precision(layer)
    facts = [("layer", layer.name), ("type", f"{layer.type or UNKNOWN} ({kind_of_layer(layer)})")]
    if layer.ms is not None:
        share = f", {layer.ms / report.layers_ms:.1%} of the layers' sum" if report.layers_ms else ""
        median = "" if layer.time is None or layer.time.median_ms is None else f", median {layer.time.median_ms:.4f}"
        facts.append(("time", f"{layer.ms:.4f} ms{median}{share}"))
    else:
        facts.append(("time", "unknown: no profile"))
    facts.append(("precision", f"{precision.name or UNKNOWN}: {precision.evidence}"))
    facts += [(f"in {at}", f"{tensor.name}: {_tensor_text(tensor)}") for at, tensor in enumerate(layer.inputs)]
    facts += [(f"out {at}", f"{tensor.name}: {_tensor_text(tensor)}") for at, tensor in enumerate(layer.outputs)]
    facts.append(("weights", bytes_text(layer.weight_bytes)))
    facts.append(("bytes moved", bytes_text(layer_bytes(layer))))
    facts.append(("tactic", layer.tactic or UNKNOWN))
    if layer.stream is not None:
        facts.append(("stream", str(layer.stream)))
    if group is not None and group.nodes:
        facts.append(("source nodes", f"{' + '.join(group.nodes)} (from {group.how})"))
    asked = {v.node: v for v in summary.verdicts}
    for node in (node for node in (group.nodes if group is not None else ()) if node in asked):
        got = asked[node].realized.precision or asked[node].status
        facts.append((f"asked of {node}", f"{asked[node].requested}, made {got}: {asked[node].status}"))
    if group is not None and group.absorbed:
        facts.append(("does the work of", ", ".join(group.absorbed)))
    if layer.reformats is not None:
        facts.append(("serves", layer.reformats))
    return facts


def bytes_text(size: int | None) -> str:
    """Return bytes for people; None is unknown."""
    if size is None:
        return UNKNOWN
    for unit, of in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= of:
            return f"{size / of:.2f} {unit}"
    return f"{size} B"


def _tensor_text(tensor: EngineTensor) -> str:
    shape = "unknown shape" if tensor.dims is None else "×".join(map(str, tensor.dims)) or "scalar"
    return f"{tensor.format.short}, {shape}, {bytes_text(tensor.nbytes)}"


def _described(layer: Layer, report: EngineReport) -> Mapping[str, str]:
    facts = {"precision": layer_precision(layer).name or UNKNOWN}
    if layer.ms is not None:
        share = f" ({layer.ms / report.layers_ms:.1%})" if report.layers_ms else ""
        facts["time"] = f"{layer.ms:.4f} ms{share}"
    facts |= {f"in {at}": f"{tensor.name}: {_tensor_text(tensor)}" for at, tensor in enumerate(layer.inputs)}
    facts |= {f"out {at}": f"{tensor.name}: {_tensor_text(tensor)}" for at, tensor in enumerate(layer.outputs)}
    return facts | ({"tactic": layer.tactic} if layer.tactic else {})


def _label(layer: Layer) -> str:
    """Return the second line of a layer's card: what a reformat changes, else its first source node."""
    if kind_of_layer(layer) in {"reformat", "qdq", "cast"} and layer.inputs and layer.outputs:
        return f"{layer.inputs[0].format.short} → {layer.outputs[0].format.short}"
    return split_name(layer_brief(layer), "")[1] or layer_brief(layer)


def _scope(layer: Layer, fusion: FusionMap) -> tuple[str, ...]:
    group = fusion.by_layer.get(layer.name)
    if group is not None and group.serves is not None and not group.nodes:
        group = fusion.by_layer.get(group.serves)
    return split_name(group.nodes[0], "")[0] if group is not None and group.nodes else ()


def with_nodes(column: Overlay, nodes: Mapping[str, Sequence[str]]) -> Overlay:
    """Return a column over layers with the source nodes added: each has the value of the first layer that does it.

    Parameters
    ----------
    column
        The column.
    nodes
        Source node to the layers that do it, called as in the column.
    """
    values = dict(column.values)
    for node, layers in nodes.items():
        values[node] = column.values.get(layers[0]) if layers else None
    return replace(column, values=values)
