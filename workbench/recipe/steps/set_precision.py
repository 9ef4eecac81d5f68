"""One more rule of the precision plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from workbench.precision.plan import Rule
from workbench.recipe.steps.base import StepBase

if TYPE_CHECKING:
    from workbench.recipe.state import State

__all__ = ["PrecisionStep"]


class PrecisionStep(Rule, StepBase):
    """One more rule of the precision plan, with its options; see `workbench.precision.plan.Rule`."""

    do: Literal["set_precision"] = "set_precision"

    @property
    def rule(self) -> Rule:
        """The rule alone."""
        return Rule(**self.model_dump(exclude={"do"}))

    def apply_to(self, state: State) -> State:
        """Return the state with this rule at the end of the plan."""
        return state.with_plan(state.plan.with_rules(self.rule))
