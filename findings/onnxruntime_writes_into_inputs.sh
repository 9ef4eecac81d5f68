#!/bin/sh
# onnxruntime 1.32.0 on a CPU: a BatchNormalization in training mode whose running mean or variance is no output of the model
# writes it into the caller's own NumPy array that was fed as the mean or variance. A second run on "the same" inputs then
# gives other numbers. Where both are outputs of the model, what is fed stays as it was.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q onnxruntime==1.32.0 onnx==1.23.0
ORT_DISABLE_TELEMETRY=1 "$work/venv/bin/python" - <<'PY'
import sys

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

inputs = {"x": [2, 3, 4, 5], "scale": [3], "bias": [3], "mean": [3], "var": [3]}
shapes = {"y": [2, 3, 4, 5], "mean_out": [3], "var_out": [3]}
seen = {}
for outputs in (["y", "mean_out", "var_out"], ["y", "mean_out"], ["y", "var_out"], ["y"]):
    node = helper.make_node("BatchNormalization", list(inputs), list(shapes), training_mode=1)
    info = {n: helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (inputs | shapes).items()}
    graph = helper.make_graph([node], "g", [info[n] for n in inputs], [info[n] for n in outputs])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    fed = {name: np.abs(random.normal(size=shape)).astype(np.float32) for name, shape in inputs.items()}
    before = {name: array.copy() for name, array in fed.items()}
    session.run(None, fed)
    seen[tuple(outputs)] = [name for name in fed if not np.array_equal(fed[name], before[name])]
    print(f"onnxruntime {onnxruntime.__version__}, outputs {outputs}: inputs written to: {seen[tuple(outputs)] or 'none'}")
expected = [[], ["var"], ["mean"], ["mean", "var"]]
sys.exit(0 if list(seen.values()) == expected else "changed")
PY
