"""Insert, bypass, delete, replace and rename single nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import onnx_ir as ir
from pydantic import Field

from workbench.errors import EditError
from workbench.graph.edits.base import Edit
from workbench.graph.edits.inside import tensor_at
from workbench.graph.edits.surgery import (
    Attributes,
    add_node,
    drop_unused,
    node_at,
    part_of,
    redirect,
    typed,
    value_at,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from typing_extensions import Self

    from workbench.graph.model import Model

FLOATING = ("FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE")

__all__ = ["Bypass", "Delete", "Insert", "RenameNode", "RenameTensor", "ReplaceNode", "import_domain"]


class Insert(Edit):
    """Put a new node of one input behind a tensor; its readers read the new node's result.

    Parameters
    ----------
    tensor
        What the new node reads.
    op, domain, attributes
        The new node's operator; a `domain` of one's own makes it a plugin-style custom operator.
    name
        The new node's name; made of the tensor's and the operator's where not given.
    readers
        Addresses of the nodes that shall read the new result; all of them where empty, and the graph's output too.
    """

    do: Literal["insert"] = "insert"
    title: ClassVar[str] = "Insert a node"
    equivalent: ClassVar[bool] = False

    tensor: str
    op: str
    domain: str = ""
    attributes: Attributes = Field(default_factory=dict)
    name: str = ""
    readers: tuple[str, ...] = ()

    def apply(self, graph: ir.Model, model: Model) -> list[str] | None:
        value = value_at(graph, self.tensor)
        part = part_of(value)
        readers = [node_at(graph, address) for address in self.readers]
        for reader, address in zip(readers, self.readers, strict=True):
            if value not in reader.inputs:
                raise EditError(f"it does not read {self.tensor!r}", where=address, fix="Name nodes that do.")
        node = add_node(
            part,
            self.op,
            [value],
            name=self.name or f"{value.name}_{self.op}",
            attributes=self.attributes,
            domain=self.domain,
            before=_first_reader(value, part),
        )
        import_domain(graph, self.domain)
        result = node.outputs[0]
        if not readers and value.is_graph_output() and value.producer() is not None:
            # The output keeps its name, and is what the new node makes.
            redirect(value, result, part)
            node.replace_input_with(0, value)
        else:
            for user, place in tuple(value.uses()):
                if user is not node and (not readers or user in readers):
                    user.replace_input_with(place, result)
        return [f"inserted {self.op} {node.name!r} behind {self.tensor}"]


def _first_reader(value: ir.Value, part: ir.Graph) -> ir.Node | None:
    readers = {use.node for use in value.uses()}
    return next((node for node in part if node in readers), None)


class Bypass(Edit):
    """Remove a node; who read its first result reads one of its inputs instead.

    It is offered where an input is of the result's shape and element type, and that is floating point: integers are
    sizes and indices, and not every one will do. Elsewhere, as for an ArgMax at the end, it
    can be asked for, and the outputs are declared to be what they become, if the graph is valid with that.

    Parameters
    ----------
    node
        Its address.
    input
        Which of its inputs takes the result's place.
    """

    do: Literal["bypass"] = "bypass"
    title: ClassVar[str] = "Bypass a node"
    equivalent: ClassVar[bool] = False

    node: str
    input: int = 0

    @classmethod
    def offers(cls, model: Model, addresses: Sequence[str]) -> Iterable[Self]:
        for address in addresses:
            node = model.nodes[address]
            alone = not any(value.uses() or value.is_graph_output() for value in node.outputs[1:])
            place = _same(node, model) if alone and node.outputs else None
            if place is not None:
                yield cls(node=address, input=place)

    def apply(self, graph: ir.Model, model: Model) -> list[str] | None:
        node = node_at(graph, self.node)
        source = node.inputs[self.input] if 0 <= self.input < len(node.inputs) else None
        if source is None:
            raise EditError(f"it has no input {self.input}", where=self.node, fix=f"It has {len(node.inputs)}.")
        if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
            raise EditError("another of its results is read as well", where=self.node, fix="Bypass its readers first.")
        part = part_of(node)
        inputs = tuple(node.inputs)
        redirect(node.outputs[0], source, part)
        part.remove(node, safe=True)
        drop_unused(part, inputs)
        return [f"bypassed {self.node}"]


def _same(node: ir.Node, model: Model) -> int | None:
    """Return which input of a node, no weight, has its result's element type and shape, as far as these are known."""
    result = tensor_at(model, model.index.tensor(node.outputs[0]))
    if result.dtype not in FLOATING or result.shape is None or None in result.shape:
        return None
    for place, value in enumerate(node.inputs):
        if value is None or value.is_initializer():
            continue
        tensor = tensor_at(model, model.index.tensor(value))
        if (tensor.dtype, tensor.shape) == (result.dtype, result.shape):
            return place
    return None


class Delete(Edit):
    """Remove a node whose results are unused."""

    do: Literal["delete"] = "delete"
    title: ClassVar[str] = "Delete a node"
    equivalent: ClassVar[bool] = False

    node: str

    @classmethod
    def offers(cls, model: Model, addresses: Sequence[str]) -> Iterable[Self]:
        for address in addresses:
            if not any(value.uses() or value.is_graph_output() for value in model.nodes[address].outputs):
                yield cls(node=address)

    def apply(self, graph: ir.Model, model: Model) -> list[str] | None:
        node = node_at(graph, self.node)
        for value in node.outputs:
            readers = [use.node.name or use.node.op_type for use in value.uses()]
            if readers or value.is_graph_output():
                raise EditError(
                    f"its result {value.name!r} is {'read by ' + readers[0] if readers else 'an output'}",
                    where=self.node,
                    fix="Bypass it instead, or drop the output." if readers else "Drop the output instead.",
                )
        part = part_of(node)
        inputs = tuple(node.inputs)
        part.remove(node, safe=True)
        drop_unused(part, inputs)
        return [f"deleted {self.node}"]


class ReplaceNode(Edit):
    """Replace a node by another operator with the same results, or by a plugin-style custom operator.

    Parameters
    ----------
    node
        The node's address; its name and results stay.
    op, domain, attributes
        The operator that takes its place, with its attributes.
    inputs
        Positions of the old node's inputs that the new one reads, in this order; all where not given.
    """

    do: Literal["replace_node"] = "replace_node"
    title: ClassVar[str] = "Replace a node"
    equivalent: ClassVar[bool] = False

    node: str
    op: str
    domain: str = ""
    attributes: Attributes = Field(default_factory=dict)
    inputs: tuple[int, ...] | None = None

    def apply(self, graph: ir.Model, model: Model) -> list[str] | None:
        old = node_at(graph, self.node)
        part = part_of(old)
        kept = range(len(old.inputs)) if self.inputs is None else self.inputs
        if not all(0 <= place < len(old.inputs) for place in kept):
            raise EditError(f"it has {len(old.inputs)} inputs, not {max(kept) + 1}", where=self.node)
        names = [str(value.name) for value in old.outputs]
        inputs = tuple(old.inputs)
        new = ir.node(
            self.op,
            [inputs[place] for place in kept],
            typed(self.op, self.domain, self.attributes),  # type: ignore[arg-type]
            domain=self.domain,
            outputs=[ir.Value(name=value.name, type=value.type, shape=value.shape) for value in old.outputs],
            name=old.name,
            doc_string=old.doc_string,
            metadata_props=dict(old.metadata_props),
        )
        ir.convenience.replace_nodes_and_values(part, old, [old], [new], old.outputs, new.outputs)
        for value, name in zip(new.outputs, names, strict=True):
            value.name = name
        drop_unused(part, inputs)
        import_domain(graph, self.domain)
        return [f"{self.node} is a {'.'.join(filter(None, (self.domain, self.op)))} now"]


class RenameNode(Edit):
    """Give a node another name."""

    do: Literal["rename_node"] = "rename_node"
    title: ClassVar[str] = "Rename a node"

    node: str
    to: str = Field(min_length=1)

    def apply(self, graph: ir.Model, model: Model) -> list[str] | None:
        node = node_at(graph, self.node)
        if node.name == self.to:
            return None
        if any(other.name == self.to for other in part_of(node)):
            raise EditError(f"the name {self.to!r} is taken", where=self.node, fix="Choose another.")
        node.name = self.to
        return [f"{self.node} is called {self.to!r} now"]


class RenameTensor(Edit):
    """Give a tensor another name: an input, an output, a weight or one in between."""

    do: Literal["rename_tensor"] = "rename_tensor"
    title: ClassVar[str] = "Rename a tensor"

    tensor: str
    to: str = Field(min_length=1)

    def requires(self, model: Model) -> None:
        taken = {str(v.name) for node in model.nodes.values() for v in (*node.inputs, *node.outputs) if v is not None}
        if self.to != self.tensor and self.to in taken | {tensor.name for tensor in (*model.inputs, *model.outputs)}:
            raise EditError(f"the name {self.to!r} is taken", where=self.tensor, fix="Choose another.")

    def apply(self, graph: ir.Model, model: Model) -> list[str] | None:
        value = value_at(graph, self.tensor)
        if value.name == self.to:
            return None
        part = part_of(value)
        if value.is_initializer():
            part.initializers.pop(str(value.name))
            value.name = self.to
            part.initializers.add(value)
        value.name = self.to
        return [f"{self.tensor} is called {self.to!r} now"]

    def origin(self, tensor: str) -> str:
        return self.tensor if tensor == self.to else tensor


def import_domain(graph: ir.Model, domain: str) -> None:
    """Let a model import an operator domain, at version 1 where it has none yet."""
    if domain:
        graph.opset_imports.setdefault(domain, 1)
