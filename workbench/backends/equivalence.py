"""Do two versions of a model compute the same? Both run on the same inputs, random ones where none are given."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.backends.metrics import Difference
from workbench.backends.onnxruntime import Session
from workbench.errors import BackendError, EditError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from workbench.graph.edits.base import Edit
    from workbench.graph.model import Model

__all__ = ["TOLERANCE", "Equivalence", "checked", "equivalence", "random_inputs"]

TOLERANCE = 1e-4
"""Of an output's largest value: folding rounds anew, which is some 1e-6; a mistake is seldom below 1e-2."""
_FREE_LENGTH = 16


@dataclass(frozen=True)
class Equivalence:
    """How far the outputs of two versions of a model are apart.

    Parameters
    ----------
    errors
        Output to the largest absolute difference over the largest absolute value of the first model's; infinite where
        the shape or the type differs, or where a finite value became NaN or infinite. For integers the share of values
        that differ.
    inputs
        What was fed, in words.
    """

    errors: Mapping[str, float]
    inputs: str

    @property
    def worst(self) -> tuple[str, float]:
        """The output that differs most, and by how much."""
        return max(self.errors.items(), key=lambda entry: entry[1])

    def holds(self, tolerance: float = TOLERANCE) -> bool:
        """Say whether every output is within a tolerance; see `errors` for what it is relative to."""
        return self.worst[1] <= tolerance

    def __str__(self) -> str:
        name, error = self.worst
        count = f"{len(self.errors)} outputs" if len(self.errors) > 1 else "the output"
        if error == 0.0:
            return f"{count} exactly as before, on {self.inputs}"
        most = f", the most in {name}" if len(self.errors) > 1 else ""
        return f"{count} within {error:.2g} of the largest value{most}, on {self.inputs}"


def equivalence(
    before: Model, after: Model, inputs: Mapping[str, npt.NDArray[Any]] | None = None, *, seed: int = 0
) -> Equivalence:
    """Run two versions of a model once on ONNX Runtime and compare the outputs that both have.

    Parameters
    ----------
    before, after
        The models; `after` needs no input that `before` does not have.
    inputs
        Input name to array, batch axis included; seeded random numbers where left out, see `random_inputs`.
    seed
        For those.

    Raises
    ------
    BackendError
        They have no output in common, ONNX Runtime refuses one of them, or random numbers cannot be made.
    """
    feeds = random_inputs(before, seed=seed) if inputs is None else dict(inputs)
    names = [str(value.name) for value in after.ir_model.graph.inputs]
    kept = {str(value.name) for value in after.ir_model.graph.outputs}
    common = [str(value.name) for value in before.ir_model.graph.outputs if value.name in kept]
    lacking = [name for name in names if name not in feeds and name not in after.initializers]
    if not common or lacking:
        raise BackendError(
            f"input {lacking[0]!r} is new" if lacking else "no output has the name it had",
            where=after.name,
            fix="Compare models of one interface.",
        )
    old = Session(before, outputs=common).run(feeds)
    new = Session(after, outputs=common).run({name: feeds[name] for name in names if name in feeds})
    errors = {name: _error(old[name], new[name]) for name in common}
    return Equivalence(errors, "the inputs given" if inputs is not None else f"random inputs, seed {seed}")


def checked(
    edit: Edit, before: Model, after: Model, inputs: Mapping[str, npt.NDArray[Any]] | None = None
) -> Equivalence:
    """Return how far an edit moved the outputs.

    Raises
    ------
    EditError
        By more than `TOLERANCE`.
    """
    found = equivalence(before, after, inputs)
    if not found.holds():
        name, error = found.worst
        raise EditError(
            f"{edit.title.lower()} would move output {name!r} by {error:.2g} of its largest value",
            where=before.name,
            fix="The model is unchanged. If it is meant, edit without check.",
        )
    return found


def random_inputs(model: Model, *, seed: int = 0) -> dict[str, npt.NDArray[Any]]:
    """Return seeded random inputs: normal numbers for floats, 0 and 1 for integers, which are often indices.

    Of the axes without a length the first is 1 long and every other one 16; a symbol has one length everywhere.

    Raises
    ------
    BackendError
        The element type or the rank of an input is unknown, or it holds no numbers.
    """
    generator = np.random.default_rng(seed)
    made: dict[str, npt.NDArray[Any]] = {}
    lengths: dict[object, int] = {}
    for tensor in model.inputs:
        dtype = tensor.numpy_dtype
        if tensor.shape is None or dtype is None or dtype.kind not in "fiub":
            raise BackendError("no random numbers can be made for it", where=tensor.name, fix="Give inputs.")
        for place, axis in enumerate(tensor.shape):
            lengths.setdefault(axis, axis if isinstance(axis, int) else _FREE_LENGTH if place else 1)
        shape = [lengths[axis] for axis in tensor.shape]
        if dtype.kind in "iub":
            made[tensor.name] = generator.integers(0, 2, shape).astype(dtype)
        else:
            made[tensor.name] = generator.standard_normal(shape).astype(dtype)
    return made


def _error(old: npt.NDArray[Any], new: npt.NDArray[Any]) -> float:
    if old.shape != new.shape or old.dtype != new.dtype:
        return math.inf
    seen = Difference()
    seen.update(old, new)
    if not seen.floating:
        return seen.differing / max(seen.elements, 1)
    if seen.nonfinite:
        return math.inf
    finite = np.abs(old[np.isfinite(old)].astype(np.float64))
    largest = float(finite.max(initial=0.0))
    return seen.max_error / largest if largest else (math.inf if seen.max_error else 0.0)
