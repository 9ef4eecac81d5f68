"""A whole plan, as a search found it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from workbench.graph.edits import AnyEdit
from workbench.precision.placement import Pays, Speed
from workbench.precision.plan import PrecisionPlan, Rule
from workbench.recipe.steps.base import RangesStep

if TYPE_CHECKING:
    from workbench.recipe.state import State

__all__ = ["PlanStep"]


class PlanStep(RangesStep):
    """A whole plan, as a search found it, in place of all rules before.

    Parameters
    ----------
    move
        What the search tried when it found it, in words.
    edits
        What is done to the model for this plan: biases corrected for its INT8 nodes.
    ranges, sha256
        As for `CalibrateStep`; those that differ from the ranges before.
    rules
        All rules of the plan, in order.
    pays
        What an engine of it took beside floating point, where a search measured that; for people.
    engines
        The front of latency against accuracy that it was chosen from; for people.
    """

    do: Literal["set_plan"] = "set_plan"
    move: str = ""
    edits: tuple[AnyEdit, ...] = ()
    ranges: dict[str, float] = Field(default_factory=dict)
    sha256: str = ""
    rules: tuple[Rule, ...]
    pays: Pays | None = None
    engines: tuple[Speed, ...] | None = None

    @property
    def origins(self) -> dict[str, str]:
        """Where each range comes from."""
        return dict.fromkeys(self.ranges, "search")

    def apply_to(self, state: State) -> State:
        """Return the state with the ranges, the edits and the plan."""
        state = super().apply_to(state)
        for edit in self.edits:
            state = edit.apply_to(state)
        return state.with_plan(PrecisionPlan(rules=self.rules))
