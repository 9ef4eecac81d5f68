"""Seeded random inputs of a model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.errors import BackendError
from workbench.graph import Tensor, is_floating
from workbench.limits import check, mib

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from workbench.graph import Model

__all__ = ["FREE_LENGTHS", "has_free_axes", "lengths_of", "random_inputs", "stated_inputs"]

FREE_LENGTHS = (16, 64, 512)
"""Tried one after the other: some models cannot take a short sequence or a small image."""


def random_inputs(
    model: Model, *, after: Model | None = None, seed: int = 0, free: int = FREE_LENGTHS[0]
) -> dict[str, npt.NDArray[Any]]:
    """Return seeded random inputs: normal numbers for floats, 0 and 1 for integers, which are often indices.

    Of the axes without a length the first is 1 long and every other one `free`; a symbol has one length everywhere,
    ``past + 1`` the length of ``past`` and one more. Lengths that `after` states for the same input come before both.

    Raises
    ------
    BackendError
        The element type or the rank of an input is unknown, it holds no numbers, or the two models want it in
        different lengths.
    """
    generator = np.random.default_rng(seed)
    inputs: dict[str, npt.NDArray[Any]] = {}
    lengths = lengths_of(stated_inputs(model), () if after is None else stated_inputs(after), free)
    for tensor in stated_inputs(model):
        dtype = tensor.numpy_dtype
        if tensor.shape is None or dtype is None or not (dtype.kind in "iub" or is_floating(dtype)):
            raise BackendError("no random numbers can be made for it", where=tensor.name, fix="Give inputs.")
        shape = [axis if isinstance(axis, int) else lengths[str(axis)] for axis in tensor.shape]
        # Random numbers are made in double precision.
        check(
            "input_mib",
            mib(8 * math.prod(max(length, 1) for length in shape)),
            BackendError,
            where=f"input {tensor.name!r}",
        )
        if dtype.kind in "iub":
            inputs[tensor.name] = generator.integers(0, 2, shape).astype(dtype)
        else:
            inputs[tensor.name] = generator.standard_normal(shape).astype(dtype)
    return inputs


def stated_inputs(model: Model) -> list[Tensor]:
    """Return the inputs as the file states them; `Model.inputs` would infer all shapes first."""
    values = [value for value in model.ir_model.graph.inputs if value.name not in model.initializers]
    return [
        Tensor(
            str(value.name),
            None if value.shape is None else tuple(n if isinstance(n, int) else n.value for n in value.shape),
            value.dtype.name if value.dtype else None,  # a file may say that it is undefined
        )
        for value in values
    ]


def lengths_of(inputs: Iterable[Tensor], others: Iterable[Tensor], free: int) -> dict[str, int]:
    """Return a length for each symbol of some inputs, ``None`` among them as text."""
    stated = {tensor.name: tensor.shape or () for tensor in others}
    fixed: dict[str, int] = {}
    lengths: dict[str, int] = {}
    for tensor in inputs:
        other = stated.get(tensor.name, ())
        for place, axis in enumerate(tensor.shape or ()):
            if not isinstance(axis, int):
                lengths.setdefault(str(axis), free if place else 1)
                if len(other) == len(tensor.shape or ()) and isinstance(length := other[place], int):
                    fixed.setdefault(str(axis), length)
    lengths |= fixed
    for symbol in lengths:
        parts = [part.strip() for part in symbol.split("+")]
        if len(parts) > 1 and all(part.isdigit() or part in lengths for part in parts):
            lengths[symbol] = sum(int(part) if part.isdigit() else lengths[part] for part in parts)
    return lengths


def has_free_axes(model: Model) -> bool:
    """Say whether an input has an axis without a length, the first left aside, which counts samples."""
    return any(not isinstance(length, int) for tensor in stated_inputs(model) for length in (tensor.shape or ())[1:])
