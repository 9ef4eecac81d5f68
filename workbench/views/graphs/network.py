"""What the graph view needs to know of a model: its operators, and which tensor joins which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from workbench.display import shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from workbench.graph import Model

__all__ = ["Network", "Op", "network_of", "split_name"]

Ints = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Op:
    """One node of the model.

    Attributes
    ----------
    name
        Its address, unique in the model.
    op_type
        For example ``Conv``.
    inputs, outputs
        Tensors; every tensor has one name here, whatever subgraph it is seen from. Weights may be left in or out.
    scope
        The scopes around it, outermost first; empty where its name tells none.
    label
        Its name without the scopes.
    """

    name: str
    op_type: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    scope: tuple[str, ...] = ()
    label: str = ""


def _nothing(_: str) -> Mapping[str, str]:
    return {}


class Network:
    """The operators of a model in the order they run, joined by tensors.

    Parameters
    ----------
    ops
        Operators; ``Constant`` nodes are taken as weights: they are counted as part of their first consumer.
    inputs, outputs
        Tensors that are fed and that the model returns.
    describe
        Gives what there is to say of an operator, by name, for the pointer resting on it.
    notes
        Shape and type of the model's inputs and outputs, for people.
    model
        The model they are of, for those who want to know more; None for graphs from elsewhere.
    beyond
        Operator to how many more feed it, and how many more it feeds, that are left out of this picture.
    """

    def __init__(
        self,
        ops: Sequence[Op],
        inputs: Sequence[str] = (),
        outputs: Sequence[str] = (),
        describe: Callable[[str], Mapping[str, str]] = _nothing,
        notes: Mapping[str, str] | None = None,
        model: Model | None = None,
        beyond: Mapping[str, tuple[int, int]] | None = None,
    ) -> None:
        self.model = model
        self.beyond = beyond or {}
        self.ops = list(ops)
        self.index = {op.name: at for at, op in enumerate(self.ops)}
        self.inputs = list(inputs)
        self.outputs = list(outputs)
        self.describe = describe
        self.notes = notes or {}
        self.producer = {tensor: at for at, op in enumerate(self.ops) for tensor in op.outputs}
        self.constant = [op.op_type == "Constant" and len(self.ops) > 1 for op in self.ops]
        self.host = self._hosts()
        ends = [
            (self.producer[tensor], at, tensor)
            for at, op in enumerate(self.ops)
            for tensor in dict.fromkeys(op.inputs)
            if tensor in self.producer and not self.constant[self.producer[tensor]]
        ]
        self.tails: Ints = np.array([tail for tail, _, _ in ends], dtype=np.int64)
        self.heads: Ints = np.array([head for _, head, _ in ends], dtype=np.int64)
        self.tensors = [tensor for _, _, tensor in ends]

    def _hosts(self) -> list[int]:
        """Return, for every operator, the one it is drawn with: itself, or a constant's first consumer."""
        host = list(range(len(self.ops)))
        for at, op in enumerate(self.ops):
            for tensor in op.inputs:
                source = self.producer.get(tensor)
                if source is not None and self.constant[source] and host[source] == source:
                    host[source] = at
        return host

    def neighbourhood(self, names: Iterable[str], hops: int, limit: int) -> tuple[Network, bool]:
        """Return the operators at most `hops` tensors away from some, and whether `limit` left any out."""
        near = {self.host[self.index[name]]: 0 for name in names}
        beside: dict[int, list[int]] = {}
        for tail, head in zip(self.tails.tolist(), self.heads.tolist(), strict=True):
            beside.setdefault(tail, []).append(head)
            beside.setdefault(head, []).append(tail)
        rim, cut = list(near), False
        for _ in range(hops):
            rim = [other for node in rim for other in beside.get(node, ())]
            rim = [node for node in dict.fromkeys(rim) if node not in near]
            cut |= len(near) + len(rim) > limit
            rim = rim[: limit - len(near)]
            near.update(dict.fromkeys(rim, 0))
        ops = [
            Op(op.name, op.op_type, op.inputs, op.outputs, (), op.label)
            for op in map(self.ops.__getitem__, sorted(near))
        ]
        hidden: dict[str, tuple[set[int], set[int]]] = {}
        for tail, head in zip(self.tails.tolist(), self.heads.tolist(), strict=True):
            if (tail in near) != (head in near):
                inner, outer = (head, tail) if head in near else (tail, head)
                hidden.setdefault(self.ops[inner].name, (set(), set()))[inner == tail].add(outer)
        beyond = {name: (len(before), len(after)) for name, (before, after) in hidden.items()}
        used = {tensor for op in ops for tensor in (*op.inputs, *op.outputs)}
        inputs = [tensor for tensor in self.inputs if tensor in used]
        outputs = [tensor for tensor in self.outputs if tensor in used]
        return Network(ops, inputs, outputs, self.describe, self.notes, beyond=beyond), cut


def split_name(name: str, op_type: str) -> tuple[tuple[str, ...], str]:
    """Return the scopes that a node's name tells, and the rest of it.

    ``/encoder/layers.0/attn/MatMul`` is in ``encoder``, ``layers.0``, ``attn``. Where there are no slashes dots count
    (``encoder.layers.0.attn.MatMul``), a number staying with the word before it; a trailing ``Conv.12`` on a Conv is a
    counter, not a scope.
    """
    if "/" in name:
        parts = [part for part in name.split("/") if part]
        return tuple(parts[:-1]), parts[-1] if parts else name
    words: list[str] = []
    for word in name.split("."):
        if word.isdigit() and words:
            words[-1] += f".{word}"
        elif word:
            words.append(word)
    while len(words) > 1 and _stem(words[-1]) == op_type.lower() and _stem(words[-2]) == op_type.lower():
        words[-2:] = [f"{words[-2]}.{words[-1]}"]
    return tuple(words[:-1]), words[-1] if words else name


def _stem(word: str) -> str:
    return word.lower().rstrip("0123456789._")


def network_of(model: Model) -> Network:
    """Return the operators of a model, those of its subgraphs and local functions included.

    A node with subgraphs is itself a scope: its branches are scopes in it, and the node joins what they return.
    """
    graph = model.ir_model.graph
    names = _TensorNames()
    ops = list(_ops(graph, "", (), names))
    for function in model.ir_model.functions.values():
        title = f"function({function.domain}:{function.name})"
        ops += _ops(function.graph, f"{title}/", (title,), names)
    weights = set(graph.initializers)
    inputs = [value for value in graph.inputs if value.name not in weights]
    notes = {names[value]: _shape(value) for value in (*inputs, *graph.outputs)}
    return Network(
        ops,
        [names[value] for value in inputs],
        [names[value] for value in graph.outputs],
        lambda name: _describe(model, name),
        notes,
        model,
    )


def _shape(value: ir.Value) -> str:
    dtype = "?" if value.dtype is None else value.dtype.name.lower()
    dtype = {"float": "float32", "double": "float64"}.get(dtype, dtype)
    shape = "?" if value.shape is None else " × ".join(str(getattr(n, "value", n) or "?") for n in value.shape)
    return f"{dtype} {shape}".strip()


class _TensorNames(dict[ir.Value, str]):
    """One name a value: its own, made unique where subgraphs use a name twice."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def __missing__(self, value: ir.Value) -> str:
        name = base = value.name or "?"
        count = 1
        while name in self._taken:
            count += 1
            name = f"{base}__{count}"
        self._taken.add(name)
        self[value] = name
        return name

    def alias(self, inner: ir.Value, outer: ir.Value) -> None:
        """Make a subgraph's input the tensor that is fed to it."""
        self[inner] = self[outer]


def _ops(graph: ir.Graph, prefix: str, around: tuple[str, ...], names: _TensorNames) -> Iterator[Op]:
    weights = set(graph.initializers.values())
    for node in graph:
        name = node.name or ""
        scope, label = split_name(name, node.op_type)
        # The names in a branch repeat the scopes of the node that it belongs to.
        while scope and around and prefix and scope[0] in around:
            scope = scope[1:]
        inner = own = (*around, *scope)
        inputs = [names[value] for value in node.inputs if value is not None and value not in weights]
        for branch, body in _bodies(node):
            if node.op_type in {"Loop", "Scan"}:
                for formal, actual in zip(body.inputs, node.inputs, strict=False):
                    if actual is not None:
                        names.alias(formal, actual)
            yield from _ops(body, f"{prefix}{name}/{branch}/", (*inner, label, branch), names)
            inputs += [names[value] for value in body.outputs]
            own = (*inner, label)
        outputs = tuple(names[value] for value in node.outputs if value.name)
        yield Op(f"{prefix}{name}", node.op_type, tuple(dict.fromkeys(inputs)), outputs, own, label)


def _bodies(node: ir.Node) -> Iterator[tuple[str, ir.Graph]]:
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.name.removesuffix("_branch"), attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            for at, body in enumerate(attribute.as_graphs()):
                yield f"{attribute.name}[{at}]", body


def _describe(model: Model, name: str) -> Mapping[str, str]:
    node = model.nodes.get(name)
    if node is None:
        return {}
    facts = {"op": f"{node.domain}::{node.op_type}" if node.domain else node.op_type}
    for kind, values in (("in", node.inputs), ("out", node.outputs)):
        for at, value in enumerate(values):
            if value is not None and value.name:
                facts[f"{kind} {at}"] = str(model.tensor(value.name))
    for attribute in node.attributes.values():
        facts[attribute.name] = shortened(str(attribute.value).replace("\n", " "), 80)
    return facts
