"""Cut a part out of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedFunctionsPass

from workbench.errors import EditError
from workbench.graph.domains import is_filled_in
from workbench.graph.edits.base import Edit
from workbench.graph.edits.inside import captured, graphs_in, place_of, reads_of, state, tensor_at
from workbench.graph.edits.surgery import constant_array, part_of, value_at
from workbench.graph.structure import graphs_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from typing_extensions import Self

    from workbench.graph.edits.inside import Place
    from workbench.graph.model import Model

__all__ = ["Extract"]


class Extract(Edit):
    """Keep only what computes `outputs` from `inputs`: tensors of the main graph, a subgraph or a local function.

    `inputs` become the model's inputs with the shapes and element types that inference finds; an input of the graph
    that `outputs` still depend on has to be named as well. What a subgraph reads from the graphs around it becomes an
    input by itself, or is copied where it is a constant. In a local function shapes are known where all its calls have
    the same.

    Parameters
    ----------
    inputs, outputs
        Names of tensors, with their subgraph's address before them: ``If_12/then/x``. The outputs are of one graph.
    """

    do: Literal["extract"] = "extract"
    title: ClassVar[str] = "Extract a subgraph"

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @classmethod
    def offers(cls, model: Model, addresses: Sequence[str]) -> Iterable[Self]:
        picked = [model.nodes[address] for address in addresses]
        parts = {node.graph for node in picked}
        if len(parts) != 1:
            return
        inside, name = set(picked), model.index.tensor
        reads = [v for node in picked for v in reads_of(node) if v.name and not v.is_initializer()]
        makes = [v for node in picked for v in node.outputs if v.name]
        inputs = dict.fromkeys(name(v) for v in reads if v.producer() not in inside and v.graph in parts)
        outputs = [name(v) for v in makes if v.is_graph_output() or any(u.node not in inside for u in v.uses())]
        fed = [v for v in reads if v.producer() not in inside and v.graph in parts]
        _, around = captured(part_of(picked[0]), [v for v in makes if name(v) in outputs], fed)
        outer = [name(v) for v in around if constant_array(v) is None]
        tensors = [tensor_at(model, tensor) for tensor in (*inputs, *outputs, *outer)]
        if any(tensor.dtype is None or tensor.shape is None for tensor in tensors):
            return  # a sequence, or of unknown rank: nothing that a model can be fed or give out
        if _of_a_call(picked) is None and outputs and (inputs or model.ir_model.graph not in parts):
            yield cls(inputs=tuple(inputs), outputs=tuple(outputs))

    def requires(self, model: Model) -> None:
        if not self.outputs:
            raise EditError("a model needs an output", where=model.name, fix="Name at least one tensor in outputs.")

    def unchecked(self, model: Model) -> str | None:
        whole = model.ir_model
        inner = [name for name in (*self.inputs, *self.outputs) if value_at(whole, name).graph is not whole.graph]
        return f"{inner[0]!r} lies in a subgraph, whose values cannot be read from outside" if inner else None

    def apply(self, graph: ir.Model, model: Model) -> list[str] | None:
        inputs = {name: value_at(graph, name) for name in self.inputs}
        outputs = {name: value_at(graph, name) for name in self.outputs}
        first, *others = {value.graph for value in outputs.values()}
        if others:
            raise EditError("these outputs lie in different graphs", where=", ".join(outputs), fix="Extract from one.")
        place = place_of(graph, first)
        for name, value in (*inputs.items(), *outputs.items()):
            _state(value, model, name)
        kept, around = captured(place.part, list(outputs.values()), list(inputs.values()))
        if place.prefix and (dependent := _of_a_call(kept)) is not None:
            raise EditError(
                "one of its attributes comes from the call of the function",
                where=f"{place.prefix}{dependent.name}",
                fix="Extract what does not depend on it.",
            )
        fed = [value for value in inputs.values() if value.graph is place.part]
        fed += [new for value in around if (new := _brought_in(value, place, graph, model)) is not None]
        before = sum(len(part) for _, part in graphs_of(graph))
        opsets = dict(graph.opset_imports) | dict(_function_opsets(graph, place))
        try:
            cut = ir.convenience.extract(place.part, fed, list(outputs.values()))
        except ValueError as error:
            raise EditError(str(error).splitlines()[0], where=model.name, fix="Name every input it needs.") from error
        cut.name = model.ir_model.graph.name
        graph.graph = cut
        graph.graph.opset_imports.update(opsets)
        RemoveUnusedFunctionsPass()(graph)  # type: ignore[no-untyped-call]
        return [f"kept {sum(len(part) for _, part in graphs_of(graph))} of {before} nodes"]


def _of_a_call(nodes: Iterable[ir.Node]) -> ir.Node | None:
    """Return the first node that holds, or holds one in a body that holds, what a function's call gives it."""
    for node in nodes:
        inner = (one for body in graphs_in(node) for one in body.all_nodes())
        if is_filled_in(node) or any(map(is_filled_in, inner)):
            return node
    return None


def _state(value: ir.Value, model: Model, name: str) -> None:
    tensor = tensor_at(model, name)
    if tensor.dtype is None or tensor.shape is None:
        raise EditError(
            "its shape or element type is unknown, so it cannot become an input or output",
            where=name,
            fix=model.shape_problem or "Extract from a tensor further up.",
        )
    state(value, tensor)


def _brought_in(value: ir.Value, place: Place, graph: ir.Model, model: Model) -> ir.Value | None:
    """Put a constant, or an input, of the part in the place of what it reads from around it; return the input."""
    inner = ir.Value(name=value.name)
    constant = constant_array(value)
    if constant is None:
        _state(inner, model, f"{place_of(graph, value.graph).prefix}{value.name}")
        place.part.inputs.append(inner)
    else:
        inner.const_value = ir.Tensor(constant, name=value.name)
        inner.type, inner.shape = ir.TensorType(inner.const_value.dtype), ir.Shape(constant.shape)
        place.part.initializers.add(inner)
    for user, at in tuple(value.uses()):
        if any(user is node for node in place.part.all_nodes()):
            user.replace_input_with(at, inner)
    return inner if constant is None else None


def _function_opsets(graph: ir.Model, place: Place) -> dict[str, int]:
    name = place.prefix.partition("/")[0]
    opsets = (f.opset_imports for f in graph.functions.values() if name == f"function({f.domain}:{f.name})")
    return dict(next(opsets, {}))
