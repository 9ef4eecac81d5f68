"""Change how a model is fed: its batch, an input's element type, an input's layout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import onnx
import onnx_ir as ir

from workbench.errors import EditError
from workbench.graph.domains import onnx_op
from workbench.graph.edits.base import Edit
from workbench.graph.edits.surgery import add_constant, add_node, constant_array, drop_unused
from workbench.graph.native import infer_shapes
from workbench.graph.structure import graphs_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray
    from typing_extensions import Self

    from workbench.graph.model import Model

__all__ = ["SetBatch", "SetInputLayout", "SetInputType"]

TRIAL = 3
"""The batch with which a dynamic one is tried out; no common length of another axis."""


class SetBatch(Edit):
    """Make the batch, the first axis of inputs, dynamic (a name) or static (a number).

    It is about inputs of the main graph; reshapes everywhere follow. Those to a constant shape that holds the old batch
    in front get a 0 there, which takes the length over from their input. Shapes that the file states inside are dropped
    and inferred again.

    Parameters
    ----------
    size
        The new length, or a name such as ``"batch"``.
    inputs
        The inputs it is about; where empty, all whose first axis is what the first input's is.
    """

    do: Literal["set_batch"] = "set_batch"
    title: ClassVar[str] = "Set the batch"

    size: int | str
    inputs: tuple[str, ...] = ()

    def requires(self, model: Model) -> None:
        if isinstance(self.size, int) and self.size < 1:
            raise EditError("a batch has at least one sample", where=self.size, fix="Give 1 or more, or a name.")
        for name in self.inputs:
            _input(model, name)
        if not self.of(model):
            raise EditError("no input has a first axis", where=model.name, fix="Name the inputs it is about.")

    def of(self, model: Model) -> list[str]:
        """Return the inputs of a model whose first axis is the batch."""
        if self.inputs:
            return list(self.inputs)
        shaped = [tensor for tensor in model.inputs if tensor.shape]
        return [tensor.name for tensor in shaped if tensor.shape and tensor.shape[0] == (shaped[0].shape or ())[0]]

    def apply(self, graph: ir.Model, model: Model) -> list[str] | None:
        names = self.of(model)
        old = (model.tensor(names[0]).shape or (None,))[0]
        if all((model.tensor(name).shape or (None,))[0] == self.size for name in names):
            return None
        for value in graph.graph.inputs:
            if value.name in names and value.shape is not None:
                value.shape = ir.Shape([self.size, *list(value.shape)[1:]])
        changed = sum(_free_reshapes(part, old, prefix, model) for prefix, part in graphs_of(graph))
        for _, part in graphs_of(graph):
            for node in part:
                for value in node.outputs:
                    value.shape = None
        self._state_outputs(graph, model)
        freed = f"; {changed} reshapes follow it" if changed else ""
        return [f"the batch of {', '.join(names)} is {self.size}{freed}"]

    def _state_outputs(self, graph: ir.Model, model: Model) -> None:
        """State the outputs' shapes: as inferred, else as they were with the batch replaced."""
        replaced = model.replaced(graph)
        old = (model.tensor(self.of(model)[0]).shape or (None,))[0]
        for value in graph.graph.outputs:
            before = model.tensor(str(value.name))
            shape = replaced.tensor(str(value.name)).shape
            if shape is None and before.shape is not None:
                shape = (self.size, *before.shape[1:]) if before.shape[:1] == (old,) else before.shape
            if shape is not None:
                value.shape = ir.Shape(shape)

    def ensures(self, before: Model, after: Model) -> None:
        from workbench.graph.shapes import bind, infer, skeleton_proto

        names = self.of(before)
        old = (before.tensor(names[0]).shape or (None,))[0]
        sizes = {self.size: TRIAL} if isinstance(self.size, str) else {}
        proto = skeleton_proto(after)
        bind(proto, sizes)
        try:
            infer_shapes(proto, strict_mode=not any(q.kind == "custom-op" for q in after.quirks))
        except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
            raise EditError(
                f"the model does not work with another batch: {str(error).strip().splitlines()[-1]}",
                where=before.name,
                fix="Its graph holds the batch in a constant; the model is unchanged.",
            ) from error
        tensors = infer(after, sizes).tensors
        batch = TRIAL if sizes else self.size
        for output in before.outputs:
            shape = tensors[output.name].shape
            if output.shape and output.shape[0] == old and shape and isinstance(shape[0], int) and shape[0] != batch:
                raise EditError(
                    f"output {output.name!r} does not follow the batch; it stays {shape[0]}",
                    where=before.name,
                    fix="Its graph holds the batch in a constant; the model is unchanged.",
                )


def _free_reshapes(part: ir.Graph, old: int | str | None, prefix: str, model: Model) -> int:
    """Replace a constant batch at the front of Reshape's target shapes by 0, which copies the input's."""
    changed = 0
    for node in part:
        if onnx_op(node) != "Reshape" or len(node.inputs) < 2 or not isinstance(old, int):
            continue
        target, data = constant_array(node.inputs[1]), node.inputs[0]
        read = None if data is None else model.tensor(f"{prefix}{data.name}").shape
        keeps_zero = "allowzero" in node.attributes and node.attributes["allowzero"].as_int()
        if target is None or target.size == 0 or target[0] != old or not read or read[0] != old or keeps_zero:
            continue
        shape, before = target.copy(), node.inputs[1]
        shape[0] = 0
        node.replace_input_with(1, add_constant(part, f"{node.name}_shape", shape))
        drop_unused(part, [before])
        changed += 1
    return changed


class SetInputType(Edit):
    """Feed an input as another element type; a Cast behind it brings it back.

    It is about inputs of the main graph; a subgraph is fed by its node alone.

    Parameters
    ----------
    input
        The input's name.
    dtype
        As ONNX spells it: ``FLOAT16``, ``UINT8``, ...
    """

    do: Literal["set_input_type"] = "set_input_type"
    title: ClassVar[str] = "Set an input's element type"
    equivalent: ClassVar[bool] = False

    input: str
    dtype: str

    def requires(self, model: Model) -> None:
        _input(model, self.input)
        if self.dtype not in ir.DataType.__members__:
            raise EditError("there is no such element type", where=self.dtype, fix="For example FLOAT16, UINT8, INT32.")

    def apply(self, graph: ir.Model, model: Model) -> list[str] | None:
        value = next(value for value in graph.graph.inputs if value.name == self.input)
        dtype, old = ir.DataType[self.dtype], value.dtype
        if old is None:
            raise EditError("its element type is unknown", where=self.input, fix="Export the model again.")
        if dtype == old:
            return None
        _convert_input(graph.graph, value, "Cast", {"to": int(old)}).outputs[0].type = ir.TensorType(old)
        value.type = ir.TensorType(dtype)
        return [f"{self.input} is fed as {self.dtype}"]

    def fed(self, tensor: str, array: NDArray[Any]) -> NDArray[Any]:
        return array.astype(ir.DataType[self.dtype].numpy()) if tensor == self.input else array


class SetInputLayout(Edit):
    """Feed an image input channels last (NHWC) or channels first (NCHW); a Transpose behind it brings it back.

    It is about inputs of the main graph; a subgraph is fed by its node alone.

    Parameters
    ----------
    input
        The input's name; it has three axes or more, the first for the batch.
    layout
        How it will be fed; it is fed in the other layout so far.
    """

    do: Literal["set_input_layout"] = "set_input_layout"
    title: ClassVar[str] = "Set an input's layout"

    input: str
    layout: Literal["NHWC", "NCHW"]

    @classmethod
    def offers(cls, model: Model, addresses: Sequence[str]) -> Iterable[Self]:
        read = {str(v.name) for a in addresses for v in model.nodes[a].inputs if v is not None and v.is_graph_input()}
        resized = {
            str(v.name)
            for (_, op), resizing in model.operators.items()
            if op == "Resize"
            for address in resizing
            for v in model.nodes[address].inputs
            if v is not None
        }
        for tensor in model.inputs:
            if tensor.name in resized:
                continue  # ONNX Runtime 1.32 moves the Transpose behind the Resize, and makes a graph it refuses
            if tensor.shape is not None and len(tensor.shape) == 4 and (tensor.name in read or not addresses):
                yield cls(input=tensor.name, layout="NCHW" if tensor.shape[3] in (1, 3, 4) else "NHWC")

    def requires(self, model: Model) -> None:
        _input(model, self.input)
        shape = model.tensor(self.input).shape
        if shape is None or len(shape) < 3:
            raise EditError("it has no batch, channel and space axes", where=self.input, fix="Name an image input.")

    def apply(self, graph: ir.Model, model: Model) -> list[str] | None:
        value = next(value for value in graph.graph.inputs if value.name == self.input)
        shape = list(value.shape or ())
        last = len(shape) - 1
        to_first, to_last = [0, last, *range(1, last)], [0, *range(2, last + 1), 1]
        back, fed = (to_first, to_last) if self.layout == "NHWC" else (to_last, to_first)
        output = _convert_input(graph.graph, value, "Transpose", {"perm": back}).outputs[0]
        output.type, output.shape = value.type, value.shape
        value.shape = ir.Shape([shape[axis] for axis in fed])
        return [f"{self.input} is fed as {self.layout}"]

    def fed(self, tensor: str, array: NDArray[Any]) -> NDArray[Any]:
        return self._moved(array, self.layout == "NHWC") if tensor == self.input else array

    def unfed(self, tensor: str, array: NDArray[Any]) -> NDArray[Any]:
        return self._moved(array, self.layout != "NHWC") if tensor == self.input else array

    @staticmethod
    def _moved(array: NDArray[Any], to_last: bool) -> NDArray[Any]:
        return np.moveaxis(array, 1, -1) if to_last else np.moveaxis(array, -1, 1)


def _convert_input(part: ir.Graph, value: ir.Value, op: str, attributes: dict[str, object]) -> ir.Node:
    uses = tuple(value.uses())
    first = next(iter(part), None)
    node = add_node(part, op, [value], name=f"{value.name}_{op}", attributes=attributes, before=first)
    for user, place in uses:
        user.replace_input_with(place, node.outputs[0])
    return node


def _input(model: Model, name: str) -> None:
    names = [tensor.name for tensor in model.inputs]
    if name not in names:
        raise EditError("it is no input of the model", where=name, fix=f"The inputs are {', '.join(names)}.")
