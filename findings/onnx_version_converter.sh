#!/bin/sh
# onnx 1.23.0: version_converter.convert_version carries three operators over unchanged although a later operator set gave
# them another meaning. The result passes the checker, and computes something else (or does not run) without a word:
#   Resize 10 and Upsample 9 to 11: they sample at x / scale and round down; the new Resize samples at pixel centres;
#   Hardmax 11 to 13: its axis was the first of all that are flattened, and is one axis now;
#   GroupNormalization 18 to 21: scale and bias were one a group, and are one a channel now: ONNX Runtime refuses it.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q onnxruntime==1.32.0 onnx==1.23.0
ORT_DISABLE_TELEMETRY=1 "$work/venv/bin/python" - <<'PY'
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

x = np.random.default_rng(0).normal(size=(1, 4, 6, 6)).astype(np.float32)
scales = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "s")
groups = [numpy_helper.from_array(np.array([0.5, 2], np.float32), name) for name in ("a", "b")]
cases = {
    "Resize": (10, 11, helper.make_node("Resize", ["x", "s"], ["y"], mode="linear"), [scales], 12),
    "Upsample": (9, 11, helper.make_node("Upsample", ["x", "s"], ["y"], mode="linear"), [scales], 12),
    "Hardmax": (11, 13, helper.make_node("Hardmax", ["x"], ["y"]), [], 6),
    "GroupNormalization": (18, 21, helper.make_node("GroupNormalization", ["x", "a", "b"], ["y"], num_groups=2), groups, 6),
}


def run(model):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


alike = []
for name, (old, new, node, weights, size) in cases.items():
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 6, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, size, size])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", old)], ir_version=8)
    converted = onnx.version_converter.convert_version(model, new)
    converted.ir_version = 10
    onnx.checker.check_model(converted)
    try:
        moved = float(np.abs(run(model) - run(converted)).max())
        said = f"outputs differ by up to {moved:.2f}"
    except Exception as error:
        moved, said = float("inf"), str(error)[:90]
    print(f"onnx {onnx.__version__}, {name} of set {old} converted to {new}: {said}")
    if moved < 0.1:
        alike.append(name)
sys.exit(f"changed: right now: {alike}" if alike else 0)
PY
