#!/bin/sh
# onnx-graphsurgeon 0.6.1: fold_constants() replaces an If whose condition is constant by its branch, and keeps only the
# first of its outputs: whoever reads the second then reads a tensor that nothing makes. Nothing is said; ONNX's checker
# and ONNX Runtime refuse the model.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q numpy==2.4.6 onnx==1.23.2 onnx-graphsurgeon==0.6.1 onnxruntime==1.32.0

ORT_DISABLE_TELEMETRY=1 "$work/venv/bin/python" - <<'EOF'
import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import TensorProto, helper, numpy_helper

def value(name):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [3])

def branch(op):
    nodes = [helper.make_node(op, ["x"], [f"{op}1"]), helper.make_node(op, [f"{op}1"], [f"{op}2"])]
    return helper.make_graph(nodes, op, [], [value(f"{op}1"), value(f"{op}2")])

nodes = [
    helper.make_node("If", ["c"], ["y", "z"], then_branch=branch("Relu"), else_branch=branch("Neg")),
    helper.make_node("Add", ["y", "z"], ["out"]),
]
graph = helper.make_graph(nodes, "g", [value("x")], [value("out")], [numpy_helper.from_array(np.array(True), "c")])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.checker.check_model(model)
surgeon = gs.import_onnx(model)
surgeon.fold_constants().cleanup()
after = gs.export_onnx(surgeon)
made = {name for node in after.graph.node for name in node.output}
read = {name for node in after.graph.node for name in node.input}
print(f"onnx-graphsurgeon {gs.__version__}: {[node.op_type for node in after.graph.node]}, made {sorted(made)}, read {sorted(read)}")
try:
    onnx.checker.check_model(after)
except onnx.checker.ValidationError as error:
    print(str(error).splitlines()[0])
else:
    raise SystemExit("changed: the model is valid")
assert "z" in read - made
EOF
