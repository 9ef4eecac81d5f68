"""The plan that a model came with: what is quantized in it already, as ordinary rules."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from workbench.graph.select import pick
from workbench.precision.plan.own import own_precision
from workbench.precision.plan.plan import PrecisionPlan
from workbench.precision.plan.rule import Rule

if TYPE_CHECKING:
    from workbench.graph import Model
    from workbench.names import Precision

__all__ = ["literal", "plan_of"]


def plan_of(model: Model) -> PrecisionPlan:
    """Return the plan that a quantized model came with, as rules on its nodes.

    On the model itself they change nothing, for nothing is quantized twice. On the model after the edit ``remove_qdq``
    they ask for the same nodes again: the lowering then places the pairs as TensorRT wants them.

    Returns
    -------
    PrecisionPlan
        One rule for each operator all of whose nodes are quantized, one that names the nodes for each other operator;
        empty for a model without quantization.
    """
    rules = []
    kinds: dict[str, list[str]] = {}
    for address, node in model.top_nodes.items():
        kinds.setdefault(node.op_type, []).append(address)
    for op_type, addresses in kinds.items():
        nodes_of: dict[Precision, list[str]] = {}
        for address in addresses:
            precision = own_precision(model.top_nodes[address])
            if precision is not None:
                nodes_of.setdefault(precision, []).append(address)
        for precision, members in nodes_of.items():
            everywhere = len(members) == len(addresses) and len(model.nodes) == len(model.top_nodes)
            selector = pick("op", op_type) if everywhere else pick("name", *(literal(name) for name in members))
            rules.append(Rule(select=str(selector), precision=precision))
    return PrecisionPlan(rules=tuple(rules))


def literal(name: str) -> str:
    r"""Return a name as a selector's glob that means this name alone: ``*`` becomes ``\*``."""
    return re.sub(r"([*?\\])", r"\\\1", name)
