"""Inputs and outputs of a model in types that ONNX Runtime's Python takes no arrays of: 8 and 4 bits."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from workbench.graph import share_names

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    import numpy as np

    from workbench.graph import Model

__all__ = ["border_types", "bordered", "in_numbers"]

FP32 = ir.DataType.FLOAT
PLAIN = {
    ir.DataType.FLOAT8E4M3FN: FP32,
    ir.DataType.FLOAT8E4M3FNUZ: FP32,
    ir.DataType.FLOAT8E5M2: FP32,
    ir.DataType.FLOAT8E5M2FNUZ: FP32,
    ir.DataType.INT4: ir.DataType.INT8,
    ir.DataType.UINT4: ir.DataType.UINT8,
}
"""What holds the same numbers."""
HOLDS = {kind.numpy().name: plain.numpy() for kind, plain in (*PLAIN.items(), (ir.DataType.BFLOAT16, FP32))}


def border_types(model: Model, outputs: Collection[str]) -> dict[str, np.dtype[Any]]:
    """Return the outputs, among those named, that are of such a type or of BF16, with NumPy's type for each."""
    kinds = {name: model.tensor(name).dtype for name in outputs}
    types = {name: ir.DataType[kind].numpy() for name, kind in kinds.items() if kind is not None}
    return {name: dtype for name, dtype in types.items() if dtype.name in HOLDS}


def bordered(model: Model, outputs: Collection[str]) -> Model:
    """Return a model whose inputs and outputs of such types hold the same numbers in another; itself where none is.

    Parameters
    ----------
    model
        The model.
    outputs
        Tensors of the main graph that are asked for, whether they are its outputs or not.
    """
    inputs = [tensor.name for tensor in model.inputs if tensor.dtype and ir.DataType[tensor.dtype] in PLAIN]
    kinds = {name: kind for name in outputs if (kind := model.tensor(name).dtype) and ir.DataType[kind] in PLAIN}
    if not inputs and not kinds:
        return model
    graph = model.thaw()
    part, fresh = graph.graph, share_names(graph)

    def cast(value: ir.Value, kind: ir.DataType, name: str, add: Callable[[ir.Node], None]) -> ir.Value:
        node = ir.node("Cast", [value], {"to": kind}, name=fresh.node(f"{name}/Cast"))
        (result,) = node.outputs
        result.name, result.type, result.shape = name, ir.TensorType(kind), value.shape
        add(node)
        return result

    results = [value for node in part for value in node.outputs if value.name in kinds]
    for value in [value for value in part.inputs if value.name in inputs]:
        uses, own = tuple(value.uses()), ir.DataType[str(model.tensor(str(value.name)).dtype)]
        value.type = ir.TensorType(PLAIN[own])
        if not uses:  # handed out as it came, by a model that may have no node
            continue
        narrow = cast(value, own, fresh.tensor(f"{value.name}/narrow"), partial(part.insert_before, part[0]))
        for reader, position in uses:
            reader.replace_input_with(position, narrow)
    for value in results:
        name = str(value.name)
        value.name = fresh.tensor(f"{name}/narrow")
        plain = cast(value, PLAIN[ir.DataType[kinds[name]]], name, part.append)
        for place, output in enumerate(part.outputs):
            if output is value:
                part.outputs[place] = plain
    return model.replaced(graph)


def in_numbers(array: Any) -> Any:
    """Return what ONNX Runtime's Python takes no arrays of in a type that it takes; a sequence part by part."""
    if isinstance(array, list):
        return [in_numbers(part) for part in array]
    return array.astype(HOLDS[array.dtype.name]) if array.dtype.name in HOLDS else array
