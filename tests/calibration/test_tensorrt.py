"""Our ranges against those that real TensorRT 8.6 wrote for the same models and data (an H200, batch 1)."""

from __future__ import annotations

import gzip
import struct
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

from workbench.calibration.methods import ranges
from workbench.calibration.statistics import Statistics, TensorStatistics

if TYPE_CHECKING:
    from pathlib import Path

MODELS = ["mnist_cntk", "ultraface_rfb320", "yolox_nano"]


def recorded(shared: Path, model: str, kind: str) -> dict[str, float]:
    lines = (shared / "calibration_caches" / "recorded" / f"{model}.int8_{kind}.cache").read_text().splitlines()[1:]
    pairs = (line.rsplit(": ", 1) for line in lines)
    return {name: struct.unpack(">f", bytes.fromhex(scale))[0] * 127 for name, scale in pairs}


def inputs(shared: Path, model: str) -> np.ndarray:
    if model == "mnist_cntk":
        content = gzip.decompress((shared / "data" / "mnist" / "t10k-images-idx3-ubyte.gz").read_bytes())
        return np.frombuffer(content, np.uint8, offset=16)[: 512 * 784].reshape(512, 1, 28, 28).astype(np.float32)
    with np.load(shared / "calibration_caches" / "recorded" / f"{model}.inputs.npz") as file:
        x = next(iter(file.values())).astype(np.float32)
    return (x - 127) / 128 if model == "ultraface_rfb320" else x


@pytest.fixture(scope="module")
def observed(shared) -> dict[str, Statistics]:
    """Every floating-point tensor of the three models, as ONNX Runtime computes it without fusing anything."""
    import onnxruntime as ort

    result = {}
    for name in MODELS:
        model = onnx.load(shared / "models" / name / "model.onnx")
        present = {o.name for o in model.graph.output}
        tensors = [o for node in model.graph.node for o in node.output if o and o not in present]
        model.graph.output.extend(onnx.ValueInfoProto(name=t) for t in tensors)
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 3
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        floats = [o.name for o in session.get_outputs() if o.type == "tensor(float)"]
        entry = session.get_inputs()[0].name
        statistics = Statistics()
        for sample in inputs(shared, name):
            value = {entry: sample[None]} | dict(zip(floats, session.run(floats, {entry: sample[None]}), strict=True))
            for tensor, array in value.items():
                statistics.setdefault(tensor, TensorStatistics()).update(array)
        result[name] = statistics
    return result


def deviations(shared: Path, observed: dict[str, Statistics], models: list[str], method: str, kind: str) -> np.ndarray:
    records = []
    for model in models:
        theirs, ours = recorded(shared, model, kind), ranges(observed[model], method)
        records += [abs(ours[t].amax / theirs[t] - 1) for t in theirs if t in ours]
    return np.array(records)


def test_minmax_agrees_to_rounding(shared, observed):
    d = deviations(shared, observed, MODELS[:2], "minmax", "minmax")
    assert len(d) == 13 + 164
    # TensorRT's convolutions add in another order than ONNX Runtime's.
    assert d.max() < 1e-6


def test_entropy_agrees(shared, observed):
    d = deviations(shared, observed, MODELS, "entropy", "entropy2")
    assert len(d) == 13 + 164 + 370
    # 19 of 20 are the very same bin. Of the rest, pools get the range of the Relu before them, and a few tensors whose
    # divergence has two minima that are nearly equal get the other, for TensorRT's convolutions round otherwise.
    assert np.quantile(d, 0.9) < 0.001
    assert (d < 0.002).mean() > 0.94
    assert (d > 0.05).mean() < 0.02
