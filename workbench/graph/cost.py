"""What a node costs: parameters, multiply-accumulates (MACs) and bytes; what is unknown stays unknown."""

from __future__ import annotations

import math
from collections import ChainMap
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir as ir

from workbench.graph.macs import macs_of
from workbench.graph.model import graphs_of
from workbench.graph.weights import constant_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from workbench.graph.model import Model, Tensor

__all__ = ["Cost", "costs", "parameters_of", "total", "weight_bytes_of"]


@dataclass(frozen=True)
class Cost:
    """What one run of a node costs.

    Parameters
    ----------
    parameters
        Elements of the weights the node reads (see `Model.weights`); shared weights count at each reader.
    macs
        Multiply-accumulates; ``None`` where the operator or a shape is unknown.
    weight_bytes
        Bytes of those weights, as stored.
    activation_bytes
        Bytes of what the node reads and makes besides constants, each tensor once; ``None`` where a shape or an element
        type is unknown.
    """

    parameters: int
    macs: int | None
    weight_bytes: int
    activation_bytes: int | None

    @property
    def bytes(self) -> int | None:
        """Bytes moved by one run that keeps nothing in a cache: weights and activations."""
        return None if self.activation_bytes is None else self.weight_bytes + self.activation_bytes


def costs(model: Model, sizes: Mapping[str, int] | None = None) -> dict[str, Cost]:
    """Return the cost of every node by address.

    A node that holds subgraphs has the cost of its own inputs and outputs; its inner nodes have theirs. An inner node
    of a loop counts once, whatever the number of iterations.

    Parameters
    ----------
    model
        The model.
    sizes
        Lengths to assume for symbolic axes of the inputs, by name, for example ``{"batch": 1}``.
    """
    tensors = model.tensors
    if sizes:
        from workbench.graph.shapes import infer

        tensors = infer(model, sizes).tensors
    table = {address: _cost(model, address, node, tensors) for address, node in model.nodes.items()}
    lacking = (address for address, cost in table.items() if cost.macs is None)
    static = all((t := tensors.get(tensor.name)) is not None and t.static_shape is not None for tensor in model.inputs)
    if static and any(macs_of(model.nodes[address], _one_everywhere) is not None for address in lacking):
        # Shapes that are computed inside the graph are known once what they are computed from is.
        known = ChainMap(dict(_shapes_after_folding(model, sizes or {})), dict(tensors))
        table = {address: _cost(model, address, node, known) for address, node in model.nodes.items()}
    return table


def _one_everywhere(value: ir.Value | None) -> tuple[int, ...]:
    """Pretend to know a shape, to ask whether a rule is there at all."""
    return () if value is None else (1, 1, 1)


def _shapes_after_folding(model: Model, sizes: Mapping[str, int]) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors whose shapes are known when constants are folded with the inputs' symbolic axes bound."""
    from workbench.graph.edits.fold_constants import FoldConstants

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
    folded = model.replaced(graph)
    yield from ((name, tensor) for name, tensor in folded.tensors.items() if tensor.static_shape is not None)


def _cost(model: Model, address: str, node: ir.Node, tensors: Mapping[str, Tensor]) -> Cost:
    weights = model.weights.get(address, ())
    constants = [content for value in weights if (content := constant_of(value)) is not None]
    own = set(weights)
    moved: dict[str, int | None] = {}
    for value in (*node.inputs, *node.outputs):
        if value is None or not value.name or value in own or constant_of(value) is not None:
            continue
        name = model.index.tensor(value)
        moved[name] = _bytes(tensors.get(name))
    sizes = [size for size in moved.values() if size is not None]
    return Cost(
        parameters=sum(math.prod(c.shape.numpy()) for c in constants),
        macs=macs_of(node, lambda value: _shape(model, value, tensors)),
        weight_bytes=sum(c.nbytes for c in constants),
        activation_bytes=sum(sizes) if len(sizes) == len(moved) else None,
    )


def _bytes(tensor: Tensor | None) -> int | None:
    shape = None if tensor is None else tensor.static_shape
    if tensor is None or shape is None or tensor.dtype in (None, "STRING"):
        return None
    return math.ceil(math.prod(shape) * ir.DataType[str(tensor.dtype)].itemsize)


def _shape(model: Model, value: ir.Value | None, tensors: Mapping[str, Tensor]) -> tuple[int, ...] | None:
    if value is None:
        return None
    if (content := constant_of(value)) is not None:
        return tuple(content.shape.numpy())
    known = tensors.get(model.index.tensor(value))
    return None if known is None else known.static_shape


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


def total(model: Model, table: Mapping[str, Cost]) -> tuple[int, list[str]]:
    """Return the MACs of one run of the model, and the nodes whose MACs are unknown, so that they are not in it.

    Of the branches of an ``If`` the costlier one counts. Nodes inside loops and local functions are listed as unknown:
    how often they run is not known.
    """
    unknown: list[str] = []
    return _total(model.ir_model.graph, "", table, unknown), unknown


def _total(graph: ir.Graph, prefix: str, table: Mapping[str, Cost], unknown: list[str]) -> int:
    macs = 0
    for node in graph:
        address = f"{prefix}{node.name}"
        own = table[address].macs
        if own is None:
            unknown.append(address)
        macs += own or 0
        if node.op_type == "If":
            macs += max(
                _total(a.as_graph(), f"{address}/{a.name.removesuffix('_branch')}/", table, unknown)
                for a in node.attributes.values()
            )
    return macs
