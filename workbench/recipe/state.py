"""Where a recipe has got to."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from workbench.graph import blaming
from workbench.precision.plan import PrecisionPlan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.graph import Model
    from workbench.graph.edits import EditResult, Equivalence, Unchecked
    from workbench.precision import Target
    from workbench.precision.plan import Resolution

__all__ = ["State"]


@dataclass(frozen=True)
class State:
    """Where a recipe has got to: the model as edited so far, the ranges known, the plan.

    Parameters
    ----------
    model
        After the edits so far.
    ranges
        Tensor name to clipping threshold.
    origins
        Tensor name to where its threshold comes from: a method's name, ``cache`` or ``manual``.
    plan
        The rules so far.
    notes
        What the edits said.
    target
        What it is lowered for; ``None`` for any.
    overflow
        Tensors in which calibration saw values that FP16 cannot hold; ``None`` where none looked for them.
    unranged
        Tensors that calibration saw, of which no range follows, with the reason.
    check
        What a check of the last edit came to; ``None`` before the first.
    """

    model: Model
    ranges: Mapping[str, float] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)
    plan: PrecisionPlan = field(default_factory=PrecisionPlan)
    notes: tuple[str, ...] = ()
    target: Target | None = None
    overflow: Mapping[str, float] | None = None
    unranged: Mapping[str, str] = field(default_factory=dict)
    check: Equivalence | Unchecked | None = None

    def edited(self, result: EditResult) -> State:
        """Return the state after an edit."""
        return replace(self, model=result.model, notes=(*self.notes, *result.notes), check=result.check)

    def with_ranges(self, ranges: Mapping[str, float], origins: Mapping[str, str]) -> State:
        """Return the state with more ranges, and with where they come from."""
        unranged = {tensor: reason for tensor, reason in self.unranged.items() if tensor not in ranges}
        return replace(self, ranges={**self.ranges, **ranges}, origins={**self.origins, **origins}, unranged=unranged)

    def without_ranges(self, unranged: Mapping[str, str]) -> State:
        """Return the state with tensors that can have no range, and why."""
        ranges = {tensor: amax for tensor, amax in self.ranges.items() if tensor not in unranged}
        origins = {tensor: origin for tensor, origin in self.origins.items() if tensor not in unranged}
        return replace(self, ranges=ranges, origins=origins, unranged={**self.unranged, **unranged})

    def with_overflow(self, overflow: Mapping[str, float]) -> State:
        """Return the state with more tensors that FP16 cannot hold."""
        return replace(self, overflow={**(self.overflow or {}), **overflow})

    def with_plan(self, plan: PrecisionPlan) -> State:
        """Return the state with another plan."""
        return replace(self, plan=plan)

    @blaming
    def resolve(self, plan: PrecisionPlan | None = None) -> Resolution:
        """Resolve the plan, or another one, on the model as it is now."""
        return self._resolved if plan is None or plan is self.plan else self._resolve(plan)

    @cached_property
    def _resolved(self) -> Resolution:
        return self._resolve(self.plan)

    def _resolve(self, plan: PrecisionPlan) -> Resolution:
        return plan.resolve(self.model, target=self.target, overflow=self.overflow, unranged=self.unranged)
