"""Inputs for Polygraphy: what a colleague with the GPU needs to check an engine against ONNX Runtime on real data."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.calibration import feeds
from workbench.errors import SamplesError
from workbench.files import write_text

if TYPE_CHECKING:
    import os

    from workbench.calibration import Samples
    from workbench.graph import Model

__all__ = ["save_inputs"]


def save_inputs(samples: Samples, model: Model, path: str | os.PathLike[str], *, runs: int = 8, batch: int = 1) -> Path:
    """Write the inputs of some runs as Polygraphy's ``--load-inputs`` reads them.

    Polygraphy's own inputs are random numbers, on which a quantized network is far off its calibrated ranges; with
    these, ``polygraphy run tuned.onnx --onnxrt --trt --load-inputs inputs.json`` compares what matters.

    Parameters
    ----------
    samples
        Where the inputs come from, in order.
    model
        The model that is to run.
    path
        The file to write; arrays are in it as base64, so it is a third larger than the data.
    runs
        How many runs at most.
    batch
        Samples a run, where the model's batch is dynamic.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    SamplesError
        There are no samples, or they do not fit the model.
    OutputError
        The file cannot be written.
    """
    from polygraphy.json import to_json

    chosen = [dict(feed.arrays) for feed in islice(feeds(samples, model, batch=batch), runs)]
    if not chosen:
        raise SamplesError("there are no samples to write", where=model.name, fix="Give some.")
    return write_text(Path(path), to_json(chosen))
