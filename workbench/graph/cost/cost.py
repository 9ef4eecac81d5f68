"""What a node costs: parameters, multiply-accumulates (MACs) and bytes; what is unknown stays unknown."""

from __future__ import annotations

import math
from collections import ChainMap
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

import onnx_ir as ir

from workbench.graph.bodies import called_proto, calls, repetitions, subgraphs
from workbench.graph.cost.macs import has_rule, macs_of
from workbench.graph.domains import onnx_op
from workbench.graph.load import from_proto
from workbench.graph.structure import graphs_of
from workbench.graph.weights import constant_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from workbench.graph.model import Model
    from workbench.graph.tensor import Tensor

__all__ = ["Cost", "costs", "mac_shares", "parameters_of", "total", "weight_bytes_of"]

NEVER = "it never runs"
UNCOUNTED = "how often it runs is not known"


@dataclass(frozen=True)
class Cost:
    """What a node costs in one run of the model.

    A node that runs several times, in the body of a loop or in a local function with several calls, costs as much as
    all of its runs together.

    Parameters
    ----------
    parameters
        Elements of the weights the node reads (see `Model.weights`); shared weights count at each reader.
    macs
        Multiply-accumulates of the node itself, without those of the graphs inside of it; ``None`` where the operator,
        a shape or the number of runs is unknown.
    weight_bytes
        Bytes of those weights, as stored.
    activation_bytes
        Bytes of what the node reads and makes besides constants, each tensor once a run; ``None`` where a shape, an
        element type or the number of runs is unknown.
    inside
        Multiply-accumulates of the graphs inside of it: of an If those of its costlier branch, ``max(then, else)``; of
        a Loop or a Scan ``iterations * body``; of a call of a local function those of the function with the shapes of
        this call; 0 where there is nothing inside and ``None`` where something is unknown.
    note
        Why something is unknown, or how `inside` was counted; empty where there is nothing to say.
    """

    parameters: int
    macs: int | None
    weight_bytes: int
    activation_bytes: int | None
    inside: int | None = 0
    note: str = ""

    @property
    def bytes(self) -> int | None:
        """Bytes moved by one run that keeps nothing in a cache: weights and activations."""
        return None if self.activation_bytes is None else self.weight_bytes + self.activation_bytes

    @property
    def work(self) -> int | None:
        """Multiply-accumulates of the node and of all that is inside of it; ``None`` where a part is unknown."""
        return None if self.macs is None or self.inside is None else self.macs + self.inside


_tables: WeakKeyDictionary[Model, dict[tuple[tuple[str, int], ...], dict[str, Cost]]] = WeakKeyDictionary()
"""Of a model that is alive, what was asked for: shapes are not inferred twice."""


def costs(model: Model, sizes: Mapping[str, int] | None = None) -> dict[str, Cost]:
    """Return the cost of every node by address, those in subgraphs and local functions included.

    The `macs` of all nodes sum up to those of one run in which every branch of every If is taken; `total` takes the
    costlier one.

    Parameters
    ----------
    model
        The model.
    sizes
        Lengths to assume for symbolic axes of the inputs, by name, for example ``{"batch": 1}``.
    """
    tables = _tables.setdefault(model, {})
    key = tuple(sorted((sizes or {}).items()))
    if key not in tables:
        tables[key] = _costs(model, sizes)
    return dict(tables[key])


def _costs(model: Model, sizes: Mapping[str, int] | None) -> dict[str, Cost]:
    tensors = model.tensors
    if sizes:
        from workbench.graph.shapes import infer

        tensors = infer(model, sizes).tensors
    table = _Costing(model, tensors, model).table()
    lacking = [model.nodes[address] for address, cost in table.items() if cost.work is None]
    static = all((t := tensors.get(tensor.name)) is not None and t.static_shape is not None for tensor in model.inputs)
    if static and any(has_rule(node) or any(True for _ in subgraphs(node)) for node in lacking):
        # Shapes and iterations that are computed inside the graph are known once what they are computed from is.
        folded = _folded(model, sizes or {})
        static_tensors = {name: tensor for name, tensor in folded.tensors.items() if tensor.static_shape is not None}
        table = _Costing(model, ChainMap(static_tensors, dict(tensors)), folded).table()
    return table


def _folded(model: Model, sizes: Mapping[str, int]) -> Model:
    """Return a model with its constants folded and its inputs' symbolic axes bound."""
    from workbench.graph.edits import FoldConstants

    bound = model.thaw()
    for value in bound.graph.inputs:
        if value.shape is not None:
            axes = [axis if isinstance(axis, int) else axis.value for axis in value.shape]
            value.shape = ir.Shape([sizes.get(axis, axis) if isinstance(axis, str) else axis for axis in axes])
    for part in (graph for _, graph in graphs_of(bound)):
        for node in part:
            for value in node.outputs:
                value.shape = None
    shaped = model.replaced(bound)
    graph = shaped.thaw()
    FoldConstants().apply(graph, shaped)
    return model.replaced(graph)


class Size(NamedTuple):
    """How large a value is."""

    name: str
    shape: tuple[int, ...] | None
    bytes: int | None
    constant: bool


class _Costing:
    """Walks a model from the outermost graph in, and counts how often each graph runs on the way.

    Parameters
    ----------
    model
        The model.
    tensors
        What is known of shapes.
    folded
        The model with more constants in it, where there are more: numbers of iterations are looked up there.
    """

    def __init__(self, model: Model, tensors: Mapping[str, Tensor], folded: Model) -> None:
        self.model, self.tensors, self.folded = model, tensors, folded
        self.costs: dict[str, Cost] = {}
        self.sizes: dict[ir.Value, Size] = {}
        self.called: dict[str, list[Cost]] = {}
        self.seen: dict[bytes, tuple[dict[str, Cost], int, list[str]]] = {}

    def table(self) -> dict[str, Cost]:
        self.graph(self.model.ir_model.graph, "", 1, "")
        for function in self.model.ir_model.functions.values():
            self.graph(function.graph, f"function({function.domain}:{function.name})/", 0, "")
        for address, runs in self.called.items():
            self.costs[address] = _together(self.costs[address], runs)
        return {address: self.costs[address] for address in self.model.nodes}

    def graph(self, graph: ir.Graph, prefix: str, runs: int | None, why: str) -> int | None:
        """Cost the nodes of a graph that runs so often; return their MACs together."""
        works = []
        for node in graph:
            address = f"{prefix}{node.name}"
            one = self.cost(address, node)
            function = calls(self.model, node)
            if function is not None:
                inside, note = (0, "") if runs == 0 else self.call(node, function, runs)
                one = replace(one, macs=0, inside=inside, note=note)
            elif any(True for _ in subgraphs(node)):
                inside, note = self.holder(node, address, runs, why)
                one = replace(one, macs=0, inside=inside, note=note)
            cost = self.costs[address] = _times(one, runs, why)
            works.append(cost.work)
        return _sum(works)

    def cost(self, address: str, node: ir.Node) -> Cost:
        """Return what one run of a node costs by itself."""
        weights = self.model.weights.get(address, ())
        held = [size for value in weights if (size := self.size(value)).constant]
        moved: dict[str, int | None] = {}
        for value in (*node.inputs, *node.outputs):
            if value is None or not value.name or value in weights:
                continue
            size = self.size(value)
            if not size.constant:
                moved[size.name] = size.bytes
        macs = macs_of(node, lambda value: None if value is None else self.size(value).shape)
        note = ""
        if macs is None:
            note = "a shape is not known" if has_rule(node) else f"there is no rule for {node.op_type}"
        return Cost(
            parameters=sum(math.prod(size.shape or ()) for size in held),
            macs=macs,
            weight_bytes=sum(size.bytes or 0 for size in held),
            activation_bytes=_sum(moved.values()),
            note=note,
        )

    def size(self, value: ir.Value) -> Size:
        """Return how large a value is; one node makes it and others read it."""
        size = self.sizes.get(value)
        if size is None:
            content = constant_of(value)
            if content is not None:
                size = Size(str(value.name), tuple(content.shape.numpy()), content.nbytes, constant=True)
            else:
                name = self.model.index.tensor(value)
                tensor = self.tensors.get(name)
                shape, nbytes = (None, None) if tensor is None else (tensor.static_shape, tensor.nbytes)
                size = Size(name, shape, nbytes, constant=False)
            self.sizes[value] = size
        return size

    def holder(self, node: ir.Node, address: str, runs: int | None, why: str) -> tuple[int | None, str]:
        """Cost what is inside of a node with subgraphs."""
        often = repetitions(self.folded, self.folded.nodes.get(address, node), self.tensors)
        inner, reason = (None, often) if isinstance(often, str) else (often, why)
        times = None if inner is None or runs is None else inner * runs
        macs_of = {
            branch: self.graph(graph, f"{address}/{branch}/", times, reason) for branch, graph in subgraphs(node)
        }
        if times is None:
            return None, reason or UNCOUNTED
        lacking = [branch for branch, macs in macs_of.items() if macs is None]
        if lacking:
            return None, f"something in {' and '.join(lacking)} is unknown"
        if onnx_op(node) == "If":
            costlier = max(macs_of, key=lambda branch: macs_of[branch] or 0)
            return macs_of[costlier], f"of its branches the costlier counts: {costlier}" if macs_of[costlier] else ""
        return _sum(macs_of.values()), f"{often} iterations" if often != 1 else "1 iteration"

    def call(self, node: ir.Node, function: ir.Function, runs: int | None) -> tuple[int | None, str]:
        """Cost a call of a local function, with the shapes of this call."""
        proto = called_proto(self.model, function, node, self.tensors)
        key = proto.SerializeToString(deterministic=True)
        if key not in self.seen:
            body = from_proto(proto)
            table = costs(body)
            self.seen[key] = table, *total(body, table)
        table, macs, unknown = self.seen[key]
        own = f"function({function.domain}:{function.name})/"
        for name, cost in table.items():
            deeper = name.startswith("function(")
            at = name if deeper else f"{own}{name}"
            if at in self.model.nodes and not (deeper and cost.note == NEVER):
                self.called.setdefault(at, []).append(_times(cost, runs, UNCOUNTED))
        if unknown:
            return None, f"in its function {unknown[0]} is unknown"
        return (None, UNCOUNTED) if runs is None else (macs * runs, "")


def _times(cost: Cost, runs: int | None, why: str) -> Cost:
    """Return what so many runs of a node cost; what is inside of it is counted already."""
    if runs == 1:
        return cost
    if runs is None:
        return replace(cost, macs=None, activation_bytes=None, inside=None, note=why)
    if runs == 0:
        return replace(cost, macs=0, activation_bytes=0, inside=0, note=NEVER)
    macs, moved = (None if one is None else one * runs for one in (cost.macs, cost.activation_bytes))
    return replace(cost, macs=macs, activation_bytes=moved)


def _together(first: Cost, runs: list[Cost]) -> Cost:
    """Return what a node of a function costs in all of its calls."""
    macs, moved, inside = (
        _sum(getattr(cost, name) for cost in runs) for name in ("macs", "activation_bytes", "inside")
    )
    note = next((cost.note for cost in runs if cost.note), "")
    return replace(first, macs=macs, activation_bytes=moved, inside=inside, note=note)


def _sum(numbers: Iterable[int | None]) -> int | None:
    """Return the sum, unknown where one of them is."""
    total = 0
    for number in numbers:
        if number is None:
            return None
        total += number
    return total


def parameters_of(model: Model) -> int:
    """Return the number of parameters of a model: elements of its weights, a shared weight once.

    The four constants of a BatchNormalization all count: all four were learnt or measured.
    """
    return sum(math.prod(content.shape.numpy()) for content in _contents(model))


def weight_bytes_of(model: Model) -> int:
    """Return the bytes of a model's weights as stored, a shared weight once."""
    return sum(content.nbytes for content in _contents(model))


def _contents(model: Model) -> list[ir.TensorProtocol]:
    weights = dict.fromkeys(value for values in model.weights.values() for value in values)
    return [content for value in weights if (content := constant_of(value)) is not None]


def mac_shares(model: Model, table: Mapping[str, Cost]) -> dict[str, float | None]:
    """Return each node's share of the multiply-accumulates, 0 to 1, by address.

    ``None`` where the node's are not known, and everywhere where those of an operator that multiplies are not: a share
    of an unknown sum is unknown.
    """
    counts = {node: cost.macs for node, cost in table.items()}
    blind = any(count is None and has_rule(model.nodes[node]) for node, count in counts.items())
    whole = 0 if blind else sum(count or 0 for count in counts.values())
    return {node: count / whole if whole and count is not None else None for node, count in counts.items()}


def total(model: Model, table: Mapping[str, Cost]) -> tuple[int, list[str]]:
    """Return the MACs of one run of the model, and the nodes whose MACs are unknown, so that they are not in it.

    What is unknown inside of an If is listed node by node; a loop or a call of which nothing is known, itself. See
    `Cost.note` for the reason.
    """
    unknown: list[str] = []
    return _least(model.ir_model.graph, "", table, unknown), unknown


def _least(graph: ir.Graph, prefix: str, table: Mapping[str, Cost], unknown: list[str]) -> int:
    macs = 0
    for node in graph:
        address = f"{prefix}{node.name}"
        cost = table[address]
        if cost.work is not None:
            macs += cost.work
            continue
        inner: list[str] = []
        branches = [_least(body, f"{address}/{branch}/", table, inner) for branch, body in subgraphs(node)]
        least = (max if onnx_op(node) == "If" else sum)(branches) if branches else 0
        unknown.extend(inner if least or onnx_op(node) == "If" else [address])
        macs += least
    return macs
