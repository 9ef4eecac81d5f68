"""What reading recipes can be asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from workbench.jobs.options.base import Cli, Options

__all__ = ["DiffRecipesOptions", "SchemaOptions", "ShowRecipeOptions"]


class ShowRecipeOptions(Options):
    """Say what a recipe does, step by step; runs nothing."""

    recipe: Annotated[Path, Cli(argument=True), Field(description="The recipe.")]


class DiffRecipesOptions(Options):
    """Say in words what differs between two recipes; runs nothing."""

    before: Annotated[Path, Cli(argument=True), Field(description="A recipe.")]
    after: Annotated[Path, Cli(argument=True), Field(description="The other.")]


class SchemaOptions(Options):
    """Print the JSON Schema of recipes, for editors and other programs."""
