"""Do two versions of a model compute the same? Both run on the same inputs, random ones where none are given."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from workbench.errors import BackendError
from workbench.evaluate.inputs import FREE_LENGTHS, has_free_axes, random_inputs, stated_inputs
from workbench.evaluate.metrics import Difference
from workbench.graph import is_floating
from workbench.graph.edits import TOLERANCE, Edit, Equivalence
from workbench.runtime import Session

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from workbench.graph import Model, Tensor

    Array = npt.NDArray[Any]
    Arrays = Mapping[str, Array]

__all__ = [
    "UnrunnableError",
    "compared",
    "equivalence",
    "run_both",
]

COARSER = {"FLOAT16": 1e-2, "BFLOAT16": 5e-2}
"""The same for a model with numbers of these types, whose last digit is 2 ** -10 and 2 ** -7."""


class UnrunnableError(BackendError):
    """ONNX Runtime runs the first of two versions and not the second."""


def equivalence(
    before: Model,
    after: Model,
    inputs: Arrays | None = None,
    *,
    edit: Edit | None = None,
    free: int = FREE_LENGTHS[0],
) -> Equivalence:
    """Run two versions of a model once on ONNX Runtime and compare the outputs of the second with the first's.

    Parameters
    ----------
    before, after
        The models.
    inputs
        Input name to array, batch axis included; seeded random numbers where left out, see `random_inputs`.
    edit
        What made `after`; it knows what has another name now and what is fed in another form.
    free
        For random inputs.

    Raises
    ------
    BackendError
        They have no output in common, ONNX Runtime refuses one of them, or random numbers cannot be made;
        `UnrunnableError` where it runs the first of them alone.
    """
    step = edit or Edit(do="nothing")
    feeds = random_inputs(before, after=after, free=free) if inputs is None else dict(inputs)
    tensors = {str(value.name) for value in before.ir_model.graph.outputs}
    if edit is not None:  # what was inside may be an output now
        tensors |= {str(value.name) for node in before.top_nodes.values() for value in node.outputs}
    read = {tensor.name: step.origin(tensor.name) for tensor in stated_inputs(after)}
    results = [str(value.name) for value in after.ir_model.graph.outputs]
    common = {name: step.origin(name) for name in results if step.origin(name) in tensors}
    lacking = [name for name, was in read.items() if was not in feeds and was not in tensors]
    if not common or lacking:
        raise BackendError(
            f"input {lacking[0]!r} is new" if lacking else "no output has the name it had",
            where=after.name,
            fix="Compare models of one interface.",
        )
    originals = list(dict.fromkeys(common.values()))
    old, new = run_both(before, after, feeds, originals, list(common), step=step, seed=None if inputs else 0)
    pairs = {name: (old[was], new[name]) for name, was in common.items()}
    source = "the inputs given" if inputs is not None else "random inputs, seed 0" + _axes_text(before, free)
    result = compared(before, pairs, source)
    if result.holds() or math.isinf(result.worst[1]):
        return result
    # A threshold in the model (a quantization step, a comparison, a sort) may turn the last digit into a jump.
    noise = {name: _nudged(array, result.allowed / 10) for name, array in feeds.items()}
    moved = Session(before, outputs=originals).run(noise)
    own = max(_error(old[was], moved[was]) for was in common.values())
    return replace(result, allowed=max(result.allowed, own if math.isfinite(own) else 0.0))


def compared(before: Model, pairs: Mapping[str, tuple[Array, Array]], inputs: str) -> Equivalence:
    """Return how far results are apart; `pairs` has the first and the second of each, `inputs` what was fed."""
    return Equivalence(
        {name: _error(*pair) for name, pair in pairs.items()},
        inputs,
        min((_sqnr(*pair) for pair in pairs.values()), default=math.inf),
        _tolerance(before),
        tuple(name for name, (array, _) in pairs.items() if not _finite(array).size),
    )


def run_both(
    before: Model,
    after: Model,
    feeds: Arrays,
    originals: list[str],
    results: list[str],
    *,
    step: Edit,
    seed: int | None = None,
) -> tuple[Arrays, Arrays]:
    """Run a model as it was before a step and as it is after it.

    Parameters
    ----------
    before, after
        The models.
    feeds
        What is fed to the first; the step knows what that is for the second.
    originals, results
        Tensors of the first and of the second to return.
    step
        What made the second.
    seed
        Of random feeds; ``None`` for others.

    Raises
    ------
    BackendError
        ONNX Runtime does not run the first, or the second is fed in other shapes; `UnrunnableError` where it does not
        run the second alone.
    """
    key = None if seed is None else (seed, *((name, array.dtype.str, array.shape) for name, array in feeds.items()))
    read = {tensor.name: step.origin(tensor.name) for tensor in stated_inputs(after)}
    inner = [was for was in read.values() if was not in feeds]
    old = _kept_run(before, list(dict.fromkeys([*originals, *inner])), feeds, key)
    fed = {name: step.fed(name, feeds[was] if was in feeds else old[was]) for name, was in read.items()}
    for tensor in stated_inputs(after):
        _fits(fed[tensor.name], tensor)
    same = fed.keys() == feeds.keys() and all(fed[name] is array for name, array in feeds.items())
    try:
        return old, _kept_run(after, results, fed, key if same else None)
    except BackendError as error:
        raise UnrunnableError(error.what, where=after.name) from error


def _axes_text(model: Model, free: int) -> str:
    return f", free axes {free} long" if has_free_axes(model) else ""


def _fits(array: npt.NDArray[Any], tensor: Tensor) -> None:
    for have, length in zip(array.shape, tensor.shape or array.shape, strict=False):
        if isinstance(length, int) and length != have:
            raise BackendError(f"input {tensor.name!r} has an axis of {have} before and of {length} after it")


def _kept_run(model: Model, outputs: list[str], feeds: Arrays, key: object | None) -> Arrays:
    """Run a model; on random inputs what the newest one gave is kept, for the next edit's check starts from it."""
    last = _RAN.get(model)
    if key is not None and last is not None and last[0] == key and set(outputs) <= last[1].keys():
        return last[1]
    results = Session(model, outputs=outputs).run(feeds)
    if key is not None:
        _RAN.clear()
        _RAN[model] = key, results
    return results


_RAN: WeakKeyDictionary[Model, tuple[object, Arrays]] = WeakKeyDictionary()


def _tolerance(model: Model) -> float:
    values = [*model.initializers.values(), *(value for node in model.nodes.values() for value in node.outputs)]
    types = {value.dtype.name for value in values if value.dtype is not None}
    return max([COARSER[name] for name in types & COARSER.keys()], default=TOLERANCE)


def _nudged(array: npt.NDArray[Any], share: float) -> npt.NDArray[Any]:
    return (array * (1 + share)).astype(array.dtype) if is_floating(array.dtype) else array


def _finite(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return array[np.isfinite(array)] if is_floating(array.dtype) else array


def _sqnr(old: npt.NDArray[Any], new: npt.NDArray[Any]) -> float:
    seen = Difference()
    if old.shape != new.shape or not is_floating(old.dtype) or new.dtype != old.dtype:
        return math.inf
    seen.update(old, new)
    return math.inf if math.isnan(seen.sqnr) else seen.sqnr


def _error(old: npt.NDArray[Any], new: npt.NDArray[Any]) -> float:
    if old.shape != new.shape or old.dtype != new.dtype:
        return math.inf
    seen = Difference()
    seen.update(old, new)
    if not seen.floating:
        return seen.differing / max(seen.elements, 1)
    if seen.nonfinite or seen.became_finite:
        return math.inf
    largest = float(np.abs(_finite(old).astype(np.float64)).max(initial=0.0))
    return seen.max_error / largest if largest else (math.inf if seen.max_error else 0.0)
