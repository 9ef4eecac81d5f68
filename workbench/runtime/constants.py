"""How much a model makes of constants alone: ONNX Runtime computes that when it makes a session, whatever its size."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import onnx_ir as ir

from workbench.child import ChildError
from workbench.errors import BackendError
from workbench.graph import constant_of, onnx_op, share_names
from workbench.limits import check, mib
from workbench.runtime.bytes import serialized
from workbench.runtime.first_run import Apart, FirstRun

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from workbench.graph import Model

__all__ = ["check_constants"]

DRIVEN_BY_VALUES = frozenset(
    "ConstantOfShape Expand EyeLike OneHot Pad RandomNormal RandomUniform Range Resize Tile Upsample".split()
)
"""Operators whose result is as long as a number says that they read or hold."""

RESTATES = frozenset("Cast DequantizeLinear Flatten Reshape Squeeze Transpose Unsqueeze".split())
"""Operators whose result has as many numbers as what they read."""

SPARED = 16
"""What those make of weights is free up to so many times their bytes: INT4 becomes FP32, and is transposed then."""

TEXT_BYTES = 32
"""What a text takes in ONNX Runtime however short it is: a `std::string`."""

ONE_NUMBER = {"Loop": 0, "SequenceAt": 1, "SequenceErase": 1, "SequenceInsert": 2}
"""Operators and which of their inputs ONNX Runtime 1.32 reads one number of, also where it has none: it crashes."""


def check_constants(model: Model) -> None:
    """Refuse a model that makes too much of what depends on nothing that is fed, or reads a number of an empty tensor.

    Weights that are dequantized, converted or transposed may be as many as a file holds. What shape inference does not
    know is computed once in another process, which memory may run out for.

    Raises
    ------
    BackendError
        It is more than the limit ``constants_mib``, or a tensor holds nothing that a node wants a number of.
    ChildError
        Computing it took all memory, or killed that process.
    """
    _check_numbers(model)
    computed = list(_of_constants(model))
    free = SPARED * _stored_bytes(node for _, node in computed if onnx_op(node) in RESTATES)
    total, unknown = 0, dict[str, str]()
    for address, node in computed:
        for value in node.outputs:
            tensor = model.tensor(str(value.name)) if value.name else None
            if tensor is None or tensor.dtype is None or _is_shared(node, value):
                continue
            if tensor.static_shape is not None:
                size = _bytes(tensor.static_shape, tensor.dtype)
                spared = min(size, free) if onnx_op(node) in RESTATES else 0
                total, free = total + size - spared, free - spared
            elif node.op_type in DRIVEN_BY_VALUES:
                unknown[tensor.name] = tensor.dtype
        _check(total, address)
    for name, shape in _computed(model, list(unknown)).items() if unknown else ():
        total += _bytes(shape, unknown[name])
        _check(total, f"tensor {name!r}")


def _check_numbers(model: Model) -> None:
    for address, node in model.nodes.items():
        place = ONE_NUMBER.get(onnx_op(node))
        value = None if place is None else (*node.inputs, None, None, None)[place]
        if value is None or not value.name:
            continue
        content = constant_of(value)
        tensor = model.tensor(model.index.tensor(value))
        shape = tensor.static_shape if content is None else tuple(content.shape.numpy())
        if shape is not None and 0 in shape:
            raise BackendError(
                f"{node.op_type} reads a number of tensor {value.name!r}, which is empty",
                where=address,
                fix="Repair the tensor: it holds how often the loop runs, or a place in the sequence.",
            )


def _stored_bytes(nodes: Iterable[ir.Node]) -> int:
    """Return the bytes of the weights that some nodes read."""
    weights = {value for node in nodes for value in node.inputs if value is not None and value.is_initializer()}
    return sum(value.const_value.nbytes for value in weights if value.const_value is not None)


def _is_shared(node: ir.Node, result: ir.Value) -> bool:
    """Say whether ONNX Runtime lets who reads a result read the constant itself, and makes nothing."""
    return node.op_type == "Identity" and node.domain in ("", "ai.onnx") and not result.is_graph_output()


def _check(count: int, where: str) -> None:
    check("constants_mib", mib(count), BackendError, where=where, what="what is made of constants up to here")


def _bytes(shape: Sequence[int], dtype: str) -> int:
    size = TEXT_BYTES if dtype == "STRING" else math.ceil(ir.DataType[dtype].itemsize)
    return math.prod(shape) * size


def _of_constants(model: Model) -> Iterator[tuple[str, ir.Node]]:
    """Yield the nodes of the main graph, but for Constant, that read nothing which is fed."""
    constants: set[ir.Value] = set(model.initializers.values())
    for address, node in model.top_nodes.items():
        read = [value for value in node.inputs if value is not None and value.name]
        makes = read or node.op_type == "Constant" or node.op_type in DRIVEN_BY_VALUES
        if not makes or any(value not in constants for value in read):
            continue
        if any(attribute.type.name.startswith("GRAPH") for attribute in node.attributes.values()):
            continue
        constants.update(node.outputs)
        if node.op_type != "Constant":
            yield address, node


def _computed(model: Model, names: Sequence[str]) -> Mapping[str, Sequence[int]]:
    """Return the shapes of tensors that depend on constants alone, as ONNX Runtime finds them; none if it refuses."""
    kept = {node.name for _, node in _of_constants(model)}
    whole = model.thaw()
    graph, fresh = whole.graph, share_names(whole)
    values = {str(value.name): value for node in graph for value in node.outputs}
    graph.outputs.clear()
    for node in reversed(list(graph)):
        if node.op_type != "Constant" and node.name not in kept:
            graph.remove(node, safe=True)
    graph.inputs.clear()
    for name in names:
        shape = ir.node("Shape", [values[name]], name=fresh.node(f"{name}/shape"))
        (lengths,) = shape.outputs
        lengths.name, lengths.type = fresh.tensor(f"{name}/shape"), ir.TensorType(ir.DataType.INT64)
        graph.append(shape)
        graph.outputs.append(lengths)
    for name, value in list(graph.initializers.items()):
        if not value.uses():
            graph.initializers.pop(name)
    part = model.replaced(whole)
    outputs = [str(value.name) for value in graph.outputs]
    try:
        shapes = Apart(FirstRun(serialized(part, outputs), {}, (), outputs, {}), 1, model.name).run(outputs, {})
    except ChildError:
        raise
    except BackendError:
        return {}  # what it says in words it says to the model as a whole, too
    return dict(zip(names, (shape.tolist() for shape in shapes), strict=True))
