#!/usr/bin/env bash
# ONNX Runtime 1.32.0 on a processor rounds the activations of a weight-only model to INT8, unasked.
#
# A MatMul whose weight comes out of a DequantizeLinear in blocks (INT4 weights, activations in FP32: what ModelOpt and
# ONNX Runtime's own quantizer write) becomes com.microsoft.MatMulNBits with accuracy_level 4, "INT8 activations". The
# same weights already multiplied in FP32 give other numbers, some 45 to 50 dB apart. The session option
# session.qdq_matmulnbits_accuracy_level=0 (FP32) or session.disable_quant_qdq=1 computes what the graph says; so do
# optimizations off.
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
rng = np.random.default_rng(0)
q = rng.integers(-7, 8, (64, 32))
scales = rng.uniform(0.01, 0.1, (4, 32)).astype(np.float32)
nodes = [
    h.make_node("DequantizeLinear", ["q", "s"], ["w"], axis=0, block_size=16),
    h.make_node("MatMul", ["x", "w"], ["y"]),
]
ends = [[h.make_tensor_value_info(name, T.FLOAT, [8, size])] for name, size in (("x", 64), ("y", 32))]
weights = [h.make_tensor("q", T.INT4, q.shape, q.ravel()), n.from_array(scales, "s")]
model = h.make_model(h.make_graph(nodes, "g", *ends, weights), opset_imports=[h.make_opsetid("", 21)], ir_version=10)
onnx.checker.check_model(model, full_check=True)
x = rng.normal(size=(8, 64)).astype(np.float32)
exact = x.astype(np.float64) @ (q * np.repeat(scales, 16, axis=0).astype(np.float64))


def run(level=None, **entries):
    options = ort.SessionOptions()
    options.optimized_model_filepath = "written.onnx"
    options.log_severity_level = 4
    if level is not None:
        options.graph_optimization_level = level
    for name, value in entries.items():
        options.add_session_config_entry(f"session.{name}", value)
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    got = session.run(None, {"x": x})[0]
    made = next(node for node in onnx.load("written.onnx").graph.node if node.op_type.startswith("MatMul"))
    accuracy = next((a.i for a in made.attribute if a.name == "accuracy_level"), None)
    return made.op_type, accuracy, 10 * np.log10((exact**2).sum() / ((got - exact) ** 2).sum())


told = {
    "as it comes": run(),
    "qdq_matmulnbits_accuracy_level=0": run(qdq_matmulnbits_accuracy_level="0"),
    "disable_quant_qdq=1": run(disable_quant_qdq="1"),
    "no optimizations": run(ort.GraphOptimizationLevel.ORT_DISABLE_ALL),
}
for how, (op, accuracy, db) in told.items():
    print(f"{how}: {op}, accuracy_level {accuracy}, {db:.0f} dB of the exact product")
op, accuracy, db = told.pop("as it comes")
assert (op, accuracy) == ("MatMulNBits", 4), (op, accuracy)
assert db < 60, db
assert all(db > 100 for _, _, db in told.values()), told
PYTHON
venv/bin/python probe.py
