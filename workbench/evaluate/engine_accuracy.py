"""What an engine computes on real samples, against the floating-point model on ONNX Runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.calibration import feeds
from workbench.errors import BackendError, SamplesError
from workbench.evaluate.comparison import Agreement, Tally
from workbench.evaluate.reference import Reference
from workbench.progress import progress

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np
    import numpy.typing as npt

    from workbench.backends import Backend, Engine
    from workbench.calibration import Feed, Samples
    from workbench.graph import Model

__all__ = ["compare_engine"]

RUNS_BYTES = 256 << 20
"""Inputs that go to the engine at once: a backend may start a process for each lot."""


def compare_engine(
    original: Model | Reference,
    backend: Backend,
    engine: Engine,
    samples: Samples,
    *,
    labels: npt.NDArray[np.int64] | None = None,
    batch: int = 1,
) -> Agreement:
    """Run an engine and the model it should compute on the same samples.

    Parameters
    ----------
    original
        In floating point, with the inputs and outputs of the engine, but for what a `Reference` knows; runs on ONNX
        Runtime.
    backend, engine
        What is compared with it.
    samples
        What both are fed.
    labels
        One class index a sample: top-1 is measured on the first floating-point output.
    batch
        Samples a run for models of dynamic batch; the engine must take that many.

    Raises
    ------
    SamplesError
        There are no samples, or they do not fit the model.
    BackendError
        The engine cannot be run here, takes other inputs, or has not all of the model's outputs.
    """
    reference = Reference.of(original)
    session, tally = reference.session(), Tally(reference, labels)
    for lot in _lots(progress(feeds(samples, reference.form, batch=batch), total=None, doing="comparing")):
        for feed, found in zip(lot, backend.run_each(engine, [feed.arrays for feed in lot]), strict=True):
            missing = sorted(set(reference.outputs) - set(found))
            if missing:
                raise BackendError(
                    f"the engine has no output {', '.join(missing)}",
                    where=reference.form.name,
                    fix="Compare it with the model that it was built from.",
                )
            tally.add(feed, reference.run(session, feed.arrays), found)
    result = tally.result()
    if not result.samples:
        raise SamplesError("no samples to compare on", fix="Give at least one.")
    return result


def _lots(given: Iterable[Feed]) -> Iterator[list[Feed]]:
    lot: list[Feed] = []
    size = 0
    for feed in given:
        lot.append(feed)
        size += sum(array.nbytes for array in feed.arrays.values())
        if size >= RUNS_BYTES:
            yield lot
            lot, size = [], 0
    if lot:
        yield lot
