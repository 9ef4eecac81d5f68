#!/usr/bin/env bash
# TensorRT-RTX 1.7 builds no FP32 matrix product for Turing (SM75), one of the targets that it names; release 1.6 built the
# very same network, and 1.7 builds it for SM86. No GPU is needed to see it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/build.py" <<'PYTHON'
import sys

import numpy as np
import onnx
import tensorrt_rtx as trt
from onnx import TensorProto, helper, numpy_helper

weight = numpy_helper.from_array(np.ones((4, 3), np.float32), "w")
graph = helper.make_graph(
    [helper.make_node("MatMul", ["x", "w"], ["y"])],
    "one_product",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3])],
    [weight],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
onnx.checker.check_model(model, full_check=True)
logger = trt.Logger(trt.Logger.ERROR)
builder = trt.Builder(logger)
network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
parser = trt.OnnxParser(network, logger)
assert parser.parse(model.SerializeToString())
built = {}
for name in ("SM75", "SM86"):
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, name), 0)
    built[name] = builder.build_serialized_network(network, config) is not None
print("TensorRT-RTX", trt.__version__, built)
assert built == {"SM75": sys.argv[1] == "builds", "SM86": True}, "this changed"
PYTHON
for release in "1.6.1.120 builds" "1.7.1.116 refuses"; do
  read -r version outcome <<<"$release"
  python3 -m venv "$folder/$version"
  "$folder/$version/bin/pip" install --quiet "tensorrt-rtx==$version" "onnx==1.19.1" "numpy==2.2.6"
  "$folder/$version/bin/python" "$folder/build.py" "$outcome"
done
