#!/usr/bin/env bash
# ONNX Runtime 1.32.0 on a processor, constant folding off: a chain of products whose weights each stand behind a
# DequantizeLinear right before its product holds all dequantized weights at once. By default nodes do not run in the
# order of the file: all that starts at weights runs before the first product, so that every dequantized weight waits for
# its product. ExecutionOrder.PRIORITY_BASED keeps the file's order, and one weight at a time is held. (Constant folding
# does not help: it keeps all dequantized weights for good.)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet onnxruntime==1.32.0 onnx==1.23.2 numpy
cd "$folder"
cat > probe.py <<'PYTHON'
import json, numpy as np, onnxruntime as ort
from onnx import TensorProto as T, helper as h, numpy_helper as n

assert ort.__version__ == "1.32.0", ort.__version__
COUNT, WIDTH = 6, 64
random, nodes, weights = np.random.default_rng(0), [], []
for i in range(COUNT):
    weights += [n.from_array(random.integers(-127, 127, (WIDTH, WIDTH)).astype(np.int8), f"q{i}"),
                n.from_array(np.float32(0.01), f"s{i}")]
    nodes += [h.make_node("DequantizeLinear", [f"q{i}", f"s{i}"], [f"w{i}"], f"dequantize{i}"),
              h.make_node("MatMul", [f"x{i}", f"w{i}"], [f"m{i}"], f"product{i}"),
              h.make_node("Relu", [f"m{i}"], [f"x{i + 1}"], f"relu{i}")]
ends = [[h.make_tensor_value_info(name, T.FLOAT, [2, WIDTH])] for name in ("x0", f"x{COUNT}")]
graph = h.make_graph(nodes, "g", *ends, weights)
content = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8).SerializeToString()


def most_held(order):
    options = ort.SessionOptions()
    options.log_severity_level, options.enable_profiling, options.execution_order = 4, True, order
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"], disabled_optimizers=["ConstantFolding"])
    session.run(None, {"x0": np.ones((2, WIDTH), np.float32)})
    events = [e for e in json.load(open(session.end_profiling())) if e["name"].endswith("_kernel_time")]
    ran = [e["args"]["op_name"] for e in sorted(events, key=lambda e: e["ts"])]
    held = np.cumsum([{"DequantizeLinear": 1, "MatMul": -1}.get(op, 0) for op in ran])
    return int(held.max()), ran


for name in ("DEFAULT", "PRIORITY_BASED"):
    held, ran = most_held(getattr(ort.ExecutionOrder, name))
    print(f"{name}: {held} of {COUNT} dequantized weights held at once; ran {' '.join(op[:3] for op in ran)}")
    assert held == (COUNT if name == "DEFAULT" else 1), (name, held)
PYTHON
venv/bin/python probe.py
