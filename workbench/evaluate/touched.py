"""The part of a model that an edit touched, as two small models: what is checked where the whole costs too much."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import onnx
import onnx_ir as ir

from workbench.graph.edits import reads_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from workbench.graph import Model
    from workbench.graph.edits import Edit

__all__ = ["Touched", "TouchedPart", "touched"]

CROP = 64
"""What is left of an axis that is not of channels: all of a deep network's kernels fit."""

FLOATING = ("FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE")


class TouchedPart(NamedTuple):
    """A part of a model before and after an edit, with the same inputs and outputs.

    Attributes
    ----------
    before, after
        The part as two models.
    places
        Tensors at which the two are compared.
    nodes
        How many nodes the part has after the edit.
    """

    before: Model
    after: Model
    places: int
    nodes: int

    def cropped(self) -> TouchedPart:
        """Return the part with one sample of short sequences or small images as its inputs; some cannot take those."""
        return self._replace(before=_cropped(self.before), after=_cropped(self.after))


class Touched:
    """Where an edit changed what a model is made of.

    Parameters
    ----------
    edit
        The edit; it knows what had another name before.
    before, after
        The model before and after it.

    Attributes
    ----------
    places
        Names, after the edit, of the tensors that changed nodes make and unchanged ones, or the outputs, read.
    """

    def __init__(self, edit: Edit, before: Model, after: Model) -> None:
        self._edit, self._before, self._after = edit, before, after
        old, new = dict(_signatures(before)), dict(_signatures(after))
        self._changed_before = _others(old, new)
        self._changed_after = _others(new, old)
        before_names = {str(value.name) for node in before.ir_model.graph for value in node.outputs}
        self.places = [
            str(value.name)
            for node in after.ir_model.graph
            if node in self._changed_after
            for value in node.outputs
            if value.name and edit.origin(value.name) in before_names and self._is_read_on(value)
        ]

    def _is_read_on(self, value: ir.Value) -> bool:
        return value.is_graph_output() or any(use.node not in self._changed_after for use in value.uses())

    def part(self, places: list[str]) -> TouchedPart:
        """Return the two parts that compute some of the places, from floating-point tensors that nothing touched.

        Raises
        ------
        ValueError
            The part cannot be cut out.
        """
        origin = self._edit.origin
        read = dict.fromkeys(_edge(self._after, places, self._changed_after))
        for name in _edge(self._before, [origin(name) for name in places], self._changed_before):
            same = next((now for now in read if origin(now) == name), None)
            read[same or name] = None
        names = list(read)
        before = _cut(self._before, [origin(name) for name in names], [origin(name) for name in places])
        after = _cut(self._after, names, places)
        return TouchedPart(before, after, len(places), len(after.nodes))


def touched(edit: Edit, before: Model, after: Model) -> Touched:
    """Return where an edit changed a model; see `Touched`."""
    return Touched(edit, before, after)


def _signatures(model: Model) -> Iterator[tuple[ir.Node, tuple[object, ...]]]:
    """Yield the nodes of the main graph with all that decides what they compute, names of nodes left out."""
    functions = {key: ir.serde.serialize_function(f).SerializeToString() for key, f in model.ir_model.functions.items()}
    for node in model.ir_model.graph:
        proto = ir.serde.serialize_node(node)
        for field in ("name", "doc_string", "metadata_props"):
            proto.ClearField(field)
        weights = tuple(id(v.const_value) for v in node.inputs if v is not None and v.is_initializer())
        version = _version(node, model.opset)
        yield node, (proto.SerializeToString(), weights, version, functions.get(node.op_identifier()))


def _version(node: ir.Node, opset: int) -> int:
    if node.domain or not opset or not onnx.defs.has(node.op_type, opset, ""):
        return 0
    return onnx.defs.get_schema(node.op_type, opset, "").since_version


def _others(mine: Mapping[ir.Node, tuple[object, ...]], theirs: Mapping[ir.Node, tuple[object, ...]]) -> set[ir.Node]:
    signatures = set(theirs.values())
    return {node for node, signature in mine.items() if signature not in signatures}


def _edge(model: Model, places: list[str], changed: set[ir.Node]) -> Iterator[str]:
    """Yield where a part begins: the model's inputs, or floating-point results of nodes that nothing touched.

    Integers are followed further up, for they are shapes and indices, of which not every one will do.
    """
    graph = model.ir_model.graph
    values = {value.name: value for node in graph for value in node.outputs}
    waiting, seen = [values[name] for name in places], set[ir.Node]()
    while waiting:
        maker = waiting.pop().producer()
        if maker is None or maker in seen:
            continue
        seen.add(maker)
        for value in reads_of(maker):
            above = value.producer()
            if value.is_initializer() or value.graph is not graph:
                continue
            if above is None or (above not in changed and model.tensor(str(value.name)).dtype in FLOATING):
                yield str(value.name)
            else:
                waiting.append(value)


def _cut(model: Model, inputs: list[str], outputs: list[str]) -> Model:
    whole = model.ir_model
    graph = ir.convenience.extract(whole.graph, inputs, outputs)
    for value in (*graph.inputs, *graph.outputs):
        tensor = model.tensor(str(value.name))
        if tensor.dtype is not None:
            value.type = ir.TensorType(ir.DataType[tensor.dtype])
        if tensor.shape is not None:
            value.shape = ir.Shape(tensor.shape)
    graph.opset_imports.update(whole.opset_imports)
    functions = [function.clone() for function in whole.functions.values()]
    return model.replaced(ir.Model(graph, ir_version=whole.ir_version, functions=functions))


def _cropped(model: Model) -> Model:
    graph = model.thaw()
    for value in graph.graph.inputs:
        shape = None if value.shape is None else value.shape.numpy() if value.shape.is_static() else None
        if shape is not None and len(shape) > 2 and str(value.dtype) in FLOATING:
            channels = 1 if len(shape) > 3 else len(shape) - 1
            lengths = [n if axis == channels else min(n, CROP if axis else 1) for axis, n in enumerate(shape)]
            value.shape = ir.Shape(lengths)
    for value in graph.graph.outputs:
        value.shape = None
    for node in graph.graph:
        for value in node.outputs:
            value.shape = None
    return model.replaced(graph)
