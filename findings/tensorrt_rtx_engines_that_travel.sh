#!/bin/sh
# TensorRT-RTX 1.7.1.116, built for sm86 on a machine without a GPU: VERSION_COMPATIBLE fails, since the package brings no
# libnvinfer_lean, and works with EXCLUDE_LEAN_RUNTIME. REFIT, REFIT_IDENTICAL and STRIP_PLAN, which the documentation
# shows for engines that are built ahead of time on a CPU, fail in Myelin with "CHECK(status == CUDA_SUCCESS)". Setting
# EXCLUDE_LEAN_RUNTIME alone only logs an error, and the engine is built without it.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q tensorrt-rtx==1.7.1.116 onnx==1.23.0
cd "$work"
"$work/venv/bin/python" - <<'EOF'
import ctypes
import sys

import numpy as np
import onnx
import tensorrt_rtx as trt
from onnx import TensorProto, helper, numpy_helper

try:
    ctypes.CDLL("libcuda.so.1")
except OSError:
    pass
else:
    sys.exit("this is about a machine without a GPU; there is one here")

weights = numpy_helper.from_array(np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32), "w")
graph = helper.make_graph(
    [helper.make_node("MatMul", ["x", "w"], ["y"])],
    "g",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [8, 64])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [8, 64])],
    [weights],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.checker.check_model(model, full_check=True)
logger = trt.Logger(trt.Logger.INTERNAL_ERROR)


def built(*flags):
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    assert trt.OnnxParser(network, logger).parse(model.SerializeToString())
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    for flag in flags:
        config.set_flag(getattr(trt.BuilderFlag, flag))
    kept = all(config.get_flag(getattr(trt.BuilderFlag, flag)) for flag in flags)
    return builder.build_serialized_network(network, config) is not None, kept


seen = {
    (): (True, True),
    ("VERSION_COMPATIBLE",): (False, True),
    ("VERSION_COMPATIBLE", "EXCLUDE_LEAN_RUNTIME"): (True, True),
    ("EXCLUDE_LEAN_RUNTIME",): (True, False),
    ("REFIT",): (False, True),
    ("REFIT_IDENTICAL",): (False, True),
    ("REFIT", "STRIP_PLAN"): (False, True),
    ("REFIT_IDENTICAL", "STRIP_PLAN"): (False, True),
}
print("TensorRT-RTX", trt.__version__)
changed = False
for flags, expected in seen.items():
    found = built(*flags)
    changed |= found != expected
    print(" + ".join(flags) or "no flag", "built" if found[0] else "refused", "flag kept" if found[1] else "flag dropped")
sys.exit("changed" if changed else 0)
EOF
