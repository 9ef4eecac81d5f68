#!/bin/sh
# onnxruntime 1.32.0 on a CPU: an operator that it has no kernel for, and that ONNX defines as a function, runs in a model of
# the operator set that brought the function and in no later one. Swish, new in set 24, runs in a model of set 24; the same
# node in sets 25 to 28, where ONNX did not change it, is NOT_IMPLEMENTED. The outputs of set 24 are right.
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
from onnx import TensorProto, helper

x = np.linspace(-3, 3, 7, dtype=np.float32)
ran = {}
for opset in range(24, 29):
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [7]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Swish", ["x"], ["y"])], "g", info[:1], info[1:])
    ir_version = helper.OP_SET_ID_VERSION_MAP["ai.onnx", opset]
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
    onnx.checker.check_model(model, full_check=True)
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        ran[opset] = bool(np.allclose(session.run(None, {"x": x})[0], x / (1 + np.exp(-x)), atol=1e-6))
        said = "runs" if ran[opset] else "runs, and is wrong"
    except Exception as error:
        ran[opset], said = False, str(error)[:100]
    print(f"onnxruntime {onnxruntime.__version__}, Swish in operator set {opset}: {said}")
sys.exit(0 if ran == {24: True, 25: False, 26: False, 27: False, 28: False} else "changed")
PY
