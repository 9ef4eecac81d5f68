"""The jobs that read recipes and run nothing."""

from __future__ import annotations

import json

from workbench.jobs.lines import Lines
from workbench.jobs.options import DiffRecipesOptions, SchemaOptions, ShowRecipeOptions, VerifyRecipeOptions, job
from workbench.recipe import Recipe, recipe_difference, recipe_schema, recipe_text, verify

__all__ = ["diff_recipes", "schema", "show_recipe", "verify_recipe"]


@job(ShowRecipeOptions)
def show_recipe(options: ShowRecipeOptions) -> Lines:
    """See `ShowRecipeOptions`."""
    return Lines(tuple(recipe_text(Recipe.load(options.recipe)).splitlines()))


@job(DiffRecipesOptions)
def diff_recipes(options: DiffRecipesOptions) -> Lines:
    """See `DiffRecipesOptions`."""
    differences = recipe_difference(Recipe.load(options.before), Recipe.load(options.after))
    return Lines(differences or ("the two do the same to the same model",))


@job(VerifyRecipeOptions)
def verify_recipe(options: VerifyRecipeOptions) -> Lines:
    """See `VerifyRecipeOptions`."""
    recipe = Recipe.load(options.recipe)
    verified = verify(recipe, where=options.recipe, model=options.model, allow_scripts=options.allow_scripts)
    problems = tuple(f"error: {problem}" for problem in verified.problems)
    differences = (*problems, *verified.notes) or ("it can be replayed here; nothing has drifted",)
    return Lines(differences, verified.problems[0].exit_code if verified.problems else 0)


@job(SchemaOptions)
def schema(options: SchemaOptions) -> Lines:  # noqa: ARG001 - there is nothing to choose
    """See `SchemaOptions`."""
    return Lines(tuple(json.dumps(recipe_schema(), indent=1).splitlines()))
