"""How much each node costs: one node quantized at a time, and only what lies downstream of it run again."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from workbench.calibration import feeds
from workbench.errors import SamplesError
from workbench.graph import costs
from workbench.precision.sensitivity.cut import cuts
from workbench.precision.sensitivity.graft import all_quantized
from workbench.precision.sensitivity.journal import open_journal
from workbench.precision.sensitivity.result import NodeError, Sensitivity
from workbench.precision.sensitivity.work import Work
from workbench.progress import progress

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Executor

    from workbench.calibration import Samples
    from workbench.graph import Model
    from workbench.precision.plan import Resolution
    from workbench.precision.sensitivity.cut import Cut
    from workbench.precision.sensitivity.errors import TaskMetric

__all__ = ["DEFAULT_MEMORY", "axis_lengths", "downstream_share", "exact", "work_of"]

DEFAULT_MEMORY = 1 << 30
"""Bytes of activations kept in memory; what is beyond lies on disk."""


def exact(
    model: Model,
    candidates: Sequence[str],
    ranges: Mapping[str, float],
    samples: Samples,
    *,
    batch: int = 1,
    task: TaskMetric | None = None,
    memory: int = DEFAULT_MEMORY,
    journal: str | os.PathLike[str] | None = None,
    executor: Executor | None = None,
    parts: int = 4,
    resolution: Resolution | None = None,
) -> Sensitivity:
    """Measure what each node alone costs in INT8: SQNR and divergence of the outputs, and a figure of the task.

    The model runs once in floating point; what it computed at the cuts is kept. Then, node by node, the node runs in
    INT8 on what it read then, and after it only what depends on it.

    Parameters
    ----------
    model
        The model after its edits.
    candidates
        The nodes: those that a plan makes INT8, most often.
    ranges
        Tensor name to clipping threshold.
    samples
        What to run.
    batch
        Samples a run for a model of dynamic batch.
    task
        A figure of the task, higher is better. It is called once a node with the outputs of all runs.
    memory
        Bytes of activations to keep in memory; the rest lies in temporary files. The tensors of one run, and what ONNX
        Runtime needs for it, come on top.
    journal
        A file that remembers finished nodes: a run that was killed goes on from there.
    executor
        Where to run; here, one node after the other, where left out. Another process needs `samples` and `task` to be
        picklable, and files that samples are read from to be there under the same path. Results are the same on
        processors of one kind with one number of threads.
    parts
        How many tasks an executor gets. Each runs the floating-point model once more.
    resolution
        The plan whose rules say how a node is quantized: scales per channel, weights alone, thresholds. Each has a
        scale a channel, its activations too and the thresholds of `ranges` where left out.

    Raises
    ------
    PrecisionError
        A node cannot be INT8, a range is missing, or the journal is of another measurement.
    SamplesError
        The samples do not fit the model, or there are none.
    BackendError
        ONNX Runtime fails.
    """
    began = time.perf_counter()
    lowered = all_quantized(model, candidates, ranges, resolution)
    about = _about(model, ranges, samples, batch, task) | _options(candidates, resolution)
    with contextlib.nullcontext() if journal is None else open_journal(journal, about) as book:
        journaled = {entry["node"]: NodeError(**entry) for entry in (book.entries if book else ())}
        left = [node for node in candidates if node not in journaled]
        reached = {part.node: part for part in cuts(model, candidates)}
        work = Work(cuts=reached, samples=samples, batch=batch, task=task, memory=memory)
        work_at = work_of(model, samples)
        share = {node: downstream_share(reached[node], work_at) for node in left}
        if executor is None:
            groups, results = [left] if left else [], work.here(model, lowered, left)
        else:
            groups = _deal(left, share, parts)
            results = work.spread(model, lowered, groups, executor)
        for error in progress(results, total=len(left), doing="measuring sensitivity", partial=True):
            journaled[error.node] = error
            if book is not None:
                book.add(vars(error))
        return Sensitivity(
            errors=tuple(journaled[node] for node in candidates if node in journaled),
            kind="exact",
            samples=len(samples),
            forwards=len(groups) + sum(share.values()),
            seconds=time.perf_counter() - began,
            resumed=len(candidates) - len(left),
        )


def axis_lengths(model: Model, samples: Samples) -> dict[str, int]:
    """Return the lengths that the inputs' symbolic axes have for the first sample, by name.

    Raises
    ------
    SamplesError
        There is no sample.
    """
    for feed in feeds(samples, model):
        return {
            axis: length
            for tensor in model.inputs
            for axis, length in zip(tensor.shape or (), feed.arrays[tensor.name].shape, strict=False)
            if isinstance(axis, str)
        }
    raise SamplesError("no samples to measure on", fix="Give at least one.")


def work_of(model: Model, samples: Samples) -> dict[str, int]:
    """Return how much work each node of the main graph is for the first sample: its multiply-accumulates.

    Where those of a node are unknown (an operator without a rule, a loop whose end is computed), or there are none at
    all, every node counts 1.

    Raises
    ------
    SamplesError
        There is no sample.
    """
    table = costs(model, axis_lengths(model, samples))
    works = {node: work for node in model.top_nodes if (work := table[node].work) is not None}
    return works if len(works) == len(model.top_nodes) and any(works.values()) else dict.fromkeys(model.top_nodes, 1)


def downstream_share(part: Cut, work: Mapping[str, int]) -> float:
    """Return what share of the work of a forward pass lies downstream of a cut."""
    return sum(work[name] for name in part.affected) / sum(work.values())


def _deal(candidates: Sequence[str], share: Mapping[str, float], parts: int) -> list[list[str]]:
    """Deal nodes out so that every part has about as much to do."""
    order = sorted(candidates, key=lambda node: -share[node])
    hands = [order[first::parts] for first in range(max(1, min(parts, len(order))))]
    place = {node: position for position, node in enumerate(candidates)}
    return [sorted(hand, key=place.__getitem__) for hand in hands if hand]


def _options(candidates: Sequence[str], resolution: Resolution | None) -> dict[str, Any]:
    """Return what the rules of nodes say beside the precision; empty where none says anything."""
    rules = {node: rule for node in candidates if resolution is not None and (rule := resolution.rule(node))}
    options = {node: rule.options for node, rule in rules.items() if rule.options}
    return {"options": options} if options else {}


def _about(
    model: Model, ranges: Mapping[str, float], samples: Samples, batch: int, task: TaskMetric | None
) -> dict[str, Any]:
    return {
        "measurement": "sensitivity",
        "model": model.digest,
        "ranges": {name: ranges[name] for name in sorted(ranges)},
        "samples": samples.fingerprint,
        "batch": batch,
        "task": None if task is None else getattr(task, "__qualname__", type(task).__qualname__),
    }
