"""Small models for the tests of the graph."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from workbench.graph.load import from_proto

if TYPE_CHECKING:
    from workbench.graph.model import Model


def weight(name: str, *shape: int, seed: int = 0) -> onnx.TensorProto:
    """Seeded normal weights."""
    array = np.random.default_rng(seed + len(name)).normal(size=shape).astype(np.float32)
    return numpy_helper.from_array(array, name)


def constant(name: str, values: object, dtype: str = "int64") -> onnx.TensorProto:
    """A small constant."""
    return numpy_helper.from_array(np.asarray(values, dtype=dtype), name)


def proto(nodes, inputs, outputs, weights=(), *, opset=17, domains=(), ir_version=8, functions=()) -> onnx.ModelProto:
    """A model; `inputs` and `outputs` are {name: shape} of floats, or {name: (dtype, shape)}."""
    graph = helper.make_graph(nodes, "g", _values(inputs), _values(outputs), list(weights))
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    onnx_model = helper.make_model(graph, opset_imports=opsets, functions=list(functions))
    onnx_model.ir_version = ir_version
    return onnx_model


def model(*arguments, **options) -> Model:
    """Like `proto`, loaded."""
    return from_proto(proto(*arguments, **options))


def _values(stated) -> list[onnx.ValueInfoProto]:
    records = []
    for name, arguments in stated.items():
        dtype, shape = arguments if isinstance(arguments, tuple) else (TensorProto.FLOAT, arguments)
        records.append(helper.make_tensor_value_info(name, dtype, shape))
    return records


def run(model: Model | Path, feeds: dict[str, np.ndarray], outputs: list[str] | None = None) -> list[np.ndarray]:
    """What ONNX Runtime makes of a model on a CPU, without its own graph optimizations."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    # Weights packed beforehand take another kernel, with another order of additions.
    options.add_session_config_entry("session.disable_prepacking", "1")
    content = model if isinstance(model, Path) else model.to_bytes()
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return session.run(outputs, feeds)


def random_feeds(model: Model, *, free: int = 2, seed: int = 0) -> dict[str, np.ndarray]:
    """Seeded inputs; symbolic axes get the length `free`."""
    rng = np.random.default_rng(seed)
    feeds = {}
    for tensor in model.inputs:
        shape = [length if isinstance(length, int) else free for length in tensor.shape or ()]
        dtype = tensor.numpy_dtype
        if dtype.kind == "f":
            feeds[tensor.name] = rng.normal(size=shape).astype(dtype)
        elif dtype.kind == "b":
            feeds[tensor.name] = rng.integers(0, 2, shape).astype(bool)
        else:
            feeds[tensor.name] = rng.integers(0, 100, shape).astype(dtype)
    return feeds


def assert_same(
    before: Model, after: Model, *, atol: float = 0.0, free: int = 2, outputs: list[str] | None = None
) -> None:
    """Both models compute the same from seeded random inputs; exactly so where `atol` is 0."""
    feeds = random_feeds(before, free=free)
    for first, second in zip(run(before, feeds, outputs), run(after, feeds, outputs), strict=True):
        assert first.dtype == second.dtype
        np.testing.assert_allclose(second, first, rtol=0, atol=atol * max(1.0, float(np.abs(first).max(initial=0))))
