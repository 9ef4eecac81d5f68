"""Real samples that Triton runs before the first request, so that nobody waits for what happens only once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.calibration import Preprocessing, feeds, first_samples, open_samples
from workbench.errors import SamplesError
from workbench.recipe.steps import CalibrateStep

if TYPE_CHECKING:
    from workbench.calibration import Feed
    from workbench.handoff.deployment import Deployment, Port
    from workbench.handoff.triton.batching import DynamicBatching

__all__ = ["WarmUp", "Warmer", "make_warm_ups"]


@dataclass(frozen=True)
class Warmer:
    """One input of a warm-up: Triton's shape of it, its file and what is in that."""

    port: Port
    dims: tuple[int, ...]
    file: str
    content: bytes

    @property
    def name(self) -> str:
        """The input's name."""
        return self.port.name


@dataclass(frozen=True)
class WarmUp:
    """One run before the first request: its name, how many samples are in it (each the same), and its inputs."""

    name: str
    batch: int
    tensors: tuple[Warmer, ...]


def make_warm_ups(
    deployment: Deployment,
    batching: DynamicBatching,
    samples: object = None,
    *,
    preprocessing: object = None,
    narrow: bool = False,
) -> tuple[tuple[WarmUp, ...], str]:
    """Take one sample of the calibration, or of those given, for a run of the smallest and one of the largest batch.

    Parameters
    ----------
    deployment, batching
        The model, and how requests are put together.
    samples, preprocessing
        Where the sample comes from; where the calibration's came from, if left out.
    narrow
        64-bit integers are sent as 32-bit ones.

    Returns
    -------
    tuple
        The warm-ups, none where there is no sample, and in a sentence what they are or why there are none.

    Raises
    ------
    SamplesError
        The samples given do not fit the model.
    """
    if any(port.datatype == "BYTES" for port in deployment.inputs):
        return (), "No warm-up: an input is text."
    source = samples
    if source is None:
        preprocessing = deployment.preprocessing
        source = next(
            (step.samples.source.get("path") for step in reversed(deployment.recipe.of_kind(CalibrateStep))), None
        )
        if source is None or not Path(source).exists():
            return (), "No warm-up: the samples of the calibration are not here. Name some with --samples."
    try:
        feed = _first(source, deployment, _read(preprocessing))
    except SamplesError as error:
        if samples is not None:
            raise
        return (), f"No warm-up: the samples of the calibration are not what they were ({error})."
    tensors = []
    for at, port in enumerate(deployment.inputs):
        array = feed.arrays[port.name]
        if narrow and array.dtype == np.int64:
            array = array.astype(np.int32)
        row = array[0] if batching.most else array
        if port.datatype == "BF16":  # NumPy has no such type, so samples hold its numbers in float32
            row = row.astype(deployment.model.tensor(port.name).numpy_dtype)
        content = np.asarray(row, order="C").tobytes()
        tensors.append(Warmer(port, row.shape or (1,), f"input{at}.bin", content))
    sizes = dict.fromkeys((1, batching.most or 1))
    warm_ups = tuple(WarmUp(f"batch {size}", size, tuple(tensors)) for size in sizes)
    where = "the samples given" if samples is not None else "the calibration's samples"
    return warm_ups, f"Warm-up: the first of {where}, in a run of {' and one of '.join(map(str, sizes))}."


def _first(source: object, deployment: Deployment, preprocessing: Preprocessing | None) -> Feed:
    opened = open_samples(source, deployment.model, preprocessing=preprocessing)
    feed = next(feeds(first_samples(opened, 1), deployment.model), None)
    if feed is None:
        raise SamplesError("there is no sample to warm up with", fix="Give at least one.")
    return feed


def _read(description: Any) -> Preprocessing | None:
    read: Preprocessing | None = Preprocessing.parse(description) if isinstance(description, str) else description
    return read
