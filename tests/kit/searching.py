"""Models and data for the tests of sensitivity and search."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from benchmarks import models
from workbench.graph.load import from_proto
from workbench.session import Workbench

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

    from workbench.graph.model import Model
    from workbench.precision.plan.plan import PrecisionPlan


def benchmark_model(name: str, **options: int) -> onnx.ModelProto:
    """A model of the benchmarks by its name."""
    return getattr(models, name)(**options)


def candidates_of(model: Model, plan: PrecisionPlan) -> list[str]:
    """The nodes that a plan makes INT8: those whose sensitivity is in question."""
    return plan.resolve(model).nodes("int8")


def mobilenet(size: int) -> Model:
    """The MobileNetV2-shaped model of the benchmarks."""
    return from_proto(benchmark_model("mobilenet_v2", size=size))


def small(*, broken: bool = False, seed: int = 0) -> Model:
    """A stem, a residual block and a head; `broken`: the block's first convolution reads one huge channel."""
    random = np.random.default_rng(seed)
    weights = {
        "w0": random.normal(size=(8, 3, 3, 3)) * 0.3,
        "w1": random.normal(size=(8, 8, 3, 3)) * 0.2,
        "w2": random.normal(size=(8, 8, 1, 1)) * 0.4,
        "w3": random.normal(size=(5, 8)) * 0.5,
    }
    if broken:
        weights["w0"][0] *= 3000
        weights["w1"][:, 0] /= 3000
        weights["w2"][:, 0] /= 3000
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], "stem/conv", pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"], "stem/relu"),
        helper.make_node("Conv", ["b", "w1"], ["c"], "block/conv1", pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["d"], "block/relu"),
        helper.make_node("Conv", ["d", "w2"], ["e"], "block/conv2"),
        helper.make_node("Add", ["e", "d"], ["f"], "block/add"),
        helper.make_node("GlobalAveragePool", ["f"], ["g"], "head/pool"),
        helper.make_node("Flatten", ["g"], ["h"], "head/flatten"),
        helper.make_node("Gemm", ["h", "w3"], ["y"], "head/fc", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 12, 12])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    return from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def images(model: Model, count: int, *, seed: int = 1) -> dict[str, np.ndarray]:
    """Seeded inputs, an array an input."""
    random = np.random.default_rng(seed)
    return {tensor.name: random.normal(size=(count, *tensor.shape[1:])).astype(np.float32) for tensor in model.inputs}


def calibrated(
    model: Model,
    folder: Path,
    count: int,
    *,
    batch: int = 1,
    method: str = "minmax",
    scale: np.ndarray | None = None,
) -> Workbench:
    """A workbench, prepared and calibrated on seeded inputs in a file, each multiplied by its scale."""
    wb = Workbench(model)
    wb.prepare()
    path = folder / "samples.npz"
    by_name = images(model, count)
    if scale is not None:
        by_name = {name: array * scale.reshape(-1, *[1] * (array.ndim - 1)) for name, array in by_name.items()}
    np.savez(path, **by_name)
    wb.calibrate(path, batch=batch, method=method)
    return wb
