"""A model in one page: what ``workbench inspect`` prints."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from workbench.display import Card, Shown
from workbench.graph.check import custom_ops
from workbench.graph.cost import costs, memory_use, parameters_of, total, weight_bytes_of
from workbench.graph.damage import blaming
from workbench.graph.domains import QDQ
from workbench.graph.inspection.quirks import find_quirks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.graph.cost import Cost
    from workbench.graph.model import Model
    from workbench.graph.quirk import Quirk
    from workbench.graph.tensor import Tensor

__all__ = ["Summary", "batch_of_one", "summary"]


@dataclass(frozen=True)
class Summary(Shown):
    """What a model is, in numbers.

    Parameters
    ----------
    name
        The model's name.
    producer
        The program that wrote it, with its version; empty where the file doesn't say.
    opset, ir_version
        Versions of the default operator set and of the file format.
    nodes
        Nodes of the main graph.
    nodes_with_subgraphs
        All nodes, those of subgraphs and local functions included.
    depth
        Nodes on the longest path.
    parameters
        Elements of all weights, a shared weight once.
    weight_bytes
        Bytes of all weights as stored, a shared weight once.
    macs
        Multiply-accumulates of one run under `assumed`, without the nodes in `macs_unknown`.
    macs_unknown
        Addresses of nodes whose multiply-accumulates are unknown.
    macs_note
        Why those of the first of them are; empty where none is unknown.
    peak_bytes
        Memory that a run of the graph as it is written needs at once under `assumed`, weights included; ``None`` where
        a shape is unknown. See `workbench.graph.cost.memory`.
    workspace_bytes
        The workspace limit that builds take where none is given; ``None`` where a shape is unknown.
    memory_unknown
        The first tensor whose size is unknown, so that the two above are; empty where there is none.
    assumed
        Lengths assumed for symbolic axes.
    ops
        Number of nodes by operator, the most frequent first; with the domain where it is not ONNX's own.
    inputs, outputs
        With shapes and element types.
    custom_ops
        Number of nodes by operator that ONNX doesn't define.
    quantized
        Whether there are Q/DQ nodes or integer operators already.
    quirks
        What was repaired when loading, and what is worth knowing.
    """

    name: str
    producer: str
    opset: int
    ir_version: int
    nodes: int
    nodes_with_subgraphs: int
    depth: int
    parameters: int
    weight_bytes: int
    macs: int
    macs_unknown: tuple[str, ...]
    macs_note: str
    peak_bytes: int | None
    workspace_bytes: int | None
    memory_unknown: str
    assumed: Mapping[str, int]
    ops: Mapping[str, int]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    custom_ops: Mapping[str, int]
    quantized: bool
    quirks: tuple[Quirk, ...]

    def to_json(self) -> str:
        """Return all of it as a JSON document."""
        return json.dumps(asdict(self), indent=2)

    def text(self) -> str:
        """Return it as lines for people, at most about 100 columns wide."""
        inner = self.nodes_with_subgraphs - self.nodes
        lines = [
            f"{self.name}: opset {self.opset}, IR version {self.ir_version}"
            + (f", {self.producer}" * bool(self.producer)),
            f"  nodes       {self.nodes}" + (f" and {inner} in subgraphs and functions" if inner else ""),
            f"  depth       {self.depth}",
            f"  parameters  {_short(self.parameters)} in {_short(self.weight_bytes)}B",
            f"  MACs        {self._macs_line()}",
            f"  memory      {self._memory_line()}",
            *(f"  input       {tensor}" for tensor in self.inputs),
            *(f"  output      {tensor}" for tensor in self.outputs),
            *_wrapped("ops", [f"{op} {count}" for op, count in self.ops.items()]),
            *_wrapped("custom ops", [f"{op} {count}" for op, count in self.custom_ops.items()]),
            f"  quantized   {'yes' if self.quantized else 'no'}",
        ]
        kinds: dict[str, list[Quirk]] = {}
        for quirk in self.quirks:
            kinds.setdefault(quirk.kind, []).append(quirk)
        for first, *more in kinds.values():
            rest = f" (and {len(more)} more like it)" if more else ""
            lines.append(f"  quirk       {first.where}: {first.text}{rest}")
        return "\n".join(lines)

    def _memory_line(self) -> str:
        if self.peak_bytes is None or self.workspace_bytes is None:
            return f"unknown, for the size of tensor {self.memory_unknown} is"
        return f"{_short(self.peak_bytes)}B at the peak; builds get a workspace of {self.workspace_bytes >> 20} MiB"

    def _macs_line(self) -> str:
        sure = _short(self.macs) if self.macs or not self.macs_unknown else "unknown"
        names = ", ".join(f"{name} = {length}" for name, length in self.assumed.items())
        at = f" with {names}" if names else ""
        if not self.macs_unknown:
            return f"{sure}{at}"
        bound = f"at least {sure}" if self.macs else sure
        many = f"{len(self.macs_unknown)} nodes, the first" if len(self.macs_unknown) > 1 else "one node,"
        return f"{bound}{at}; unknown for {many} {self.macs_unknown[0]}: {self.macs_note}"

    def _card(self) -> Card:
        headline, *lines = self.text().splitlines()
        return Card(headline, ("", ""), tuple(tuple(line.split(None, 1)) for line in lines if len(line.split()) > 1))


@blaming
def summary(
    model: Model, sizes: Mapping[str, int] | None = None, *, table: Mapping[str, Cost] | None = None
) -> Summary:
    """Look a model over.

    Parameters
    ----------
    model
        The model.
    sizes
        Lengths to assume for symbolic axes, by name; a batch of one where not given (see `batch_of_one`).
    table
        The nodes' `costs` at these lengths, where they are known already.
    """
    source = model.ir_model
    assumed = dict(batch_of_one(model) if sizes is None else sizes)
    table = costs(model, assumed) if table is None else table
    macs, unknown = total(model, table)
    memory = memory_use(model, assumed)
    ops = Counter(".".join(filter(None, (node.domain, node.op_type))) for node in model.nodes.values())
    kinds = {node.op_type for node in model.nodes.values()}
    return Summary(
        name=model.name,
        producer=" ".join(filter(None, (source.producer_name, source.producer_version))),
        opset=model.opset,
        ir_version=source.ir_version,
        nodes=len(model.top_nodes),
        nodes_with_subgraphs=len(model.nodes),
        depth=1 + max(model.index.depth.values(), default=-1),
        parameters=parameters_of(model),
        weight_bytes=weight_bytes_of(model),
        macs=macs,
        macs_unknown=tuple(unknown),
        macs_note=table[unknown[0]].note if unknown else "",
        peak_bytes=None if memory.unknown else memory.peak,
        workspace_bytes=memory.workspace,
        memory_unknown=memory.unknown[0] if memory.unknown else "",
        assumed=assumed,
        ops=dict(sorted(ops.items(), key=lambda entry: (-entry[1], entry[0]))),
        inputs=model.inputs,
        outputs=model.outputs,
        custom_ops={operator: len(addresses) for operator, addresses in custom_ops(source).items()},
        quantized=not kinds.isdisjoint(QDQ)
        or any(kind.startswith("QLinear") or kind.endswith("Integer") for kind in kinds),
        quirks=find_quirks(model),
    )


def batch_of_one(model: Model) -> dict[str, int]:
    """Return a length of one for the symbolic first axis of every input that has one."""
    first = (tensor.shape[0] for tensor in model.inputs if tensor.shape)
    return dict.fromkeys((axis for axis in first if isinstance(axis, str)), 1)


def _short(number: int) -> str:
    number = min(number, 10**300)  # more than a float holds
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number} "


def _wrapped(label: str, words: list[str]) -> list[str]:
    import textwrap

    lines = textwrap.wrap(", ".join(words), 86)
    return [f"  {label if place == 0 else '':<11} {line}" for place, line in enumerate(lines)]
