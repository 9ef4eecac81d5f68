"""Surgery as steps of a session, each checked before it counts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from workbench.display import Card, Shown, counted
from workbench.errors import EditError
from workbench.evaluate import checked
from workbench.graph import blaming
from workbench.graph.edits import ConvertOpset, Surgeon, edit_by_name
from workbench.precision.lowering import needed_opset
from workbench.precision.plan import all_int8
from workbench.runtime import newest_opset

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    from workbench.graph import Model
    from workbench.graph.edits import Edit, EditResult
    from workbench.precision.plan import PrecisionPlan
    from workbench.recipe import State
    from workbench.session.history import History

__all__ = ["PREPARING", "Check", "Edits", "conversion_steps", "edit", "prepare", "run_surgeon", "tried"]

PREPARING = ("convert_opset", "fold_constants", "fold_batch_norm", "state_kernel_shape")
"""The edits that `prepare` is made of."""

Check: TypeAlias = "bool | Mapping[str, npt.NDArray[Any]] | None"
"""``None``: where one run is cheap; a mapping of input name to array: on these inputs."""


def edit(history: History, edit: str | Edit, /, *, check: Check = None, **arguments: Any) -> EditResult:
    """Apply a surgery step; it enters the recipe if it changed anything.

    An edit that claims to change nothing in what the model computes is checked: ONNX Runtime runs the models before
    and after on the same inputs and the outputs are compared. The result's `check` says what was compared, on what
    inputs and with which error, or why it was not. A recipe that is replayed is not checked again.

    Parameters
    ----------
    edit
        The edit's name (``"fold_constants"``) with its arguments, or the edit itself.
    check
        ``None`` checks on seeded random inputs where one run is cheap and possible, see
        `workbench.evaluate.edit_check.too_costly` for the bounds, and else the part of the model that was touched.
        ``True`` checks the whole in any case, a mapping of input name to array on these inputs, ``False`` never.

    Raises
    ------
    EditError
        There is no such edit, it does not apply, it would leave an invalid graph or one that does not run although
        the model did, or an output moved by more than `workbench.graph.edits.TOLERANCE`; the model stays as it was.
    BackendError
        A check that was asked for cannot run; the model stays as it was.
    """
    named = edit_by_name(edit, **arguments) if isinstance(edit, str) else edit
    result = tried(history.state.model, named, check=check)
    if result.changed:
        history.append(named, history.state.edited(result))
    return result


def run_surgeon(
    history: History, function: str | Callable[..., object], /, *, check: Check = False, **arguments: Any
) -> EditResult:
    """Run a GraphSurgeon function of your own as a step; it enters the recipe if it changed anything.

    The function takes an ``onnx_graphsurgeon.Graph``, and changes it or returns another. What GraphSurgeon cannot
    hold (metadata, doc strings, types) stays with everything that the function left as it was. The recipe keeps a
    copy of the script with its hash; whoever opens it must allow that scripts run, see `open_recipe`.

    Parameters
    ----------
    function
        ``"script.py:function"``, or a function. One that was typed into a notebook may use modules, and what it
        imports from them, but no variable of the notebook.
    check
        Whether the numbers are compared too, as by `edit`; a function may be meant to change them.
    **arguments
        What the function is called with besides the graph: anything that JSON can hold.

    Raises
    ------
    EditError
        The script or the function cannot be had, it raised something, or it would leave an invalid graph; the model
        stays as it was.
    """
    return edit(history, Surgeon.of(function, arguments), check=check)


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
        return Card(counted(len(self), "edit"), ("", "check", "what was done"), rows)


@blaming
def prepare(history: History) -> Edits:
    """Bring the model into the form that quantization wants; return what was done, each step with its check.

    Folds constants, raises the operator set where Q/DQ needs it, lowers it where ONNX Runtime does not run it yet,
    folds BatchNormalization away, and states kernel shapes that only the weights say.
    """
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
