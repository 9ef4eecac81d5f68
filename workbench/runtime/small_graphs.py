"""Small graphs of every operator that a plan can touch, in every precision: what the self-check runs."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from workbench.graph import RANDOM

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FLOATING", "MULTIPLYING", "QUANTIZED", "SHAPE", "floating_graph", "floating_operators", "quantized_graph"]

OPSET = 22
SHAPE = (2, 4, 6, 6)
"""Of the input of every graph."""

FLOATING: Mapping[str, int] = {
    "fp32": TensorProto.FLOAT,
    "fp16": TensorProto.FLOAT16,
    "bf16": TensorProto.BFLOAT16,
}
QUANTIZED: Mapping[str, int] = {
    "int8": TensorProto.INT8,
    "uint8": TensorProto.UINT8,
    "int16": TensorProto.INT16,
    "uint16": TensorProto.UINT16,
    "int4": TensorProto.INT4,
    "uint4": TensorProto.UINT4,
    "fp8": TensorProto.FLOAT8E4M3FN,
    "fp8_e5m2": TensorProto.FLOAT8E5M2,
}
"""What a Q/DQ pair goes through."""

MULTIPLYING = (
    *("Conv", "ConvTranspose", "Gemm", "MatMul"),
    *("Add", "AveragePool", "GlobalAveragePool", "MaxPool"),
)
"""Operators that Q/DQ pairs are written for."""

NO_NUMBERS = frozenset(
    {
        *("ArgMax", "ArgMin", "Equal", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual"),
        *("NonZero", "Shape", "Size"),
    }
)
"""Operators that read numbers and make none."""

ELSEWHERE = RANDOM | {"Cast", "Loop", "QuantizeLinear", "Scan"}
"""Operators without a graph of their own here: Casts and pairs are in all of them."""

UNTRIED: Mapping[str, str] = {
    "DFT": "ONNX's evaluator takes no real input of two axes",
    "DeformConv": "no small graph was made of it",
    "GlobalLpPool": "ONNX's evaluator has none",
    "MaxRoiPool": "ONNX's evaluator has none",
    "OneHot": "no small graph was made of it",
    "OptionalGetElement": "it is about optionals",
    "RoiAlign": "ONNX Runtime has none of operator set 22",
    "SequenceConstruct": "it is about sequences",
    "SplitToSequence": "it is about sequences",
}
"""What else is left out, and why."""


class Use(NamedTuple):
    """How an operator is put into a graph.

    Parameters
    ----------
    inputs
        ``"x"`` is what comes in, ``""`` nothing, the rest constants: numbers in float64 get the graph's type.
    attributes
        Of the node.
    shape
        What comes in is reshaped to it.
    """

    inputs: tuple[Any, ...] = ("x",)
    attributes: Mapping[str, Any] = {}
    shape: tuple[int, ...] = SHAPE


_SAME = {"kernel_shape": [3, 3], "pads": [1] * 4}
_W = np.random.default_rng(7).normal(size=(4, 4, 3, 3)) / 6
_A, _B, _C, _D = _W[:, :, 0, 0]
_ROW = _W.reshape(12, 12)
_RNN = np.random.default_rng(8).normal(size=(1, 16, 6)) / 3

USES: Mapping[str, Use] = {
    "AveragePool": Use(attributes=_SAME),
    "BatchNormalization": Use(("x", _A, _B, _C, np.abs(_D) + 0.5)),
    "CastLike": Use(("x", [1.0])),
    "CenterCropPad": Use(("x", [2, 4, 4, 8])),
    "Clip": Use(("x", np.float64(0.2), np.float64(0.7))),
    "Compress": Use(("x", [True, False, True, True]), {"axis": 1}),
    "Concat": Use(("x", "x"), {"axis": 1}),
    "Conv": Use(("x", _W, _A), {"pads": [1] * 4}),
    "ConvTranspose": Use(("x", _W, _A), {"pads": [1] * 4}),
    "CumSum": Use(("x", np.int64(3))),
    "DepthToSpace": Use(attributes={"blocksize": 2}),
    "EyeLike": Use(shape=(8, 36)),
    "Einsum": Use(("x", "x"), {"equation": "abcd,abed->ace"}),
    "Expand": Use(("x", [3, 1, 1, 1, 1])),
    "Gather": Use(("x", [2, 0]), {"axis": 3}),
    "GatherElements": Use(("x", np.arange(288).reshape(SHAPE) % 6), {"axis": 3}),
    "GatherND": Use(("x", [[1, 2], [0, 3]])),
    "Gemm": Use(("x", _ROW[:6, :5], _ROW[0, :5]), shape=(48, 6)),
    "GRU": Use(("x", _RNN[:, :12], _RNN[:, :12, :4]), {"hidden_size": 4}, (6, 8, 6)),
    "GridSample": Use(("x", _ROW.reshape(2, 6, 6, 2))),
    "GroupNormalization": Use(("x", _A, _B), {"num_groups": 2}),
    "InstanceNormalization": Use(("x", _A, _B)),
    "LRN": Use(attributes={"size": 3}),
    "LSTM": Use(("x", _RNN, _RNN[:, :, :4]), {"hidden_size": 4}, (6, 8, 6)),
    "LayerNormalization": Use(("x", _ROW[0, :6], _ROW[1, :6])),
    "LpPool": Use(attributes=_SAME),
    "MatMul": Use(("x", _ROW[:6, :5])),
    "Max": Use(("x", _ROW[0, :6])),
    "MaxPool": Use(attributes=_SAME),
    "Mean": Use(("x", _ROW[0, :6])),
    "Min": Use(("x", _ROW[0, :6])),
    "Mod": Use(("x", np.float64(0.3)), {"fmod": 1}),
    "NegativeLogLikelihoodLoss": Use(("x", np.arange(72).reshape(2, 6, 6) % 4)),
    "Pad": Use(("x", [0, 0, 1, 1, 0, 0, 1, 1], np.float64(0.3))),
    "RNN": Use(("x", _RNN[:, :4], _RNN[:, :4, :4]), {"hidden_size": 4}, (6, 8, 6)),
    "Reshape": Use(("x", [8, -1])),
    "Resize": Use(("x", "", np.array([1, 1, 2, 1.5], np.float32)), {"mode": "linear"}),
    "ReverseSequence": Use(("x", [2, 1]), {"batch_axis": 0, "time_axis": 1}),
    "ScatterElements": Use(("x", [[[[1]]]], [[[[0.5]]]]), {"axis": 3}),
    "ScatterND": Use(("x", [[0, 1, 2, 3]], [0.5])),
    "Slice": Use(("x", [1, 2], [4, 6], [2, 3])),
    "SoftmaxCrossEntropyLoss": Use(("x", np.arange(72).reshape(2, 6, 6) % 4)),
    "SpaceToDepth": Use(attributes={"blocksize": 2}),
    "Split": Use(("x", [2, 2]), {"axis": 1}),
    "Sum": Use(("x", _ROW[0, :6])),
    "Tile": Use(("x", [1, 2, 1, 1])),
    "TopK": Use(("x", [2])),
    "Transpose": Use(attributes={"perm": [0, 2, 3, 1]}),
    "Trilu": Use(("x", np.int64(1))),
    "Unsqueeze": Use(("x", [0])),
    "Where": Use(([True, False, True, True, False, False], "x", _ROW[0, :6])),
}


FOLLOWING = {"tensor(float)", "tensor(float16)"}


@cache
def floating_operators() -> dict[str, Use]:
    """Return the operators that FP32 and FP16 have in common and how each is used, as ONNX's schemas list them.

    Left out are those whose result is drawn, that hold graphs, and `UNTRIED`.
    """
    uses = {}
    for name in sorted({schema.name for schema in onnx.defs.get_all_schemas()}):
        try:
            schema = onnx.defs.get_schema(name, OPSET, "")
        except onnx.defs.SchemaError:  # newer than the operator set, or of another domain
            continue
        following = {c.type_param_str for c in schema.type_constraints if set(c.allowed_type_strs) >= FOLLOWING}
        needed = [one for one in schema.inputs if one.option != onnx.defs.OpSchema.FormalParameterOption.Optional]
        plain = not any(attribute.required for attribute in schema.attributes.values())
        if name in UNTRIED:
            continue
        if name in USES:
            uses[name] = USES[name]
        elif name not in ELSEWHERE and plain and needed and all(one.type_str in following for one in needed):
            uses[name] = Use(("x", _ROW[0, :6])) if len(needed) == 2 else Use()
    return uses


def floating_graph(operator: str, use: Use, precision: str) -> onnx.ModelProto:
    """Return a graph with one operator in a floating-point type between two products; FP32 goes in and comes out."""
    graph = _Graph(FLOATING[precision])
    x = graph.add("Mul", graph.add("Cast", "x", to=graph.kind), graph.constant(np.float64(0.7)))
    if use.shape != SHAPE:
        x = graph.add("Reshape", x, graph.constant(list(use.shape)))
    inputs = [_input(graph, x, one) for one in use.inputs]
    y = graph.add(operator, *inputs, **use.attributes)
    if operator not in NO_NUMBERS:
        y = graph.add("Mul", y, graph.constant(np.float64(1.3)))
    return graph.finished(graph.add("Cast", y, to=TensorProto.FLOAT))


def quantized_graph(operator: str, kind: str, over: str = "fp32") -> onnx.ModelProto:
    """Return a graph with one operator behind Q/DQ pairs, and pairs wherever an optimization could undo them.

    They stand behind Relu, Clip and Transpose, and two follow each other with scales that are no multiples.

    Parameters
    ----------
    operator
        One of `MULTIPLYING`.
    kind
        One of `QUANTIZED`.
    over
        The floating-point type that the pairs read and make.
    """
    graph = _Graph(FLOATING[over])
    x = graph.pair(graph.add("Cast", "x", to=graph.kind), kind, 1.03)
    if operator == "Add":
        y = graph.add("Add", graph.add("Conv", x, graph.weight(_W[:, :, :1, :1], kind)), graph.pair(x, kind, 0.71))
    elif operator == "Gemm":
        rows = graph.add("Reshape", x, graph.constant([48, 6]))
        y = graph.add("Gemm", rows, graph.weight(_ROW[:6, :6], kind), graph.constant(_ROW[0, :6]))
        y = graph.add("Reshape", y, graph.constant(list(SHAPE)))
    else:
        use = USES.get(operator, Use())
        inputs = [x, *(graph.weight(one, kind) if np.ndim(one) > 1 else graph.constant(one) for one in use.inputs[1:])]
        y = graph.add(operator, *inputs, **use.attributes)
    y = graph.pair(y, kind, 1.37)
    y = graph.pair(graph.add("Relu", y), kind, 0.77)
    y = graph.pair(graph.add("Transpose", y, perm=[0, 1, 3, 2]), kind, 0.53)
    y = graph.add("Clip", y, graph.constant(np.float64(-0.37)), graph.constant(np.float64(0.47)))
    y = graph.pair(graph.pair(y, kind, 0.61), kind, 0.29)
    y = graph.add("Conv", y, graph.weight(_W[:, :, 1:2, 1:2], kind))
    return graph.finished(graph.add("Cast", y, to=TensorProto.FLOAT))


def _input(graph: _Graph, x: str, operand: Any) -> str:
    if isinstance(operand, str):
        return x if operand == "x" else ""
    return graph.constant(operand)


class _Graph:
    """Nodes and constants of a graph that is being made."""

    def __init__(self, kind: int) -> None:
        self.kind = kind
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = f"t{len(self._nodes)}"
        outputs = [name, f"{name}/more"] if operator in ("Split", "TopK") else [name]
        if operator in ("GRU", "LSTM", "RNN"):
            outputs = ["", name]  # the last state
        self._nodes.append(helper.make_node(operator, inputs, outputs, f"{operator}_{name}", **attributes))
        return name

    def constant(self, value: Any) -> str:
        array = np.asarray(value)
        name = f"c{len(self._constants)}"
        if array.dtype == np.float64:
            values = array.astype(helper.tensor_dtype_to_np_dtype(self.kind))
            self._constants.append(numpy_helper.from_array(values, name))
        else:
            self._constants.append(numpy_helper.from_array(array, name))
        return name

    def pair(self, tensor: str, kind: str, amax: float) -> str:
        code = QUANTIZED[kind]
        limits = (ml_dtypes.finfo if kind.startswith("fp8") else ml_dtypes.iinfo)(helper.tensor_dtype_to_np_dtype(code))
        # An unsigned type that is to hold numbers of both signs has its zero in the middle.
        scale = self.constant(np.float64(amax / float(limits.max) * (1 if limits.min else 2)))
        middle = 0 if limits.min else int(limits.max) // 2 + 1
        zero = f"c{len(self._constants)}"
        self._constants.append(helper.make_tensor(zero, code, [], [middle]))
        return self.add("DequantizeLinear", self.add("QuantizeLinear", tensor, scale, zero), scale, zero)

    def weight(self, value: Any, kind: str) -> str:
        return self.pair(self.constant(np.asarray(value)), kind, float(np.abs(value).max()))

    def finished(self, output: str) -> onnx.ModelProto:
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)]
        outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)]
        graph = helper.make_graph(self._nodes, "small", inputs, outputs, self._constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
