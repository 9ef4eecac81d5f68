#!/bin/sh
# onnx-graphsurgeon 0.6.1: a constant of type float8_e4m3fnuz whose values were read is written as FLOAT8E4M3FN. The bytes
# are the same, and in that type they mean twice as much (the exponents' biases are 8 and 7): reading a weight doubles it.
# Its warning speaks of a cast to another type, which would keep the values.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q ml_dtypes==0.5.4 numpy==2.4.6 onnx==1.23.2 onnx-graphsurgeon==0.6.1

"$work/venv/bin/python" - <<'EOF'
import ml_dtypes
import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import TensorProto, helper, numpy_helper

numbers = np.array([1, 2, 3], np.float32).astype(ml_dtypes.float8_e4m3fnuz)
weight = helper.make_tensor("w", TensorProto.FLOAT8E4M3FNUZ, [3], numbers.tobytes(), raw=True)
y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [3])
graph = helper.make_graph([helper.make_node("Cast", ["w"], ["y"], to=TensorProto.FLOAT)], "g", [], [y], [weight])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
onnx.checker.check_model(model)
surgeon = gs.import_onnx(model)
surgeon.tensors()["w"].values  # looked at, not changed
after = gs.export_onnx(surgeon).graph.initializer[0]
kind = TensorProto.DataType.Name(after.data_type)
values = numpy_helper.to_array(after).astype(np.float32).tolist()
print(f"onnx-graphsurgeon {gs.__version__}: FLOAT8E4M3FNUZ [1.0, 2.0, 3.0] came back as {kind} {values}")
assert kind == "FLOAT8E4M3FN" and values == [2.0, 4.0, 6.0], "changed: the type or the values are right"
EOF
