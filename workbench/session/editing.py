"""Surgery as steps of a session, each checked before it counts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from workbench.display import Card, Shown
from workbench.errors import EditError
from workbench.evaluate import checked
from workbench.graph import blaming
from workbench.graph.edits import ConvertOpset, edit_by_name
from workbench.precision.lowering import needed_opset
from workbench.precision.plan import all_int8
from workbench.runtime import newest_opset

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from workbench.graph import Model
    from workbench.graph.edits import Edit, EditResult
    from workbench.precision.plan import PrecisionPlan
    from workbench.recipe import State
    from workbench.session.history import History

__all__ = ["Check", "Edits", "conversion_steps", "edit", "prepare", "tried"]

Check: TypeAlias = "bool | Mapping[str, npt.NDArray[Any]] | None"
"""``None``: where one run is cheap; a mapping of input name to array: on these inputs."""


def edit(history: History, step: str | Edit, *, check: Check = None, **arguments: Any) -> EditResult:
    """Apply an edit and append it if it changed anything; see `Workbench.edit`."""
    named = edit_by_name(step, **arguments) if isinstance(step, str) else step
    result = tried(history.state.model, named, check=check)
    if result.changed:
        history.append(named, history.state.edited(result))
    return result


@blaming
def tried(model: Model, step: Edit, *, check: Check = None) -> EditResult:
    """Return what an edit would give, its check included, and change nothing."""
    result = step(model)
    return replace(result, check=checked(step, model, result.model, check)) if result.changed else result


class Edits(Shown, tuple["EditResult", ...]):
    """What several edits did, one after the other."""

    __slots__ = ()

    def _card(self) -> Card:
        rows = tuple((at, str(done.check), "; ".join(done.notes)) for at, done in enumerate(self))
        return Card(f"{len(self)} edits", ("", "check", "what was done"), rows)


@blaming
def prepare(history: History) -> Edits:
    """Bring the model into the form that quantization wants; see `Workbench.prepare`."""
    results = [*_runnable(history), edit(history, "fold_constants")]
    conversion = needed_opset(history.state.model, all_int8(history.state.model))
    if conversion is not None:
        # A conversion turns attributes into constants.
        results += [edit(history, conversion), edit(history, "fold_constants")]
    results += [edit(history, "fold_batch_norm"), edit(history, "state_kernel_shape")]
    return Edits(result for result in results if result.changed)


def _runnable(history: History) -> list[EditResult]:
    """Bring a model of a newer operator set than ONNX Runtime runs to one that it does, as far as there is a way."""
    newest = newest_opset()
    if history.state.model.opset <= newest:
        return []
    try:
        return [edit(history, ConvertOpset(version=newest))]
    except EditError:
        return []  # it may run as it is; what was added to it would say so


def conversion_steps(state: State, plan: PrecisionPlan) -> list[tuple[Edit, State]]:
    """Return the edits, each with the state after it, by which a model gets the operator set that a plan needs."""
    conversion = needed_opset(state.model, state.resolve(plan))
    steps = []
    # A conversion turns attributes into constants.
    for step in () if conversion is None else (conversion, edit_by_name("fold_constants")):
        result = tried(state.model, step)
        if result.changed:
            state = state.edited(result)
            steps.append((step, state))
    return steps
