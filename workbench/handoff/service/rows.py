"""Whether rows that are run together leave each other alone: found out by running them, not believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.errors import BackendError, WorkbenchError
from workbench.evaluate import FREE_LENGTHS, random_inputs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from workbench.handoff.deployment import Deployment

    Arrays = Mapping[str, NDArray[Any]]
    Run = Callable[[Arrays], dict[str, NDArray[Any]]]

__all__ = ["LEAST_SQNR_DB", "Rows", "rows_of"]

LEAST_SQNR_DB = 30.0
"""Of an output against the noise that neighbours in a batch make in it. Rounding stays far above, and so do values that
it moves to the next step of a quantizer; a row that depends on another one does not."""


@dataclass(frozen=True)
class Rows:
    """How requests may be put together.

    Parameters
    ----------
    most
        The most rows of a run; 1 where requests must run alone.
    sizes
        The only numbers of rows that the engine takes; ``None`` for all.
    difference
        The largest difference that company makes to a value, as a part of the output's largest: 0 where answers are
        bit for bit those of single runs.
    why
        In words.
    """

    most: int
    sizes: tuple[int, ...] | None
    difference: float
    why: str


def rows_of(run: Run, deployment: Deployment, most: int, *, steps: bool = False, exact: bool = False) -> Rows:
    """Find out by running whether rows that are run together leave each other alone.

    What a model says of its first axis is not enough: time may come first, or a mean be taken over it. So random rows
    are run alone and in company.

    Parameters
    ----------
    run
        Runs once.
    deployment
        Whose inputs are made up.
    most
        The most rows that are wanted.
    steps
        Run powers of two only: each shape costs memory of its own on a GPU.
    exact
        Put rows together only where they then have the bits of single runs.

    Where no inputs can be made up that the model runs (text, indices into something), requests run one by one.
    """
    firsts = {port.shape[0] if port.shape else 0 for port in (*deployment.inputs, *deployment.outputs)}
    fixed = next(iter(firsts)) if len(firsts) == 1 else 0
    try:
        first, alone = _first_run(run, deployment)
    except BackendError as error:
        return _single(f"no inputs could be made up to try more ({error.what})")
    if most == 1 or not (deployment.batches or fixed > 1):
        return _single("one row was asked for" if most == 1 else "inputs and outputs have no batch axis in common")
    pairs = _rolled(run, first, alone, fixed) if fixed > 1 else _joined(run, first, alone, most)
    worst, noise = 0.0, 0.0
    try:
        for expected, actual in pairs:
            one, power = _difference(expected, actual)
            worst, noise = max(worst, one), max(noise, power)
    except (WorkbenchError, ValueError) as error:
        return _single(f"several rows do not run: {error}")
    if not noise <= 10 ** (-LEAST_SQNR_DB / 10):
        return _single("what is in a row changes the result of its neighbours")
    if exact and worst:
        return _single(f"company changes values by up to {worst:.1g} of the largest, and exact answers are asked for")
    sizes = (fixed,) if fixed > 1 else _powers_of_two(most) if steps else None
    bits = "bit for bit as alone" if not worst else f"values within {worst:.1g} of the largest as alone"
    return Rows(fixed if fixed > 1 else most, sizes, worst, f"requests run together, {bits}")


def _single(why: str) -> Rows:
    return Rows(1, None, 0.0, f"requests run one by one: {why}")


def _powers_of_two(most: int) -> tuple[int, ...]:
    return (*(1 << i for i in range(most.bit_length()) if 1 << i < most), most)


def _first_run(run: Run, deployment: Deployment) -> tuple[Arrays, Arrays]:
    """Run random inputs, of the first lengths that the model takes."""
    refused: BackendError | None = None
    for free in FREE_LENGTHS:
        try:
            feeds = random_inputs(deployment.model, free=free)
            return feeds, run(feeds)
        except BackendError as error:  # noqa: PERF203 - three times at most
            refused = refused or error
    raise refused or BackendError("it does not run", where=deployment.name)


def _joined(run: Run, first: Arrays, alone: Arrays, most: int) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Yield outputs of rows that were run alone, and of the same rows run together."""
    generator = np.random.default_rng(1)
    rows, results = [first], [alone]
    for _ in range(min(most, 3) - 1):
        rows.append({name: generator.permuted(array).reshape(array.shape) for name, array in first.items()})
        results.append(run(rows[-1]))
    for size in sorted({len(rows), most}):
        order = [i % len(rows) for i in range(size)]
        together = run({name: np.concatenate([rows[i][name] for i in order]) for name in first})
        for name, array in together.items():
            yield np.concatenate([results[i][name] for i in order]), array


def _rolled(run: Run, first: Arrays, before: Arrays, fixed: int) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Yield outputs of a batch of fixed size, and of the same rows in other places beside other neighbours."""
    half = fixed // 2
    together = run({name: np.concatenate([array[half:], array[:half] * 0]) for name, array in first.items()})
    for name, array in together.items():
        yield before[name][half:], array[: fixed - half]


def _difference(expected: NDArray[Any], actual: NDArray[Any]) -> tuple[float, float]:
    """Return the largest difference as a part of the largest value, and the noise as a part of the power."""
    if expected.shape != actual.shape:
        raise ValueError(f"an output of shape {list(actual.shape)} in place of {list(expected.shape)}")
    if expected.dtype.kind in "OUS":
        different = float((expected != actual).mean()) if expected.size else 0.0
        return different, different
    a, b = (
        np.nan_to_num(array.astype(np.float64), nan=0.0, posinf=1e300, neginf=-1e300) for array in (expected, actual)
    )
    largest, power = float(np.abs(a).max(initial=0.0)), float((a * a).sum())
    off = np.abs(a - b)
    if not off.any():
        return 0.0, 0.0
    return float(off.max()) / (largest or 1.0), float((off * off).sum()) / (power or 1.0)
