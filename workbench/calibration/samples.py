"""Samples: what calibration and evaluation feed to a model, streamed in batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from workbench.calibration.time_axis import warn_of_time
from workbench.errors import SamplesError
from workbench.graph import is_floating
from workbench.limits import check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import EllipsisType

    from workbench.graph import Model, Tensor

__all__ = ["ONLY_INPUT", "Array", "Feed", "Sample", "Samples", "feeds", "first_samples"]

Array = npt.NDArray[Any]
Sample = dict[str, Array]

ONLY_INPUT = ""
"""Stands for the input's name in samples of one unnamed array: the model's only input."""

REPEATED = 1e-4
"""Of a result's largest value: as far apart two rows may be that were made of the same sample."""


class Samples(ABC):
    """Calibration or evaluation data: iterated any number of times, one sample at a time, never all in memory."""

    @abstractmethod
    def __iter__(self) -> Iterator[Sample]:
        """Yield one {input name: array} a sample; the arrays have no batch axis, or are whole model inputs."""

    @abstractmethod
    def __len__(self) -> int:
        """Return how many samples there are."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the data as stored, and of how it is turned into inputs."""

    @property
    def reshaping(self) -> str:
        """What to do where a sample has not the shape that the model wants."""
        return "Reshape it; an .npz holds one array an input whose first axis counts samples."

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return what a recipe keeps of the samples, so that a person finds them again."""


@dataclass(frozen=True)
class Feed:
    """The inputs of one run.

    Parameters
    ----------
    arrays
        Input name to array, batch axis included.
    first
        Index of the first sample in it.
    count
        How many samples are in it.
    padding
        How many repetitions of the last of them follow: a last, incomplete batch of a model with a fixed batch is
        filled up so.
    """

    arrays: Mapping[str, Array]
    first: int
    count: int
    padding: int = 0

    @property
    def rows(self) -> int:
        """How long the first axis of what was given is: the samples of a batch, or the rows of a whole input."""
        lengths = [array.shape[0] for array in self.arrays.values() if array.ndim]
        return lengths[0] - self.padding if lengths else self.count

    def real(self, array: Array) -> slice | EllipsisType:
        """Say which part of a result is of what was given: all of it, or without what the padding made.

        A first axis that holds the samples shows it: what was made of the repetitions repeats what was made of the last
        sample. Where it does not (time comes first, or rows mix), nothing is left out.

        Parameters
        ----------
        array
            A result of the floating-point model.
        """
        size = self.count + self.padding
        if not self.padding or array.ndim == 0 or not array.size or len(array) % size:
            return ...
        parts = array.reshape(size, -1)
        last, repeated = parts[self.count - 1], parts[self.count :]
        if is_floating(array.dtype) or array.dtype.kind == "c":
            last, repeated = (part if part.dtype.kind in "fc" else part.astype(np.float32) for part in (last, repeated))
            # The edge of a block of rows may be computed in another order than its middle.
            finite = np.abs(last[np.isfinite(last)])
            bound = REPEATED * float(finite.max(initial=0.0))
            same = np.isclose(repeated, last, rtol=0.0, atol=bound, equal_nan=True).all()
        else:
            same = (repeated == last).all()
        return slice(len(array) * self.count // size) if same else ...


def feeds(samples: Samples, model: Model, *, batch: int = 1, empty: Callable[..., Array] = np.empty) -> Iterator[Feed]:
    """Turn samples into the inputs of runs.

    A sample array of one axis less than the input is stacked along a new first axis: N samples a run where the model's
    batch is fixed to N, `batch` samples where it is dynamic. A sample array with as many axes as the input is a whole
    input, one sample a run. A dynamic batch ends early where the next sample has another shape.

    Parameters
    ----------
    samples
        The data.
    model
        Whose inputs are to be fed.
    batch
        Samples a run for a model of dynamic batch.
    empty
        Makes the arrays that samples are stacked in, of a shape and a dtype.

    Raises
    ------
    SamplesError
        A sample whose names, shapes or dtypes are not those of the model's inputs. The message names the sample's
        index. NaN and infinity are fed like any number: a mask may hold -inf, and padding NaN.
    """
    asked: object = batch
    if not isinstance(asked, Integral) or batch < 1:
        raise SamplesError(f"a batch of {batch!r} samples", fix="Give a whole number from 1.")
    pending: list[Sample] = []
    first, size, warned = 0, batch, False
    for position, sample in enumerate(samples):
        checked = _check(sample, model, position, samples.reshaping)
        whole, size = _grouping(checked, model, position, batch)
        if not whole and not warned:
            warn_of_time(model)
            warned = True
        if pending and (whole or _shapes(checked) != _shapes(pending[0])):
            yield _stack(pending, first, model, size, empty)
            pending = []
        if not pending:
            first = position
        pending.append(checked)
        if len(pending) == (1 if whole else size):
            yield _stack(pending, first, model, size, empty)
            pending = []
    if pending:
        yield _stack(pending, first, model, size, empty)


def first_samples(samples: Samples, count: int) -> Samples:
    """Return the first `count` samples as samples of their own."""
    return _Head(samples, count)


class _Head(Samples):
    def __init__(self, samples: Samples, count: int) -> None:
        self._samples = samples
        self._count = min(count, len(samples))

    @property
    def reshaping(self) -> str:
        return self._samples.reshaping

    def __iter__(self) -> Iterator[Sample]:
        for _, sample in zip(range(self._count), self._samples, strict=False):
            yield sample

    def __len__(self) -> int:
        return self._count

    @property
    def fingerprint(self) -> str:
        return f"{self._samples.fingerprint}[:{self._count}]"

    def describe(self) -> dict[str, Any]:
        return {**self._samples.describe(), "first": self._count}


def _check(sample: Sample, model: Model, index: int, reshaping: str) -> Sample:
    """Bind a sample to the model's inputs and refuse what does not fit."""
    inputs = {tensor.name: tensor for tensor in model.inputs}
    if set(sample) == {ONLY_INPUT}:
        if len(inputs) != 1:
            raise SamplesError(
                f"one unnamed array, and the model has {len(inputs)} inputs: {', '.join(inputs)}",
                where=f"sample {index}",
                fix="Save an .npz with one array an input.",
            )
        sample = {next(iter(inputs)): sample[ONLY_INPUT]}
    missing, unknown = inputs.keys() - sample.keys(), sample.keys() - inputs.keys()
    if missing or unknown:
        wrong = (
            f"no array for input {min(missing)!r}, there is {', '.join(map(repr, sorted(sample))) or 'none'}"
            if missing
            else f"an array for {min(unknown)!r}, which is no input"
        )
        raise SamplesError(
            wrong, where=f"sample {index}", fix=f"The model's inputs are: {', '.join(str(t) for t in model.inputs)}."
        )
    return {name: _checked(array, inputs[name], index, reshaping) for name, array in sample.items()}


def _checked(array: Array, tensor: Tensor, index: int, reshaping: str) -> Array:
    where = f"sample {index}, input {tensor.name!r}"
    if tensor.form:
        raise SamplesError(
            f"it is a {tensor.form}, and samples are tensors",
            where=where,
            fix="Cut the model behind it: wb.edit('extract', ...).",
        )
    dtype = tensor.numpy_dtype
    if tensor.dtype == "BFLOAT16" and dtype is not None and array.dtype in (np.float32, dtype):
        # NumPy itself has no BF16, so samples hold its numbers in float32, and so do the inputs of a run.
        array = array.astype(dtype).astype(np.float32)
    elif dtype is not None and array.dtype != dtype:
        raise SamplesError(
            f"dtype {array.dtype}, the model wants {dtype}", where=where, fix=f"Convert it with .astype('{dtype}')."
        )
    shape = tensor.shape
    if shape is not None:
        axes = shape if array.ndim == len(shape) else shape[1:]
        fits = array.ndim == len(axes) and all(
            not isinstance(length, int) or length == have for length, have in zip(axes, array.shape, strict=True)
        )
        if not fits:
            raise SamplesError(
                f"shape {list(array.shape)}, the model wants {_axes(shape[1:])} (one sample) or {_axes(shape)}",
                where=where,
                fix=reshaping,
            )
    return array


def _axes(shape: tuple[int | str | None, ...]) -> str:
    return "[" + ", ".join("?" if length is None else str(length) for length in shape) + "]"


def _grouping(sample: Sample, model: Model, index: int, batch: int) -> tuple[bool, int]:
    """Return whether a sample is a run of its own, and else how many samples make a run."""
    shapes = [tensor.shape for tensor in model.inputs if tensor.name in sample]
    stacked = [
        tensor.shape is not None and sample[tensor.name].ndim == len(tensor.shape) - 1 for tensor in model.inputs
    ]
    fixed = {shape[0] for shape in shapes if shape and isinstance(shape[0], int)}
    if not all(stacked):
        if any(stacked) and fixed - {1}:
            raise SamplesError(
                "some arrays are whole inputs, others one sample of a batch",
                where=f"sample {index}",
                fix="Give every array with its batch axis, or none.",
            )
        return True, 1
    if len(fixed) > 1:
        raise SamplesError(
            f"the model's inputs have different first axes {sorted(fixed)}, so samples cannot be stacked",
            where=f"sample {index}",
            fix="Give every array as a whole input, with all its axes.",
        )
    if fixed == {0}:
        raise SamplesError(
            "a batch of the model holds no sample: its inputs state a first axis of 0",
            where=f"sample {index}",
            fix="Export it with a batch of at least one, or give every array as a whole input, with all its axes.",
        )
    return False, next(iter(fixed), batch)


def _shapes(sample: Sample) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in sample.items()}


def _stack(pending: list[Sample], first: int, model: Model, size: int, empty: Callable[..., Array]) -> Feed:
    arrays: dict[str, Array] = {}
    stacked = {t.name for t in model.inputs if t.shape is not None and pending[0][t.name].ndim < len(t.shape)}
    fixed = any(isinstance(tensor.shape[0], int) for tensor in model.inputs if tensor.shape)
    padding = size - len(pending) if fixed else 0
    for tensor in model.inputs:
        rows = [sample[tensor.name] for sample in pending]
        # A model may state any batch.
        where = f"input {tensor.name!r}, a batch of {size}"
        check("array_mib", rows[0].nbytes * (len(rows) + padding) / 2**20, SamplesError, where=where)
        check("input_mib", rows[0].nbytes * padding / 2**20, SamplesError, where=where)
        if tensor.name in stacked:
            into = empty((len(rows) + padding, *rows[0].shape), rows[0].dtype)
            arrays[tensor.name] = np.stack(rows + [rows[-1]] * padding, out=into)
        else:
            arrays[tensor.name] = rows[0]
    return Feed(arrays, first, len(pending), padding)
