"""What a plan costs to run: measured latency a node where there is one, else a model of bytes and MACs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from workbench.errors import PrecisionError
from workbench.graph import costs
from workbench.precision.plan import left_in_fp32

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from workbench.graph import Model
    from workbench.names import Precision
    from workbench.precision.plan import Resolution

__all__ = ["BANDWIDTH", "MACS_A_SECOND", "NodeCosts", "measured_costs", "modelled_costs"]

MACS_A_SECOND: Mapping[str, float] = {"fp32": 78e12, "fp16": 156e12, "bf16": 156e12, "int8": 312e12, "fp8": 312e12}
"""Dense multiply-accumulates a second of an A100 (data sheet: TF32 156, FP16 and BF16 312 TFLOPS, INT8 624 TOPS; a MAC
is two operations). It has no FP8; GPUs that do run it at the rate of INT8."""

BANDWIDTH = 1.555e12
"""Bytes a second between an A100 (40 GB) and its memory, by the data sheet."""

WIDTH: Mapping[str, float] = {"fp32": 1.0, "fp16": 0.5, "bf16": 0.5, "int8": 0.25, "fp8": 0.25}
"""Bytes of an element over those of float32."""

MODELLED = "modelled from bytes and MACs; nothing was measured"


@dataclass(frozen=True)
class NodeCosts:
    """Milliseconds of each node in each precision, and its multiply-accumulates.

    Parameters
    ----------
    milliseconds
        Node to precision to time.
    macs
        Node to multiply-accumulates; unknown ones are 0.
    measured
        Those of the times that somebody measured; the others follow from them by the model of bytes and MACs.
    about
        Where the times come from, a sentence each.
    """

    milliseconds: Mapping[str, Mapping[str, float]]
    macs: Mapping[str, int]
    measured: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    about: tuple[str, ...] = (MODELLED,)

    def of(self, node: str, precision: Precision) -> float:
        """Return the time of one node.

        Raises
        ------
        PrecisionError
            It is not known in this precision.
        """
        try:
            return self.milliseconds[node][precision]
        except KeyError:
            raise PrecisionError(
                f"no latency in {precision} is known", where=node, fix="Give the costs of the model that is searched."
            ) from None

    def total(self, resolution: Resolution) -> float:
        """Return the time of all nodes that have one under a resolved plan."""
        precisions = {node: decision.precision for node, decision in resolution.decisions.items()}
        precisions.update(dict.fromkeys(left_in_fp32(resolution), "fp32"))
        return sum(self.of(node, precisions[node]) for node in self.milliseconds if node in precisions)

    def share(self, addresses: Iterable[str]) -> float | None:
        """Return the share of the model's multiply-accumulates that some nodes have, 0 to 1; `None` where unknown."""
        whole, some = sum(self.macs.values()), list(addresses)
        return sum(self.macs.get(node, 0) for node in some) / whole if whole else None if some else 0.0


def measured_costs(
    model: Model,
    milliseconds: Mapping[str, Mapping[str, float]],
    sizes: Mapping[str, int] | None = None,
    *,
    about: Sequence[str] = (),
) -> NodeCosts:
    """Return costs from measured latencies: node to precision to milliseconds.

    What was not measured is modelled in units of what was. A node measured in another precision: that time, by the
    ratio of the two precisions in `modelled_costs`; of several the one whose numbers are nearest in width, of two
    equally near the wider. A node that was measured in none: its modelled time, by the ratio of all measured to all
    modelled times. `NodeCosts.about` says how many nodes that concerns.

    Parameters
    ----------
    model
        The model after its edits.
    milliseconds
        What was measured.
    sizes
        Lengths of the inputs' symbolic axes.
    about
        Where the measurements come from, a sentence each.

    Raises
    ------
    PrecisionError
        A latency is of a node that the model does not have, in a precision that there is not, or no time.
    """
    _check(model, milliseconds)
    modelled = modelled_costs(model, sizes)
    there = {node: dict(times) for node, times in milliseconds.items() if times and node in modelled.milliseconds}
    pairs = [(spent, modelled.milliseconds[node][p]) for node, times in there.items() for p, spent in times.items()]
    modelled_ms = sum(by_model for _, by_model in pairs)
    factor = sum(spent for spent, _ in pairs) / modelled_ms if modelled_ms else 1.0
    complete = {
        node: _completed(there[node], by_model) if node in there else {p: ms * factor for p, ms in by_model.items()}
        for node, by_model in modelled.milliseconds.items()
    }
    notes = [*about, f"{len(there)} of {len(complete)} nodes measured"]
    scaled = {p: sum(p not in times for times in there.values()) for p in WIDTH}
    if any(scaled.values()):
        counts = ", ".join(f"{precision} of {count} nodes" for precision, count in scaled.items() if count)
        notes.append(f"not measured, so scaled from another precision by bytes and MACs: {counts}")
    if missing := len(complete) - len(there):
        notes.append(f"{missing} nodes measured in no precision: modelled by bytes and MACs, times {factor:.3g}")
    return NodeCosts(complete, modelled.macs, there, tuple(notes))


def _check(model: Model, milliseconds: Mapping[str, Mapping[str, float]]) -> None:
    for node, times in milliseconds.items():
        if node not in model.nodes:
            raise PrecisionError("a latency of no node of this model", where=node, fix="See wb.graph.nodes().")
        for precision, spent in times.items():
            if precision not in WIDTH or not (math.isfinite(spent) and spent >= 0):
                fix = f"Give milliseconds in {', '.join(WIDTH)}."
                raise PrecisionError(f"{spent} ms in {precision} is no latency", where=node, fix=fix)


def _completed(times: Mapping[str, float], by_model: Mapping[str, float]) -> dict[str, float]:
    """Return the times of one node in every precision, those not measured scaled from the nearest one that was."""

    def scaled(precision: str) -> float:
        near = min(times, key=lambda other: (abs(math.log2(WIDTH[other] / WIDTH[precision])), -WIDTH[other]))
        return times[near] * by_model[precision] / by_model[near] if by_model[near] else times[near]

    return {precision: times[precision] if precision in times else scaled(precision) for precision in WIDTH}


def modelled_costs(model: Model, sizes: Mapping[str, int] | None = None) -> NodeCosts:
    """Return what nodes cost by the roofline: the longer of computing and moving bytes.

    ``max(MACs / MACS_A_SECOND, (weights + activations) * WIDTH / BANDWIDTH)`` (S. Williams et al., "Roofline", CACM 52
    (4), 2009). It knows neither fusion nor the start of kernels: good for comparing plans of one model, not for
    predicting a latency. Nodes of unknown size cost nothing.

    Parameters
    ----------
    model
        The model after its edits.
    sizes
        Lengths of the inputs' symbolic axes.
    """
    table = {node: cost for node, cost in costs(model, sizes).items() if node in model.top_nodes}
    milliseconds = {
        node: {
            precision: 1e3 * max((cost.work or 0) / rate, (cost.bytes or 0) * WIDTH[precision] / BANDWIDTH)
            for precision, rate in MACS_A_SECOND.items()
        }
        for node, cost in table.items()
    }
    return NodeCosts(milliseconds, {node: cost.work or 0 for node, cost in table.items()})
