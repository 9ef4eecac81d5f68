"""What an engine computes on real samples, against the floating-point model on ONNX Runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.errors import BackendError, SamplesError
from workbench.evaluate.comparison import Tally
from workbench.evaluate.engine_runs import run_samples
from workbench.evaluate.reference import Reference

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from workbench.backends import Backend, Engine
    from workbench.calibration import Samples
    from workbench.evaluate.agreement import Agreement
    from workbench.graph import Model

__all__ = ["compare_engine"]


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
    for feed, results in run_samples(backend, engine, samples, reference.form, batch=batch, doing="comparing"):
        missing = sorted(set(reference.outputs) - set(results))
        if missing:
            raise BackendError(
                f"the engine has no output {', '.join(missing)}",
                where=reference.form.name,
                fix="Compare it with the model that it was built from.",
            )
        tally.add(feed, reference.run(session, feed.arrays), results)
    result = tally.result()
    if not result.samples:
        raise SamplesError("no samples to compare on", fix="Give at least one.")
    return result
