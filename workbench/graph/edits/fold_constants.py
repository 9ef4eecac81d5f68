"""Compute what does not depend on the inputs, once."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import onnx
import onnx_ir as ir

from workbench.graph.edits.base import Edit
from workbench.graph.model import graphs_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from typing_extensions import Self

    from workbench.graph.model import Model

__all__ = ["FoldConstants"]

Array = np.ndarray[tuple[int, ...], np.dtype[np.generic]]

# Results of these are the same bits on every IEEE 754 machine: they move, compare or select values, compute with
# integers, or round once an element. Exp, Erf, Pow, MatMul and float reductions are not: their last bit depends on the
# processor, and a replayed recipe must give the same bytes everywhere. A compiler folds those later anyway.
MOVES = frozenset(
    """
    Cast Compress Concat ConstantOfShape DepthToSpace Expand EyeLike Flatten Gather GatherElements GatherND Identity
    NonZero OneHot Pad Range Reshape ScatterElements ScatterND Shape Size Slice SpaceToDepth Split Squeeze Tile
    Transpose Trilu Unsqueeze Where
    """.split()
)
ROUNDS_ONCE = frozenset(
    """
    Abs Add And Ceil Div Equal Floor Greater GreaterOrEqual Less LessOrEqual Max Min Mod Mul Neg Not Or Reciprocal
    Round Sign Sqrt Sub Xor
    """.split()
)
# Exact for integers only: the order of additions does not matter there.
EXACT_FOR_INTEGERS = frozenset({"CumSum", "Pow", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum", "Sum"})
LARGEST_GROWTH = 2**20


class FoldConstants(Edit):
    """Fold constants: replace nodes whose result is known by that result.

    ``Constant`` nodes become initializers; ``Shape`` of a tensor of known shape becomes its value; whatever depends on
    constants alone is computed with the ONNX reference implementation. Only operators whose result is the same bits on
    every machine are folded, and none whose result is over 1 MiB larger than what it is made of.
    """

    do: Literal["fold_constants"] = "fold_constants"
    title: ClassVar[str] = "Fold constants"

    @classmethod
    def offers(cls, model: Model, addresses: Sequence[str]) -> Iterable[Self]:
        picked = [model.nodes[address] for address in addresses or model.nodes]
        if any(node.op_type == "Constant" or _depends_on_constants_alone(node) for node in picked):
            yield cls()

    def apply(self, graph: ir.Model, model: Model) -> list[str] | None:
        folded = 0
        current = model
        while True:
            step = sum(_fold_graph(part, graph, current) for _, part in graphs_of(graph))
            folded += step
            if not step:
                break
            # Shapes known only now may let more fold.
            current = model.replaced(graph.clone())
        return [f"folded {folded} nodes into constants"] if folded else None


def _depends_on_constants_alone(node: ir.Node) -> bool:
    known = all(value is None or value.is_initializer() for value in node.inputs)
    return node.op_type in MOVES | ROUNDS_ONCE | EXACT_FOR_INTEGERS and bool(node.inputs) and known


def _fold_graph(part: ir.Graph, whole: ir.Model, model: Model) -> int:
    folded = 0
    for node in list(part):
        results = _results(node, part, whole, model)
        if results is None:
            continue
        for output, result in zip(node.outputs, results, strict=True):
            _replace(part, output, result)
        part.remove(node, safe=True)
        folded += 1
    return folded


def _results(node: ir.Node, part: ir.Graph, whole: ir.Model, model: Model) -> list[ir.TensorProtocol] | None:
    """Return the values of a node's outputs where they are known, else ``None``."""
    if node.domain not in ("", "ai.onnx") or any(output.is_graph_output() for output in node.outputs):
        return None
    if node.op_type == "Constant":
        return _constant(node)
    if node.op_type == "Shape" and part is whole.graph and (shape := _shape(node, model)) is not None:
        return [ir.Tensor(shape)]
    inputs = [None if value is None else _known(value) for value in node.inputs]
    if any(value is not None and known is None for value, known in zip(node.inputs, inputs, strict=True)):
        return None
    arrays = [None if known is None else known.numpy() for known in inputs]
    if not _is_exact(node, arrays):
        return None
    results = _evaluate(node, arrays, whole.opset_imports.get("", 1))
    if results is None or _bytes(results) > LARGEST_GROWTH + _bytes(arrays):
        return None
    return [ir.Tensor(result) for result in results]


def _constant(node: ir.Node) -> list[ir.TensorProtocol] | None:
    for name, kind in (
        ("value_float", np.float32),
        ("value_int", np.int64),
        ("value_floats", np.float32),
        ("value_ints", np.int64),
    ):
        if name in node.attributes:
            return [ir.Tensor(np.asarray(node.attributes[name].value, dtype=kind))]
    if "value" in node.attributes:
        return [node.attributes["value"].as_tensor()]
    return None


def _known(value: ir.Value) -> ir.TensorProtocol | None:
    # Strings and sparse tensors stay where they are.
    known = value.const_value if value.is_initializer() else None
    return None if known is None or known.dtype == ir.DataType.STRING else known


def _shape(node: ir.Node, model: Model) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]] | None:
    source = node.inputs[0]
    shape = None if source is None or source.name is None else model.tensor(source.name).static_shape
    if shape is None:
        return None
    start, end = (node.attributes[name].as_int() if name in node.attributes else None for name in ("start", "end"))
    return np.asarray(shape[start:end], dtype=np.int64)


def _is_exact(node: ir.Node, arrays: list[Array | None]) -> bool:
    if node.op_type in MOVES | ROUNDS_ONCE:
        return bool(arrays)
    integers = all(array is None or array.dtype.kind in "iub" for array in arrays)
    return node.op_type in EXACT_FOR_INTEGERS and bool(arrays) and integers


def _evaluate(node: ir.Node, arrays: list[Array | None], opset: int) -> list[Array] | None:
    from onnx.reference import ReferenceEvaluator

    proto = ir.to_proto(node)
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


def _bytes(arrays: Sequence[Array | None]) -> int:
    return sum(array.nbytes for array in arrays if array is not None)


def _replace(part: ir.Graph, output: ir.Value, result: ir.TensorProtocol) -> None:
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
