"""Bring a model to another version of the default operator set."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import onnx
import onnx_ir as ir

from workbench.errors import EditError
from workbench.graph.edits.base import Edit
from workbench.graph.edits.inside import called
from workbench.graph.structure import is_external

if TYPE_CHECKING:
    from workbench.graph.model import Model

__all__ = ["ConvertOpset"]


SMALL = 1024
"""Elements up to which a constant may be a shape, axes or bounds, which conversions look at."""


class ConvertOpset(Edit):
    """Convert the default operator set to `version`, with ONNX's own version converter.

    The IR version rises with it where the new set needs that. Large weights are set aside meanwhile, so those in
    external files are not read.
    """

    do: Literal["convert_opset"] = "convert_opset"
    title: ClassVar[str] = "Convert the operator set"

    version: int

    def requires(self, model: Model) -> None:
        newest = onnx.defs.onnx_opset_version()
        if not 1 <= self.version <= newest:
            raise EditError(f"there is no operator set {self.version}", where=model.name, fix=f"1 to {newest} exist.")

    def apply(self, graph: ir.Model, model: Model) -> list[str] | None:
        if model.opset == self.version:
            return None
        graph.ir_version = max(graph.ir_version or 0, onnx.helper.OP_SET_ID_VERSION_MAP[("ai.onnx", self.version)])
        # The converter leaves local functions as they are: each goes through it as a model of its own.
        for key, function in list(graph.functions.items()):
            inner = self._converted(called(model, function).thaw(), model)
            made = ir.Function(*key, graph=inner.graph, attributes=function.attributes.values())
            made.metadata_props.update(function.metadata_props)
            graph.functions[key] = made
        _take_over(graph, self._converted(graph, model))
        return [f"operator set {model.opset} -> {self.version}"]

    def _converted(self, graph: ir.Model, model: Model) -> ir.Model:
        aside = _set_aside(graph.graph)
        try:
            converted = ir.from_proto(onnx.version_converter.convert_version(ir.to_proto(graph), self.version))
        except (RuntimeError, ValueError, IndexError, onnx.shape_inference.InferenceError) as error:
            lines = str(error).strip().splitlines()
            raise EditError(
                f"operator set {model.opset} cannot be converted to {self.version}: {lines[-1] if lines else error}",
                where=model.name,
                fix=f"Export the model again with operator set {self.version}.",
            ) from error
        for value in [value for value in converted.graph.inputs if value.name in aside]:
            converted.graph.inputs.remove(value)
            value.const_value = aside[str(value.name)]
            converted.graph.initializers.add(value)
        return converted

    def ensures(self, before: Model, after: Model) -> None:
        kept = {t.name for t in before.inputs} == {t.name for t in after.inputs}
        if not kept or [t.name for t in before.outputs] != [t.name for t in after.outputs]:
            raise EditError("the conversion changed the model's inputs or outputs", where=before.name)


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
    documented = {node.name: node for node in graph.graph if node.doc_string or node.metadata_props}
    for node in converted.graph:
        if (original := documented.get(node.name)) is not None:
            node.doc_string = original.doc_string
            node.metadata_props.update(original.metadata_props)
    converted.graph.name = graph.graph.name
    converted.graph.metadata_props.update(graph.graph.metadata_props)
    graph.opset_imports.update(converted.opset_imports)
    graph.graph = converted.graph
