"""Run an engine over samples, some at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.calibration import feeds
from workbench.progress import progress

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np

    from workbench.backends import Backend, Engine
    from workbench.calibration import Feed, Samples
    from workbench.graph import Model

__all__ = ["run_samples"]

RUNS_BYTES = 256 << 20
"""Inputs that go to the engine at once: a backend may start a process for each lot."""


def run_samples(
    backend: Backend, engine: Engine, samples: Samples, form: Model, *, batch: int = 1, doing: str = "running"
) -> Iterator[tuple[Feed, dict[str, np.ndarray[Any, Any]]]]:
    """Yield what was fed and what came out, run by run.

    Parameters
    ----------
    backend, engine
        What runs.
    samples
        What it is fed.
    form
        A model with the engine's inputs.
    batch
        Samples a run where the batch is dynamic; the engine must take that many.
    doing
        What the progress bar says.

    Raises
    ------
    SamplesError
        The samples do not fit the inputs.
    BackendError
        The engine cannot be run here.
    """
    for lot in _lots(progress(feeds(samples, form, batch=batch), total=None, doing=doing)):
        yield from zip(lot, backend.run_each(engine, [feed.arrays for feed in lot]), strict=True)


def _lots(samples: Iterable[Feed]) -> Iterator[list[Feed]]:
    lot: list[Feed] = []
    size = 0
    for feed in samples:
        lot.append(feed)
        size += sum(array.nbytes for array in feed.arrays.values())
        if size >= RUNS_BYTES:
            yield lot
            lot, size = [], 0
    if lot:
        yield lot
