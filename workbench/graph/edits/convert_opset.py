"""Bring a model to another version of the default operator set."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import onnx
import onnx_ir as ir

from workbench.errors import EditError
from workbench.graph.bodies import subgraphs
from workbench.graph.edits.base import Edit
from workbench.graph.edits.inside import called
from workbench.graph.edits.opset_changes import revealed, rewrite
from workbench.graph.edits.opset_refusal import FAILURES, refusal
from workbench.graph.message import readable, to_message
from workbench.graph.native import convert_version
from workbench.graph.shapes import SMALL
from workbench.graph.structure import is_external, walk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workbench.graph.model import Model

__all__ = ["ConvertOpset"]


class ConvertOpset(Edit):
    """Convert the default operator set to `version`, with ONNX's own version converter.

    What that carries over wrongly is said beforehand so that it means the same; see
    `workbench.graph.edits.opset_changes`. The IR version rises with the set where the new one needs that. Large weights
    are set aside meanwhile, so those in external files are not read.
    """

    do: Literal["convert_opset"] = "convert_opset"
    title: ClassVar[str] = "Convert the operator set"

    version: int

    def requires(self, model: Model) -> None:
        newest = onnx.defs.onnx_opset_version()
        if not 1 <= self.version <= newest:
            raise EditError(f"there is no operator set {self.version}", where=model.name, fix=f"1 to {newest} exist.")
        if model.opset == 0 and any(not node.domain for node in model.nodes.values()):
            raise EditError(
                "the model does not say which operator set it is in", where=model.name, fix="Export it again."
            )

    def apply(self, graph: ir.Model, model: Model) -> list[str] | None:
        if model.opset == self.version:
            return None
        graph.ir_version = max(graph.ir_version, onnx.helper.OP_SET_ID_VERSION_MAP["ai.onnx", self.version])
        if model.opset == 0:
            graph.opset_imports[""] = self.version
            return [f"operator set {self.version} is imported; nothing is of it yet"]
        rewrite(graph, model, self.version)
        # The converter leaves local functions as they are: each goes through it as a model of its own.
        stated = model.replaced(graph.clone()) if graph.functions else model
        for key, function in list(graph.functions.items()):
            inner = self._converted(called(stated, stated.ir_model.functions[key]).thaw(), model)
            self._return_references(function, inner, model)
            converted = ir.Function(*key, graph=inner.graph, attributes=function.attributes.values())
            converted.metadata_props.update(function.metadata_props)
            graph.functions[key] = converted
        _take_over(graph, self._converted(graph, model))
        revealed(graph)
        return [f"operator set {model.opset} -> {self.version}"]

    def _converted(self, graph: ir.Model, model: Model) -> ir.Model:
        aside = _set_aside(graph.graph)
        try:
            proto, _ = readable(convert_version(to_message(graph), self.version), model.name)
            converted = ir.from_proto(proto)
        except FAILURES as error:
            raise refusal(model, self.version, error) from error
        for value in [value for value in converted.graph.inputs if value.name in aside]:
            converted.graph.inputs.remove(value)
            value.const_value = aside[str(value.name)]
            converted.graph.initializers.add(value)
        return converted

    def _return_references(self, function: ir.Function, converted: ir.Model, model: Model) -> None:
        """Let attributes that a call gives be given by it again: the converter makes them zero. Changes `converted`."""
        arguments = {
            node.outputs[0].name: (node, [held for held in node.attributes.values() if held.is_ref()])
            for node in _nodes_of(function.graph)
            if node.outputs
        }
        for node in _nodes_of(converted.graph):
            original, references = arguments.get(node.outputs[0].name, (node, [])) if node.outputs else (node, [])
            if node.op_type == original.op_type and all(held.name in node.attributes for held in references):
                for held in references:
                    node.attributes[held.name] = ir.RefAttr(held.name, str(held.ref_attr_name), held.type)
                references.clear()
        for original, references in arguments.values():
            if references:
                raise EditError(
                    f"operator set {self.version} says an attribute of {original.op_type} otherwise, which is given by "
                    f"each call of {function.name!r}",
                    where=f"function({function.domain}:{function.name})/{original.name}",
                    fix=f"Export the model without functions, or keep operator set {model.opset}.",
                )

    def ensures(self, before: Model, after: Model) -> None:
        kept = {t.name for t in before.inputs} == {t.name for t in after.inputs}
        if not kept or [t.name for t in before.outputs] != [t.name for t in after.outputs]:
            raise EditError("the conversion changed the model's inputs or outputs", where=before.name)


def _nodes_of(graph: ir.Graph) -> Iterator[ir.Node]:
    for node in graph:
        yield node
        for _, inner in subgraphs(node):
            yield from _nodes_of(inner)


def _set_aside(part: ir.Graph) -> dict[str, ir.TensorProtocol]:
    """Make inputs of a graph's large weights, whose numbers no conversion needs; return what they hold."""
    aside: dict[str, ir.TensorProtocol] = {}
    for name, value in list(part.initializers.items()):
        content = value.const_value
        if content is None or (content.size <= SMALL and not is_external(value)):
            continue
        aside[name] = content
        part.initializers.pop(name)
        value.const_value = None
        value.type, value.shape = ir.TensorType(content.dtype), ir.Shape(content.shape.numpy())
        part.inputs.append(value)
    return aside


def _take_over(graph: ir.Model, converted: ir.Model) -> None:
    """Move the converted graph into the model being edited; what the converter forgets comes from the original."""
    originals = {node.outputs[0].name: node for _, node in walk(graph) if node.outputs}
    for _, node in walk(converted):
        original = originals.get(node.outputs[0].name) if node.outputs else None
        if original is None:
            continue
        node.name = node.name or original.name
        node.doc_string = original.doc_string
        node.metadata_props.update(original.metadata_props)
    converted.graph.name = graph.graph.name
    converted.graph.metadata_props.update(graph.graph.metadata_props)
    graph.opset_imports.update(converted.opset_imports)
    graph.graph = converted.graph
