"""What a plan decided, node by node, and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.display import Card, Shown, counted
from workbench.errors import PrecisionError
from workbench.names import QUANTIZED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.names import Floating, Precision
    from workbench.precision.plan.rule import Rule
    from workbench.precision.targets import Target

__all__ = ["NO_RANGE", "Decision", "Resolution"]

NO_RANGE = "has no range"
"""How the reason begins why what reads a tensor stays floating that was NaN, infinite or empty in calibration."""


@dataclass(frozen=True)
class Decision:
    """What a plan decided for one node, and why.

    Parameters
    ----------
    node
        The node's address.
    op_type
        Its operator.
    requested
        What the deciding rule asks for.
    precision
        What the node gets in the lowered graph.
    rule
        Position of the deciding rule in the plan; ``None`` where no rule matched and the node stays as it is.
    reasons
        Every constraint that changed something: why `precision` is not what was requested, or `floating` not what the
        last floating rule asks for.
    floating
        The type of what is floating in the node: its result, its bias, what its Q/DQ pairs read and make.
    floating_rule
        Position of the last rule of a floating precision; ``None`` where there is none.
    own
        Whether the precision is that of the model itself, which came quantized here: nothing is written.
    """

    node: str
    op_type: str
    requested: Precision
    precision: Precision
    rule: int | None
    reasons: tuple[str, ...] = ()
    floating: Floating = "fp32"
    floating_rule: int | None = None
    own: bool = False

    @property
    def kept(self) -> bool:
        """Whether the node gets what was asked for."""
        return self.requested == self.precision


@dataclass(frozen=True)
class Resolution(Shown):
    """A plan resolved on a model: one decision a node, in graph order, for a target where one is known.

    `overflow` is what it was resolved with: ``None`` where no calibration looked for values that FP16 cannot hold.
    """

    rules: tuple[Rule, ...]
    decisions: Mapping[str, Decision]
    target: Target | None = None
    overflow: Mapping[str, float] | None = None

    def __getitem__(self, node: str) -> Decision:
        try:
            return self.decisions[node]
        except KeyError:
            raise PrecisionError("there is no such node", where=node, fix="See wb.graph.nodes().") from None

    def _card(self) -> Card:
        counts = Counter(decision.precision for decision in self.decisions.values())
        # Those that do not get what was asked for come first.
        decisions = sorted(self.decisions.values(), key=lambda decision: decision.kept)
        rows = tuple((d.node, d.op_type, d.requested, d.precision, d.rule, "; ".join(d.reasons)) for d in decisions)
        shares = ", ".join(f"{count} {precision}" for precision, count in counts.items())
        return Card(
            f"{counted(len(rows), 'node')}: {shares}", ("node", "operator", "requested", "gets", "rule", "why"), rows
        )

    def nodes(self, *precisions: Precision) -> list[str]:
        """Return the addresses of the nodes that get one of some precisions, in graph order."""
        return [decision.node for decision in self.decisions.values() if decision.precision in precisions]

    def to_quantize(self) -> list[str]:
        """Return the nodes that Q/DQ pairs have to be written for: quantized, and not so in the model itself."""
        return [node for node in self.nodes(*QUANTIZED) if not self.decisions[node].own]

    def rule(self, node: str) -> Rule | None:
        """Return the rule that decided on a node."""
        position = self[node].rule
        return None if position is None else self.rules[position]

    def floating_rule(self, node: str) -> Rule | None:
        """Return the rule that decided on what is floating in a node."""
        position = self[node].floating_rule
        return None if position is None else self.rules[position]

    def explain(self, node: str) -> str:
        """Say in one paragraph which rule decided on a node, and every constraint that changed its verdict."""
        decision = self[node]
        if decision.rule is not None:
            sentence = f"rule {decision.rule} ({self.rules[decision.rule]}) asks for {decision.requested}"
        elif decision.own:
            sentence = f"no rule selects it; the model itself has it in {decision.precision}"
        else:
            sentence = "no rule selects it, so it stays in floating point"
        over = self.floating_rule(node) if decision.precision in QUANTIZED else None
        if over is not None and over.precision != "fp32":
            sentence += f", over {over.precision} by rule {decision.floating_rule} ({over})"
        because = ""
        if decision.reasons:
            gets = decision.precision if over is None else f"{decision.precision} over {decision.floating}"
            because = f"; it gets {gets}, because {'; '.join(decision.reasons)}"
        return f"{decision.node} ({decision.op_type}): {sentence}{because}."
