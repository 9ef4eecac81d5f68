"""The only writer of precision: a model and a resolved plan in, a model with Q/DQ pairs and Casts out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from workbench.display import Card, Shown
from workbench.errors import PrecisionError
from workbench.graph import repair_names
from workbench.graph.edits import ConvertOpset
from workbench.names import QUANTIZED
from workbench.precision.lowering.notes import notes_on
from workbench.precision.lowering.quantize import quantize_weight, scale_of
from workbench.precision.lowering.writer import WeightStorage, Writer
from workbench.precision.operators import (
    FIXED,
    OPSET_FOR_SCALES,
    Slots,
    activations,
    operator,
    opset_for,
    own_type,
    slots,
    weights,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir

    from workbench.graph import Model
    from workbench.names import Floating, Quantized
    from workbench.precision.operators import Edge
    from workbench.precision.plan import Resolution
    from workbench.precision.targets import Target

__all__ = [
    "OPSET_FOR_QDQ",
    "Lowered",
    "WeightStorage",
    "activation_tensors",
    "lower",
    "needed_opset",
    "quantize_weight",
    "scale_of",
]

OPSET_FOR_QDQ = 13
"""The first operator set whose QuantizeLinear has an axis, which per-channel weights need."""

NEWEST_OPSET = 24
"""The newest operator set that a conversion is asked for."""


@dataclass(frozen=True)
class Lowered(Shown):
    """A lowered model and what was written into it.

    Parameters
    ----------
    model
        The model with Q/DQ pairs and Casts.
    activations
        Names of the tensors that got a Q/DQ pair, in graph order.
    weights
        Names of the weights that were quantized, in graph order.
    flags
        Precisions that a weakly typed builder has to be allowed (TensorRT 8.6: ``int8``, ``fp16``); empty where the
        graph says it all.
    notes
        What the engineer should know of it.
    """

    model: Model
    activations: tuple[str, ...]
    weights: tuple[str, ...]
    flags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def advice(self) -> tuple[str, ...]:
        """What to know when building an engine of it, a sentence each: the flags that it needs, and the notes."""
        options = " ".join(f"--{flag}" for flag in self.flags)
        needed = (f"its builder is weakly typed and has to be allowed this: {options}",) if options else ()
        return (*needed, *self.notes)

    def _card(self) -> Card:
        pairs = f"{len(self.activations)} tensors and {len(self.weights)} weights quantized"
        return Card(f"{self.model.name}: {pairs}", notes=self.advice)


def activation_tensors(model: Model, resolution: Resolution) -> list[str]:
    """Return the tensors whose ranges a lowering needs: what calibration has to observe, in graph order."""
    return list(dict.fromkeys(edge.tensor for edge in _activation_edges(model, resolution)))


def lower(
    model: Model, resolution: Resolution, ranges: Mapping[str, float], *, weight_storage: WeightStorage | None = None
) -> Lowered:
    """Write a resolved plan into the graph as QuantizeLinear/DequantizeLinear pairs and Casts.

    Activations: symmetric, one scale a tensor, one pair shared by all consumers of the tensor that want the same.
    Weights: symmetric, one scale an output channel. Biases are never quantized. Floating-point types: Casts where two
    regions meet, constants stored in the type of the nodes that read them.

    Parameters
    ----------
    model
        The model after its edits, of the operator set that `needed_opset` asks for.
    resolution
        The plan, resolved on this very model.
    ranges
        Tensor name to the largest magnitude that INT8 or FP8 has to represent (``amax``, the clipping threshold).
    weight_storage
        ``int8``: weights are stored in 8 bits behind a DequantizeLinear, a quarter of the bytes. ``float``: as they
        were, behind a Q/DQ pair; the same numbers. ``None``: in 8 bits wherever the target takes that.

    Returns
    -------
    Lowered

    Raises
    ------
    PrecisionError
        A tensor without a range, a range that is no positive number, or an operator set that is too old.
    """
    written = resolution.to_quantize()
    types = _types(model, resolution)
    low = {node for node, kind in types.items() if kind != "fp32" and own_type(model, model.nodes[node]) is None}
    if not written and not low:
        return Lowered(model, (), (), _flags(resolution), notes_on(model, resolution, types))
    _check_opset(model, resolution, types)
    thresholds = _thresholds(model, resolution, ranges)
    graph = model.thaw()
    writer = Writer(graph, weight_storage or _storage(resolution.target), model.tensors)
    where: dict[str, Slots] = {}
    if low:
        where = {address: _slots(model, address, node, types[address]) for address, node in model.top_nodes.items()}
        _set_types(model, graph, writer, resolution, types, where)
    done: set[tuple[str, int]] = set()
    for edge in _activation_edges(model, resolution):
        quantized = _quantized(resolution, edge.node)
        writer.quantize_activation(edge.node, edge.position, thresholds[edge.tensor], quantized, types[edge.node])
        done.add((edge.node, edge.position))
    for edge in weights(model, written):
        quantized = _quantized(resolution, edge.node)
        per_channel = _per_channel(resolution, edge.node)
        writer.quantize_weight(edge.node, edge.position, quantized, types[edge.node], per_channel=per_channel)
        done.add((edge.node, edge.position))
    if low:
        _read_types(model, writer, types, where, done)
    repair_names(graph)
    names = tuple(writer.activations), tuple(writer.weights)
    return Lowered(model.replaced(graph), *names, _flags(resolution), notes_on(model, resolution, types))


def needed_opset(model: Model, resolution: Resolution) -> ConvertOpset | None:
    """Return the conversion that a model needs before it can be lowered, ``None`` where it needs none.

    Raises
    ------
    PrecisionError
        The target cannot read the operator set that the plan needs.
    """
    types = _types(model, resolution)
    # A weakly typed builder chooses types itself, and sees through Casts around a pair.
    to_scale = resolution.to_quantize() if _writes_types(resolution) else []
    needed = max(
        [
            OPSET_FOR_QDQ if resolution.to_quantize() else 0,
            *(OPSET_FOR_SCALES for node in to_scale if types[node] != "fp32"),
            *(OPSET_FOR_SCALES for node in resolution.to_quantize() if resolution[node].precision == "fp8"),
            *(_bf16_opset(model, node) for node, floating in types.items() if floating == "bf16"),
        ],
        default=0,
    )
    if model.opset >= needed:
        return None
    # A set between may have dropped an operator that a later one has again (GroupNormalization: 18 and 21, not 19).
    later = (version for version in range(needed, NEWEST_OPSET + 1) if not _dropped(model, version))
    needed = next(later, needed)
    target = resolution.target
    if target is not None and target.newest_opset is not None and needed > target.newest_opset:
        raise PrecisionError(
            f"the plan needs operator set {needed}, and {target} reads {target.newest_opset} at most",
            where=model.name,
            fix="Use per-tensor INT8, or another target.",
        )
    return ConvertOpset(version=needed)


def _dropped(model: Model, opset: int) -> bool:
    """Say whether an operator set lacks an operator of a model, or has it as deprecated."""
    kinds = {node.op_type for node in model.nodes.values() if node.domain in ("", "ai.onnx")}
    schemas = (operator(kind, opset) for kind in kinds if operator(kind, model.opset) is not None)
    return any(schema is None or schema.deprecated for schema in schemas)


def _bf16_opset(model: Model, address: str) -> int:
    return opset_for(model.nodes[address], model.opset, "bf16")


def _check_opset(model: Model, resolution: Resolution, types: Mapping[str, Floating]) -> None:
    """Refuse what the model's operator set cannot express. FP16 scales are no reason: Casts do without them."""
    old: tuple[int, str] | None = None
    if resolution.to_quantize() and model.opset < OPSET_FOR_QDQ:
        old = (OPSET_FOR_QDQ, "has no per-channel QuantizeLinear")
    fp8 = next((node for node in resolution.to_quantize() if resolution[node].precision == "fp8"), None)
    if fp8 is not None and model.opset < OPSET_FOR_SCALES:
        old = (OPSET_FOR_SCALES, f"has no FP8 QuantizeLinear, which node {fp8!r} needs")
    for node, floating in types.items():
        if floating == "bf16" and (needed := _bf16_opset(model, node)) > model.opset:
            old = max(old or (0, ""), (needed, f"has no BFLOAT16 {model.nodes[node].op_type}, which node {node!r} is"))
    if old is not None:
        raise PrecisionError(
            f"operator set {model.opset} {old[1]}",
            where=model.name,
            fix=f"Convert it first: wb.edit('convert_opset', version={old[0]}).",
        )


def _storage(target: Target | None) -> WeightStorage:
    return "int8" if target is None or target.int8_weights else "float"


def _activation_edges(model: Model, resolution: Resolution) -> list[Edge]:
    whole = [n for n in resolution.to_quantize() if (rule := resolution.rule(n)) is None or not rule.weight_only]
    return list(activations(model, whole))


def _thresholds(model: Model, resolution: Resolution, ranges: Mapping[str, float]) -> dict[str, float]:
    """Return the threshold of every tensor that gets a pair: the last rule that gives one, else the calibrated one."""
    by_rule: dict[str, tuple[int, float]] = {}
    tensors = []
    for edge in _activation_edges(model, resolution):
        tensors.append(edge.tensor)
        position, rule = resolution[edge.node].rule, resolution.rule(edge.node)
        if position is not None and rule is not None and rule.amax is not None:
            by_rule[edge.tensor] = max(by_rule.get(edge.tensor, (-1, 0.0)), (position, rule.amax))
    return {name: by_rule[name][1] if name in by_rule else _amax(ranges, name) for name in tensors}


def _amax(ranges: Mapping[str, float], tensor: str) -> float:
    amax = ranges.get(tensor)
    if amax is None:
        raise PrecisionError(
            "no range is known",
            where=f"tensor {tensor!r}",
            fix="Calibrate, once more where you have: its consumer is to be quantized.",
        )
    if not np.isfinite(amax) or amax < 0:
        raise PrecisionError(f"range {amax} is no threshold", where=f"tensor {tensor!r}", fix="Give a positive number.")
    return amax


def _quantized(resolution: Resolution, node: str) -> Quantized:
    return "fp8" if resolution[node].precision == "fp8" else "int8"


def _per_channel(resolution: Resolution, node: str) -> bool:
    rule, target = resolution.rule(node), resolution.target
    if resolution[node].precision == "fp8" and target is not None and not target.fp8_per_channel:
        return False
    return rule is None or rule.per_channel


def _types(model: Model, resolution: Resolution) -> dict[str, Floating]:
    """Return the type that each node's floating-point numbers have in the lowered graph."""
    if _writes_types(resolution):
        return {node: decision.floating for node, decision in resolution.decisions.items()}
    return {node: own_type(model, model.nodes[node]) or "fp32" for node in resolution.decisions}


def _writes_types(resolution: Resolution) -> bool:
    return resolution.target is None or resolution.target.strongly_typed


def _flags(resolution: Resolution) -> tuple[str, ...]:
    if resolution.target is None or resolution.target.strongly_typed:
        return ()
    decisions = resolution.decisions.values()
    precisions = {d.precision for d in decisions if d.precision in QUANTIZED} | {d.floating for d in decisions}
    return tuple(sorted(precisions - {"fp32"}))


def _slots(model: Model, address: str, node: ir.Node, floating: Floating) -> Slots:
    places = slots(model, address, node, floating)
    return places if isinstance(places, Slots) else FIXED


def _set_types(
    model: Model,
    graph: ir.Model,
    writer: Writer,
    resolution: Resolution,
    types: Mapping[str, Floating],
    where: Mapping[str, Slots],
) -> None:
    """Give results their types, and the model's inputs where the rules of all that read them say so."""
    copies = {node.name: node for node in graph.graph}
    for value in list(graph.graph.inputs):
        readers = [use.node.name or "" for use in value.uses()]
        kinds = {types.get(reader, "fp32") for reader in readers}
        rules = [resolution.floating_rule(reader) for reader in readers if reader in model.top_nodes]
        asked = bool(rules) and all(rule is not None and not rule.keep_inputs for rule in rules)
        if asked and len(kinds) == 1 and model.tensor(str(value.name)).dtype == "FLOAT":
            writer.set_type(value, kinds.pop())
    for address in model.top_nodes:
        if types[address] == "fp32":
            continue
        rule = resolution.floating_rule(address)
        for position in sorted(where[address].outputs):
            value = copies[address].outputs[position]
            writer.set_type(value, types[address], keep=rule is None or rule.keep_outputs)


def _read_types(
    model: Model,
    writer: Writer,
    types: Mapping[str, Floating],
    where: Mapping[str, Slots],
    done: set[tuple[str, int]],
) -> None:
    """Let every input that is not quantized read the type its node wants, with a Cast where it is another."""
    for address, node in model.top_nodes.items():
        for position, value in enumerate(node.inputs):
            if value is None or not value.name or (address, position) in done or position in where[address].any_type:
                continue
            if model.tensor(value.name).dtype == "FLOAT":
                writer.read_as(address, position, types[address] if position in where[address].inputs else "fp32")
