#!/bin/sh
# onnx 1.23.0 and onnxruntime 1.32.0: MeanVarianceNormalization-13 allows float16 and bfloat16 by its schema, and the checker
# takes such a model. But the operator is defined by a function whose constants are float32, so ONNX's own inference and
# ONNX Runtime refuse what the schema allows. Whoever converts a model to FP16 by the schemas makes one that runs nowhere.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q onnx==1.23.0 onnxruntime==1.32.0
ORT_DISABLE_TELEMETRY=1 HOME="$work" "$work/venv/bin/python" - <<'PY'
import onnx, onnxruntime
from onnx import TensorProto, helper

info = helper.make_tensor_value_info


def model(kind):
    node = helper.make_node("MeanVarianceNormalization", ["x"], ["y"], "mvn")
    graph = helper.make_graph([node], "g", [info("x", kind, [1, 2, 2, 2])], [info("y", kind, [1, 2, 2, 2])])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def session(kind):
    try:
        onnxruntime.InferenceSession(model(kind).SerializeToString(), providers=["CPUExecutionProvider"])
    except Exception as error:
        return str(error).splitlines()[0]
    return "ready"


schema = onnx.defs.get_schema("MeanVarianceNormalization", 13, "")
allowed = "tensor(float16)" in schema.type_constraints[0].allowed_type_strs
onnx.checker.check_model(model(TensorProto.FLOAT16))
try:
    onnx.shape_inference.infer_shapes(model(TensorProto.FLOAT16), check_type=True, strict_mode=True)
    inferred = "nothing"
except onnx.shape_inference.InferenceError as error:
    inferred = str(error).splitlines()[0]
half, single = session(TensorProto.FLOAT16), session(TensorProto.FLOAT)
print(f"onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}")
print("the schema allows float16:", allowed, "- and the checker takes it")
print("strict inference says:", inferred)
print("ONNX Runtime, float16:", half)
print("ONNX Runtime, float32:", single)
assert allowed, "changed: the schema has no float16"
assert "inconsistent type" in inferred, "changed: inference takes it"
assert "bound to different types" in half and single == "ready", "changed: ONNX Runtime takes it"
PY
