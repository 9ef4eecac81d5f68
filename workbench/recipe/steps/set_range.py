"""One threshold, set by a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, ValidationError

from workbench.errors import RecipeError
from workbench.recipe.steps.base import StepBase

if TYPE_CHECKING:
    from workbench.recipe.state import State

__all__ = ["RangeStep", "range_step"]


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


def range_step(tensor: str, amax: float) -> RangeStep:
    """Make a step.

    Raises
    ------
    RecipeError
        The threshold is no positive number.
    """
    try:
        return RangeStep(tensor=tensor, amax=amax)
    except ValidationError as error:
        raise RecipeError(f"{amax} is no threshold", where=tensor, fix="Give a positive number.") from error
