"""Is an edit what it claims to be? Nothing is taken on trust that one run of ONNX Runtime can tell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from workbench.errors import BackendError, EditError
from workbench.evaluate.batches import over_batches
from workbench.evaluate.equivalence import UnrunnableError, equivalence, run_both
from workbench.evaluate.inputs import FREE_LENGTHS, has_free_axes, lengths_of, random_inputs, stated_inputs
from workbench.evaluate.touched import touched
from workbench.graph import costs, custom_ops, most_repeated, total
from workbench.graph.edits import SetBatch, Unchecked
from workbench.runtime import Session, output_names

if TYPE_CHECKING:
    import numpy.typing as npt

    from workbench.graph import Model, Tensor
    from workbench.graph.edits import Edit, Equivalence

    Arrays = Mapping[str, npt.NDArray[Any]]

__all__ = ["MOST_BYTES", "MOST_MACS", "MOST_NODES", "checked", "too_costly"]

MOST_NODES = 5_000
MOST_BYTES = 512 << 20
MOST_INPUT_BYTES = 128 << 20
MOST_ITERATIONS = 1_000_000
MOST_MACS = 10_000_000_000
"""Up to this size a model is run without being asked to: a second or two on a laptop's processor."""


def checked(edit: Edit, before: Model, after: Model, check: bool | Arrays | None = None) -> Equivalence | Unchecked:
    """Return how far an edit moved the outputs, or why that was not looked at.

    An edit that claims to change nothing is run before and after on the same inputs. Where the whole model is
    `too_costly` the part that was touched is, and the answer says so. Any edit whose result ONNX Runtime does not run,
    although it runs the model as it was on the same inputs, is refused.

    Parameters
    ----------
    edit, before, after
        The edit, its model, and what happened to it.
    check
        ``None``: on seeded random inputs, the touched part where the whole is `too_costly`. ``True``: on random inputs,
        the whole in any case. A mapping: on these inputs. ``False``: never.

    Raises
    ------
    EditError
        An output moved by more than `Equivalence.allowed`, or ONNX Runtime does not run the result.
    BackendError
        The check cannot run, and was asked for.
    """
    if check is False:
        return Unchecked("check=False was given")
    reason = edit.unchecked(before)
    try:
        if reason is not None:
            _runs_too(edit, before, after, check if isinstance(check, Mapping) else None)
            return Unchecked(reason)
        if isinstance(check, Mapping):
            verdict: Equivalence | Unchecked = _compared(edit, before, after, check)
        else:
            verdict = _on_random_inputs(edit, before, after, asked=check is True)
    except UnrunnableError as error:
        raise EditError(
            f"{edit.title.lower()} would leave a model that does not run: {error.what}",
            where=before.name,
            fix="The model is unchanged. If another runtime takes it, edit with check=False.",
        ) from error
    if isinstance(verdict, Unchecked):
        return verdict
    if len(verdict.empty) == len(verdict.errors) and verdict.worst[1] == 0.0:
        return Unchecked(f"{verdict.inputs}: no output has a finite value to compare")
    if not verdict.holds():
        name, moved = verdict.worst
        raise EditError(
            f"{edit.title.lower()} would move output {name!r} by {moved:.2g} of its largest value",
            where=before.name,
            fix="The model is unchanged. If it is meant, edit with check=False.",
        )
    return verdict


def too_costly(model: Model, free: int = FREE_LENGTHS[0]) -> str | None:
    """Return why a model is not run as a whole without being asked to; ``None`` where it is small enough.

    Bounds are `MOST_NODES`, `MOST_BYTES` of weights, `MOST_INPUT_BYTES` of an input, of which there will be copies and
    results as large, `MOST_ITERATIONS` of a loop and `MOST_MACS`, as far as they are known; `free` as for
    `random_inputs`.
    """
    ask = "it is checked with check=True"
    if len(model.nodes) > MOST_NODES:
        return f"the model has {len(model.nodes)} nodes, over {MOST_NODES}; {ask}"
    size = sum(value.const_value.nbytes for value in model.initializers.values() if value.const_value is not None)
    if size > MOST_BYTES:
        return f"its weights are {size >> 20} MiB, over {MOST_BYTES >> 20}; {ask}"
    if (often := most_repeated(model)) > MOST_ITERATIONS:
        return f"a loop in it runs {often:.2g} times, over {MOST_ITERATIONS:.2g}; {ask}"
    lengths = lengths_of(stated_inputs(model), (), free)
    if (size := max((_bytes(tensor, lengths) for tensor in stated_inputs(model)), default=0)) > MOST_INPUT_BYTES:
        return f"an input of it is {size >> 20} MiB, over {MOST_INPUT_BYTES >> 20}; {ask}"
    macs, _ = total(model, costs(model, lengths))
    return f"one run takes {macs / 1e9:.0f} GMACs, over {MOST_MACS / 1e9:.0f}; {ask}" if macs > MOST_MACS else None


def _bytes(tensor: Tensor, lengths: Mapping[str, int]) -> int:
    """Return the bytes of an input; 0 where its rank or type is unknown."""
    if tensor.shape is None or tensor.numpy_dtype is None:
        return 0
    return tensor.numpy_dtype.itemsize * math.prod(n if isinstance(n, int) else lengths[str(n)] for n in tensor.shape)


def _on_random_inputs(edit: Edit, before: Model, after: Model, *, asked: bool) -> Equivalence | Unchecked:
    """Compare on random inputs, with longer free axes where the model cannot work with short ones."""
    refused: BackendError | None = None
    for free in FREE_LENGTHS if has_free_axes(before) else FREE_LENGTHS[:1]:
        reason = None if asked else (too_costly(before, free) or too_costly(after, free))
        if reason is not None:
            return _on_the_touched_part(edit, before, after, free, reason)
        try:
            return _compared(edit, before, after, None, free)
        except UnrunnableError:
            raise
        except BackendError as error:
            refused = refused or error
    if refused is None or asked:
        raise refused or BackendError("there are no inputs to make")
    _loads_too(before, after)
    return Unchecked(f"{refused.what} ({refused.where or 'on random inputs'})")


def _compared(
    edit: Edit, before: Model, after: Model, inputs: Arrays | None, free: int = FREE_LENGTHS[0]
) -> Equivalence:
    if isinstance(edit, SetBatch):
        return over_batches(before, after, edit.of(before), inputs, free=free)
    return equivalence(before, after, inputs, edit=edit, free=free)


def _on_the_touched_part(edit: Edit, before: Model, after: Model, free: int, reason: str) -> Equivalence | Unchecked:
    """Compare where the edit changed something, as far as that is cheap."""
    there = touched(edit, before, after)
    places, every = there.places, len(there.places)
    if not places:
        return Unchecked(f"{reason}; no node was touched that computes what others read")
    try:
        part = there.part(places)
        while too_costly(part.before, free) is not None and len(places) > 1:
            places = places[: len(places) // 2]
            part = there.part(places)
        crops = too_costly(part.before, free) is not None
        if crops and too_costly((part := part.cropped()).before, free) is not None:
            return Unchecked(f"{reason}; the part that was touched costs too much as well")
        verdict = equivalence(part.before, part.after, edit=edit, free=free)
    except UnrunnableError:
        raise
    except (BackendError, ValueError) as error:
        why = error.what if isinstance(error, BackendError) else str(error).splitlines()[0]
        return Unchecked(f"{reason}; nor was the part that was touched: {why}")
    size = f"{part.nodes} nodes" if part.nodes != 1 else "one node"
    part_of = f", {len(places)} of {every} results" if len(places) < every else ""
    where = f"{verdict.inputs}, of the part that was touched: {size}{part_of}{', cropped' if crops else ''}"
    return replace(verdict, inputs=where, partly=reason)


def _runs_too(edit: Edit, before: Model, after: Model, inputs: Arrays | None) -> None:
    """Refuse what ONNX Runtime does not run, although it runs the model as it was.

    Custom operators that an edit brings in have an implementation of their own, elsewhere.
    """
    if not edit.runnable or custom_ops(after.ir_model).keys() - custom_ops(before.ir_model).keys():
        return
    if too_costly(before) is not None:
        there = touched(edit, before, after)
        if not there.places:
            return
        try:
            part = there.part(there.places)
        except ValueError:  # it cannot be cut out
            return
        if too_costly(part.before) is not None:
            return
        before, after = part.before, part.after
    for free in FREE_LENGTHS if has_free_axes(before) else FREE_LENGTHS[:1]:
        try:
            feeds = random_inputs(before, after=after, free=free) if inputs is None else inputs
            run_both(before, after, feeds, output_names(before), output_names(after), step=edit)
        except UnrunnableError:
            raise
        except (BackendError, KeyError):
            continue
        return
    _loads_too(before, after)


def _loads_too(before: Model, after: Model) -> None:
    """Refuse what ONNX Runtime does not even load, although it loads the model as it was."""
    try:
        Session(before)
    except BackendError:
        return
    try:
        Session(after)
    except BackendError as error:
        raise UnrunnableError(error.what, where=after.name) from error
