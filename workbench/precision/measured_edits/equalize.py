"""Which channels need equalizing, from what they reach on samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from workbench.calibration import ChannelExtremes, feeds
from workbench.graph.edits import EqualizeChannels, equalizable
from workbench.progress import progress
from workbench.runtime import Session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from workbench.calibration import Samples
    from workbench.graph import Model

__all__ = ["equalization"]

LIMIT = 8
"""The largest exponent: what is 256 times smaller than the rest hardly matters, and weights must stay normal."""


def equalization(model: Model, tensors: Sequence[str], samples: Samples, *, batch: int = 1) -> EqualizeChannels:
    """Return the edit that equalizes the channels of some tensors; one pass over the samples.

    Depthwise convolutions quantize the weights of each input channel on its own, so their channels take the whole
    difference of ranges. Elsewhere the weights of all channels share a scale, and half of it is left to them:
    ``s = sqrt(max|x| / max|w|)`` a channel (G. Xiao et al., "SmoothQuant", ICML 2023, section 4, alpha 0.5). Scales are
    relative to the tensor's largest channel, and rounded to powers of two.

    Parameters
    ----------
    model
        The model after its edits.
    tensors
        Activations that are to be quantized; those that an edit cannot equalize are left out.
    samples
        What to run.
    batch
        Samples a run for a model of dynamic batch.
    """
    able = [name for name in tensors if equalizable(model, name) is not None]
    fed = {tensor.name for tensor in model.inputs}
    able = [name for name in able if name not in fed]
    extremes = {name: ChannelExtremes(1) for name in able}
    session = Session(model, outputs=able) if able else None
    for feed in progress(feeds(samples, model, batch=batch), total=None, doing="equalizing"):
        if session is not None:
            for name, array in session.run(feed.arrays).items():
                extremes[name].update(array)
    return EqualizeChannels(exponents={name: _exponents(model, name, extremes[name]) for name in able})


def _exponents(model: Model, tensor: str, seen: ChannelExtremes) -> tuple[int, ...]:
    largest = np.maximum(np.abs(seen.minimum), np.abs(seen.maximum)).astype(np.float64)
    weight = np.zeros_like(largest)
    depthwise = True
    for node in model.top_nodes.values():
        if node.inputs and node.inputs[0] is not None and node.inputs[0].name == tensor:
            group = node.attributes["group"].as_int() if "group" in node.attributes else 1
            depthwise = depthwise and group == largest.size
            weight = np.maximum(weight, _read_ranges(node.inputs[1].const_value.numpy(), group))  # type: ignore[union-attr]
    usable = (largest > 0) & (weight > 0)
    ratio = largest if depthwise else np.sqrt(largest / np.where(usable, weight, 1.0))
    exponents = np.zeros(largest.size)
    if usable.any():
        exponents[usable] = np.round(np.log2(ratio[usable] / ratio[usable].max()))
    return tuple(np.maximum(exponents, -LIMIT).astype(int).tolist())


def _read_ranges(weight: NDArray[np.float32], group: int) -> NDArray[np.float32]:
    """Return the largest magnitude of the weights that read each input channel."""
    rows, columns = weight.shape[:2]
    parts = np.abs(weight).reshape(group, rows // group, columns, -1).max(axis=(1, 3))
    return np.asarray(parts.reshape(-1))
