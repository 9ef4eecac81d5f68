"""How a plan becomes one decision a node: rules, then the constraints of target, operators and neighbours."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from workbench.errors import PrecisionError
from workbench.graph.select import select
from workbench.names import QUANTIZED
from workbench.precision.operators import (
    OWN,
    OWN_TYPES,
    TYPES,
    activations,
    obstacle,
    own_type,
    residual_convolution,
    weights,
)
from workbench.precision.plan.own import computes_on_integers, own_precision, quantizes
from workbench.precision.plan.regions import Wish, settle
from workbench.precision.plan.resolution import NO_RANGE, Decision, Resolution

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir

    from workbench.graph import Model
    from workbench.names import Floating, Precision
    from workbench.precision.plan.rule import Rule
    from workbench.precision.targets import Target

__all__ = ["quantized_edges", "resolve"]

ITSELF = "the model is quantized here itself; edit remove_qdq takes it out"
INTEGERS = "it computes on integers by definition"


def resolve(
    rules: tuple[Rule, ...],
    model: Model,
    *,
    target: Target | None,
    overflow: Mapping[str, float] | None,
    unranged: Mapping[str, str],
) -> Resolution:
    """Decide on every node; see `PrecisionPlan.resolve`."""
    deciding: dict[str, int] = {}
    floating: dict[str, int] = {}
    for index, rule in enumerate(rules):
        for address in select(model, rule.select, required=False):
            _check_target(target, rules, index, address)
            deciding[address] = index
            if rule.precision not in QUANTIZED:
                floating[address] = index
    quantized = any(quantizes(op_type) for _, op_type in model.operators)
    decisions = {
        address: _decide(
            rules,
            model,
            address,
            node,
            deciding.get(address),
            floating.get(address),
            own_precision(node) if quantized else None,
        )
        for address, node in model.nodes.items()
    }
    if unranged:
        _leave_unranged(rules, model, decisions, unranged)
    if target is not None and not target.depthwise:
        _leave_depthwise(rules, model, decisions, target)
    _let_residuals_agree(model, decisions)
    resolution = Resolution(rules, MappingProxyType(decisions), target, overflow)
    if any(decision.floating != "fp32" for decision in decisions.values()) and _writes_types(target):
        resolution = _settle_types(model, resolution, overflow or {})
    return _keep_own_types(model, resolution)


def quantized_edges(model: Model, resolution: Resolution) -> set[tuple[str, int]]:
    """Return the inputs (address, position) that read through a Q/DQ pair in the lowered graph."""
    written = resolution.to_quantize()
    whole = [node for node in written if not (rule := resolution.rule(node)) or not rule.weight_only]
    edges = [*activations(model, whole), *weights(model, written)]
    return {(edge.node, edge.position) for edge in edges}


def _writes_types(target: Target | None) -> bool:
    return target is None or target.strongly_typed


def _check_target(target: Target | None, rules: tuple[Rule, ...], index: int, address: str) -> None:
    rule = rules[index]
    refusal = None if target is None else target.refusal(rule.precision)
    if refusal is not None:
        raise PrecisionError(
            refusal,
            where=f"node {address!r}, by rule {index} ({rule})",
            fix="Choose another precision for it, or another target.",
        )


def _decide(
    rules: tuple[Rule, ...],
    model: Model,
    address: str,
    node: ir.Node,
    deciding: int | None,
    floating: int | None,
    existing: Precision | None,
) -> Decision:
    """Decide on one node by itself; its neighbours come later."""
    base: Floating = "fp32"
    if floating is not None and (precision := rules[floating].precision) in ("fp16", "bf16"):
        base = "fp16" if precision == "fp16" else "bf16"
    requested = rules[deciding].precision if deciding is not None else existing or "fp32"
    if existing is not None:
        why = INTEGERS if computes_on_integers(node.op_type) else ITSELF
        reasons = () if requested == existing else (why,)
        return Decision(address, node.op_type, requested, existing, deciding, reasons, "fp32", floating, own=True)
    if requested not in QUANTIZED:
        return Decision(address, node.op_type, requested, base, deciding, (), base, floating)
    rule = rules[deciding] if deciding is not None else None
    reason = obstacle(model, address, node, requested, weight_only=rule is not None and rule.weight_only)
    precision = base if reason is not None else requested
    return Decision(
        address, node.op_type, requested, precision, deciding, () if reason is None else (reason,), base, floating
    )


def _leave_unranged(
    rules: tuple[Rule, ...], model: Model, decisions: dict[str, Decision], unranged: Mapping[str, str]
) -> None:
    """Leave floating what would read, in 8 bits, a tensor without a range; a rule may give it one."""
    for address, decision in decisions.items():
        rule = None if decision.rule is None else rules[decision.rule]
        if decision.precision not in QUANTIZED or decision.own or (rule and (rule.weight_only or rule.amax)):
            continue
        read = next((edge.tensor for edge in activations(model, [address]) if edge.tensor in unranged), None)
        if read is not None:
            reason = f"its input {read!r} {NO_RANGE}: {unranged[read]}"
            decisions[address] = replace(decision, precision=decision.floating, reasons=(*decision.reasons, reason))


def _leave_depthwise(rules: tuple[Rule, ...], model: Model, decisions: dict[str, Decision], target: Target) -> None:
    """Leave depthwise convolutions floating where the target's engines grow out of bounds by them."""
    for address, decision in decisions.items():
        rule = None if decision.rule is None else rules[decision.rule]
        weight_only = rule is not None and rule.weight_only
        if decision.precision not in QUANTIZED or decision.own or weight_only or not _depthwise(model.nodes[address]):
            continue
        reason = f"in 8 bits a depthwise convolution makes engines of {target.name} many times as large"
        decisions[address] = replace(decision, precision=decision.floating, reasons=(*decision.reasons, reason))


def _depthwise(node: ir.Node) -> bool:
    weight = node.inputs[1] if node.op_type == "Conv" else None
    group = node.attributes.get_int("group", 1)
    return weight is not None and weight.shape is not None and group > 1 and weight.shape[1] == 1


def _let_residuals_agree(model: Model, decisions: dict[str, Decision]) -> None:
    """Leave a residual Add floating whose convolution is: there is nothing it could be fused into."""
    for address, decision in decisions.items():
        if decision.op_type != "Add" or decision.precision not in QUANTIZED or decision.own:
            continue
        convolution = residual_convolution(model.nodes[address])
        other = None if convolution is None else decisions[model.index.address[convolution]]
        if other is not None and other.precision != decision.precision:
            reason = f"the convolution {other.node!r} before it is {other.precision}, so the two cannot be fused"
            decisions[address] = replace(decision, precision=decision.floating, reasons=(*decision.reasons, reason))


def _keep_own_types(model: Model, resolution: Resolution) -> Resolution:
    """Leave what the model itself has in FP16 or BF16 so: its numbers are rounded already, and no type is written."""
    if model.dtypes.isdisjoint(OWN_TYPES):
        return resolution
    own = {address: kind for address, node in model.nodes.items() if (kind := own_type(model, node)) is not None}
    if not own:
        return resolution
    decisions = dict(resolution.decisions)
    for address, kind in own.items():
        decision = decisions[address]
        asked = decision.floating_rule is not None and resolution.rules[decision.floating_rule].precision != kind
        reasons = tuple(reason for reason in decision.reasons if OWN not in reason)
        if asked:
            reasons += (f"it is {TYPES[kind].name.lower()} {OWN}",)
        unasked = decision.rule is None and not decision.own
        decisions[address] = replace(
            decision,
            requested=kind if unasked else decision.requested,
            precision=decision.precision if decision.precision in QUANTIZED else kind,
            floating=kind,
            reasons=reasons,
        )
    return replace(resolution, decisions=MappingProxyType(decisions))


def _settle_types(model: Model, resolution: Resolution, overflow: Mapping[str, float]) -> Resolution:
    """Let ranges, operators and neighbours have their say on floating-point types."""
    wishes = {}
    for address, decision in resolution.decisions.items():
        rule = resolution.floating_rule(address)
        wishes[address] = Wish(decision.floating, literal=rule is not None and not rule.islands)
    compiler = None if resolution.target is None else resolution.target.name
    settled = settle(model, wishes, quantized_edges(model, resolution), overflow, compiler)
    decisions = {}
    for address, decision in resolution.decisions.items():
        floating, reason = settled[address]
        if reason is not None:
            precision = decision.precision if decision.precision in QUANTIZED else floating
            reasons = (*decision.reasons, reason)
            decisions[address] = replace(decision, floating=floating, precision=precision, reasons=reasons)
        else:
            decisions[address] = decision
    return replace(resolution, decisions=MappingProxyType(decisions))
