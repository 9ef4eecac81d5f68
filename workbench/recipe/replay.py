"""Replay: a recipe and its model in, the same tuned model out."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from workbench.errors import PlanWarning, RecipeError
from workbench.graph import structure_digest
from workbench.precision import parse_target
from workbench.precision.lowering import lower
from workbench.recipe.difference import drifted
from workbench.recipe.state import State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.graph import Model
    from workbench.precision.lowering import Lowered
    from workbench.recipe.document import Recipe, Tuned

__all__ = ["check_model", "check_result", "replay", "start"]


def start(recipe: Recipe, model: Model) -> State:
    """Return the state after all steps of a recipe.

    Warns
    -----
    PlanWarning
        A rule of the plan selects nothing, for example because an edit behind it took its nodes away.
    """
    state = State(model, target=None if recipe.target is None else parse_target(recipe.target))
    for step in recipe.steps:
        state = step.apply_to(state)
    for position in state.plan.idle(state.model):
        sentence = f"rule {position} ({state.plan.rules[position]}) selects nothing"
        warnings.warn(f"{sentence} in {model.name} as edited; give it another selector.", PlanWarning, stacklevel=3)
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
    if model.digest == recipe.model.sha256:
        return
    digests = f"its sha256 is {model.digest[:12]}..., not {recipe.model.sha256[:12]}..."
    if recipe.model.structure is None:
        what, fix = "not the recipe's model", "Give the recipe's own model, or tune this one anew."
    elif structure_digest(model) == recipe.model.structure:
        what = "not the recipe's model: the same network with other weights, trained or folded again"
        fix = "Give the recipe's own model, or re-target the recipe: workbench replay --set model=FILE."
    else:
        what = "not the recipe's model: another network, nodes or shapes differ"
        fix = "Give the recipe's own model, or tune this one anew; workbench.graph.diff tells what differs."
    raise RecipeError(f"{what}: {digests}", where=model.path or model.name, fix=fix)


def check_result(recipe: Recipe, tuned: Tuned | None, environment: Mapping[str, str]) -> None:
    """Refuse a tuned model that is not, byte for byte, the one the recipe made before.

    Raises
    ------
    RecipeError
        It differs; the message names the packages whose versions differ.
    """
    if recipe.tuned is None or tuned == recipe.tuned:
        return
    other = [change for change in drifted(recipe.environment, environment) if "absent ->" not in change]
    raise RecipeError(
        "the tuned model differs from the one this recipe made before",
        where=recipe.model.file,
        fix=f"Versions that differ: {', '.join(other)}." if other else "No version differs; please report this.",
    )
