"""ONNX Runtime by itself, without a line of the workbench: what a model computes, and how far two runs are apart."""

from __future__ import annotations

import copy
import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.conformance.cases import Feeds

ALLOWED = 1e-4
"""Of an output's largest value, for an edit that claims to change nothing."""
LEAST = 1e-2
"""What an output's largest value counts as at least: below, it shows but the last bits of what led to it."""
COARSER = {"float16": 1e-2, "bfloat16": 5e-2, "float8_e4m3fn": 0.3, "float8_e5m2": 0.5}


class Runner:
    """A model on ONNX Runtime; raises what ONNX Runtime raises.

    Parameters
    ----------
    content
        The file's bytes.
    optimized
        Whether ONNX Runtime may change the graph.
    """

    def __init__(self, content: bytes, *, optimized: bool = True) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        if not optimized:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self.inputs = [value.name for value in self._session.get_inputs()]
        self.outputs = [value.name for value in self._session.get_outputs()]
        self._types = {value.name: value.type for value in (*self._session.get_inputs(), *self._session.get_outputs())}

    def run(self, feed: Mapping[str, Any]) -> dict[str, Any]:
        """Return {output: value}."""
        # ONNX Runtime writes the running statistics of a BatchNormalization in training mode into what it is fed.
        fed = {name: copy.copy(feed[name]) for name in self.inputs if name in feed}
        if not any(_foreign(kind) for kind in self._types.values()):
            return dict(zip(self.outputs, self._session.run(self.outputs, fed), strict=True))
        values = {name: _value(np.asarray(array), self._types[name]) for name, array in fed.items()}
        outcome = self._session.run_with_ort_values(self.outputs, values)
        return {name: _array(value) for name, value in zip(self.outputs, outcome, strict=True)}


def run(content: bytes, feeds: Sequence[Feeds]) -> list[dict[str, Any]]:
    """Return {output: value} for each run.

    Where ONNX Runtime's optimizations make a graph of the model that it refuses itself, it runs without them.
    """
    try:
        ready = Runner(content)
        return [ready.run(feed) for feed in feeds]
    except Exception as first:  # noqa: BLE001 - ONNX Runtime raises many kinds, none of them public
        try:
            ready = Runner(content, optimized=False)
            return [ready.run(feed) for feed in feeds]
        except Exception:  # noqa: BLE001
            raise first from None


def _foreign(kind: str) -> bool:
    """Say whether NumPy has no type for an element type that ONNX Runtime spells."""
    return any(word in kind for word in ("bfloat16", "float8", "float4", "int4", "int2"))


def _value(array: np.ndarray[Any, Any], kind: str) -> Any:
    import onnxruntime

    if not _foreign(kind):
        return onnxruntime.OrtValue.ortvalue_from_numpy(array)
    element = onnx.TensorProto.DataType.Value(kind.removeprefix("tensor(").removesuffix(")").upper())
    stored = np.uint16 if array.dtype.itemsize == 2 else np.uint8
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(np.asarray(array, order="C").view(stored), element)


def _array(value: Any) -> Any:
    if not value.is_tensor() or not _foreign(value.data_type()):
        return value.numpy() if value.is_tensor() else value
    stored = ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes())
    element = onnx.TensorProto.DataType.Value(value.data_type().removeprefix("tensor(").removesuffix(")").upper())
    tensor = onnx.TensorProto(data_type=element, dims=value.shape(), raw_data=stored)
    return onnx.numpy_helper.to_array(tensor)


def apart(old: Mapping[str, Any], new: Mapping[str, Any], *, numbers: bool = True) -> str | None:
    """Say how the outputs of a model differ from what they were; ``None`` where they do not.

    Outputs that are only in `new` are nobody's business. Without `numbers` types and shapes alone are compared.
    """
    for name in old.keys() & new.keys():
        if (messages := _apart(old[name], new[name], numbers=numbers)) is not None:
            return f"output {name!r}: {messages}"
    return None


def _apart(old: Any, new: Any, *, numbers: bool) -> str | None:
    if isinstance(old, list):
        if not isinstance(new, list) or len(old) != len(new):
            return "another sequence"
        return next((t for a, b in zip(old, new, strict=True) if (t := _apart(a, b, numbers=numbers))), None)
    if not isinstance(old, np.ndarray) or not isinstance(new, np.ndarray):
        return None if type(old) is type(new) and (not numbers or old == new) else "another value"
    if old.dtype != new.dtype or old.shape != new.shape:
        return f"{new.dtype}{list(new.shape)}, was {old.dtype}{list(old.shape)}"
    if not numbers or not old.size:
        return None
    if not _floating(old):
        return None if (old == new).all() else f"{(old != new).mean():.1%} of the values differ"
    first, second = old.astype(np.float64), new.astype(np.float64)
    if not np.array_equal(np.isfinite(first), np.isfinite(second)):
        return "NaN or infinite elsewhere"
    finite = np.isfinite(first)
    largest = np.abs(first[finite]).max(initial=0.0)
    moved = np.abs(first[finite] - second[finite]).max(initial=0.0)
    allowed = COARSER.get(old.dtype.name, ALLOWED) * max(largest, LEAST)
    return None if moved <= allowed else f"moved by {moved / max(largest, 1e-30):.2g} of the largest value"


def sqnr(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> float:
    """Return the signal to noise ratio of the worst floating-point output in dB; infinite where none differs."""
    worst = np.inf
    for before, after in zip(old, new, strict=True):
        for name, array in before.items():
            other = after.get(name)
            if not isinstance(array, np.ndarray) or not isinstance(other, np.ndarray) or not _floating(array):
                continue
            first, second = array.astype(np.float64), other.astype(np.float64)
            kept = np.isfinite(first) & np.isfinite(second)
            signal, noise = (first[kept] ** 2).sum(), ((first[kept] - second[kept]) ** 2).sum()
            if noise > 0:
                worst = min(worst, 10 * np.log10(max(signal, 1e-30) / noise))
    return float(worst)


def _floating(array: np.ndarray[Any, Any]) -> bool:
    return array.dtype.kind == "f" or array.dtype.name.startswith(("bfloat", "float"))
