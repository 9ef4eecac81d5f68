"""One row a node, and what a plan is expected to cost before anything is run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from workbench.names import QUANTIZED, percent
from workbench.precision.plan import PrecisionPlan

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from workbench.engine import EngineReport
    from workbench.graph import Cost, Model
    from workbench.precision.plan import Resolution
    from workbench.precision.search import SearchResult, Trial
    from workbench.precision.sensitivity import Sensitivity

__all__ = [
    "Estimate",
    "FrontPoint",
    "PrecisionRow",
    "Sources",
    "estimate_of",
    "front_points",
    "rows",
    "sources",
    "weight_bytes",
]

WIDTH = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1, "fp8": 1}
"""Bytes of an element."""

TF32 = {"fp32": "tf32"}


class PrecisionRow(NamedTuple):
    """One node.

    Parameters
    ----------
    place
        Its position among the nodes, in the order they run.
    node, op, shape
        Its address, operator, and the shape of its first output in words; an empty shape is not known.
    layer
        Whether precision matters here: it multiplies, it can be INT8, or a rule asks for something else than FP32.
    macs
        Its share of the multiply-accumulates, 0 to 1; ``None`` where it is not known.
    latency
        Its share of the measured time, 0 to 1; ``None`` where nothing was measured.
    sqnr_db
        SQNR of the model's outputs with this node alone in INT8; ``None`` where it was not measured.
    requested, gets
        What the deciding rule asks for, and what the node has after all constraints.
    realized
        What an engine's compiler made of it; ``None`` where there is no engine, or it does not tell.
    differs
        Whether the compiler computes it in another precision than the plan says; TF32 is how it computes FP32. What is
        fused to a layer has no say.
    floating
        The type of what stays floating in it.
    rule, why
        The deciding rule's position, and every constraint that changed its verdict.
    """

    place: int
    node: str
    op: str
    shape: str
    layer: bool
    macs: float | None
    latency: float | None
    sqnr_db: float | None
    requested: str
    gets: str
    realized: str | None
    differs: bool
    floating: str
    rule: int | None
    why: str


@dataclass(frozen=True)
class Estimate:
    """What a plan is expected to cost, without running anything.

    Parameters
    ----------
    share
        Share of the multiply-accumulates in 8 bits, 0 to 1; ``None`` where it is not known.
    weight_bytes, before_bytes
        Bytes of all weights under the plan, and in the model as it is.
    sqnr_db
        ``-10 log10`` of the sum of the noise powers that the INT8 nodes make one at a time: right where their errors
        are independent and small. Infinite without INT8, ``None`` where no sensitivity is known. Rounding to FP16 and
        BF16 counts as none.
    unknown
        Quantized nodes that are not in that sum: not measured (an FP8 node's error is not its INT8 one).
    """

    share: float | None
    weight_bytes: int
    before_bytes: int
    sqnr_db: float | None
    unknown: int

    def text(self) -> str:
        """Say it in one line, and that it is an estimate."""
        size = f"weights {_bytes(self.weight_bytes)} of {_bytes(self.before_bytes)}"
        parts = [f"{percent(self.share)} of the MACs in 8 bits" if self.share is not None else "MACs unknown", size]
        if self.sqnr_db is not None:
            few = "no quantization error" if self.sqnr_db > 0 else "nothing left of an output"
            parts.append(few if math.isinf(self.sqnr_db) else f"SQNR about {self.sqnr_db:.1f} dB")
        if self.unknown:
            kind = "quantized node" if self.unknown == 1 else "quantized nodes"
            parts.append(f"the error of {self.unknown} {kind} unknown")
        return "estimate: " + ", ".join(parts)


@dataclass(frozen=True)
class FrontPoint:
    """A plan that a search offers, with what was measured of it."""

    share: float | None
    figure: float
    sqnr_db: float
    cost_ms: float
    weight_bytes: int
    move: str
    passed: bool
    chosen: bool
    ratio: float | None = None
    """Latency of its engine over floating point's, where one was measured."""
    error: float | None = None
    pays: str = ""
    beaten: bool = False
    """Another one is as fast and more accurate."""

    def text(self, name: str) -> str:
        """Say it in one line; `name` is the goal's metric."""
        reached = "reaches the goal" if self.passed else "misses the goal"
        figure = "" if name == "sqnr_db" else f"{name} {self.figure:.4g}, "
        measured = f"{figure}SQNR {self.sqnr_db:.1f} dB, measured by the search"
        cost = self.pays or f"{self.cost_ms:.3g} ms by its costs"
        size = f"weights {_bytes(self.weight_bytes)}, {cost}"
        return f"{percent(self.share)} of the MACs in INT8, {measured}: {reached}; {size}"


@dataclass(frozen=True)
class Sources:
    """What a row is made of besides the plan; it changes only with the model."""

    model: Model
    macs: Mapping[str, float | None]
    able: frozenset[str]
    latency: Mapping[str, float]
    noise: Mapping[str, float]
    realized: Mapping[str, str]

    @cached_property
    def before_bytes(self) -> int:
        """Bytes of all weights where no plan touches them."""
        return weight_bytes(self.model)


def sources(
    model: Model,
    sensitivity: Sensitivity | None = None,
    measured: Mapping[str, Mapping[str, float]] | None = None,
    engine: EngineReport | None = None,
    *,
    table: Mapping[str, Cost] | None = None,
) -> Sources:
    """Gather what is known of the nodes.

    Parameters
    ----------
    model
        The model after its edits, in floating point.
    sensitivity
        What each node alone costs, where it was measured.
    measured
        Node to precision to measured milliseconds; of several precisions the slowest counts.
    engine
        Whose realized precisions are shown, and whose times take the place of those.
    table
        The nodes' costs at a batch of one, where they are known already.

    Raises
    ------
    ReportError
        An engine of another model.
    """
    from workbench.graph import batch_of_one, costs, mac_shares
    from workbench.precision.search import engine_latencies

    table = costs(model, batch_of_one(model)) if table is None else table
    spent = {node: max(times.values()) for node, times in (measured or {}).items() if times}
    if engine is not None and engine.profiled:
        # For shares of the time it does not matter which precision a region of Myelin has, which is not told.
        latencies, _ = engine_latencies(model, engine, batch_of_one(model), region="fp32")
        spent = {node: ms for node, (_, ms) in latencies.items()}
    time = sum(spent.values())
    return Sources(
        model=model,
        macs=mac_shares(model, table),
        able=frozenset(PrecisionPlan().with_rule("*", "int8").resolve(model).nodes("int8")),
        latency={node: ms / time for node, ms in spent.items()} if time else {},
        noise={}
        if sensitivity is None
        else {error.node: error.noise for error in sensitivity.errors if not math.isnan(error.sqnr_db)},
        realized={} if engine is None else _realized(model, engine),
    )


def _realized(model: Model, engine: EngineReport) -> dict[str, str]:
    from workbench.engine import fusion_map, realized_precision

    realized = realized_precision(engine, fusion_map(engine, model)).values()
    return {one.node: one.precision for one in realized if one.precision is not None}


def rows(inputs: Sources, resolution: Resolution) -> tuple[PrecisionRow, ...]:
    """Return one row a node, constants left out, in the order they run."""
    table = []
    for place, (address, decision) in enumerate(resolution.decisions.items()):
        if decision.op_type == "Constant":
            continue
        node = inputs.model.nodes[address]
        outputs = [value.name for value in node.outputs if value.name]
        shape = inputs.model.tensor(inputs.model.index.tensor(node.outputs[0])).shape if outputs else None
        computes = bool(inputs.macs.get(address)) or address in inputs.able
        matters = computes or decision.requested != "fp32"
        realized = inputs.realized.get(address)
        noise = inputs.noise.get(address)
        table.append(
            PrecisionRow(
                place=place,
                node=address,
                op=decision.op_type,
                shape="" if shape is None else "x".join("?" if axis is None else str(axis) for axis in shape),
                layer=matters,
                macs=inputs.macs.get(address),
                latency=inputs.latency.get(address),
                sqnr_db=None if noise is None else _db(noise),
                requested=decision.requested,
                gets=decision.precision,
                realized=realized,
                differs=computes and realized not in {None, decision.precision, TF32.get(decision.precision)},
                floating=decision.floating,
                rule=decision.rule,
                why="; ".join(decision.reasons),
            )
        )
    return tuple(table)


def estimate_of(inputs: Sources, resolution: Resolution) -> Estimate:
    """Return what a resolved plan is expected to cost."""
    eight = [inputs.macs.get(node) for node in resolution.nodes(*QUANTIZED)]
    written = set(resolution.to_quantize())
    int8 = [node for node in written if resolution[node].precision == "int8" and node in inputs.noise]
    return Estimate(
        share=None if None in eight else sum(filter(None, eight)),
        weight_bytes=weight_bytes(inputs.model, resolution),
        before_bytes=inputs.before_bytes,
        sqnr_db=_db(sum(inputs.noise[node] for node in int8)) if inputs.noise else None,
        unknown=len(written) - len(int8) if inputs.noise else 0,
    )


def weight_bytes(model: Model, resolution: Resolution | None = None) -> int:
    """Return the bytes of all weights in the precisions of a resolved plan, as an engine holds them; of none, as is.

    So does the ONNX file, unless its target takes no weights stored in 8 bits. A weight that is read both quantized and
    floating is there in both forms, and one whose scales lie along two axes twice. Scales are not counted: one float a
    channel.
    """
    from workbench.graph import constant_of
    from workbench.precision.operators import own_type, weight_axis, weights

    written = () if resolution is None else resolution.to_quantize()
    quantized = {(edge.node, edge.position) for edge in weights(model, written)}
    stored: dict[int, dict[object, int]] = {}
    sizes: dict[int, tuple[int, float]] = {}
    for address, values in model.weights.items():
        node = model.nodes[address]
        for value in values:
            if id(value) not in sizes:
                content = constant_of(value)
                size = 0 if content is None else content.size
                sizes[id(value)] = size, 0.0 if content is None else content.nbytes / max(size, 1)
            size, own = sizes[id(value)]
            places = [position for position, read in enumerate(node.inputs) if read is value]
            small = [position for position in places if (address, position) in quantized]
            decision = None if resolution is None else resolution.decisions.get(address)
            floating = (decision.floating if decision else None if resolution else own_type(model, node)) or "fp32"
            forms = stored.setdefault(id(value), {})
            if not small:
                width = min(own, WIDTH[floating])
                forms[width] = math.ceil(size * width)
            rule = resolution.rule(address) if resolution is not None and small else None
            for position in small:
                axis = weight_axis(node, position) if rule is None or rule.per_channel else None
                forms[decision and decision.precision, axis] = size
    return sum(sum(forms.values()) for forms in stored.values())


def front_points(result: SearchResult, model: Model, trials: Sequence[Trial] | None = None) -> tuple[FrontPoint, ...]:
    """Return the Pareto front of a search on a model, the cheapest plan first; or other trials of it."""

    def point(trial: Trial) -> FrontPoint:
        measured, chosen, pays = trial.measured, trial is result.chosen, trial.pays
        size = weight_bytes(model, trial.plan.resolve(model))
        rated = (None, None) if pays is None else (pays.ratio, pays.error) if trial.share else (1.0, 0.0)
        what = (trial.share, measured.figure, measured.sqnr_db, trial.cost_ms, size, trial.move, trial.passed, chosen)
        beaten = not any(trial is other for other in result.front)
        return FrontPoint(*what, *rated, pays="" if pays is None else str(pays), beaten=beaten)

    return tuple(point(trial) for trial in (result.front if trials is None else trials))


def selector_of(model: Model, targets: Iterable[str]) -> str:
    """Return the shortest selector that means exactly these nodes."""
    from workbench.graph.select import compact

    chosen = set(targets)
    return " | ".join(compact(model, chosen, model.nodes.keys() - chosen))


def _db(noise: float) -> float:
    return -10.0 * math.log10(noise) if noise > 0 else math.inf


def _bytes(size: int) -> str:
    for unit, step in (("MB", 10**6), ("kB", 10**3)):
        if size >= step:
            return f"{size / step:.3g} {unit}"
    return f"{size} B"
