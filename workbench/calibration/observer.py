"""The one pass over the samples: every range follows from what it gathers."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from workbench.calibration.channels import ChannelExtremes
from workbench.calibration.checkpoint import Checkpoint
from workbench.calibration.counting import load
from workbench.calibration.damage import Damage
from workbench.calibration.samples import feeds
from workbench.calibration.statistics import Statistics, TensorStatistics
from workbench.errors import SamplesError
from workbench.progress import progress
from workbench.runtime import CPU, DeviceWarning, Session, usable_cores, usable_device

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from workbench.calibration.samples import Feed, Samples
    from workbench.graph import Model
    from workbench.runtime import Device

__all__ = ["observe"]

FEW = 32
"""Samples below which a session that hands tensors out in any order costs more than it saves."""


def observe(
    model: Model,
    tensors: Sequence[str],
    samples: Samples,
    *,
    batch: int = 1,
    channels: Mapping[str, int] | None = None,
    checkpoint: str | Path | None = None,
    into: Statistics | None = None,
    device: str | Device | None = None,
) -> Statistics:
    """Run every sample once and gather statistics of some tensors, in memory that does not grow with the samples.

    Parameters
    ----------
    model
        The model to run, in floating point.
    tensors
        Names of the tensors to observe: floating-point tensors of the main graph.
    samples
        What to run.
    batch
        Samples a run for a model of dynamic batch.
    channels
        The axis of the channels, for the tensors whose extremes are wanted per channel.
    checkpoint
        A file to keep what was gathered in after each batch. Where it exists already, calibration goes on from it, with
        the result it would have had uninterrupted; a finished calibration removes it.
    into
        Empty statistics to fill: they hold what was gathered even where a sample fails.
    device
        ``cuda``, ``cuda:1`` or, with TF32, ``cuda:0+tf32``; the processor where left out. Where it cannot be used, the
        processor runs the samples, and a `DeviceWarning` says why.

    Returns
    -------
    Statistics
        By tensor name, in the order of `tensors`.

    Raises
    ------
    SamplesError
        The samples do not fit the model, one makes the model's own outputs NaN or infinite throughout (the tensor and
        the sample are named), or a tensor cannot be observed; a checkpoint of another calibration. NaN and infinity
        that stay inside (behind a mask, at padded positions) are counted.
    BackendError
        ONNX Runtime refuses the model or fails.
    """
    _check_observable(model, tensors)
    where = _able(usable_device(device), model)
    axes = dict(channels or {})
    statistics = Statistics() if into is None else into
    if checkpoint is None:
        return _observe(model, tensors, samples, batch, axes, statistics, None, where)
    belongs_to = (model.digest, samples.fingerprint, str(batch), str(sorted(axes.items())), *tensors)
    kept = Checkpoint(checkpoint, belongs_to)
    with kept.held():
        return _observe(model, tensors, samples, batch, axes, statistics, kept, where)


def _able(device: Device, model: Model) -> Device:
    """Return the device, or the processor where the model has inputs that a GPU does not take."""
    text = next((t.name for t in model.inputs if t.numpy_dtype is None or t.numpy_dtype.kind in "OSU"), None)
    if device.index is None or text is None:
        return device
    reason = f"input {text!r} holds no numbers"
    warnings.warn(f"{device} cannot be used, so the processor computes: {reason}", DeviceWarning, stacklevel=3)
    return CPU


def _observe(
    model: Model,
    tensors: Sequence[str],
    samples: Samples,
    batch: int,
    axes: Mapping[str, int],
    statistics: Statistics,
    kept: Checkpoint | None,
    device: Device,
) -> Statistics:
    earlier, done = (kept.load() if kept is not None else None) or (Statistics(), 0)
    statistics.update(earlier)
    for name in tensors:
        if name not in statistics:
            statistics[name] = TensorStatistics(channels=ChannelExtremes(axes[name]) if name in axes else None)
    inputs = {tensor.name for tensor in model.inputs}
    outputs = [name for name in tensors if name not in inputs]
    any_order = [name for name in outputs if name not in axes] if len(samples) >= FEW else []
    damage = Damage(model, any_order)
    if device.index is not None:
        from workbench.calibration.cuda import Pass

        save = None if kept is None else partial(kept.save, statistics)
        Pass(device, model, statistics, damage).run(samples, batch=batch, done=done, save=save)
        statistics.device = device.describe()
        if kept is not None:
            kept.remove()
        return statistics
    # The loop that counts leaves the interpreter, so threads share the tensors of one batch.
    with ThreadPoolExecutor(usable_cores()) as pool:
        preparing = pool.submit(Session, model, outputs=outputs, observing=True, any_order=any_order)
        load()
        session = preparing.result()
        batches = feeds(samples, model, batch=batch)
        for feed in progress(batches, total=len(samples), doing="calibrating", amount=_count, partial=True):
            if feed.first < done:
                continue
            damage.look(feed, feed.arrays)
            damage.look(feed, _gather(session, feed, statistics, pool))
            if kept is not None:
                kept.save(statistics, feed.first + feed.count)
    if kept is not None:
        kept.remove()
    return statistics


def _count(feed: Feed) -> int:
    return feed.count


def _gather(session: Session, feed: Feed, statistics: Statistics, pool: ThreadPoolExecutor) -> dict[str, NDArray[Any]]:
    """Run one batch and return those tensors that hold NaN or infinity.

    All others are free again when this returns, before the next batch needs memory.
    """
    arrays = {**{n: a for n, a in feed.arrays.items() if n in statistics}, **session.run(feed.arrays)}
    largest_first = sorted(arrays.items(), key=lambda item: -item[1].size)
    taken = {name: pool.submit(_take, statistics[name], array, feed) for name, array in largest_first}
    return {name: arrays[name] for name in statistics if name in taken and taken[name].result()}


def _take(tensor: TensorStatistics, array: NDArray[Any], feed: Feed) -> bool:
    """Count a tensor's values; say whether some are not finite."""
    before = tensor.nans + tensor.infs
    tensor.update(array[feed.real(array)], samples=feed.count)
    return tensor.nans + tensor.infs > before


def _check_observable(model: Model, tensors: Sequence[str]) -> None:
    outside = {str(v.name) for node in model.top_nodes.values() for v in node.outputs} | {t.name for t in model.inputs}
    for name in tensors:
        dtype = model.tensor(name).dtype
        if name not in outside:
            inside = name in model.tensors
            raise SamplesError(
                "it is inside a subgraph or function, where no runtime shows it"
                if inside
                else "there is no such tensor",
                where=f"tensor {name!r}",
                fix="Observe tensors of the main graph",
            )
        if dtype is not None and "FLOAT" not in dtype and dtype != "DOUBLE":
            raise SamplesError(
                f"{dtype.lower()} values are not quantized",
                where=f"tensor {name!r}",
                fix="Observe floating-point tensors",
            )
