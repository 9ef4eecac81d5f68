"""From a plan to a tuned model: looking at it writes nothing, `tune` makes it the recipe's result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.graph import blaming, file_digest
from workbench.precision.lowering import Lowered, lower
from workbench.precision.plan import preset
from workbench.recipe import Tuned, environment
from workbench.recipe.steps import PrecisionStep
from workbench.session.editing import conversion_steps

if TYPE_CHECKING:
    from workbench.recipe import State
    from workbench.recipe.steps import Step
    from workbench.session.history import History

__all__ = ["Tuning"]


class Tuning:
    """The lowered model of a session, made once for each state of it.

    Parameters
    ----------
    history
        Whose plan is lowered.
    """

    def __init__(self, history: History) -> None:
        self.history = history
        self._result: _Result | None = None

    @property
    def state(self) -> State:
        """Where the history has got to."""
        return self.history.state

    def lowered(self) -> Lowered:
        """Return what `tune` would give, and change nothing.

        Raises
        ------
        PrecisionError
            A tensor that is to be quantized has no range, or the target cannot have a precision.
        EditError
            The operator set cannot be converted.
        """
        return self._make().lowered

    @blaming
    def tune(self) -> Lowered:
        """Lower the plan into the graph: explicit Q/DQ, ready for every backend.

        Where no rule was added the best practice is: INT8 for what multiplies and for residual Adds. Where the plan
        needs a newer operator set (FP8, INT8 over FP16, BF16), the conversion is one more step of the recipe.

        Raises
        ------
        PrecisionError
            A tensor that is to be quantized has no range, or the target cannot have a precision.
        EditError
            The operator set cannot be converted.
        """
        result, history = self._make(), self.history
        for step, state in result.lacking:
            history.append(step, state)
        self._result = _Result(self._key(), (), result.lowered)
        history.amend(tuned=Tuned(sha256=file_digest(result.lowered.model)), environment=environment())
        return result.lowered

    def _key(self) -> tuple[Any, ...]:
        return self.history.state, self.history.recipe.weight_storage

    def _make(self) -> _Result:
        key = self._key()
        if self._result is None or any(a is not b for a, b in zip(self._result.key, key, strict=True)):
            lacking = _lacking(self.history.state)
            state = lacking[-1][1] if lacking else self.history.state
            storage = self.history.recipe.weight_storage
            lowered = lower(state.model, state.resolve(), state.ranges, weight_storage=storage)
            self._result = _Result(key, tuple(lacking), lowered)
        return self._result


@dataclass(frozen=True)
class _Result:
    key: tuple[Any, ...]
    lacking: tuple[tuple[Step, State], ...]
    lowered: Lowered


def _lacking(state: State) -> list[tuple[Step, State]]:
    """Return the steps that a state needs before it can be lowered: the best practice, another operator set."""
    steps: list[tuple[Step, State]] = []
    if not state.plan.rules:
        for rule in preset("int8", state.model).rules:
            step = PrecisionStep(**rule.model_dump())
            state = step.apply_to(state)
            steps.append((step, state))
    return [*steps, *conversion_steps(state, state.plan)]
