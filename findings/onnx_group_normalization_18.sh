#!/bin/sh
# onnx 1.23.0 and onnxruntime 1.32.0: GroupNormalization came with operator set 18 and was redefined in 21. ONNX's checker
# refuses it in the very set that introduced it, as deprecated, and shape inference gives its result no type, so that
# nothing behind it has one. ONNX Runtime runs the same file. A tool that trusts the checker calls such a model broken.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q onnx==1.23.0 onnxruntime==1.32.0
ORT_DISABLE_TELEMETRY=1 HOME="$work" "$work/venv/bin/python" - <<'PY'
import numpy as np, onnx, onnxruntime
from onnx import helper

info = helper.make_tensor_value_info
nodes = [helper.make_node("GroupNormalization", ["x", "a", "b"], ["u"], num_groups=2), helper.make_node("Relu", ["u"], ["y"])]
inputs = [info("x", 1, [1, 4, 2, 2]), info("a", 1, [2]), info("b", 1, [2])]
graph = helper.make_graph(nodes, "g", inputs, [info("y", 1, [1, 4, 2, 2])])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
try:
    onnx.checker.check_model(model)
    said = "valid"
except onnx.checker.ValidationError as error:
    said = str(error).splitlines()[0]
typed = [value.name for value in onnx.shape_inference.infer_shapes(model).graph.value_info]
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
feeds = {"x": np.ones((1, 4, 2, 2), "f"), "a": np.ones(2, "f"), "b": np.ones(2, "f")}
ran = session.run(None, feeds)[0]
print(f"onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}")
print("checker:", said)
print("tensors that inference gives a type:", typed)
print("ONNX Runtime's result:", ran.reshape(-1)[:4])
assert "deprecated in domain_version of 18" in said, "changed: the checker takes it"
assert typed == [], "changed: inference knows its type"
assert np.array_equal(ran, np.ones_like(ran)), "changed: ONNX Runtime computes something else"
PY
