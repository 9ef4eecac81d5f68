"""Make a tensor an output of the model, or stop it being one."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import onnx_ir as ir

from workbench.errors import EditError
from workbench.graph.edits.base import Edit
from workbench.graph.edits.inside import place_of, state, tensor_at
from workbench.graph.edits.remove_dead import RemoveDead
from workbench.graph.edits.surgery import fresh_name, value_at
from workbench.graph.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from typing_extensions import Self

    from workbench.graph.edits.inside import Place
    from workbench.graph.model import Model

__all__ = ["DropOutput", "MarkOutput"]

Shape = tuple[int | str | None, ...] | None


class MarkOutput(Edit):
    """Make a tensor an output of the model, after the outputs there are.

    A tensor in the body of a Loop or Scan comes out stacked, one entry a pass. One in a branch of an If needs a partner
    of its type in the other branch, for a run takes only one: the tensor of the same name or the same node there, or
    the one that `otherwise` names. A tensor of a local function cannot be one: each call has its own.

    Parameters
    ----------
    tensor
        Its name, with its subgraph's address before it: ``If_12/then/x``.
    otherwise
        For a tensor in a branch, the tensor of the other branch that is given out where that is taken.
    """

    do: Literal["mark_output"] = "mark_output"
    title: ClassVar[str] = "Mark as output"

    tensor: str
    otherwise: str | None = None

    @classmethod
    def offers(cls, model: Model, addresses: Sequence[str]) -> Iterable[Self]:
        for address in addresses:
            node = model.nodes[address]
            place = place_of(model.ir_model, node.graph)
            if place.function or (place.holder is not None and place.holder.op_type not in ("Loop", "Scan")):
                continue  # in a branch it takes a partner, which a person has to name
            for value in node.outputs:
                stated = tensor_at(model, model.index.tensor(value)) if value.name else None
                if stated is None or stated.dtype is None or stated.shape is None or value.is_graph_output():
                    continue
                if place.holder is not None and stated.static_shape is None:
                    continue  # it may be of another shape each time, which cannot be stacked
                yield cls(tensor=model.index.tensor(value))

    def requires(self, model: Model) -> None:
        if self.tensor in {tensor.name for tensor in model.outputs}:
            raise EditError("it is an output already", where=self.tensor, fix="Nothing needs to be done.")

    def apply(self, graph: ir.Model, model: Model) -> list[str] | None:
        value = value_at(graph, self.tensor)
        place = place_of(graph, value.graph)
        if value.producer() is None:
            raise EditError(
                "only what a node makes can become an output",
                where=self.tensor,
                fix="Inputs and weights are known anyway.",
            )
        if place.function:
            raise EditError(
                "it belongs to a local function, and each call has its own",
                where=self.tensor,
                fix="Mark the result of a call.",
            )
        tensor = tensor_at(model, self.tensor)
        if tensor.dtype is None or tensor.shape is None:
            lacking = "element type" if tensor.dtype is None else "rank"
            raise EditError(
                f"its {lacking} is unknown, which an output needs", where=self.tensor, fix=model.shape_problem
            )
        while place.holder is not None:
            value, tensor = self._given_out(value, tensor, place, graph, model)
            place = place_of(graph, place.holder.graph)
        state(value, tensor)
        graph.graph.outputs.append(value)
        return [f"{self.tensor} is an output now" + (f", called {value.name!r}" if value.name != self.tensor else "")]

    def _given_out(
        self, value: ir.Value, tensor: Tensor, place: Place, graph: ir.Model, model: Model
    ) -> tuple[ir.Value, Tensor]:
        """Let the node that holds a subgraph give out one of its tensors; return the new result."""
        holder = place.holder
        if holder is None or holder.op_type not in ("If", "Loop", "Scan"):
            raise EditError("its node cannot give it out", where=self.tensor, fix="Only If, Loop and Scan can.")
        shape = tensor.shape
        _append(place.part, value, tensor)
        if holder.op_type == "If":
            for attribute in holder.attributes.values():
                if (branch := attribute.as_graph()) is not place.part:
                    other, stated = self._partner(value, tensor, place_of(graph, branch), model)
                    _append(branch, other, stated)
                    shape = _common(shape, stated.shape)
        else:
            shape = None if shape is None else (None, *shape)
            for name in ("scan_output_axes", "scan_output_directions"):
                if name in holder.attributes:
                    holder.attributes.add(ir.AttrInt64s(name, [*holder.attributes[name].as_ints(), 0]))
        outer = place_of(graph, holder.graph)
        holder.resize_outputs(len(holder.outputs) + 1)
        result = holder.outputs[-1]
        result.name = fresh_name(outer.part, f"{holder.name}/{value.name}")
        stated = Tensor(str(result.name), shape, tensor.dtype)
        state(result, stated)
        return result, stated

    def _partner(self, value: ir.Value, tensor: Tensor, branch: Place, model: Model) -> tuple[ir.Value, Tensor]:
        maker = value.producer()
        outputs = {v.name: v for node in branch.part for v in node.outputs if v.name}
        same = next((node for node in branch.part if maker is not None and node.name == maker.name), None)
        if self.otherwise is not None and self.otherwise.startswith(branch.prefix):
            partner = outputs.get(self.otherwise.removeprefix(branch.prefix))
        else:
            partner = outputs.get(str(value.name)) or (same.outputs[0] if same is not None else None)
        other = None if partner is None else (partner, tensor_at(model, f"{branch.prefix}{partner.name}"))
        if other is None or not _alike(tensor, other[1]):
            raise EditError(
                f"the other branch makes no {tensor.dtype} tensor to give out in its place"
                + ("" if other is None else f": {other[1]} is not like it"),
                where=self.tensor,
                fix=f"Name one that is: otherwise='{branch.prefix}...'.",
            )
        return other


def _append(part: ir.Graph, value: ir.Value, tensor: Tensor) -> None:
    """Add a tensor to a subgraph's outputs; one that is there already goes through an Identity."""
    if value.is_graph_output():
        node = ir.node("Identity", [value], outputs=[ir.Value(name=fresh_name(part, f"{value.name}_out"))])
        part.append(node)
        value = node.outputs[0]
    state(value, tensor)
    part.outputs.append(value)


def _alike(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and (a.shape is None or b.shape is None or len(a.shape) == len(b.shape))


def _common(a: Shape, b: Shape) -> Shape:
    """Return the shape that both have, with unknown axes where they differ."""
    if a is None or b is None:
        return None
    return tuple(one if one == other else None for one, other in zip(a, b, strict=True))


class DropOutput(Edit):
    """Stop a tensor being an output, and remove the nodes and weights that only it needed.

    It is about outputs of the main graph: those of a subgraph are tied, by position, to the results of its node.
    """

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
        return [f"dropped {self.output}", *(RemoveDead().apply(graph, model) or ())]
