#!/usr/bin/env bash
# ONNX Runtime 1.32.0's quantizer cannot quantize a ConvTranspose with groups and a bias, channel by channel.
#
# quantize_static(per_channel=True) takes axis 1 of the weight for the output channels and gets one scale for each channel
# of a group; the bias has one number for each channel of all groups, and NumPy cannot broadcast the one over the other.
# Nothing names the node. Without a bias to quantize (extra_options={"QuantizeBias": False}, which TensorRT wants anyway),
# per tensor, or with one group it goes through.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet onnxruntime==1.32.0 onnx==1.23.2 numpy sympy
cd "$folder"
cat > probe.py <<'PYTHON'
import logging

import numpy as np, onnx, onnxruntime as ort
from onnx import TensorProto as T, helper as h, numpy_helper as n
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

assert ort.__version__ == "1.32.0", ort.__version__
logging.disable(logging.WARNING)
rng = np.random.default_rng(0)
x = rng.normal(size=(1, 4, 6, 6)).astype(np.float32)


class Once(CalibrationDataReader):
    def __init__(self):
        self.left = [{"x": x}]

    def get_next(self):
        return self.left.pop() if self.left else None


def outcome(group, **options):
    width = 6 // group
    weights = [n.from_array(rng.normal(size=(4, width, 3, 3)).astype(np.float32), "w"), n.from_array(np.ones(6, np.float32), "b")]
    ends = [[h.make_tensor_value_info(name, T.FLOAT, shape)] for name, shape in (("x", [1, 4, 6, 6]), ("y", [1, 6, 8, 8]))]
    nodes = [h.make_node("ConvTranspose", ["x", "w", "b"], ["c"], "deconv", group=group), h.make_node("Relu", ["c"], ["y"], "relu")]
    model = h.make_model(h.make_graph(nodes, "g", *ends, weights), opset_imports=[h.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "m.onnx")
    try:
        quantize_static("m.onnx", "q.onnx", Once(), weight_type=QuantType.QInt8, **options)
    except ValueError as error:
        return str(error).strip()
    ort.InferenceSession("q.onnx", providers=["CPUExecutionProvider"]).run(None, {"x": x})
    return "runs"


told = {
    "2 groups, a scale a channel": outcome(2, per_channel=True),
    "2 groups, a scale a channel, the bias in floating point": outcome(2, per_channel=True, extra_options={"QuantizeBias": False}),
    "2 groups, one scale": outcome(2, per_channel=False),
    "1 group, a scale a channel": outcome(1, per_channel=True),
}
for how, what in told.items():
    print(f"{how}: {what}")
assert "could not be broadcast" in told.pop("2 groups, a scale a channel")
assert set(told.values()) == {"runs"}, told
PYTHON
venv/bin/python probe.py
