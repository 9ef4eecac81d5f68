#!/bin/sh
# onnx-graphsurgeon 0.6.1: a weight of the main graph that both branches of an If read is, after import and export without
# any change, stored once in each branch and no longer in the main graph: the file doubles. Metadata of the model and of
# its nodes, and doc strings of nodes, are gone.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q numpy==2.4.6 onnx==1.23.2 onnx-graphsurgeon==0.6.1

"$work/venv/bin/python" - <<'EOF'
import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import TensorProto, helper, numpy_helper

def branch(op):
    out = helper.make_tensor_value_info(f"{op}_y", TensorProto.FLOAT, [100_000])
    return helper.make_graph([helper.make_node(op, ["x", "w"], [f"{op}_y"])], op, [], [out])

node = helper.make_node("If", ["c"], ["y"], "if", then_branch=branch("Add"), else_branch=branch("Mul"), doc_string="why")
node.metadata_props.add(key="module", value="gate")
values = [helper.make_tensor_value_info(n, t, s) for n, t, s in (("c", TensorProto.BOOL, []), ("x", 1, [100_000]), ("y", 1, [100_000]))]
weight = numpy_helper.from_array(np.ones(100_000, np.float32), "w")
model = helper.make_model(helper.make_graph([node], "g", values[:2], values[2:], [weight]), opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
helper.set_model_props(model, {"classes": "7"})
onnx.checker.check_model(model)
after = gs.export_onnx(gs.import_onnx(model))
stored = [len(attribute.g.initializer) for attribute in after.graph.node[0].attribute]
ratio = after.ByteSize() / model.ByteSize()
print(f"onnx-graphsurgeon {gs.__version__}: weights in the main graph 1 -> {len(after.graph.initializer)}, in the branches [0, 0] -> {stored}, file x{ratio:.2f}")
print(f"metadata of the model {len(after.metadata_props)}, of the node {len(after.graph.node[0].metadata_props)}, doc string {after.graph.node[0].doc_string!r}")
assert not after.graph.initializer and stored == [1, 1] and ratio > 1.9, "changed: the weight stays where it was"
assert not after.metadata_props and not after.graph.node[0].metadata_props and not after.graph.node[0].doc_string, "changed: metadata is kept"
EOF
