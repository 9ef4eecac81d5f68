"""Take the quantized inputs of single nodes out of a lowered model and into the floating-point one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from workbench.errors import PrecisionError
from workbench.graph import names_in, share_names
from workbench.graph.select import nodes
from workbench.precision.lowering import lower
from workbench.precision.operators import residual_convolution
from workbench.precision.plan import PrecisionPlan, Rule

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from workbench.graph import Model
    from workbench.precision.plan import Resolution

__all__ = ["all_quantized", "beside", "graft", "quantized_alone"]


def all_quantized(
    model: Model, candidates: Sequence[str], ranges: Mapping[str, float], resolution: Resolution | None = None
) -> Model:
    """Return the model with all of some nodes in INT8.

    Parameters
    ----------
    model, candidates, ranges
        As for `workbench.precision.sensitivity.measured.exact`.
    resolution
        The plan whose rules say how: scales per channel, weights alone, thresholds; as a bare rule where left out.

    Raises
    ------
    PrecisionError
        A node cannot be INT8, or a range is missing.
    """
    for node in candidates:
        if node not in model.nodes:
            raise PrecisionError("there is no such node", where=node, fix="See wb.graph.nodes().")
    # A residual Add is INT8 only with its convolution, which may not be asked about.
    joined = (residual_convolution(model.nodes[node]) for node in candidates)
    addresses = dict.fromkeys([*candidates, *(model.index.address[each] for each in joined if each is not None)])
    resolved = PrecisionPlan(rules=tuple(_rules(addresses, resolution))).resolve(model)
    for node in candidates:
        if resolved[node].precision != "int8":
            raise PrecisionError(f"it cannot be INT8: {'; '.join(resolved[node].reasons)}", where=node)
    return lower(model, resolved, ranges).model


def _rules(addresses: Iterable[str], resolution: Resolution | None) -> Iterator[Rule]:
    """Yield INT8 rules for some nodes, each with the options of the rule that decided on them, in the plan's order."""
    members: dict[int, list[str]] = {}
    for address in addresses:
        position = None if resolution is None else resolution[address].rule
        members.setdefault(-1 if position is None else position, []).append(address)
    for position, these in sorted(members.items()):
        deciding = None if resolution is None or position < 0 else resolution.rules[position]
        options = {} if deciding is None or deciding.precision != "int8" else deciding.options
        yield Rule(select=str(nodes(*these)), precision="int8", **options)


def quantized_alone(model: Model, lowered: Model, node: str) -> Model:
    """Return the model with one node as it is in the lowered one, and all others as they are."""
    whole = model.thaw()
    [(original, inputs)] = graft(whole.graph, lowered, [node])
    for position, value in enumerate(inputs):
        original.replace_input_with(position, value)
    return model.replaced(whole)


def beside(
    model: Model, lowered: Model, addresses: Iterable[str]
) -> tuple[ir.Model, list[tuple[str, ir.Value, ir.Value]]]:
    """Put a quantized copy of some nodes beside each of them, which reads the same tensors.

    Returns
    -------
    graph : onnx_ir.Model
        Without outputs, to which the caller adds what it wants to know.
    pairs : list
        Name, result and the copy's result of each node, in FLOAT.
    """
    whole = model.thaw()
    graph = whole.graph
    graph.outputs.clear()
    pairs = []
    grafted = graft(graph, lowered, addresses)
    names = share_names(whole)
    for original, inputs in grafted:
        copy = ir.Node(
            original.domain,
            original.op_type,
            inputs,
            attributes=list(original.attributes.values()),
            num_outputs=len(original.outputs),
            name=names.node(f"{original.name}/copy"),
        )
        for position, value in enumerate(copy.outputs):
            value.name = names.tensor(f"{original.name}/copy/{position}")
        graph.append(copy)
        results = original.outputs[0], copy.outputs[0]
        if model.tensor(str(original.outputs[0].name)).dtype not in {None, "FLOAT"}:
            results = _in_float(graph, results[0]), _in_float(graph, results[1])
        pairs.append((str(original.name), *results))
    return whole, pairs


def _in_float(graph: ir.Graph, value: ir.Value) -> ir.Value:
    """Return a tensor in FLOAT, in which sums of squares do not overflow."""
    names = names_in(graph)
    cast = ir.node("Cast", [value], {"to": ir.DataType.FLOAT}, name=names.node(f"{value.name}/float"))
    cast.outputs[0].name = names.tensor(f"{value.name}/float")
    graph.append(cast)
    return cast.outputs[0]


def graft(graph: ir.Graph, lowered: Model, addresses: Iterable[str]) -> list[tuple[ir.Node, list[ir.Value | None]]]:
    """Add to a graph what the lowered one has before some nodes.

    Parameters
    ----------
    graph
        The floating-point graph, which is changed: Q/DQ pairs are added, read by nothing yet.
    lowered
        The same graph lowered. No node is renamed in it.
    addresses
        Nodes that both have.

    Returns
    -------
    list
        Each wanted node of `graph`, in its order, with the values it has to read to be as in `lowered`.
    """
    mine = {str(node.name): node for node in graph}
    values = {str(value.name): value for value in (*graph.inputs, *graph.initializers.values())}
    values.update({str(value.name): value for node in graph for value in node.outputs})
    chosen = set(addresses)
    return [
        (mine[name], [None if v is None else _brought(graph, values, v, mine[name]) for v in node.inputs])
        for name, node in lowered.top_nodes.items()
        if name in chosen
    ]


def _brought(graph: ir.Graph, values: dict[str, ir.Value], value: ir.Value, before: ir.Node) -> ir.Value:
    """Return the graph's own value of a name, made together with what it is computed from where it is new."""
    name = str(value.name)
    if name in values:
        return values[name]
    producer = value.producer()
    if producer is None:
        values[name] = ir.Value(name=name, const_value=value.const_value, type=value.type, shape=value.shape)
        graph.initializers.add(values[name])
        return values[name]
    copy = ir.Node(
        producer.domain,
        producer.op_type,
        [None if v is None else _brought(graph, values, v, before) for v in producer.inputs],
        attributes=list(producer.attributes.values()),
        num_outputs=len(producer.outputs),
        name=producer.name,
    )
    for result, other in zip(copy.outputs, producer.outputs, strict=True):
        result.name = other.name
        values[str(other.name)] = result
    graph.insert_before(before, copy)
    return values[name]
