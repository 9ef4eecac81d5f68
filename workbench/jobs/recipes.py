"""The jobs that read recipes and run nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass

from workbench.display import Card, Shown
from workbench.jobs.options import DiffRecipesOptions, SchemaOptions, ShowRecipeOptions, job
from workbench.recipe import Recipe, recipe_difference, recipe_schema, recipe_text

__all__ = ["Told", "diff_recipes", "schema", "show_recipe"]


@dataclass(frozen=True, repr=False)
class Told(Shown):
    """Lines for a person.

    Parameters
    ----------
    lines
        What there is to say.
    """

    lines: tuple[str, ...]

    def text(self) -> str:
        """Return them as one text."""
        return "\n".join(self.lines)

    def _card(self) -> Card:
        return Card.of_text(self.text())


@job(ShowRecipeOptions)
def show_recipe(options: ShowRecipeOptions) -> Told:
    """See `ShowRecipeOptions`."""
    return Told(tuple(recipe_text(Recipe.load(options.recipe)).splitlines()))


@job(DiffRecipesOptions)
def diff_recipes(options: DiffRecipesOptions) -> Told:
    """See `DiffRecipesOptions`."""
    told = recipe_difference(Recipe.load(options.before), Recipe.load(options.after))
    return Told(told or ("the two do the same to the same model",))


@job(SchemaOptions)
def schema(options: SchemaOptions) -> Told:  # noqa: ARG001 - there is nothing to choose
    """See `SchemaOptions`."""
    return Told(tuple(json.dumps(recipe_schema(), indent=1).splitlines()))
