#!/usr/bin/env bash
# ONNX Runtime 1.32.0 makes FP32 of FP16 weights behind a Cast even where constant folding is switched off.
#
# With ConstantFolding among disabled_optimizers, weights that go through a Cast right before they are read should take
# half of the memory of FP32 ones. They do not: another optimizer, FuseFp16InitializerToFp32NodeTransformer, stores them
# as FP32 ("FusedBack_..."). With that one off, too, they stay.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet onnxruntime==1.32.0 onnx==1.23.2 numpy
cd "$folder"
cat > probe.py <<'PYTHON'
import numpy as np, onnx, onnxruntime as ort
from onnx import TensorProto as T, helper as h, numpy_helper as n

assert ort.__version__ == "1.32.0", ort.__version__
weight = n.from_array(np.random.default_rng(0).normal(size=(256, 256)).astype(np.float16), "w")
nodes = [h.make_node("Cast", ["w"], ["wide"], to=T.FLOAT), h.make_node("MatMul", ["x", "wide"], ["y"])]
ends = [[h.make_tensor_value_info(name, T.FLOAT, [2, 256])] for name in "xy"]
model = h.make_model(h.make_graph(nodes, "g", *ends, [weight]), opset_imports=[h.make_opsetid("", 17)], ir_version=8)


def stored(*off):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = "optimized.onnx"
    ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"], disabled_optimizers=list(off)
    )
    graph = onnx.load("optimized.onnx").graph
    return [(each.name, T.DataType.Name(each.data_type)) for each in graph.initializer], len(graph.node)


for off in ((), ("ConstantFolding",), ("ConstantFolding", "FuseFp16InitializerToFp32NodeTransformer")):
    print("off:", ", ".join(off) or "nothing", "->", *stored(*off))
assert stored("ConstantFolding") == ([("FusedBack_wide", "FLOAT")], 1), stored("ConstantFolding")
assert stored("ConstantFolding", "FuseFp16InitializerToFp32NodeTransformer") == ([("w", "FLOAT16")], 2)
PYTHON
venv/bin/python probe.py
