"""The few moves all edits are made of: find a node or tensor, put one in, take one out."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import onnx
import onnx_ir as ir

from workbench.errors import EditError
from workbench.graph.naming import names_in
from workbench.graph.structure import graphs_of, walk
from workbench.names import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "Attributes",
    "add_constant",
    "add_node",
    "constant_array",
    "constants_to_nodes",
    "drop_unused",
    "fresh_name",
    "import_default",
    "lengths_of",
    "node_at",
    "part_of",
    "redirect",
    "typed",
    "value_at",
]

FIRST_IMPORT = 13
"""The operator set that a model gets which had none: the first with Q/DQ along an axis, and every runtime has it."""

Scalar = int | float | str
Attributes = dict[str, Scalar | list[int] | list[float] | list[str]]
"""An operator's attributes, as a recipe can hold them."""


def node_at(model: ir.Model, address: str) -> ir.Node:
    """Return a node by its address.

    Raises
    ------
    EditError
        There is none; the message suggests near ones.
    """
    nodes = dict(walk(model))
    if address not in nodes:
        raise EditError("there is no such node", where=address, fix=_near(address, nodes))
    return nodes[address]


def value_at(model: ir.Model, tensor: str) -> ir.Value:
    """Return a tensor by its name, with its subgraph's address before it where it is in one.

    Raises
    ------
    EditError
        There is none; the message suggests near ones.
    """
    values: dict[str, ir.Value] = {}
    for prefix, graph in graphs_of(model):
        present = [*graph.inputs, *graph.initializers.values(), *(v for node in graph for v in node.outputs)]
        values.update((f"{prefix}{value.name}", value) for value in present if value.name)
    if tensor not in values:
        raise EditError("there is no such tensor", where=tensor, fix=_near(tensor, values))
    return values[tensor]


def part_of(item: ir.Node | ir.Value) -> ir.Graph:
    """Return the graph that a node or tensor of a model is in; a local function has one, too."""
    return cast("ir.Graph", item.graph)


def _near(name: str, names: Iterable[str]) -> str:
    return did_you_mean(
        name, names, most=3, cutoff=0.5, otherwise="Look at the table of the model's nodes and tensors."
    )


def fresh_name(part: ir.Graph, base: str) -> str:
    """Return a name that no tensor in or around a graph has: `base`, or `base` with ``__2``, ``__3``, ..."""
    return names_in(part).tensor(base)


def add_constant(part: ir.Graph, name: str, array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> ir.Value:
    """Add an initializer to a graph; its name is made unique."""
    name = fresh_name(part, name)
    tensor = ir.Tensor(np.asarray(array, order="C"), name=name)
    value = ir.Value(name=name, const_value=tensor, type=ir.TensorType(tensor.dtype), shape=ir.Shape(tensor.shape))
    part.initializers.add(value)
    return value


def add_node(
    part: ir.Graph,
    op: str,
    inputs: Sequence[ir.Value | None],
    *,
    name: str,
    attributes: Mapping[str, object] | None = None,
    domain: str = "",
    outputs: Sequence[str] = (),
    before: ir.Node | None = None,
) -> ir.Node:
    """Add a node to a graph, before another or at the end.

    Its name and those of its outputs are made unique; without names one output is named after the node.
    """
    values = [ir.Value(name=fresh_name(part, output)) for output in outputs or [name]]
    name = names_in(part).node(name)
    node = ir.node(op, inputs, typed(op, domain, attributes or {}), domain=domain, outputs=values, name=name)  # type: ignore[arg-type]
    if before is None:
        part.append(node)
    else:
        part.insert_before(before, node)
    return node


def typed(op: str, domain: str, attributes: Mapping[str, object]) -> dict[str, object]:
    """Make floats of the whole numbers among attributes that ONNX knows as floats: a recipe may say ``alpha: 1``."""
    try:
        formals = onnx.defs.get_schema(op, domain).attributes
    except onnx.defs.SchemaError:
        return dict(attributes)
    kinds = onnx.defs.OpSchema.AttrType
    result: dict[str, object] = {}
    for name, value in attributes.items():
        kind = formals[name].type if name in formals else None
        if kind == kinds.FLOAT and isinstance(value, int):
            result[name] = float(value)
        elif kind == kinds.FLOATS and isinstance(value, list):
            result[name] = [float(number) for number in value]
        else:
            result[name] = value
    return result


def redirect(old: ir.Value, new: ir.Value, part: ir.Graph) -> None:
    """Let everybody who reads `old` read `new`; where `old` is an output of the graph, its name lives on.

    A value that cannot take over the name (an input, a weight, another output) gives it through an Identity.
    """
    name = old.name
    for user, place in tuple(old.uses()):
        user.replace_input_with(place, new)
    if not old.is_graph_output():
        return
    maker = new.producer()
    if maker is not None and maker.graph is part and not new.is_graph_output():
        taker = new
    else:
        identity = ir.node("Identity", [new], outputs=[ir.Value()], name=names_in(part).node(f"{name}_identity"))
        part.append(identity)
        taker = identity.outputs[0]
    taker.type, taker.shape = old.type, old.shape
    for place, value in enumerate(part.outputs):
        if value is old:
            part.outputs[place] = taker
    old.name = fresh_name(part, f"{name}_before")
    taker.name = name


def constant_array(value: ir.Value | None) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]] | None:
    """Return the numbers of an initializer or of a ``Constant`` node's result, else ``None``."""
    from workbench.graph.weights import constant_of, is_stripped

    content = None if value is None else constant_of(value)
    if content is None or is_stripped(content) or content.dtype == ir.DataType.STRING:
        return None
    array = content.numpy()
    return np.asarray(array)


def lengths_of(value: ir.Value | None) -> tuple[int, ...] | None:
    """Return the shape of a tensor where the graph itself tells all of it, as it does of weights."""
    from workbench.graph.weights import constant_of

    if value is None:
        return None
    if (content := constant_of(value)) is not None:
        return tuple(content.shape.numpy())
    return tuple(value.shape.numpy()) if value.shape is not None and value.shape.is_static() else None


def constants_to_nodes(model: ir.Model) -> None:
    """Make ``Constant`` nodes of what edits have stored as weights of local functions, which can store none."""
    for function in model.functions.values():
        part = function.graph
        for name, value in tuple(part.initializers.items()):
            part.initializers.pop(name)
            output = ir.Value(name=name, type=value.type, shape=value.shape)
            node = ir.node("Constant", [], {"value": value.const_value}, outputs=[output], name=name)
            part.insert_before(part[0], node)
            ir.convenience.replace_all_uses_with(value, output, replace_graph_outputs=True)
            output.name = name


def import_default(model: ir.Model) -> None:
    """Let a model that was of other domains alone import the default one, where an edit brought in a node of it."""
    if "" not in model.opset_imports and any(not node.domain for _, node in walk(model)):
        model.opset_imports[""] = FIRST_IMPORT
        model.ir_version = max(model.ir_version or 0, onnx.helper.OP_SET_ID_VERSION_MAP["ai.onnx", FIRST_IMPORT])


def drop_unused(part: ir.Graph, values: Iterable[ir.Value | None]) -> None:
    """Remove those of some weights and ``Constant`` nodes of a graph that nothing reads any more."""
    for value in values:
        if value is None or value.uses() or value.is_graph_output():
            continue
        maker = value.producer()
        if value.name in part.initializers:
            part.initializers.pop(str(value.name))
        elif maker is not None and maker.op_type == "Constant" and maker.graph is part:
            part.remove(maker, safe=True)
