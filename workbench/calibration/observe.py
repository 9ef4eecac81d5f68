"""The one pass over the samples: every range follows from what it gathers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.backends.onnxruntime import Session
from workbench.calibration.samples import feeds
from workbench.calibration.statistics import Statistics, TensorStatistics
from workbench.progress import progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.calibration.samples import Samples
    from workbench.graph.model import Model

__all__ = ["observe"]


def observe(model: Model, tensors: Sequence[str], samples: Samples, *, batch: int = 1) -> Statistics:
    """Run every sample once and gather statistics of some tensors, in memory that does not grow with the samples.

    Parameters
    ----------
    model
        The model to run, in floating point.
    tensors
        Names of the tensors to observe.
    samples
        What to run.
    batch
        Samples a run for a model of dynamic batch.

    Returns
    -------
    Statistics
        By tensor name, in the order of `tensors`.

    Raises
    ------
    SamplesError
        The samples do not fit the model.
    BackendError
        ONNX Runtime refuses the model or fails.
    """
    session = Session(model, outputs=tensors)
    statistics = Statistics({name: TensorStatistics() for name in tensors})
    for feed in progress(feeds(samples, model, batch=batch), total=None, doing="calibrating"):
        for name, array in session.run(feed.arrays).items():
            statistics[name].update(array, samples=feed.count)
    return statistics
