"""One threshold, set by a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from workbench.errors import RecipeError
from workbench.recipe.steps.base import StepBase

if TYPE_CHECKING:
    from workbench.recipe.state import State

__all__ = ["RangeStep"]


class RangeStep(StepBase):
    """One tensor's clipping threshold, set by hand."""

    do: Literal["set_range"] = "set_range"
    tensor: str
    amax: Annotated[float, Field(gt=0, allow_inf_nan=False)]

    def apply_to(self, state: State) -> State:
        """Return the state with this range.

        Raises
        ------
        RecipeError
            The model has no such tensor.
        """
        if self.tensor not in state.model.tensors:
            raise RecipeError("there is no such tensor", where=self.tensor, fix="Remove this set_range step.")
        return state.with_ranges({self.tensor: self.amax}, {self.tensor: "manual"})
