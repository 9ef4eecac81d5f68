"""Bring a model to another version of the default operator set."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import onnx
import onnx_ir as ir

from workbench.errors import EditError
from workbench.graph.edits.base import Edit
from workbench.graph.edits.inside import called
from workbench.graph.model import is_external

if TYPE_CHECKING:
    from workbench.graph.model import Model

__all__ = ["ConvertOpset"]


class ConvertOpset(Edit):
    """Convert the default operator set to `version`, with ONNX's own version converter.

    The IR version rises with it where the new set needs that.
    """

    do: Literal["convert_opset"] = "convert_opset"
    title: ClassVar[str] = "Convert the operator set"

    version: int

    def requires(self, model: Model) -> None:
        newest = onnx.defs.onnx_opset_version()
        if not 1 <= self.version <= newest:
            raise EditError(f"there is no operator set {self.version}", where=model.name, fix=f"1 to {newest} exist.")
        if any(is_external(value) for value in model.initializers.values()):
            raise EditError(
                "ONNX's version converter needs the weights inside the file",
                where=model.name,
                fix="Load the model with its weights inside, or export it with the operator set you need.",
            )

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
        try:
            return ir.from_proto(onnx.version_converter.convert_version(ir.to_proto(graph), self.version))
        except (RuntimeError, ValueError, IndexError) as error:
            lines = str(error).strip().splitlines()
            raise EditError(
                f"operator set {model.opset} cannot be converted to {self.version}: {lines[-1] if lines else error}",
                where=model.name,
                fix=f"Export the model again with operator set {self.version}.",
            ) from error

    def ensures(self, before: Model, after: Model) -> None:
        kept = {t.name for t in before.inputs} == {t.name for t in after.inputs}
        if not kept or [t.name for t in before.outputs] != [t.name for t in after.outputs]:
            raise EditError("the conversion changed the model's inputs or outputs", where=before.name)


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
