"""Replay: a recipe and its model in, the same tuned model out."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from workbench.errors import PlanWarning, RecipeError
from workbench.graph.edits import Edit
from workbench.precision import parse_target
from workbench.precision.lowering import lower
from workbench.precision.plan import PrecisionPlan
from workbench.recipe.document import CalibrateStep, PlanStep, PrecisionStep, RangesStep, RangeStep

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

    from workbench.graph import Model
    from workbench.graph.edits import EditResult
    from workbench.precision import Target
    from workbench.precision.lowering import Lowered
    from workbench.precision.plan import Resolution
    from workbench.recipe.document import Recipe, Tuned

__all__ = ["State", "check_model", "check_result", "replay", "start"]


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
    """

    model: Model
    ranges: Mapping[str, float] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)
    plan: PrecisionPlan = field(default_factory=PrecisionPlan)
    notes: tuple[str, ...] = ()
    target: Target | None = None
    overflow: Mapping[str, float] | None = None

    def after(self, step: BaseModel) -> State:
        """Return the state after one more step.

        Raises
        ------
        EditError
            An edit does not apply.
        RecipeError
            A range is set for a tensor that the model does not have.
        """
        if isinstance(step, Edit):
            return self.edited(step(self.model))
        if isinstance(step, RangesStep):
            state = self._with_ranges(step.ranges, step.origins)
            if isinstance(step, CalibrateStep) and step.overflow is not None:
                return replace(state, overflow={**(self.overflow or {}), **step.overflow})
            return state
        if isinstance(step, RangeStep):
            if step.tensor not in self.model.tensors:
                raise RecipeError("there is no such tensor", where=step.tensor, fix="Remove this set_range step.")
            return self._with_ranges({step.tensor: step.amax}, {step.tensor: "manual"})
        if isinstance(step, PrecisionStep):
            return replace(self, plan=self.plan.with_rules(step.rule))
        if isinstance(step, PlanStep):
            state = self._with_ranges(step.ranges, step.origins)
            for edit in step.edits:
                state = state.after(edit)
            return replace(state, plan=PrecisionPlan(rules=step.rules))
        raise TypeError(f"{type(step).__name__} is no step")

    def edited(self, result: EditResult) -> State:
        """Return the state after an edit."""
        return replace(self, model=result.model, notes=(*self.notes, *result.notes))

    def _with_ranges(self, ranges: Mapping[str, float], origins: Mapping[str, str]) -> State:
        return replace(self, ranges={**self.ranges, **ranges}, origins={**self.origins, **origins})

    def resolve(self) -> Resolution:
        """Resolve the plan on the model as it is now."""
        return self.plan.resolve(self.model, target=self.target, overflow=self.overflow)


def start(recipe: Recipe, model: Model) -> State:
    """Return the state after all steps of a recipe.

    Warns
    -----
    PlanWarning
        A rule of the plan selects nothing, for example because an edit behind it took its nodes away.
    """
    state = State(model, target=None if recipe.target is None else parse_target(recipe.target))
    for step in recipe.steps:
        state = state.after(step)
    for position in state.plan.idle(state.model):
        said = f"rule {position} ({state.plan.rules[position]}) selects nothing"
        warnings.warn(f"{said} in {model.name} as edited; give it another selector.", PlanWarning, stacklevel=3)
    return state


def replay(recipe: Recipe, model: Model) -> tuple[State, Lowered]:
    """Make the tuned model again, without a forward pass.

    Raises
    ------
    RecipeError
        The model is not the recipe's.
    EditError, PrecisionError, SelectorError
        A step does not apply.
    """
    check_model(recipe, model)
    state = start(recipe, model)
    return state, lower(state.model, state.resolve(), state.ranges, weight_storage=recipe.weight_storage)


def check_model(recipe: Recipe, model: Model) -> None:
    """Refuse a model that is not the one the recipe was made for."""
    if model.digest != recipe.model.sha256:
        raise RecipeError(
            f"not the recipe's model: its sha256 is {model.digest[:12]}..., not {recipe.model.sha256[:12]}...",
            where=model.path or model.name,
            fix="Give the recipe's own model, or tune this one anew.",
        )


def check_result(recipe: Recipe, made: Tuned | None, environment: Mapping[str, str]) -> None:
    """Refuse a tuned model that is not, byte for byte, the one the recipe made before.

    Raises
    ------
    RecipeError
        It differs; the message names the packages whose versions differ.
    """
    if recipe.tuned is None or made == recipe.tuned:
        return
    other = [
        f"{name} {old} -> {environment.get(name, 'missing')}"
        for name, old in recipe.environment.items()
        if environment.get(name) != old
    ]
    raise RecipeError(
        "the tuned model differs from the one this recipe made before",
        where=recipe.model.file,
        fix=f"Versions that differ: {', '.join(other)}." if other else "No version differs; please report this.",
    )
