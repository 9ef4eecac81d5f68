"""Compute what does not depend on the inputs, once."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import onnx
import onnx_ir as ir

from workbench.graph.domains import is_filled_in, onnx_op
from workbench.graph.edits.surgery import drop_unused
from workbench.graph.edits.wide import Area, WideEdit
from workbench.graph.message import attribute_message
from workbench.graph.shapes import SMALL
from workbench.graph.weights import constant_in, is_stripped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.graph.model import Model

__all__ = ["FoldConstants"]

Array = np.ndarray[tuple[int, ...], np.dtype[np.generic]]

# Results of these are the same bits on every IEEE 754 machine: they move, compare or select values, compute with
# integers, or round once an element. Exp, Erf, Pow, MatMul and float reductions are not: their last bit depends on the
# processor, and a replayed recipe must give the same bytes everywhere. A compiler folds those later anyway.
MOVES = frozenset(
    """
    Cast Compress Concat ConstantOfShape DepthToSpace Expand EyeLike Flatten Gather GatherElements GatherND Identity
    NonZero OneHot Pad Reshape ScatterElements ScatterND Shape Size Slice SpaceToDepth Split Squeeze Tile
    Transpose Trilu Unsqueeze Where
    """.split()
)
ROUNDS_ONCE = frozenset(
    """
    Abs Add And Ceil Div Equal Floor Greater GreaterOrEqual Less LessOrEqual Max Min Mod Mul Neg Not Or Reciprocal
    Round Sign Sqrt Sub Xor
    """.split()
)
# Exact for integers only: the order of additions does not matter there. A floating-point Range adds its step in each
# library's own order, and may even be of another length.
EXACT_FOR_INTEGERS = frozenset({"CumSum", "Pow", "Range", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum", "Sum"})
EXACT = MOVES | ROUNDS_ONCE | EXACT_FOR_INTEGERS
# The length of what these make is a number that they read.
DRIVEN_BY_VALUES = frozenset({"ConstantOfShape", "Expand", "OneHot", "Pad", "Range", "Tile"})
LARGEST_GROWTH = 2**20
LARGEST_SUM, LARGEST_TIMES = 2**28, 8
PLAIN = frozenset(
    ir.DataType[name]
    for name in "BOOL INT8 INT16 INT32 INT64 UINT8 UINT16 UINT32 UINT64 FLOAT16 BFLOAT16 FLOAT DOUBLE".split()
)
"""Types that numbers are cast to and from alike everywhere."""


class FoldConstants(WideEdit):
    """Fold constants: replace nodes whose result is known by that result.

    ``Constant`` nodes become initializers; ``Shape`` of a tensor of known shape becomes its value; whatever depends on
    constants alone is computed with the ONNX reference implementation. Only operators whose result is the same bits on
    every machine are folded, and none whose result is over 1 MiB larger than what it is made of. In a local function
    constants stay ``Constant`` nodes, for it stores no weights.
    """

    do: Literal["fold_constants"] = "fold_constants"
    title: ClassVar[str] = "Fold constants"

    @classmethod
    def fits(cls, node: ir.Node) -> bool:
        if onnx_op(node) == "Constant":
            return not node.outputs[0].is_graph_output()
        if onnx_op(node) not in EXACT or not node.inputs:
            return False
        return all(value is None or _content(value) is not None for value in node.inputs)

    @classmethod
    def fits_in(cls, node: ir.Node, model: Model) -> bool:
        if not cls.fits(node) or any(output.is_graph_output() for output in node.outputs):
            return False
        if node.op_type == "Constant":
            functions = {function.graph for function in model.ir_model.functions.values()}
            return node.graph not in functions and _constant(node) is not None
        if node.graph is not None and _weight_behind(node, node.graph):
            return True
        arrays = _operands(node)
        return arrays is not None and _stated_bytes(node, arrays, model.opset) <= LARGEST_GROWTH + _held(node, arrays)

    def sweep(self, area: Area) -> list[str] | None:
        folded = 0
        current = area.model
        weights = (value.const_value for value in current.initializers.values())
        # A chain of nodes, each of which makes little more than it reads, may still make any number of bytes.
        left = LARGEST_SUM + LARGEST_TIMES * sum(weight.nbytes for weight in weights if weight is not None)
        while True:
            step, left = _fold(area, current, left)
            folded += step
            if not step:
                break
            # Shapes known only now may let more fold.
            current = area.model.replaced(area.graph.clone())
        return [f"folded {folded} nodes into constants"] if folded else None


def _fold(area: Area, model: Model, left: int) -> tuple[int, int]:
    """Fold what can be folded now; return how many nodes were, and how many bytes may still be made."""
    functions = {function.graph for function in area.graph.functions.values()}
    folded = 0
    constants: dict[tuple[object, ...], list[ir.Value]] = {}
    for _, part, node in area:
        if node.op_type == "Constant" and part in functions:
            continue
        if not onnx_op(node) or any(output.is_graph_output() for output in node.outputs):
            continue
        # What several nodes make of one weight, and a weight behind an Identity, is stored once and made once.
        attributes = sorted(attribute_message(attribute).SerializeToString() for attribute in node.attributes.values())
        kind = (part, node.op_type, len(node.outputs), *node.inputs, *attributes)
        shared = _weight_behind(node, part) or constants.get(kind, [])
        # It may have been folded away in between.
        if shared and all(part.initializers.get(str(value.name)) is value for value in shared):
            for output, constant in zip(node.outputs, shared, strict=True):
                ir.convenience.replace_all_uses_with(output, constant)
        else:
            results = _results(node, part, area.graph, model, left)
            if results is None:
                continue
            weights = [_replace(part, output, result) for output, result in zip(node.outputs, results, strict=True)]
            if node.op_type != "Constant":
                left -= sum(result.nbytes for result in results)
                constants[kind] = weights
        read = tuple(node.inputs)
        part.remove(node, safe=True)
        drop_unused(part, read)
        folded += 1
    return folded, left


def _weight_behind(node: ir.Node, part: ir.Graph) -> list[ir.Value]:
    """Return the weight of the same graph that an Identity hands on; nothing where there is none."""
    source = node.inputs[0] if node.op_type == "Identity" and node.inputs else None
    if source is None or part.initializers.get(str(source.name)) is not source or _content(source) is None:
        return []
    return [source]


def _results(node: ir.Node, part: ir.Graph, whole: ir.Model, model: Model, left: int) -> list[ir.TensorProtocol] | None:
    """Return the values of a node's outputs where they are known and at most `left` bytes, else ``None``."""
    if node.op_type == "Constant":
        return _constant(node)
    if node.op_type == "Shape" and part is whole.graph and (shape := _shape(node, model)) is not None:
        return [ir.Tensor(shape)]
    arrays = _operands(node)
    if arrays is None:
        return None
    opset, most = whole.opset_imports.get("", 1), min(LARGEST_GROWTH + _held(node, arrays), left)
    # A file of few bytes can ask for more than any memory holds, so it is asked for how much before it is computed.
    if _stated_bytes(node, arrays, opset) > most:
        return None
    results = _evaluate(node, arrays, opset)
    if results is None or _bytes(results) > most:
        return None
    return [ir.Tensor(result) for result in results]


def _operands(node: ir.Node) -> list[Array | None] | None:
    """Return what a node reads, where all of that is known and its results are the same bits everywhere."""
    if not node.inputs or is_filled_in(node):
        return None
    inputs = [None if value is None else _content(value) for value in node.inputs]
    if any(value is not None and content is None for value, content in zip(node.inputs, inputs, strict=True)):
        return None
    arrays = [None if content is None else content.numpy() for content in inputs]
    return arrays if _is_exact(node, arrays) else None


def _held(node: ir.Node, arrays: list[Array | None]) -> int:
    """Return the bytes of what a node reads; what is read twice is there once."""
    return _bytes(list(dict(zip(node.inputs, arrays, strict=True)).values()))


def _constant(node: ir.Node) -> list[ir.TensorProtocol] | None:
    tensor = constant_in(node.outputs[0])
    if tensor is None:
        return None
    # A weight is named, and so is the message behind it: the node's own stays as it is.
    return [_own(tensor) if isinstance(tensor, ir.serde.TensorProtoTensor) else tensor]


def _own(tensor: ir.serde.TensorProtoTensor) -> ir.TensorProtocol:
    copy = onnx.TensorProto()
    copy.CopyFrom(tensor.raw)
    return ir.serde.TensorProtoTensor(copy)


def _content(value: ir.Value) -> ir.TensorProtocol | None:
    content = constant_in(value)
    # Strings and sparse tensors stay where they are.
    return None if content is None or content.dtype == ir.DataType.STRING or is_stripped(content) else content


def _shape(node: ir.Node, model: Model) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]] | None:
    source = node.inputs[0]
    shape = None if source is None or source.name is None else model.tensor(source.name).static_shape
    if shape is None:
        return None
    start, end = (node.attributes[name].as_int() if name in node.attributes else None for name in ("start", "end"))
    return np.asarray(shape[start:end], dtype=np.int64)


def _is_exact(node: ir.Node, arrays: list[Array | None]) -> bool:
    if node.op_type == "Cast" and not _casts_alike(node, arrays[0]):
        return False
    if node.op_type == "NonZero" and arrays[0] is not None and not arrays[0].ndim:
        return False  # ONNX's is [0, n] of a scalar, ONNX Runtime 1.32's [1, n]
    if node.op_type in MOVES | ROUNDS_ONCE:
        return True
    integers = all(array is None or array.dtype.kind in "iub" for array in arrays)
    return node.op_type in EXACT_FOR_INTEGERS and integers


def _casts_alike(node: ir.Node, array: Array | None) -> bool:
    """Say whether a Cast gives the same in ONNX's reference as in ONNX Runtime.

    To and from types of less than two bytes' floats they round, saturate and pack each in its own way (onnx 1.23
    truncates FLOAT to INT4, ONNX Runtime 1.32 rounds it), and what is out of an integer's range is undefined.
    """
    target = ir.DataType(node.attributes.get_int("to", 0))
    if array is None or target not in PLAIN or ir.DataType.from_numpy(array.dtype) not in PLAIN:
        return False
    kind = np.dtype(target.numpy())
    if array.dtype.kind != "f" or kind.kind not in "iu" or not array.size:
        return True
    limits = np.iinfo(kind)
    low, high = float(np.min(array)), float(np.max(array))
    return limits.min <= low and high <= limits.max  # neither holds of NaN


def _evaluate(node: ir.Node, arrays: list[Array | None], opset: int) -> list[Array] | None:
    from onnx.reference import ReferenceEvaluator

    proto = ir.serde.serialize_node(node)
    info = [onnx.helper.make_empty_tensor_value_info(name) for name in proto.input if name]
    outputs = [onnx.helper.make_empty_tensor_value_info(name) for name in proto.output]
    unique = list({value.name: value for value in info}.values())
    holder = onnx.helper.make_model(
        onnx.helper.make_graph([proto], "fold", unique, outputs), opset_imports=[onnx.helper.make_opsetid("", opset)]
    )
    feeds = {str(value.name): array for value, array in zip(node.inputs, arrays, strict=True) if value is not None}
    try:
        with np.errstate(all="ignore"):
            results = ReferenceEvaluator(holder).run(None, feeds)
    except Exception:  # noqa: BLE001 - what the reference cannot compute is left for the compiler
        return None
    # A view into something else, as Transpose gives, would be stored as it lies.
    return [np.asarray(result, order="C") for result in results]


def _stated_bytes(node: ir.Node, arrays: list[Array | None], opset: int) -> int:
    """Return the bytes of a node's results as ONNX's shape inference knows them; 0 where it does not."""
    elements = math.prod(max(array.size, 1) for array in arrays if array is not None)
    if node.op_type not in DRIVEN_BY_VALUES and elements <= LARGEST_GROWTH // 8:
        return 0
    proto = ir.serde.serialize_node(node)
    inputs, weights = [], []
    for name, array in zip(proto.input, arrays, strict=True):
        if array is not None and array.size <= SMALL:
            weights.append(onnx.numpy_helper.from_array(array, name))
        elif array is not None:
            dtype = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
            inputs.append(onnx.helper.make_tensor_value_info(name, dtype, array.shape))
    outputs = [onnx.helper.make_empty_tensor_value_info(name) for name in proto.output]
    graph = onnx.helper.make_graph([proto], "size", inputs, outputs, weights)
    holder = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    try:
        inferred = onnx.shape_inference.infer_shapes(holder, data_prop=True)
    except Exception:  # noqa: BLE001 - what cannot be inferred cannot be computed either
        return sys.maxsize
    total = 0
    for value in inferred.graph.output:
        dims = value.type.tensor_type.shape.dim
        if all(dim.HasField("dim_value") for dim in dims) and value.type.tensor_type.HasField("shape"):
            size = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type or 1).itemsize
            # One axis after the other is made: what becomes nothing at the last was as long as the others before.
            total += size * math.prod(max(dim.dim_value, 1) for dim in dims)
        elif node.op_type in DRIVEN_BY_VALUES:
            return sys.maxsize
    return total


def _bytes(arrays: Sequence[Array | None]) -> int:
    return sum(array.nbytes for array in arrays if array is not None)


def _replace(part: ir.Graph, output: ir.Value, result: ir.TensorProtocol) -> ir.Value:
    """Put a constant where a node's output was, under the same name."""
    name = output.name
    constant = ir.Value(
        name=name, const_value=result, type=ir.TensorType(result.dtype), shape=ir.Shape(result.numpy().shape)
    )
    output.name = f"{name}/folded"
    ir.convenience.replace_all_uses_with(output, constant)
    if isinstance(result, ir.Tensor):
        result.name = name
    part.initializers.add(constant)
    return constant
