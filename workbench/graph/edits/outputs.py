"""Make a tensor an output of the model, or stop it being one."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from workbench.errors import EditError
from workbench.graph.edits.base import Edit
from workbench.graph.edits.extract import state
from workbench.graph.edits.remove_dead import remove_unused
from workbench.graph.edits.surgery import value_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import onnx_ir as ir
    from typing_extensions import Self

    from workbench.graph.model import Model

__all__ = ["DropOutput", "MarkOutput"]


class MarkOutput(Edit):
    """Make a tensor of the main graph an output of the model, after the outputs there are."""

    do: Literal["mark_output"] = "mark_output"
    title: ClassVar[str] = "Mark as output"

    tensor: str

    @classmethod
    def offers(cls, model: Model, addresses: Sequence[str]) -> Iterable[Self]:
        for address in addresses:
            for value in model.top_nodes[address].outputs if address in model.top_nodes else ():
                if value.name and not value.is_graph_output():
                    yield cls(tensor=value.name)

    def requires(self, model: Model) -> None:
        if self.tensor in {tensor.name for tensor in model.outputs}:
            raise EditError("it is an output already", where=self.tensor, fix="Nothing needs to be done.")
        if self.tensor in model.tensors and model.tensor(self.tensor).dtype is None:
            raise EditError(
                "its element type is unknown, which an output needs", where=self.tensor, fix=model.shape_problem
            )

    def apply(self, graph: ir.Model, model: Model) -> list[str] | None:
        value = value_at(graph, self.tensor)
        if value.producer() is None or value.graph is not graph.graph:
            raise EditError(
                "only what a node of the main graph makes can become an output",
                where=self.tensor,
                fix="Inputs and weights are known anyway; a subgraph's tensor must be given out by its node.",
            )
        state(value, model)
        graph.graph.outputs.append(value)
        return [f"{self.tensor} is an output now"]


class DropOutput(Edit):
    """Stop a tensor being an output, and remove the nodes and weights that only it needed."""

    do: Literal["drop_output"] = "drop_output"
    title: ClassVar[str] = "Drop an output"

    output: str

    @classmethod
    def offers(cls, model: Model, addresses: Sequence[str]) -> Iterable[Self]:
        if len(model.outputs) < 2:
            return
        for address in addresses:
            for value in model.top_nodes[address].outputs if address in model.top_nodes else ():
                if value.is_graph_output():
                    yield cls(output=str(value.name))

    def requires(self, model: Model) -> None:
        names = [tensor.name for tensor in model.outputs]
        if self.output not in names:
            raise EditError("it is no output", where=self.output, fix=f"The outputs are {', '.join(names)}.")
        if len(names) == 1:
            raise EditError("it is the only output", where=self.output, fix="Mark another tensor as output first.")

    def apply(self, graph: ir.Model, model: Model) -> list[str] | None:
        outputs = graph.graph.outputs
        outputs.remove(next(value for value in outputs if value.name == self.output))
        nodes, weights = remove_unused(graph)
        return [f"dropped {self.output}, with {nodes} nodes and {weights} weights that only it needed"]
