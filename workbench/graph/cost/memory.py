"""How much memory a run of the graph needs as it is written: tensors that are alive while each node runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.graph.cost.cost import weight_bytes_of
from workbench.graph.shapes import infer
from workbench.graph.weights import constant_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.graph.model import Model

__all__ = ["SMALLEST_WORKSPACE", "MemoryUse", "memory_use", "suggested_workspace"]

HEADROOM = 1.5
"""What a workspace limit is of the model's peak memory: a rule of thumb of TensorRT's users."""

SMALLEST_WORKSPACE = 256 << 20
"""Bytes that every build may use: kernels of a tiny model need scratch memory that its tensors do not show."""


@dataclass(frozen=True)
class MemoryUse:
    """Memory over the nodes of the main graph, in execution order.

    Attributes
    ----------
    nodes
        Addresses.
    live
        Bytes of inputs, outputs and tensors between nodes that are alive while each node runs.
    weight_bytes
        Bytes of all weights.
    unknown
        Tensors whose size is not known, so that the truth is higher.
    """

    nodes: tuple[str, ...]
    live: tuple[int, ...]
    weight_bytes: int
    unknown: tuple[str, ...]

    @property
    def peak(self) -> int:
        """The most bytes that are needed at once, weights included."""
        return max(self.live, default=0) + self.weight_bytes

    @property
    def workspace(self) -> int | None:
        """What `suggested_workspace` returns."""
        if self.unknown:
            return None
        return max(SMALLEST_WORKSPACE, math.ceil(HEADROOM * min(self.peak, 2**1000) / 2**20) << 20)


def memory_use(model: Model, sizes: Mapping[str, int] | None = None) -> MemoryUse:
    """Count the bytes that are alive while each node runs.

    A tensor lives from the node that makes it to the last one that reads it, an input from the start, an output to the
    end. Nothing is fused or computed in place, as a compiler does, so this is an upper bound on its tensors; scratch
    memory of kernels comes on top. Tensors inside of subgraphs are not counted.

    Parameters
    ----------
    model
        The model.
    sizes
        Lengths to assume for symbolic axes of the inputs, by name.
    """
    tensors = infer(model, sizes).tensors if sizes else model.tensors
    order = list(model.top_nodes)
    born = {tensor.name: 0 for tensor in model.inputs}
    dies = dict(born)
    for at, address in enumerate(order):
        node = model.top_nodes[address]
        for value in node.inputs:
            if value is not None and value.name and constant_of(value) is None:
                dies[value.name] = at
                born.setdefault(value.name, at)
        for value in node.outputs:
            if value.name:
                born[value.name] = dies[value.name] = at
    dies.update({tensor.name: len(order) - 1 for tensor in model.outputs if tensor.name in born})
    # Differences at births and deaths, summed up once: linear in the number of tensors.
    change = [0] * (len(order) + 1)
    unknown = []
    for name, start in born.items():
        size = None if name not in tensors else tensors[name].nbytes
        if size is None:
            unknown.append(name)
            continue
        change[start] += size
        change[dies[name] + 1 if order else 0] -= size
    live, now = [], 0
    for step in change[: len(order)]:
        now += step
        live.append(now)
    return MemoryUse(tuple(order), tuple(live), weight_bytes_of(model), tuple(unknown))


def suggested_workspace(model: Model, sizes: Mapping[str, int] | None = None) -> int | None:
    """Return a workspace limit for builds of a model, in bytes: 1.5 times its peak memory, in whole MiB.

    At least `SMALLEST_WORKSPACE`; None where a tensor's size is not known, for a limit that is too low costs kernels.
    """
    return memory_use(model, sizes).workspace
