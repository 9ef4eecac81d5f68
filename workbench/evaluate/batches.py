"""A model of another batch computes for many samples at once what it computed for few, or it does not."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.errors import BackendError
from workbench.evaluate.equivalence import UnrunnableError, compared
from workbench.evaluate.inputs import random_inputs
from workbench.runtime import Session, output_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy.typing as npt

    from workbench.graph import Model
    from workbench.graph.edits import Equivalence

    Arrays = dict[str, npt.NDArray[Any]]

__all__ = ["over_batches"]

SAMPLES = 3
"""How many runs' worth of samples a batch without a length is tried with."""


def over_batches(
    before: Model, after: Model, names: list[str], inputs: Mapping[str, npt.NDArray[Any]] | None = None, *, free: int
) -> Equivalence:
    """Feed the same samples in the old batch and in the new one, run by run, and compare what comes out.

    Parameters
    ----------
    before, after
        The models.
    names
        The inputs whose first axis is the batch.
    inputs
        Samples in the old batch; seeded random ones where left out.
    free
        The length of axes without one.

    Raises
    ------
    BackendError
        The first model does not run; `UnrunnableError` where the second alone does not.
    """
    old, new = _batch(before, names[0]), _batch(after, names[0])
    length = old or (len(inputs[names[0]]) if inputs else new or 1)
    total = math.lcm(length, new) if new else SAMPLES * length
    parts = [dict(inputs or random_inputs(before, seed=at, free=free)) for at in range(total // length)]
    if not inputs:
        for at, part in enumerate(parts):
            part.update({name: _of_length(part[name], length, at) for name in names})
    shared = {name: array for name, array in parts[0].items() if name not in names}
    parts = [shared | {name: part[name] for name in names} for part in parts]
    whole = shared | {name: np.concatenate([part[name] for part in parts]) for name in names}
    results = output_names(before)
    first = Session(before)
    single = [first.run(part) for part in parts]
    try:
        second = Session(after)
        many = [second.run(shared | fed) for fed in _cut(whole, names, new or total)]
    except BackendError as error:
        raise UnrunnableError(error.what, where=after.name) from error
    pairs = {name: _joined([run[name] for run in single], [run[name] for run in many]) for name in results}
    source = f"{total} random samples" if inputs is None else "the inputs given"
    return compared(before, pairs, f"{source}, {length} at once before and {new or total} after")


def _batch(model: Model, name: str) -> int | None:
    axis = (model.tensor(name).shape or (None,))[0]
    return axis if isinstance(axis, int) else None


def _of_length(array: npt.NDArray[Any], length: int, seed: int) -> npt.NDArray[Any]:
    """Return as many samples as a batch has, no two alike."""
    rolled = [np.roll(array, at + seed) for at in range(length)]
    return np.concatenate(rolled) if len(array) == 1 else array


def _cut(whole: Arrays, names: list[str], size: int) -> Iterator[Arrays]:
    for start in range(0, len(whole[names[0]]), size):
        yield {name: whole[name][start : start + size] for name in names}


def _joined(single: list[npt.NDArray[Any]], many: list[npt.NDArray[Any]]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Join the results of runs along the axis that grows with the batch."""
    one, other = single[0], many[0]
    if one.ndim != other.ndim or not one.ndim:
        return one, other
    axis = next((at for at, (a, b) in enumerate(zip(one.shape, other.shape, strict=True)) if a != b), 0)
    return np.concatenate(single, axis), np.concatenate(many, axis)
