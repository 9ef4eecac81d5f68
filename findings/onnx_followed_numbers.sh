#!/bin/sh
# onnx 1.23.0: infer_shapes(..., data_prop=True) makes a message for every element of a tensor of one axis, about 140 bytes
# each, also of floats and of inputs whose numbers nobody knows: memory follows the stated length, not the file's size.
# A model of 150 bytes with an axis of two million elements takes 250 MiB here; without data_prop it takes none.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q onnx==1.23.0
"$work/venv/bin/python" - <<'PYTHON'
import resource
import onnx
from onnx import TensorProto, helper

def model(length):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [length])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [length])
    return helper.make_model(helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "g", [x], [y]))

def grown(length, followed):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    onnx.shape_inference.infer_shapes(model(length), data_prop=followed)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024

print("onnx", onnx.__version__, "file of", model(2_000_000).ByteSize(), "bytes")
plain, followed = grown(2_000_000, False), grown(2_000_000, True)
print("2,000,000 elements, data_prop=False:", plain, "MiB more; data_prop=True:", followed, "MiB more")
assert plain < 20 and followed > 100, "changed"
PYTHON
