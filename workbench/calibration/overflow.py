"""Does any tensor leave the range of FP16? One pass that looks at every tensor, and keeps one number of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from workbench.calibration.samples import feeds
from workbench.progress import progress
from workbench.runtime import Session

if TYPE_CHECKING:
    from workbench.calibration.samples import Samples
    from workbench.graph import Model

__all__ = ["FP16_MAX", "find_overflow"]

FP16_MAX = 65504.0
"""The largest finite FP16 number."""


def find_overflow(model: Model, samples: Samples, *, batch: int = 1) -> dict[str, float]:
    """Return the float32 tensors that leave FP16's range, with the largest magnitude seen.

    Infinity counts (a mask may hold it), NaN does not.

    Parameters
    ----------
    model
        The model to run, in floating point.
    samples
        What to run.
    batch
        Samples a run for a model of dynamic batch.

    Raises
    ------
    SamplesError
        The samples do not fit the model.
    BackendError
        ONNX Runtime refuses the model or fails.
    """
    outputs = [str(value.name) for node in model.top_nodes.values() for value in node.outputs if value.name]
    names = [name for name in outputs if model.tensor(name).dtype == "FLOAT"]
    session = Session(model, outputs=names)
    peaks: dict[str, float] = {}
    for feed in progress(feeds(samples, model, batch=batch), total=None, doing="looking for values beyond FP16"):
        for name, array in {**feed.arrays, **session.run(feed.arrays)}.items():
            peak = float(np.nanmax(np.abs(array), initial=0.0)) if array.dtype == np.float32 else 0.0
            if peak > FP16_MAX:
                peaks[name] = max(peak, peaks.get(name, 0.0))
    return peaks
