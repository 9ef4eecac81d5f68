#!/usr/bin/env bash
# ONNX Runtime 1.32.0 on a processor computes other numbers than a graph says, in two ways that no option's name tells.
#
# 1. session.disable_quant_qdq=1 does not keep Q/DQ pairs apart: two that follow each other become one, which rounds and
#    clips once where the graph does twice. It takes session.disable_double_qdq_remover=1 as well.
# 2. FP16 is computed in FP32 from one end of a network to the other: between two nodes nothing is rounded and nothing
#    overflows, so a square of 300 stays 90000 where FP16 ends at 65504. Optimizations off makes no difference. Casts to
#    FP16 and back that stand in the graph itself are kept.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet onnxruntime==1.32.0 onnx==1.23.2 numpy
cd "$folder"
cat > probe.py <<'PYTHON'
import numpy as np, onnxruntime as ort
from onnx import TensorProto as T, helper as h, numpy_helper as n

assert ort.__version__ == "1.32.0", ort.__version__


def run(nodes, constants, x, entries=(), level=None):
    ends = [[h.make_tensor_value_info(name, T.FLOAT, [len(x)])] for name in "xy"]
    nodes = [h.make_node(op, given.split(), [made], **more) for op, given, made, more in nodes]
    model = h.make_model(h.make_graph(nodes, "g", *ends, constants), opset_imports=[h.make_opsetid("", 19)], ir_version=9)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    if level is not None:
        options.graph_optimization_level = level
    for name in entries:
        options.add_session_config_entry(name, "1")
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.array(x, np.float32)})[0].tolist()


pairs = [("QuantizeLinear", "x s z", "q", {}), ("DequantizeLinear", "q s z", "d", {}),
         ("QuantizeLinear", "d t z", "r", {}), ("DequantizeLinear", "r t z", "e", {}), ("Neg", "e", "y", {})]
scales = [n.from_array(np.float32(0.5), "s"), n.from_array(np.float32(0.375), "t"), n.from_array(np.int8(0), "z")]
one = run(pairs, scales, [0.7, 1.3], ["session.disable_quant_qdq"])
two = run(pairs, scales, [0.7, 1.3], ["session.disable_quant_qdq", "session.disable_double_qdq_remover"])
print("two pairs, scales 0.5 and 0.375, of 0.7 and 1.3:", one, "where the graph says", two)
assert two == [-0.375, -1.5], two
assert one != two, one

half = [("Cast", "x", "h", {"to": T.FLOAT16}), ("Mul", "h h", "s", {}), ("Mul", "s c", "t", {}), ("Cast", "t", "y", {"to": T.FLOAT})]
small = [n.from_array(np.float16(0.0078125), "c")]
every = [run(half, small, [300], level=level) for level in (None, ort.GraphOptimizationLevel.ORT_DISABLE_ALL)]
wide = [("Mul", "x x", "s", {}), ("Cast", "s", "h", {"to": T.FLOAT16}), ("Cast", "h", "w", {"to": T.FLOAT}), ("Mul", "w c", "y", {})]
rounded = run(wide, [n.from_array(np.float32(0.0078125), "c")], [300])
print("300 squared, over 128, in FP16:", every, "where FP16 gives", rounded)
assert every == [[703.125], [703.125]], every  # nor is the last number one that FP16 has
assert rounded == [np.inf], rounded
PYTHON
venv/bin/python probe.py
