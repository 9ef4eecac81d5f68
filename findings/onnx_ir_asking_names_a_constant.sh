#!/usr/bin/env bash
# onnx_ir 1.1.0: asking for a constant changes the model.
#
# onnx_ir.convenience.get_const_tensor(value) reads what a Constant node holds, and on the way gives the tensor in the
# node's attribute the name of the value, which most exporters leave empty. The model that was only looked at is written
# as another file: its bytes, and every hash over them, are no longer those of before. The function's text promises that
# it "will not alter the const_value of the value". Initializers are left as they are.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet onnx-ir==1.1.0 onnx==1.23.2 numpy
cd "$folder"
cat > probe.py <<'PYTHON'
import numpy as np, onnx, onnx_ir as ir
from onnx import TensorProto as T, helper as h, numpy_helper as n

assert ir.__version__ == "1.1.0", ir.__version__
nodes = [
    h.make_node("Constant", [], ["scale"], "scale", value=n.from_array(np.float32(2))),
    h.make_node("Mul", ["x", "scale"], ["m"], "first"),
    h.make_node("Mul", ["m", "weight"], ["y"], "second"),
]
ends = [[h.make_tensor_value_info(name, T.FLOAT, [4])] for name in "xy"]
weight = n.from_array(np.ones(4, np.float32), "weight")
proto = h.make_model(h.make_graph(nodes, "g", *ends, [weight]), opset_imports=[h.make_opsetid("", 19)], ir_version=9)
onnx.checker.check_model(proto, full_check=True)
model = ir.from_proto(proto)


def written():
    return ir.to_proto(model).SerializeToString(deterministic=True)


first = written()
assert written() == first  # writing alone changes nothing
ir.convenience.get_const_tensor(model.graph.initializers["weight"])
assert written() == first  # nor does asking for a weight
constant = model.graph.node("scale")
print("the tensor's name before:", repr(constant.attributes["value"].value.name))
ir.convenience.get_const_tensor(constant.outputs[0])
print("the tensor's name after: ", repr(constant.attributes["value"].value.name))
print("bytes of the model:", len(first), "before,", len(written()), "after")
assert written() != first
PYTHON
venv/bin/python probe.py
