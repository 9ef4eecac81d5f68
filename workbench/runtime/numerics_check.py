"""Does this ONNX Runtime compute what is written? Small graphs of every operator, against ONNX's own evaluator."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from workbench.errors import BackendError
from workbench.graph import from_proto
from workbench.runtime.session import Session
from workbench.runtime.small_graphs import (
    FLOATING,
    MULTIPLYING,
    QUANTIZED,
    SHAPE,
    floating_graph,
    floating_operators,
    quantized_graph,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

__all__ = ["Tried", "reference", "self_check", "tried"]

WHOLE_NUMBERS_OFF = 0.02
"""Share of results that may be off where pairs round: a number between two steps may fall to either side."""
LAST_BITS_OFF = 0.1
"""The same where FP16 or BF16 rounds: an error in the last bit goes on through what follows."""
CLOSE = 1e-5
"""Of the largest result: what the order of a sum in FP32 makes where the last step rounds."""
CLOSE_IN_FP32 = 1e-4
"""The same where nothing rounds; some of ONNX Runtime's FP32 functions are approximations."""


@dataclass(frozen=True)
class Tried:
    """How one operator fared in one precision.

    Parameters
    ----------
    operator, precision
        ``Conv``, ``int8 over fp16``.
    off
        Share of results that are not those of the reference.
    allowed
        The share up to which that is rounding.
    refused
        Why ONNX Runtime did not run it; empty where it did.
    """

    operator: str
    precision: str
    off: float
    allowed: float
    refused: str = ""

    @property
    def holds(self) -> bool:
        """Whether the graph was computed as it is written."""
        return not self.refused and self.off <= self.allowed

    def __str__(self) -> str:
        outcome = self.refused or f"{self.off:.1%} of the results are off, {self.allowed:.0%} is rounding"
        return f"{self.operator} in {self.precision}: {outcome}"


def self_check() -> Iterator[Tried]:
    """Run every small graph, and yield how it fared. Takes some ten seconds.

    Every floating-point operator runs in FP32, FP16 and BF16; what Q/DQ pairs are written for runs in every type that
    they go through, over each of the three.
    """
    for operator in floating_operators():
        for precision in FLOATING:
            yield tried(operator, precision)
    for operator in MULTIPLYING:
        for kind in QUANTIZED:
            for over in FLOATING:
                yield tried(operator, kind if over == "fp32" else f"{kind} over {over}")


def tried(operator: str, precision: str) -> Tried:
    """Run one operator in one precision: ``fp16``, ``int8``, ``fp8 over bf16``."""
    kind, _, over = precision.partition(" over ")
    if kind in FLOATING:
        graph = floating_graph(operator, floating_operators()[operator], kind)
        allowed = 0.0 if kind == "fp32" else LAST_BITS_OFF
    else:
        graph = quantized_graph(operator, kind, over or "fp32")
        allowed = LAST_BITS_OFF if over else WHOLE_NUMBERS_OFF
    feeds = {"x": np.random.default_rng(3).uniform(-0.95, 0.95, SHAPE).astype(np.float32)}
    (output,) = (value.name for value in graph.graph.output)
    expected = reference(graph, feeds)[output]
    try:
        actual = Session(from_proto(graph)).run(feeds)[output]
    except BackendError as error:
        return Tried(operator, precision, math.nan, allowed, error.what)
    return Tried(operator, precision, _share_off(expected, actual, CLOSE if allowed else CLOSE_IN_FP32), allowed)


def _share_off(expected: NDArray[Any], actual: NDArray[Any], close: float) -> float:
    if expected.shape != actual.shape:
        return 1.0
    finite = np.abs(expected[np.isfinite(expected)])
    bound = close * float(finite.max(initial=0.0))
    return (
        float(1.0 - np.isclose(actual, expected, rtol=0.0, atol=bound, equal_nan=True).mean()) if expected.size else 0.0
    )


def reference(model: onnx.ModelProto, feeds: Arrays) -> dict[str, NDArray[Any]]:
    """Return every tensor of a flat graph, node by node from ONNX's reference evaluator.

    FP16 and BF16 numbers are computed with in FP32 and rounded after each node, as tensor cores do.
    """
    from onnx.reference import ReferenceEvaluator

    values = {**feeds, **{tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}}
    for node in model.graph.node:
        operands = {name: values[name] for name in node.input if name}
        narrow = next((array.dtype for array in operands.values() if _is_narrow(array)), None)
        operands = {name: array.astype(np.float32) if _is_narrow(array) else array for name, array in operands.items()}
        names = [name for name in node.output if name]
        inputs = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), None)
            for name, array in operands.items()
        ]
        outputs = [helper.make_tensor_value_info(name, onnx.TensorProto.UNDEFINED, None) for name in names]
        alone = helper.make_model(
            helper.make_graph([node], "node", inputs, outputs), opset_imports=list(model.opset_import)
        )
        with np.errstate(all="ignore"):
            results = ReferenceEvaluator(alone).run(names, operands)
            for name, array in zip(names, results, strict=True):
                rounded = narrow is not None and node.op_type != "Cast" and array.dtype == np.float32
                values[name] = array.astype(narrow) if rounded else array
    return values


def _is_narrow(array: NDArray[Any]) -> bool:
    return array.dtype.name in ("float16", "bfloat16")
