"""Cut a part out of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import onnx_ir as ir

from workbench.errors import EditError
from workbench.graph.edits.base import Edit
from workbench.graph.edits.surgery import value_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from typing_extensions import Self

    from workbench.graph.model import Model

__all__ = ["Extract", "state"]


class Extract(Edit):
    """Keep only what computes `outputs` from `inputs`, tensors of the main graph.

    `inputs` become the model's inputs with the shapes and element types that inference finds; an input of the model
    that `outputs` still depend on has to be named as well.
    """

    do: Literal["extract"] = "extract"
    title: ClassVar[str] = "Extract a subgraph"
    equivalent: ClassVar[bool] = False

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @classmethod
    def offers(cls, model: Model, addresses: Sequence[str]) -> Iterable[Self]:
        picked = [model.top_nodes[address] for address in addresses if address in model.top_nodes]
        if not picked or len(picked) != len(addresses):
            return
        inside = set(picked)
        reads = [v for node in picked for v in node.inputs if v is not None and v.name and not v.is_initializer()]
        makes = [v for node in picked for v in node.outputs if v.name]
        inputs = dict.fromkeys(str(v.name) for v in reads if v.producer() not in inside)
        outputs = [str(v.name) for v in makes if v.is_graph_output() or any(u.node not in inside for u in v.uses())]
        if inputs and outputs:
            yield cls(inputs=tuple(inputs), outputs=tuple(outputs))

    def requires(self, model: Model) -> None:
        if not self.outputs:
            raise EditError("a model needs an output", where=model.name, fix="Name at least one tensor in outputs.")
        for name in self.inputs:
            tensor = model.tensor(name)
            if tensor.dtype is None or tensor.shape is None:
                raise EditError(
                    "its shape or element type is unknown, so it cannot become an input",
                    where=name,
                    fix=model.shape_problem or "Extract from a tensor further up.",
                )

    def apply(self, graph: ir.Model, model: Model) -> list[str] | None:
        inputs = [value_at(graph, name) for name in self.inputs]
        outputs = [value_at(graph, name) for name in self.outputs]
        for value in (*inputs, *outputs):
            state(value, model)
        before = len(graph.graph)
        try:
            graph.graph = ir.convenience.extract(graph.graph, inputs, outputs)
        except ValueError as error:
            raise EditError(str(error).splitlines()[0], where=model.name, fix="Name every input it needs.") from error
        graph.graph.name = model.ir_model.graph.name
        graph.graph.opset_imports.update(model.ir_model.opset_imports)
        return [f"kept {len(graph.graph)} of {before} nodes"]


def state(value: ir.Value, model: Model) -> None:
    """Write down on a value of the main graph what inference knows of it, as inputs and outputs need."""
    tensor = model.tensor(str(value.name))
    if tensor.dtype is not None:
        value.type = ir.TensorType(ir.DataType[tensor.dtype])
    if tensor.shape is not None:
        value.shape = ir.Shape(tensor.shape)
