"""Where engines of a recipe's model are to load: options of their build that belong to the model, not to a machine."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import model_validator

from workbench.errors import RecipeError
from workbench.recipe.parts import Part

if TYPE_CHECKING:
    from typing_extensions import Self

    from workbench.backends import BuildOptions

__all__ = ["Build"]

TOGETHER = "exclude_lean_runtime goes with version_compatible"


class Build(Part):
    """Options of every build of the model; see `workbench.backends.protocol.BuildOptions`."""

    version_compatible: bool = False
    exclude_lean_runtime: bool = False
    hardware_compatible: bool = False
    refit: bool = False
    strip: bool = False

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.exclude_lean_runtime and not self.version_compatible:
            raise ValueError(TOGETHER)
        return self

    def and_also(self, **asked: bool) -> Build:
        """Return what is asked for here and what is asked for besides, by name.

        Raises
        ------
        RecipeError
            They do not fit each other.
        """
        merged = {name: kept or asked.get(name, False) for name, kept in self.model_dump().items()}
        if merged["exclude_lean_runtime"] and not merged["version_compatible"]:
            raise RecipeError(TOGETHER, fix="Ask for both, or for neither.")
        return Build(**merged)

    @property
    def asked(self) -> tuple[str, ...]:
        """Names of the options that are asked for."""
        return tuple(name for name, chosen in self.model_dump().items() if chosen)

    def added_to(self, options: BuildOptions) -> BuildOptions:
        """Return options with what is asked for here, too."""
        asked: dict[str, Any] = dict.fromkeys(self.asked, True)
        return replace(options, **asked)
