"""Regions: nodes that decide together whether they are INT8, since a border between them would tear a kernel apart."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from workbench.engine import kind_of_layer
from workbench.precision.operators import residual_convolution

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    import onnx_ir as ir

    from workbench.engine import EngineReport, FusionMap
    from workbench.graph import Model

__all__ = ["Crossing", "Region", "Regions", "regions_of"]

EITHER = frozenset(
    "AveragePool Clip Concat Dropout Flatten GlobalAveragePool Identity MaxPool Pad Relu Reshape Slice Split Squeeze "
    "Transpose Unsqueeze".split()
)
"""Operators that take what their neighbours have: a pair of Q/DQ moves through them."""

BETWEEN = frozenset({"Add", "Cast", "Div", "Mask", "Mul", "Sub", "Transpose", "Where"})
"""What may stand between an attention's product, its softmax and its second product."""


@dataclass(frozen=True)
class Region:
    """Nodes that decide together.

    Parameters
    ----------
    name
        Of its first node that can be INT8, else of its first.
    nodes
        All of them, in graph order.
    able
        Those that can be INT8.
    free
        Whether it can be placed in INT8 at all; otherwise it is floating point.
    structure
        The same for regions of equal operators, shapes and strides.
    """

    name: str
    nodes: tuple[str, ...]
    able: tuple[str, ...]
    free: bool
    structure: str


@dataclass(frozen=True)
class Crossing:
    """A tensor that goes from one region to others.

    Parameters
    ----------
    tensor, elements
        Its name, and how many numbers it holds; 0 where that is not known.
    start
        Position of the region that makes it.
    ends
        Positions of those that read it.
    """

    tensor: str
    elements: int
    start: int
    ends: tuple[int, ...]


@dataclass(frozen=True)
class Regions:
    """All regions of a model, in graph order, and the tensors between them."""

    all: tuple[Region, ...]
    crossings: tuple[Crossing, ...] = field(repr=False)

    @cached_property
    def owner(self) -> Mapping[str, int]:
        """Node to the position of its region."""
        return {node: position for position, region in enumerate(self.all) for node in region.nodes}

    @cached_property
    def classes(self) -> tuple[tuple[int, ...], ...]:
        """Positions of free regions that share a decision, since they are built alike."""
        members: dict[str, list[int]] = defaultdict(list)
        for position, region in enumerate(self.all):
            if region.able:
                members[region.structure].append(position)
        return tuple(map(tuple, members.values()))

    @cached_property
    def able(self) -> tuple[int, ...]:
        """Positions of the regions with nodes that can be INT8."""
        return tuple(position for position, region in enumerate(self.all) if region.able)

    def alike(self, nodes: Collection[str]) -> frozenset[int]:
        """Return the positions of the regions that some nodes belong to, and of those that are built like them."""
        own = {self.owner[node] for node in nodes if node in self.owner}
        return frozenset(own.union(*(group for group in self.classes if own.intersection(group))))

    def in_int8(self, nodes: Collection[str]) -> frozenset[int]:
        """Return the positions of the regions whose able nodes are all among some nodes."""
        inside = set(nodes)
        return frozenset(position for position in self.able if inside.issuperset(self.all[position].able))

    def nodes_of(self, positions: Collection[int]) -> frozenset[str]:
        """Return the nodes that are INT8 where some regions are."""
        return frozenset(node for position in positions for node in self.all[position].able)

    def borders(self, int8: Collection[int]) -> int:
        """Count the tensors that go from one precision into another, by an assignment of all regions."""
        inside = set(int8)
        return sum(any((end in inside) != (each.start in inside) for end in each.ends) for each in self.crossings)


def regions_of(model: Model, able: Collection[str], engines: Sequence[tuple[EngineReport, FusionMap]] = ()) -> Regions:
    """Divide a model into regions.

    Together are: what one layer of one of the engines was made of, except where Myelin made a layer of a whole graph; a
    residual Add and the convolution that it is fused into; the two products of an attention and what is between them.

    Parameters
    ----------
    model
        The model, in floating point.
    able
        The nodes that can be INT8.
    engines
        What was built of it: in floating point, and with all of `able` in INT8.
    """
    groups = _Groups(model.top_nodes)
    for report, fusion in engines:
        for layer in report.layers:
            if not layer.myelin and kind_of_layer(layer) not in {"reformat", "qdq"}:
                group = fusion.by_layer[layer.name]
                groups.join([node for node in (*group.nodes, *group.absorbed) if node in model.top_nodes])
    for address, node in model.top_nodes.items():
        convolution = residual_convolution(node)
        if convolution is not None:
            groups.join([model.index.address[convolution], address])
        if node.op_type == "Softmax":
            groups.join(list(_attention(model, address, node)))
    can = set(able)
    regions = [_region(model, nodes, can) for nodes in groups.all()]
    owner = {node: position for position, region in enumerate(regions) for node in region.nodes}
    return Regions(tuple(regions), tuple(_crossings(model, owner)))


class _Groups:
    """Sets of nodes that are joined step by step."""

    def __init__(self, nodes: Collection[str]) -> None:
        self._parent = {node: node for node in nodes}

    def join(self, nodes: Sequence[str]) -> None:
        for node in nodes[1:]:
            self._parent[self._root(node)] = self._root(nodes[0])

    def _root(self, node: str) -> str:
        while self._parent[node] != node:
            self._parent[node] = self._parent[self._parent[node]]
            node = self._parent[node]
        return node

    def all(self) -> list[list[str]]:
        """Return the groups in the order of their first nodes."""
        by_class: dict[str, list[str]] = {}
        for node in self._parent:
            by_class.setdefault(self._root(node), []).append(node)
        return list(by_class.values())


def _region(model: Model, nodes: Sequence[str], can: Collection[str]) -> Region:
    able = tuple(node for node in nodes if node in can)
    free = bool(able) or all(model.top_nodes[node].op_type in EITHER for node in nodes)
    return Region((able or tuple(nodes))[0], tuple(nodes), able, free, _structure(model, nodes))


def _structure(model: Model, nodes: Sequence[str]) -> str:
    """Return what regions that are built alike have in common: operators, attributes, shapes of all they read and make.

    Whether a node reads one of its own region or another is part of it, its name is not.
    """
    inside = {model.top_nodes[node] for node in nodes}
    parts = []
    for name in nodes:
        node = model.top_nodes[name]
        attributes = sorted(f"{key}={value.value}" for key, value in node.attributes.items())
        read = [
            (str(model.tensor(str(value.name)).shape), value.is_initializer(), value.producer() in inside)
            for value in node.inputs
            if value is not None
        ]
        shapes = [str(model.tensor(str(value.name)).shape) for value in node.outputs]
        parts.append((node.op_type, attributes, read, shapes))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _crossings(model: Model, owner: Mapping[str, int]) -> Iterator[Crossing]:
    for address, node in model.top_nodes.items():
        for value in node.outputs:
            readers = [model.index.address.get(use.node, "") for use in value.uses()]
            ends = sorted({owner[reader] for reader in readers if reader in owner} - {owner[address]})
            if ends and value.name:
                shape = model.tensor(value.name).static_shape
                yield Crossing(value.name, math.prod(shape) if shape else 0, owner[address], tuple(ends))


def _attention(model: Model, address: str, softmax: ir.Node) -> Iterator[str]:
    """Yield a softmax, the products before and after it, and what is between, where it is an attention's."""
    before, after = _product_before(softmax), _product_after(softmax)
    if before and after:
        yield address
        yield from (model.index.address[node] for node in (*before, *after))


def _product_before(node: ir.Node) -> list[ir.Node]:
    path: list[ir.Node] = []
    current: ir.Node | None = node
    while current is not None:
        makers = [value.producer() for value in current.inputs if value is not None]
        current = next((maker for maker in makers if maker is not None), None)
        if current is None or current.op_type not in {*BETWEEN, "MatMul"}:
            return []
        path.append(current)
        if current.op_type == "MatMul":
            return path
    return []


def _product_after(node: ir.Node) -> list[ir.Node]:
    path: list[ir.Node] = []
    current = node
    while True:
        readers = [use.node for use in current.outputs[0].uses()]
        if len(readers) != 1 or readers[0].op_type not in {*BETWEEN, "Dropout", "MatMul"}:
            return []
        current = readers[0]
        path.append(current)
        if current.op_type == "MatMul":
            return path
