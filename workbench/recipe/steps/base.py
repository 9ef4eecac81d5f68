"""What a step of a recipe can do, and what the steps that bring ranges share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from workbench.recipe.parts import Part, ranges_hash

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

    from workbench.recipe.state import State

__all__ = ["RangesStep", "Step", "StepBase", "about"]


class Step(Protocol):
    """One step: an edit of the graph, or one of the kinds in this package."""

    @property
    def do(self) -> str:
        """Its kind, as a recipe spells it."""

    def apply_to(self, state: State) -> State:
        """Return the state after this step."""

    def moved(self, move: Callable[[str], str]) -> Self:
        """Return the step with the path of every file that it needs given to `move`."""

    def problem(self) -> str | None:
        """Say what a person broke in it by hand; ``None`` where nothing is seen."""


class StepBase(Part):
    """A step that needs no file and cannot be broken by hand."""

    def moved(self, move: Callable[[str], str]) -> Self:  # noqa: ARG002 - there is nothing to move
        """Return the step with the path of every file that it needs given to `move`."""
        return self

    def problem(self) -> str | None:
        """Say what a person broke in it by hand; ``None`` where nothing is seen."""
        return None


class RangesStep(StepBase):
    """A step that brings ranges of many tensors, and a hash over them, so that a slip of an editor is noticed."""

    if TYPE_CHECKING:
        # Each kind states the two where a reader of the YAML wants them: last.
        ranges: dict[str, float]
        sha256: str

    @property
    def origins(self) -> dict[str, str]:
        """Where each range comes from."""
        raise NotImplementedError

    def apply_to(self, state: State) -> State:
        """Return the state with these ranges."""
        return state.with_ranges(self.ranges, self.origins)

    def problem(self) -> str | None:
        """Say whether somebody changed the ranges."""
        return None if self.sha256 == ranges_hash(self.ranges) else "its ranges were changed"


def about(step: Step) -> str:
    """Return what a step is about, in a few words."""
    fields = ("select", "tensor", "method", "move")
    return next((str(value) for name in fields if (value := getattr(step, name, None))), "")
