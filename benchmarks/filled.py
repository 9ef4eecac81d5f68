"""Fill a model whose weights were zeroed, so that a compiler takes it: builders refuse scales of zero.

Placement, shapes and types stay as they are, and speed depends on nothing else; what the model computes means nothing.

    python benchmarks/filled.py MODEL.onnx[.gz] FILLED.onnx
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

__all__ = ["filled"]

SCALE = 0.02


def filled(model: onnx.ModelProto, seed: int = 0) -> onnx.ModelProto:
    """Give every weight that is all zero seeded values, every scale that is zero `SCALE`, and no zero point any."""
    random = np.random.default_rng(seed)
    quantizers = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    scales = {node.input[1] for node in quantizers}
    zero_points = {node.input[2] for node in quantizers if len(node.input) > 2}
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.name in zero_points or values.size == 0:
            continue
        if tensor.name in scales:
            values = np.where(values == 0, np.asarray(SCALE, values.dtype), values)
        elif values.any():
            continue
        elif values.dtype == np.int8:
            values = random.integers(-127, 128, values.shape, dtype=np.int8)
        elif values.dtype.kind == "f":
            values = random.normal(0, SCALE, values.shape).astype(values.dtype)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return model


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    content = gzip.decompress(source.read_bytes()) if source.suffix == ".gz" else source.read_bytes()
    onnx.save(filled(onnx.load_model_from_string(content)), target)
