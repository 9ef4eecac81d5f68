#!/usr/bin/env bash
# ONNX Runtime 1.32.0 refuses a valid graph in which the body of an If dequantizes a weight of the graph around it.
#
# A body may read what the graphs around it hold, and exporters share weights between branches so. Where such a weight
# goes through a DequantizeLinear into a MatMul or a Gemm, the optimization that makes a MatMulNBits of the two looks for
# the weight among those of the body, and the session is not made. A Conv in place of the MatMul is taken, so is the same
# weight inside of the branch, and the graph as it is without optimizations. Off with
# disabled_optimizers=["QDQSelectorActionTransformer"].
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet onnxruntime==1.32.0 onnx==1.23.2 numpy
cd "$folder"
cat > probe.py <<'PYTHON'
import numpy as np, onnx, onnxruntime as ort
from onnx import TensorProto as T, helper as h, numpy_helper as n

assert ort.__version__ == "1.32.0", ort.__version__
weights = [n.from_array(np.arange(12, dtype=np.int8).reshape(4, 3), "w"), n.from_array(np.float32(0.5), "s")]


def session(inside, off=(), level=ort.GraphOptimizationLevel.ORT_ENABLE_ALL):
    branches = {}
    for name in ("then_branch", "else_branch"):
        nodes = [h.make_node("DequantizeLinear", ["w", "s"], ["d"]), h.make_node("MatMul", ["x", "d"], ["m"])]
        branches[name] = h.make_graph(
            nodes, name, [], [h.make_tensor_value_info("m", T.FLOAT, [1, 3])], weights if inside else []
        )
    inputs = [h.make_tensor_value_info("x", T.FLOAT, [1, 4]), h.make_tensor_value_info("c", T.BOOL, [])]
    graph = h.make_graph(
        [h.make_node("If", ["c"], ["y"], **branches)],
        "g",
        inputs,
        [h.make_tensor_value_info("y", T.FLOAT, [1, 3])],
        [] if inside else weights,
    )
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    options = ort.SessionOptions()
    options.log_severity_level, options.graph_optimization_level = 4, level
    return ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"], disabled_optimizers=list(off))


try:
    session(inside=False)
except Exception as error:
    print("around:", str(error).splitlines()[0])
    assert "Missing required weight: w" in str(error)
else:
    raise SystemExit("a dequantized weight of the graph around a body is taken now")
feeds = {"x": np.float32([[1, 2, 3, 4]]), "c": np.array(True)}
exact = (feeds["x"] @ (0.5 * np.arange(12).reshape(4, 3))).tolist()
session(inside=True)
print("inside of the branch: taken")
assert session(False, level=ort.GraphOptimizationLevel.ORT_DISABLE_ALL).run(None, feeds)[0].tolist() == exact
assert session(False, ["QDQSelectorActionTransformer"]).run(None, feeds)[0].tolist() == exact
print("without optimizations, or that one:", exact)
PYTHON
venv/bin/python probe.py
