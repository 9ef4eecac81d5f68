"""What a plan costs to run: measured latency a node where there is one, else a model of bytes and MACs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.errors import PrecisionError
from workbench.graph.cost import costs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from workbench.graph.model import Model
    from workbench.precision.plan import Precision, Resolution

__all__ = ["BANDWIDTH", "MACS_A_SECOND", "NodeCosts", "measured_costs", "modelled_costs"]

MACS_A_SECOND: Mapping[str, float] = {"fp32": 78e12, "fp16": 156e12, "bf16": 156e12, "int8": 312e12, "fp8": 312e12}
"""Dense multiply-accumulates a second of an A100 (data sheet: TF32 156, FP16 and BF16 312 TFLOPS, INT8 624 TOPS; a MAC
is two operations). It has no FP8; GPUs that do run it at the rate of INT8."""

BANDWIDTH = 1.555e12
"""Bytes a second between an A100 (40 GB) and its memory, by the data sheet."""

WIDTH: Mapping[str, float] = {"fp32": 1.0, "fp16": 0.5, "bf16": 0.5, "int8": 0.25, "fp8": 0.25}
"""Bytes of an element over those of float32."""


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
        Whether the times are an engine's, or the model's of bytes and MACs.
    """

    milliseconds: Mapping[str, Mapping[str, float]]
    macs: Mapping[str, int]
    measured: bool

    def of(self, node: str, precision: Precision) -> float:
        """Return the time of one node.

        Raises
        ------
        PrecisionError
            It was not measured in this precision.
        """
        try:
            return self.milliseconds[node][precision]
        except KeyError:
            raise PrecisionError(
                f"no latency in {precision} is known",
                where=node,
                fix="Measure an engine of this precision, or leave the latencies out: bytes and MACs then decide.",
            ) from None

    def total(self, resolution: Resolution) -> float:
        """Return the time of all nodes that have one under a resolved plan."""
        decisions = resolution.decisions
        return sum(self.of(node, decisions[node].precision) for node in self.milliseconds if node in decisions)

    def share(self, addresses: Iterable[str]) -> float:
        """Return the share of the model's multiply-accumulates that some nodes have, 0 to 1."""
        whole = sum(self.macs.values())
        return sum(self.macs.get(node, 0) for node in addresses) / whole if whole else 0.0


def measured_costs(
    model: Model, milliseconds: Mapping[str, Mapping[str, float]], sizes: Mapping[str, int] | None = None
) -> NodeCosts:
    """Return costs from measured latencies: node to precision to milliseconds.

    Raises
    ------
    PrecisionError
        A latency is of a node that the model does not have.
    """
    unknown = sorted(milliseconds.keys() - model.nodes.keys())
    if unknown:
        raise PrecisionError("a latency of no node of this model", where=unknown[0], fix="See wb.graph.nodes().")
    return NodeCosts(milliseconds, modelled_costs(model, sizes).macs, measured=True)


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
            precision: 1e3 * max((cost.macs or 0) / rate, (cost.bytes or 0) * WIDTH[precision] / BANDWIDTH)
            for precision, rate in MACS_A_SECOND.items()
        }
        for node, cost in table.items()
    }
    return NodeCosts(milliseconds, {node: cost.macs or 0 for node, cost in table.items()}, measured=False)
