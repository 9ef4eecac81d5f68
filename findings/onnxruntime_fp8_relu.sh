#!/usr/bin/env bash
# ONNX Runtime 1.32.0 (so do 1.23.2, 1.28.0 and 1.31.1) drops a Relu, and refuses a Clip, before a QuantizeLinear to FP8.
#
# Its rewriting rules of level 2 are about uint8, where a zero point of 0 clips negative numbers away by itself. FP8's
# zero point is the byte 0 too, so the Relu goes although FP8 has negative numbers; beside a Clip the same reading of the
# zero point fails instead, and the session is not made. Neither needs FP8 kernels: it is the processor's provider with
# its default options. Off with disabled_optimizers=["ReluQuantRewrite", "ClipQuantRewrite"].
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
x = np.array([-3, -1, 0.5, 2], np.float32)


def session(before, constants, off=()):
    nodes = [
        h.make_node("Neg", ["x"], ["negative"]),
        before,
        h.make_node("QuantizeLinear", ["clipped", "scale", "zero"], ["q"]),
        h.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    constants = [*constants, n.from_array(np.float32(1), "scale"), h.make_tensor("zero", T.FLOAT8E4M3FN, [], [0.0])]
    ends = [[h.make_tensor_value_info(name, T.FLOAT, [4])] for name in "xy"]
    model = h.make_model(h.make_graph(nodes, "g", *ends, constants), opset_imports=[h.make_opsetid("", 19)], ir_version=9)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    return ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"], disabled_optimizers=list(off))


relu = h.make_node("Relu", ["negative"], ["clipped"])
found = session(relu, []).run(None, {"x": x})[0].tolist()
written = session(relu, [], ["ReluQuantRewrite"]).run(None, {"x": x})[0].tolist()
print("Relu(-x) in FP8:", found, "where the graph says", written)
assert found == [3.0, 1.0, -0.5, -2.0], found
assert written == [3.0, 1.0, 0.0, 0.0], written

clip = h.make_node("Clip", ["negative", "low", "high"], ["clipped"])
bounds = [n.from_array(np.float32(value), name) for name, value in (("low", 0), ("high", 2))]
try:
    session(clip, bounds)
except Exception as error:
    print("Clip before FP8:", str(error).splitlines()[0][-90:])
    assert "Unexpected data type for QuantizeLinear input y_zero_point" in str(error)
else:
    raise SystemExit("a Clip before FP8 is taken now")
assert session(clip, bounds, ["ClipQuantRewrite"]).run(None, {"x": x})[0].tolist() == [2.0, 1.0, 0.0, 0.0]
PYTHON
venv/bin/python probe.py
