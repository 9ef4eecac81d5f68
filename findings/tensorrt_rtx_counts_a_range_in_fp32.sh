#!/usr/bin/env bash
# One ONNX file, two lengths: a Range of float32 constants from 0 to 1 in steps of 0.01 has 101 elements in ONNX Runtime
# 1.32.0 and in ONNX's own reference evaluator, and 100 in TensorRT-RTX 1.7.1. All follow ceil((limit - start) / delta);
# the first two evaluate it in float64, where float32's 0.01 is a little less than a hundredth, TensorRT in float32, where
# the quotient is 100. Nobody complains: multiplied by a tensor of 100 numbers it builds, by one of 101 it is refused as no
# broadcast. NumPy's arange of three float32 numbers agrees with TensorRT, so that who folds the node decides its length.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tensorrt-rtx==1.7.1.116 onnxruntime==1.32.0 onnx==1.23.2 numpy
cat >"$folder/range.py" <<'PYTHON'
import math

import numpy as np
import onnx
import onnxruntime
import tensorrt_rtx as trt
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

logger = trt.Logger(trt.Logger.ERROR)
builder = trt.Builder(logger)


def model_of(ends, others):
    values = [numpy_helper.from_array(np.array(end, np.float32), name) for name, end in zip("abc", ends)]
    nodes = [helper.make_node("Range", ["a", "b", "c"], ["r"]), helper.make_node("Mul", ["x", "r"], ["y"])]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("x", [others]), ("y", None))]
    graph = helper.make_graph(nodes, "a_range", ends[:1], ends[1:], values)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


def in_tensorrt(content):
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(content):
        return None
    built = builder.build_serialized_network(network, builder.create_builder_config())
    return None if built is None else network.get_output(0).shape[0]


print("ONNX Runtime", onnxruntime.__version__, "TensorRT-RTX", trt.__version__)
for ends, wanted in (((0, 1, 0.01), (101, 101, 100, 100)), ((0, 1.1, 0.1), (12, 12, 11, 11)), ((0, 1, 0.1), (10,) * 4)):
    content, one = model_of(ends, 1), {"x": np.ones(1, np.float32)}
    (run,) = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, one)
    (reference,) = ReferenceEvaluator(onnx.load_from_string(content)).run(None, one)
    start, limit, delta = np.array(ends, np.float32)
    lengths = len(run), len(reference), in_tensorrt(content), len(np.arange(start, limit, delta))
    print(ends, "ONNX Runtime, reference, TensorRT, NumPy:", lengths)
    assert lengths == wanted
    assert math.ceil((float(limit) - float(start)) / float(delta)) == wanted[0]
    assert math.ceil((limit - start) / delta) == wanted[2]
    assert in_tensorrt(model_of(ends, wanted[2])) == wanted[2]
    if wanted[0] != wanted[2]:
        assert in_tensorrt(model_of(ends, wanted[0])) is None
PYTHON
"$folder/venv/bin/python" "$folder/range.py"
