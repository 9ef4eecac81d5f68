#!/usr/bin/env bash
# A Loop of ONNX Runtime 1.32.0 that hands on its iteration number returns the number of steps in every step.
#
# Valid ONNX: a scan output of the body is the body's own input. ONNX Runtime keeps the place of the count and not its
# value, and stacks it after the last step: three steps give 3, 3, 3 and not 0, 1, 2. With an Identity between input and
# output it counts, and so it does for a state that is handed on. Nothing is said; checker and shape inference agree with
# the model. The reference evaluator of onnx 1.23.2 counts, too, in a shape of [3, 1] where [3] is right.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cd "$folder"
cat > probe.py <<'PYTHON'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

assert onnxruntime.__version__ == "1.32.0", onnxruntime.__version__


def counts(copied):
    value = helper.make_tensor_value_info
    last = "copy" if copied else "i"
    nodes = [helper.make_node("Neg", ["v"], ["u"])]
    if copied:
        nodes.append(helper.make_node("Identity", ["i"], ["copy"]))
    body = helper.make_graph(
        nodes,
        "body",
        [value("i", TensorProto.INT64, []), value("go_on", TensorProto.BOOL, []), value("v", TensorProto.FLOAT, [1])],
        [value("go_on", TensorProto.BOOL, []), value("u", TensorProto.FLOAT, [1]), value(last, TensorProto.INT64, [])],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["steps", "go", "x"], ["y", "counts"], body=body)],
        "g",
        [value("x", TensorProto.FLOAT, [1])],
        [value("y", TensorProto.FLOAT, [1]), value("counts", TensorProto.INT64, [3])],
        [helper.make_tensor("steps", TensorProto.INT64, [], [3]), helper.make_tensor("go", TensorProto.BOOL, [], [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    feeds = {"x": np.ones(1, np.float32)}
    evaluated = ReferenceEvaluator(model).run(["counts"], feeds)[0]
    assert evaluated.tolist() == [[0], [1], [2]], evaluated
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["counts"], feeds)[0].tolist()


print("handed on:", counts(copied=False), " through an Identity:", counts(copied=True))
assert counts(copied=False) == [3, 3, 3]
assert counts(copied=True) == [0, 1, 2]
PYTHON
"$folder/venv/bin/python" probe.py
