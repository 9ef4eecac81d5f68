"""What reading recipes can be asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from workbench.jobs.options.base import Cli, Options
from workbench.jobs.options.kinds import AllowScripts

__all__ = ["DiffRecipesOptions", "SchemaOptions", "ShowRecipeOptions", "VerifyRecipeOptions"]


class ShowRecipeOptions(Options):
    """Say what a recipe does, step by step; runs nothing."""

    recipe: Annotated[Path, Cli(argument=True), Field(description="The recipe.")]


class DiffRecipesOptions(Options):
    """Say in words what differs between two recipes; runs nothing."""

    before: Annotated[Path, Cli(argument=True), Field(description="A recipe.")]
    after: Annotated[Path, Cli(argument=True), Field(description="The other.")]


class VerifyRecipeOptions(Options):
    """Say all that would keep a recipe from being replayed here, and what has drifted; runs nothing.

    Its model, scripts and files are looked at, and the versions that made it.
    """

    recipe: Annotated[Path, Cli(argument=True), Field(description="The recipe.")]
    model: Annotated[Path | None, Field(description="Where its model is, if not where the recipe says.")] = None
    allow_scripts: AllowScripts = False


class SchemaOptions(Options):
    """Print the JSON Schema of recipes, for editors and other programs."""
