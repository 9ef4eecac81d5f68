"""Estimate what each node costs for the price of a few forward passes.

Where the budget pays for measuring every node on at least one sample, that is done, on as many as it pays for: measured
against all samples it ranked better than anything cleverer that was tried. Where it does not, two figures make the
estimate. The *local* noise of a node is that of its own result when it alone is quantized, on the input it has in
floating point: all nodes together take one pass. The *gain* says how much of it arrives at the outputs: to first order,
noise so small passes the rest of the network as a linear map, so that noise at the output is local noise times a gain
that hardly depends on the sample. Gains are measured for some nodes on one sample, and interpolated along the graph.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from workbench.calibration import feeds, first_samples
from workbench.errors import SamplesError
from workbench.evaluate import Difference, sqnr_db
from workbench.graph import content_of, names_in
from workbench.precision.sensitivity.cut import cuts
from workbench.precision.sensitivity.graft import all_quantized, beside
from workbench.precision.sensitivity.measured import downstream_share, exact, work_of
from workbench.precision.sensitivity.result import NodeError, Sensitivity
from workbench.progress import progress
from workbench.runtime import Session

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from workbench.calibration import Feed, Samples
    from workbench.graph import Model
    from workbench.precision.plan import Resolution

__all__ = ["BUDGET", "local_noise", "local_noises", "quick"]

BUDGET = 4.0
"""Forward passes a sample that an estimate may take."""


def quick(
    model: Model,
    candidates: Sequence[str],
    ranges: Mapping[str, float],
    samples: Samples,
    *,
    batch: int = 1,
    budget: float = BUDGET,
    resolution: Resolution | None = None,
) -> Sensitivity:
    """Estimate what each node alone costs in INT8, as SQNR of the worst output.

    Parameters
    ----------
    model, candidates, ranges, samples, batch, resolution
        As for `workbench.precision.sensitivity.measured.exact`.
    budget
        Forward passes a sample that may be run, in multiply-accumulates; in nodes where those of one are unknown.

    Returns
    -------
    Sensitivity
        Of as many samples as were measured. Without divergences where it is an estimate by gains, from which they do
        not follow.

    Raises
    ------
    PrecisionError
        A node cannot be INT8, or a range is missing.
    SamplesError
        The samples do not fit the model, or there are none.
    """
    began = time.perf_counter()
    if not candidates:
        return Sensitivity((), "quick", 0, 0.0, 0.0)
    work = work_of(model, samples)
    parts = progress(cuts(model, candidates), total=len(candidates), doing="following each node")
    share = {part.node: downstream_share(part, work) for part in parts}
    few = min(len(samples), int(budget * len(samples) / (1.0 + sum(share.values()))))
    if few:
        measured = exact(model, candidates, ranges, first_samples(samples, few), batch=batch, resolution=resolution)
        spent = measured.forwards * few / len(samples)
        return Sensitivity(measured.errors, "quick", few, spent, time.perf_counter() - began)
    once = 1.0 + _own_share(candidates, work)
    some = _affordable(candidates, share, (budget - once) * len(samples) - 1.0 - once)
    local = local_noise(model, candidates, ranges, samples, batch=batch, resolution=resolution)
    gains, spent, whole_numbers = dict.fromkeys(candidates, 1.0), once, False
    if some:
        one = first_samples(samples, 1)
        there = exact(model, some, ranges, one, batch=batch, resolution=resolution)
        here = local_noise(model, some, ranges, one, batch=batch, resolution=resolution)
        gains = _filled(candidates, {e.node: e.noise / here[e.node] for e in there.errors if here[e.node]})
        spent += (there.forwards + once) / len(samples)
        whole_numbers = all(math.isnan(error.sqnr_db) for error in there.errors)
    errors = [
        _estimate(node, model.top_nodes[node].op_type, local[node] * gains[node], whole_numbers) for node in candidates
    ]
    return Sensitivity(tuple(errors), "quick", len(samples), spent, time.perf_counter() - began)


def _estimate(node: str, op_type: str, noise: float, whole_numbers: bool) -> NodeError:
    if whole_numbers:
        return NodeError(node, op_type, math.nan, differing=min(noise, 1.0))
    return NodeError(node, op_type, sqnr_db(1.0, noise))


def local_noise(
    model: Model,
    candidates: Sequence[str],
    ranges: Mapping[str, float],
    samples: Samples,
    *,
    batch: int = 1,
    resolution: Resolution | None = None,
) -> dict[str, float]:
    """Return each node's noise power over signal power at its own result, on its floating-point input; in one pass.

    The floating-point graph gets a quantized copy of every node beside the node itself, which reads the same tensors.
    """
    return local_noises(model, candidates, {"": ranges}, samples, batch=batch, resolution=resolution)[""]


def local_noises(
    model: Model,
    candidates: Sequence[str],
    ways: Mapping[str, Mapping[str, float]],
    samples: Samples,
    *,
    batch: int = 1,
    resolution: Resolution | None = None,
) -> dict[str, dict[str, float]]:
    """Return the same for several choices of ranges, by their names. They share a graph, which is fed their scales.

    Raises
    ------
    SamplesError
        There are none.
    """
    if not len(samples):
        raise SamplesError("no samples to measure on", fix="Give at least one.")
    lowered = {way: all_quantized(model, candidates, ranges, resolution) for way, ranges in ways.items()}
    groups: dict[tuple[object, ...], list[str]] = {}
    for way, quantized in lowered.items():  # in FP16, a scale that it cannot hold makes another graph
        groups.setdefault(_form(quantized), []).append(way)
    noises: dict[str, dict[str, float]] = {}
    for group in groups.values():
        scales = _scales([lowered[way] for way in group])
        copied, powers, pairs = _with_copies(model, lowered[group[0]], candidates, scales[0])
        session = Session(copied, apart=len(samples))
        for way, fed in zip(group, scales, strict=True):
            every = feeds(samples, model, batch=batch)
            seen = progress(every, total=len(samples), doing="measuring sensitivity", amount=_count, partial=True)
            sums = np.zeros((len(candidates), 2))
            for results in session.run_each({**feed.arrays, **fed} for feed in seen):
                sums += np.array([[results[name] for name in powers[node]] for node in candidates])
            odd = [node for node, both in zip(candidates, sums, strict=True) if not np.isfinite(both).all()]
            noises[way] = {
                node: float(noise / signal) if signal > 0 else math.inf if noise > 0 else 0.0
                for node, (noise, signal) in zip(candidates, sums, strict=True)
                if node not in odd
            }
            if odd:
                fed_each = ({**feed.arrays, **fed} for feed in feeds(samples, model, batch=batch))
                noises[way] |= _of_finite(copied, {node: pairs[node] for node in odd}, fed_each)
    return {way: noises[way] for way in ways}


def _of_finite(
    copied: Model, pairs: Mapping[str, tuple[str, str]], fed: Iterable[Mapping[str, npt.NDArray[Any]]]
) -> dict[str, float]:
    """Return noise over signal of values that are finite, as results are compared: NaN may stand at padded places."""
    session = Session(copied, outputs=list(dict.fromkeys(name for pair in pairs.values() for name in pair)))
    seen = {node: Difference() for node in pairs}
    for arrays in fed:
        results = session.run(arrays)
        for node, (original, copy) in pairs.items():
            seen[node].update(results[original], results[copy])
    return {node: 0.0 if math.isnan(one.sqnr) else float(10.0 ** (-one.sqnr / 10.0)) for node, one in seen.items()}


def _count(feed: Feed) -> int:
    return feed.count


def _form(lowered: Model) -> tuple[object, ...]:
    """Return what has to be the same in two lowered models that differ in their scales alone."""
    weights = (str((name, value.dtype)) for name, value in lowered.initializers.items())
    return (*lowered.top_nodes, *weights)


def _scales(lowered: Sequence[Model]) -> list[dict[str, npt.NDArray[Any]]]:
    """Return for each of some lowered models the numbers that they do not all have in common."""
    scalars = [
        {name: content_of(value).numpy() for name, value in one.initializers.items() if not content_of(value).shape}
        for one in lowered
    ]
    differing = [name for name, number in scalars[0].items() if any(one[name] != number for one in scalars)]
    return [{name: one[name] for name in differing} for one in scalars]


def _with_copies(
    model: Model, lowered: Model, candidates: Sequence[str], fed: Iterable[str]
) -> tuple[Model, dict[str, tuple[str, ...]], dict[str, tuple[str, str]]]:
    """Return the model with quantized copies of nodes, and what its outputs, sums of squares, are called.

    Each node has two: of its noise and of its signal. The results of it and of its copy are named, too. What is to be
    fed becomes an input.
    """
    whole, pairs = beside(model, lowered, candidates)
    powers = {name: tuple(_compare(whole.graph, name, original, copy)) for name, original, copy in pairs}
    for name in fed:
        whole.graph.inputs.append(whole.graph.initializers.pop(name))
    results = {name: (str(original.name), str(copy.name)) for name, original, copy in pairs}
    return model.replaced(whole), powers, results


def _compare(graph: ir.Graph, name: str, original: ir.Value, copy: ir.Value) -> Iterator[str]:
    names = names_in(graph)
    difference = ir.node("Sub", [copy, original], name=names.node(f"{name}/difference"))
    difference.outputs[0].name = names.tensor(f"{name}/difference")
    graph.append(difference)
    for kind, value in (("noise", difference.outputs[0]), ("signal", original)):
        square = ir.node("ReduceSumSquare", [value], {"keepdims": 0}, name=names.node(f"{name}/{kind}"))
        square.outputs[0].name = names.tensor(f"{name}/{kind}")
        square.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
        graph.append(square)
        graph.outputs.append(square.outputs[0])
        yield str(square.outputs[0].name)


def _own_share(candidates: Sequence[str], work: Mapping[str, int]) -> float:
    return sum(work[node] for node in candidates) / sum(work.values())


def _affordable(candidates: Sequence[str], share: Mapping[str, float], allowance: float) -> list[str]:
    """Return the nodes, evenly along the graph, whose gains can be measured for so many forward passes."""
    for step in range(1, len(candidates)):
        if sum(share[node] for node in candidates[::step]) <= allowance:
            return list(candidates[::step])
    return []


def _filled(candidates: Sequence[str], gains: Mapping[str, float]) -> dict[str, float]:
    """Interpolate the logarithm of the gain between measured nodes, in the graph's order."""
    measured = [position for position, node in enumerate(candidates) if gains.get(node)]
    if not measured:
        return dict.fromkeys(candidates, 1.0)
    logs = [math.log(gains[candidates[position]]) for position in measured]
    filled = np.exp(np.interp(np.arange(len(candidates)), measured, logs))
    return dict(zip(candidates, filled.tolist(), strict=True))
