#!/bin/sh
# onnx-ir 1.1.0 reads a valid model and writes another one: the metadata of a stored tensor stand in it twice, and a call of
# a local function loses the results that nobody reads, which ONNX Runtime 1.32.0 then refuses ("output index 1 is out of
# range"), although it runs the model that was read.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q onnx-ir==1.1.0 onnx==1.23.0 onnxruntime==1.32.0
cd "$work"
ORT_DISABLE_TELEMETRY=1 "$work/venv/bin/python" - <<'EOF'
import sys

import numpy as np
import onnx
import onnx_ir
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

opsets = [helper.make_opsetid("", 18)]
halves = helper.make_function(
    "my.ops", "Halves", ["a"], ["left", "right"],
    [helper.make_node("Split", ["a"], ["left", "right"], axis=1, num_outputs=2)], opsets,
)
weight = numpy_helper.from_array(np.ones((2, 2), np.float32), "w")
weight.metadata_props.add(key="origin", value="layer1")
graph = helper.make_graph(
    [helper.make_node("Halves", ["x"], ["h", ""], domain="my.ops"), helper.make_node("Add", ["h", "w"], ["y"])],
    "g",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 2])],
    [weight],
)
read = helper.make_model(
    graph, opset_imports=[*opsets, helper.make_opsetid("my.ops", 1)], ir_version=10, functions=[halves]
)
onnx.checker.check_model(read)
written = onnx_ir.to_proto(onnx_ir.from_proto(read))


def runs(model):
    try:
        onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    except Exception as error:
        return str(error).splitlines()[0][-120:]
    return "runs"


twice = [entry.key for entry in written.graph.initializer[0].metadata_props]
results = list(written.graph.node[0].output)
print("onnx-ir", onnx_ir.__version__, "onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__)
print("metadata read:", ["origin"], "written:", twice)
print("results read:", ["h", ""], "written:", results)
print("read:", runs(read), "| written:", runs(written))
changed = twice != ["origin", "origin"] or results != ["h"] or runs(read) != "runs" or runs(written) == "runs"
sys.exit("changed" if changed else 0)
EOF
