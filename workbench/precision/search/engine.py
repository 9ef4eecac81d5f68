"""What nodes cost in an engine that somebody measured: its layers' times, brought to the nodes they were made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from workbench.engine import fusion_map, layer_precision
from workbench.errors import PrecisionError
from workbench.precision.search.cost import WIDTH, measured_costs, modelled_costs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.engine import EngineReport, FusionMap, Layer
    from workbench.graph import Model
    from workbench.precision.search.cost import NodeCosts

__all__ = ["engine_costs", "engine_latencies"]


def engine_costs(
    model: Model,
    reports: Sequence[EngineReport] | Mapping[str, EngineReport],
    sizes: Mapping[str, int] | None = None,
) -> NodeCosts:
    """Return what nodes cost by the profiles of one or several engines of a model.

    Parameters
    ----------
    model
        The model after its edits. The engines may have been built from it, from the model before its edits or from a
        lowered one: nodes are found by their names.
    reports
        Engines with the times of their layers: for example one in FP16 and one in INT8. Of a node that several measured
        in one precision the mean counts. With a precision as its key, a report says what the regions compute in that
        Myelin made one layer of: the inspector tells it of none, and without it their time is left out.
    sizes
        Lengths of the inputs' symbolic axes where a report does not tell them.

    Raises
    ------
    PrecisionError
        A report has no times, tells nothing of this model's nodes, or none is given.
    ReportError
        A report is of another model.
    """
    if isinstance(reports, Mapping) and (unknown := next((key for key in reports if key not in WIDTH), None)):
        raise PrecisionError("there is no such precision", where=unknown, fix=f"Use {', '.join(WIDTH)}.")
    if not reports:
        raise PrecisionError("no engine report is given", where=model.name, fix="Give one, with its profile.")
    named = list(reports.items()) if isinstance(reports, Mapping) else [(None, report) for report in reports]
    lengths = {**(sizes or {}), **_axis_lengths(model, named[0][1])}
    times: dict[str, dict[str, list[float]]] = {}
    about = []
    for region, report in named:
        latencies, lost = engine_latencies(model, report, sizes, region=region)
        for node, (precision, spent) in latencies.items():
            times.setdefault(node, {}).setdefault(precision, []).append(spent)
        kinds = Counter(precision for precision, _ in latencies.values())
        counted = ", ".join(f"{count} nodes in {precision}" for precision, count in kinds.items())
        about.append(f"engine {report.name}: {counted}" + (f"; {lost:.3g} ms belong to no node" if lost else ""))
        inside = sum(
            layer.typical_ms for layer in report.layers if layer.myelin and layer_precision(layer).name is None
        )
        if inside and region is None:
            about.append(
                f"{inside:.3g} ms of it in regions of Myelin, whose precision the engine does not tell, left out: "
                "give the report under its precision, {'int8': report} or --engine int8=FILE"
            )
    means = {node: {p: sum(each) / len(each) for p, each in of.items()} for node, of in times.items()}
    return measured_costs(model, means, lengths, about=about)


def engine_latencies(
    model: Model, report: EngineReport, sizes: Mapping[str, int] | None = None, *, region: str | None = None
) -> tuple[dict[str, tuple[str, float]], float]:
    """Return the precision and the milliseconds of each node in one engine, and the milliseconds of no node.

    The time of a layer belongs to the nodes it was made of. In a fused layer with products (convolutions, matrix
    products) they share it by their modelled times, and what is fused to them takes nothing: it neither reads nor
    writes memory. Other nodes of one layer, and all of a layer that Myelin made of a whole region, share it by their
    modelled times. A reformat's time belongs to the layer it was made for. Of a node in several layers the precision is
    that of the one that takes longest. `region` is the precision of what Myelin made a region of.

    Raises
    ------
    PrecisionError
        The report has no times, or tells nothing of this model's nodes.
    ReportError
        It is of another model.
    """
    if not report.profiled:
        fix = "Give the profile too: load_report(graph, profile=...), --profile on the command line."
        raise PrecisionError("the engine report has no times of layers", where=report.name, fix=fix)
    fusion, modelled = (
        fusion_map(report, model),
        modelled_costs(model, {**(sizes or {}), **_axis_lengths(model, report)}),
    )
    spent: dict[str, dict[str, float]] = {}
    lost = 0.0
    for layer, moved in _with_reformats(report, fusion):
        nodes = [node for node in fusion.by_layer[layer.name].nodes if node in modelled.milliseconds]
        named = layer_precision(layer).name or (region if layer.myelin else None)
        precision = (named or "").replace("tf32", "fp32")
        if not nodes or precision not in WIDTH:
            lost += layer.typical_ms + moved
            continue
        weights = {node: modelled.milliseconds[node][precision] for node in nodes}
        if not layer.myelin and any(modelled.macs[node] for node in nodes):
            weights = {node: weights[node] if modelled.macs[node] else 0.0 for node in nodes}
        whole = sum(weights.values())
        for node in nodes:
            share = weights[node] / whole if whole else 1 / len(nodes)
            of = spent.setdefault(node, {})
            of[precision] = of.get(precision, 0.0) + (layer.typical_ms + moved) * share
    if not spent:
        raise PrecisionError(
            "the engine tells the time of no node of this model",
            where=report.name,
            fix="Build it with detailed profiling verbosity, from this model; give the precision of Myelin's regions.",
        )
    latencies = {node: (max(of, key=of.__getitem__), sum(of.values())) for node, of in spent.items()}
    # What was folded away, or is done by a layer that does not name it, takes no time, in whatever precision.
    idle = {*fusion.vanished, *(node for group in fusion.groups for node in group.absorbed)}
    common = Counter(precision for precision, _ in latencies.values()).most_common(1)[0][0]
    latencies |= {node: (common, 0.0) for node in modelled.milliseconds if node in idle and node not in latencies}
    return latencies, lost


def _with_reformats(report: EngineReport, fusion: FusionMap) -> list[tuple[Layer, float]]:
    """Return the layers, each with the milliseconds of the reformats that were made for it."""
    names = {layer.name for layer in report.layers}
    served = {
        group.layer: group.serves for group in fusion.groups if group.serves in names and group.serves != group.layer
    }
    moved: dict[str, float] = {}
    for layer in report.layers:
        if (serves := served.get(layer.name)) is not None:
            moved[serves] = moved.get(serves, 0.0) + layer.typical_ms
    return [(layer, moved.pop(layer.name, 0.0)) for layer in report.layers if layer.name not in served]


def _axis_lengths(model: Model, report: EngineReport) -> dict[str, int]:
    """Return the lengths of the inputs' symbolic axes that an engine was built for."""
    dims = {binding.name: binding.dims or () for binding in report.bindings}
    return {
        axis: length
        for tensor in model.inputs
        for axis, length in zip(tensor.shape or (), dims.get(tensor.name, ()), strict=False)
        if isinstance(axis, str) and length > 0
    }
