#!/bin/sh
# onnx-ir 1.1.0: IdentityEliminationPass on a model whose outputs y and z are two Identities of one value. It removes both
# nodes and renames the value twice: the model then has two outputs that are both called z, and none called y. ONNX's
# checker accepts that. One of the two Identities has to stay, for a value has one name.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q onnx==1.23.2 onnx-ir==1.1.0

"$work/venv/bin/python" - <<'EOF'
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper
from onnx_ir.passes.common import IdentityEliminationPass

nodes = [helper.make_node(op, [a], [b]) for op, a, b in (("Relu", "x", "a"), ("Identity", "a", "y"), ("Identity", "a", "z"))]
x, y, z = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [3]) for name in "xyz")
model = helper.make_model(helper.make_graph(nodes, "g", [x], [y, z]), opset_imports=[helper.make_opsetid("", 17)])
onnx.checker.check_model(model)
graph = ir.from_proto(model)
IdentityEliminationPass()(graph)
after = ir.to_proto(graph)
onnx.checker.check_model(after)
names = [value.name for value in after.graph.output]
print(f"onnx-ir {ir.__version__}: outputs before ['y', 'z'], after {names}; the checker says nothing")
assert names == ["z", "z"], "changed: both outputs are there"
EOF
