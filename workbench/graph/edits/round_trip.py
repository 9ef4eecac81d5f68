"""Lend a model to onnx-graphsurgeon and take it back: what GraphSurgeon cannot hold waits here meanwhile.

GraphSurgeon 0.6 drops the metadata of models, graphs, nodes and tensors, doc strings of nodes and tensors, overloads of
functions and attributes of some types; it copies a weight into each subgraph that reads it from around, and cannot
write an empty list. So what a function leaves as it was does not travel: it is put back, under the name it has by then.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import onnx
import onnx_graphsurgeon as gs
import onnx_ir as ir
from onnx_graphsurgeon.exporters.onnx_exporter import OnnxExporter
from onnx_graphsurgeon.ir.tensor import LazyValues
from onnx_graphsurgeon.logger import G_LOGGER

from workbench.errors import EditError
from workbench.graph.edits.lent_weights import Stub, Weight, held
from workbench.graph.structure import content_of, graphs_of, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from workbench.graph.tensor import Tensor

__all__ = ["changed_by"]

Aside = dict[str, "ir.Attr | None"]
"""All attributes of a node in order; those that travel through GraphSurgeon are ``None``."""


def changed_by(
    model: ir.Model,
    function: Callable[[gs.Graph], object],
    *,
    where: object,
    tensors: Mapping[str, Tensor] | None = None,
) -> list[str] | None:
    """Have a function change a model by way of onnx-graphsurgeon.

    Parameters
    ----------
    model
        The model; it is changed.
    function
        What changes the graph that it is given, or returns another.
    where
        What to call it in errors.
    tensors
        What is known of the main graph's tensors, for the function to see.

    Returns
    -------
    list of str or None
        What was done, and what could not be kept; ``None`` where nothing was changed.

    Raises
    ------
    EditError
        GraphSurgeon cannot hold the model, or cannot write what the function made of it.
    """
    loan = _Loan(model)
    with _asking(where, "GraphSurgeon cannot hold this model", "Cut off the part that it cannot hold first."):
        graph = loan.lend(tensors or {})
    result = function(graph)
    if result is not None and not isinstance(result, gs.Graph):
        fix = "Return a GraphSurgeon graph, or nothing where the one given was changed."
        raise EditError(f"it returned a {type(result).__name__}", where=where, fix=fix)
    with _asking(where, "GraphSurgeon cannot write what it made", "Correct the function; the model is unchanged."):
        return loan.take_back(graph if result is None else result)


@contextlib.contextmanager
def _asking(where: object, what: str, fix: str) -> Iterator[None]:
    """Keep GraphSurgeon's own log quiet, and say in one line what it raises."""
    try:
        with G_LOGGER.suppress(G_LOGGER.CRITICAL + 1):
            yield
    except Exception as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise EditError(f"{what}: {reason.strip()}", where=where, fix=fix) from error


@dataclass(frozen=True)
class _Lent:
    """A node, tensor or graph of the model, what it became in GraphSurgeon, and how that looked then."""

    origin: Any
    twin: Any
    looked: Any = None


@dataclass
class _Loan:
    """What is known of a model while GraphSurgeon has it.

    Things are told apart by identity: a function may rename them. Where it gives another graph back, by name.
    """

    model: ir.Model
    nodes: dict[int, _Lent] = field(default_factory=dict)
    tensors: dict[int, _Lent] = field(default_factory=dict)
    graphs: dict[int, _Lent] = field(default_factory=dict)
    functions: dict[tuple[str, str], tuple[ir.Function, bytes]] = field(default_factory=dict)
    named: dict[tuple[str, str, str], _Lent] = field(default_factory=dict)
    weights: dict[tuple[int, str], gs.Constant | ir.Value] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    kept: int = 0
    added: int = 0
    changed: int = 0

    # There

    def lend(self, tensors: Mapping[str, Tensor]) -> gs.Graph:
        proto, self.before = _message(self.model)
        self.written = proto.SerializeToString(deterministic=True)
        self.unimported = {node.domain for _, node in walk(self.model)} - set(self.model.opset_imports)
        graph = gs.import_onnx(proto)
        for name, tensor in graph.tensors().items():
            if isinstance(tensor, gs.Variable) and tensor.dtype is None and name in tensors:
                tensor.dtype, shape = tensors[name].numpy_dtype, tensors[name].shape
                tensor.shape = tensor.shape if shape is None else list(shape)
        self._remember(graph, self.model.graph, "")
        for twin, function in zip(graph.functions, self.model.functions.values(), strict=True):
            key = (function.domain, function.name)
            if key in self.functions:
                raise ValueError(f"two functions are called {function.name} and told apart by their overload alone")
            self.functions[key] = (function, _written(twin))
            self._remember(twin, function.graph, _prefix(twin))
        return graph

    def _remember(self, twin: gs.Graph, origin: ir.Graph, prefix: str) -> None:
        self.graphs[id(twin)] = self.named[prefix, "", "graph"] = _Lent(origin, twin)
        pairs: list[tuple[Any, ir.Value | None]] = list(zip(twin.inputs, origin.inputs, strict=True))
        pairs += zip(twin.outputs, origin.outputs, strict=True)
        for node, old in zip(twin.nodes, origin, strict=True):
            lent = _Lent(old, node, {name: _look(value) for name, value in node.attrs.items()})
            self.nodes[id(node)] = self.named[prefix, node.name, "node"] = lent
            # Unused results may be missing at the end.
            pairs += [*zip(node.inputs, old.inputs, strict=False), *zip(node.outputs, old.outputs, strict=False)]
            for name, value in node.attrs.items():
                if isinstance(value, gs.Graph):
                    self._remember(value, old.attributes[name].as_graph(), f"{prefix}{node.name}/{name}/")
        for tensor, value in pairs:
            if value is None or id(tensor) in self.tensors:
                continue
            if isinstance(tensor, gs.Constant):
                tensor.values = Weight(content_of(value))
            at = "" if value.graph is self.model.graph else prefix
            self.tensors[id(tensor)] = self.named[at, tensor.name, "tensor"] = _Lent(value, tensor, _look(tensor))

    # And back

    def take_back(self, graph: gs.Graph) -> list[str] | None:
        self._match_by_name(graph)
        untouched = {id(twin) for twin in graph.functions if self._is_untouched(twin)}
        touched = [twin for twin in graph.functions if id(twin) not in untouched]
        asides = {id(node): self._set_aside(node) for part in (graph, *touched) for node in _nodes(part)}
        for _, part in _parts(graph):
            for tensor in () if isinstance(part, gs.Function) else part.tensors().values():
                if isinstance(tensor, gs.Constant) and not isinstance(held(tensor), Stub):
                    tensor.values = Stub(tensor)
        proto = gs.export_onnx(graph, do_type_check=False)
        self._return_weights(graph, proto.graph, [])
        written = ir.from_proto(proto)
        self._restore(graph, written.graph, asides)
        functions: list[ir.Function] = []
        for twin, function in zip(graph.functions, written.functions.values(), strict=True):
            if id(twin) in untouched:
                functions.append(self.functions[twin.unique_id][0])
                self.kept += sum(1 for _ in _nodes(twin))
            else:
                self._restore(twin, function.graph, asides)
                if twin.unique_id in self.functions:
                    function.overload = self.functions[twin.unique_id][0].overload
                functions.append(function)
        self._settle(graph, written.graph, functions)
        removed = len({id(lent.origin) for lent in self.nodes.values()}) - self.kept
        proto, after = _message(self.model)
        same_weights = len(after) == len(self.before) and all(a is b for a, b in zip(after, self.before, strict=True))
        if same_weights and proto.SerializeToString(deterministic=True) == self.written:
            return None
        counts = {"added": self.added, "removed": removed, "changed": self.changed}
        done = ", ".join(f"{count} nodes {how}" for how, count in counts.items() if count)
        return [done or "only the order, shapes, names or weights of nodes changed", *self.notes]

    def _match_by_name(self, graph: gs.Graph) -> None:
        """Recognize what was copied, as by a function that writes the graph and reads it again."""
        for prefix, part in _parts(graph):
            self._match("graph", self.graphs, prefix, "", part)
            for node in part.nodes:
                self._match("node", self.nodes, prefix, node.name, node)
            for name, tensor in part.tensors().items():
                self._match("tensor", self.tensors, prefix, name, tensor)

    def _match(self, kind: str, lent_twins: dict[int, _Lent], prefix: str, name: str, twin: Any) -> None:
        if id(twin) in lent_twins:
            return
        lent = self.named.get((prefix, name, kind))
        if lent is None and isinstance(twin, gs.Constant):
            # Written and read again, a weight of the graph around is in every subgraph that reads it.
            lent = self.named.get(("", name, kind))
            content = None if lent is None else lent.origin.const_value
            if content is None or Stub(twin).content(name, content) is not content:
                return
        if lent is not None and getattr(twin, "op", None) == getattr(lent.twin, "op", None):
            lent_twins[id(twin)] = _Lent(lent.origin, twin, lent.looked)

    def _is_untouched(self, twin: gs.Function) -> bool:
        lent = self.functions.get(twin.unique_id)
        return lent is not None and lent[1] == _written(twin)

    def _set_aside(self, node: gs.Node) -> Aside:
        """Take the attributes off a node that are what they were."""
        lent = self.nodes.get(id(node))
        if lent is None:
            return dict.fromkeys(node.attrs)
        old = lent.origin.attributes
        attributes: Aside = {}
        for name in [name for name in old if name in node.attrs or name not in lent.looked]:
            unread = name not in lent.looked
            if unread and (old[name].type == ir.AttributeType.GRAPHS or node.op != lent.origin.op_type):
                self.notes.append(
                    f"attribute {name} of {node.name} is lost: GraphSurgeon does not read {old[name].type}"
                )
            elif unread or _is_as_it_was(node.attrs[name], lent.looked[name], old[name]):
                attributes[name] = old[name]
                node.attrs.pop(name, None)
            else:
                attributes[name] = None
        return attributes | dict.fromkeys(name for name in node.attrs if name not in attributes)

    def _return_weights(
        self, twin: gs.Graph, proto: onnx.GraphProto, around: list[tuple[gs.Graph, onnx.GraphProto]]
    ) -> None:
        """Leave each weight in one graph: that which it was in, or the outermost that reads it."""
        tensors = twin.tensors()
        for initializer in list(proto.initializer):
            constant = tensors[initializer.name]
            home, target = next(((g, p) for g, p in around if self._is_home(g, constant)), (twin, proto))
            self.weights[id(home), initializer.name] = constant
            if target is not proto:
                proto.initializer.remove(initializer)
                if all(other.name != initializer.name for other in target.initializer):
                    target.initializer.append(initializer)
        lent = self.graphs.get(id(twin))
        read = {id(one.origin) for one in self.tensors.values()}
        for name, value in {} if lent is None else lent.origin.initializers.items():
            if id(value) not in read and name not in tensors:  # GraphSurgeon does not see what no node reads
                proto.initializer.add(name=name, dims=value.shape.numpy(), data_type=int(value.dtype))
                self.weights[id(twin), name] = value
        for node, written in zip(twin.nodes, proto.node, strict=True):
            for attribute in written.attribute:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    self._return_weights(node.attrs[attribute.name], attribute.g, [*around, (twin, proto)])
        order = {} if lent is None else {name: place for place, name in enumerate(lent.origin.initializers)}
        ordered = sorted(proto.initializer, key=lambda one: order.get(one.name, len(order)))
        del proto.initializer[:]
        proto.initializer.extend(ordered)

    def _is_home(self, graph: gs.Graph, constant: gs.Constant) -> bool:
        lent, owner = self.tensors.get(id(constant)), self.graphs.get(id(graph))
        if lent is not None and owner is not None and lent.origin.graph is owner.origin:
            return True
        return any(tensor is constant for tensor in graph.tensors().values())

    def _restore(self, twin: gs.Graph, part: ir.Graph, asides: dict[int, Aside]) -> None:
        """Put back into a graph what was not changed and what GraphSurgeon cannot hold."""
        pairs = [*zip(twin.inputs, part.inputs, strict=True), *zip(twin.outputs, part.outputs, strict=True)]
        # In a function the weights that were added come first, as Constant nodes.
        nodes = list(part)[len(part) - len(twin.nodes) :]
        for node, new in zip(twin.nodes, nodes, strict=True):
            pairs += zip(node.outputs, new.outputs, strict=False)
            for attribute in new.attributes.values():
                if attribute.type == ir.AttributeType.GRAPH:
                    self._restore(node.attrs[attribute.name], attribute.as_graph(), asides)
            self._restore_node(node, new, asides[id(node)])
        pairs += [(self.weights[id(twin), name], value) for name, value in part.initializers.items()]
        for tensor, value in pairs:
            lent = self.tensors.get(id(tensor))
            origin: Any = tensor if isinstance(tensor, ir.Value) else None if lent is None else lent.origin
            if value.is_initializer():
                before = None if origin is None else origin.const_value
                value.const_value = before if origin is tensor else held(tensor).content(value.name, before)
            elif lent is not None and _look(tensor) == lent.looked and (origin.type or not value.is_graph_output()):
                value.type, value.shape = origin.type, origin.shape
            if origin is not None:
                _carry(origin, value)
        if (home := self.graphs.get(id(twin))) is not None:
            part.metadata_props.update(home.origin.metadata_props)
            part.meta.update(home.origin.meta)

    def _restore_node(self, node: gs.Node, new: ir.Node, aside: Aside) -> None:
        lent = self.nodes.get(id(node))
        if lent is None:
            self.added += 1
            return
        self.kept += 1
        travelled = dict(new.attributes)
        new.attributes.clear()
        new.attributes.update({name: old or travelled[name] for name, old in aside.items()})
        new.version, new.overload = lent.origin.version, lent.origin.overload
        _carry(lent.origin, new)
        attributes = any(old is None and not isinstance(node.attrs[name], gs.Graph) for name, old in aside.items())
        same = set(aside) == set(lent.origin.attributes) and node.op == lent.origin.op_type
        self.changed += attributes or not same

    def _settle(self, graph: gs.Graph, part: ir.Graph, functions: list[ir.Function]) -> None:
        model = self.model
        model.graph = part
        for domain in self.unimported:
            part.opset_imports.pop(domain, None)
        model.functions.clear()
        model.functions.update({function.identifier(): function for function in functions})
        model.ir_version = graph.ir_version or model.ir_version
        if graph.opset != part.opset_imports.get("", graph.opset):
            self.notes.append(f"opset {graph.opset} was set on the graph, which converts nothing: use convert_opset")


def _message(model: ir.Model) -> tuple[onnx.ModelProto, list[ir.TensorProtocol | None]]:
    """Return a model as a message whose weights have no content, and what it is."""
    held = [value for _, part in graphs_of(model) for value in part.initializers.values()]
    contents = [value.const_value for value in held]
    try:
        for value, content in zip(held, contents, strict=True):
            if content is not None:
                stub = onnx.TensorProto(name=value.name, dims=content.shape.numpy(), data_type=int(content.dtype))
                value.const_value = ir.serde.TensorProtoTensor(stub)
        return ir.serde.serialize_model(model), contents
    finally:
        for value, content in zip(held, contents, strict=True):
            value.const_value = content


def _look(value: Any) -> Any:
    """Return how an attribute or a tensor looks, to be compared later."""
    if isinstance(value, gs.Variable):
        return value.type, value.dtype, None if value.shape is None else tuple(value.shape)
    return list(value) if isinstance(value, list) else value


def _is_as_it_was(value: Any, looked: Any, attribute: ir.Attr) -> bool:
    if isinstance(value, gs.Graph) or type(value) is not type(looked):
        return False
    if not isinstance(value, gs.Constant):
        return bool(value == looked)
    if value is looked and isinstance(held(value), LazyValues):
        return True
    before = attribute.as_tensor()
    return Stub(value).content(value.name, before) is before


def _carry(old: Any, new: Any) -> None:
    new.doc_string = old.doc_string
    new.metadata_props.update(old.metadata_props)
    new.meta.update(old.meta)


def _written(function: gs.Function) -> bytes:
    return bytes(OnnxExporter.export_function(function).SerializeToString(deterministic=True))


def _prefix(function: gs.Function) -> str:
    return f"function({function.domain}:{function.name})/"


def _parts(graph: gs.Graph) -> Iterator[tuple[str, gs.Graph]]:
    """Yield a graph with its subgraphs and functions, each with what stands before its nodes' addresses."""
    waiting = [("", graph), *((_prefix(function), function) for function in graph.functions)]
    while waiting:
        prefix, part = waiting.pop()
        yield prefix, part
        for node in part.nodes:
            waiting += [(f"{prefix}{node.name}/{n}/", g) for n, g in node.attrs.items() if isinstance(g, gs.Graph)]


def _nodes(graph: gs.Graph) -> Iterator[gs.Node]:
    for node in graph.nodes:
        yield node
        for inner in node.subgraphs():
            yield from _nodes(inner)
