#!/bin/sh
# TensorRT-RTX 1.7.1.116, ONNX's Attention (operator set 23), sm86, no GPU needed: FP32 is built with three axes (Q, K, V as
# [batch, length, heads x channels]) and refused with four, though both say the same; with a mask three axes are refused,
# too. In FP16 four axes are built from 9 channels a head on, and refused up to 8. The parser takes all of them; the builder
# says "Attention operation was not supported by a dedicated kernel" and names no node.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q tensorrt-rtx==1.7.1.116 onnx==1.23.0
cd "$work"
"$work/venv/bin/python" - <<'EOF'
import sys

import onnx
import tensorrt_rtx as trt
from onnx import TensorProto, helper

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16
logger = trt.Logger(trt.Logger.INTERNAL_ERROR)


def built(kind, shape, mask=False, **attributes):
    inputs = [helper.make_tensor_value_info(name, kind, shape) for name in "qkv"]
    if mask:
        inputs.append(helper.make_tensor_value_info("m", kind, [16, 16]))
    node = helper.make_node("Attention", [value.name for value in inputs], ["y"], "attention", **attributes)
    graph = helper.make_graph([node], "g", inputs, [helper.make_tensor_value_info("y", kind, shape)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)
    onnx.checker.check_model(model, full_check=True)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    assert parser.parse(model.SerializeToString())
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    return builder.build_serialized_network(network, config) is not None


seen = {
    "FP32, three axes": built(FLOAT, [1, 16, 64], q_num_heads=4, kv_num_heads=4),
    "FP32, three axes, mask": built(FLOAT, [1, 16, 64], mask=True, q_num_heads=4, kv_num_heads=4),
    "FP32, four axes": built(FLOAT, [1, 4, 16, 16]),
    "FP16, four axes, 9 channels": built(HALF, [1, 4, 16, 9]),
    "FP16, four axes, 8 channels": built(HALF, [1, 4, 16, 8]),
}
print("TensorRT-RTX", trt.__version__)
for name, works in seen.items():
    print(f"{name}: {'built' if works else 'refused'}")
sys.exit(0 if list(seen.values()) == [True, False, False, True, False] else "changed")
EOF
