#!/bin/sh
# onnx 1.23.0: before operator set 7 an Add with broadcast=1, axis=1 adds a bias of three numbers to the channels of an
# image. version_converter.convert_version writes an Unsqueeze in front of it, for the first axis whatever axis says: a
# batch of three images gets one number each. Where the batch is no three, it ends in an assertion, and so it does where
# the batch is dynamic. A PRelu, whose slope was one a channel, is left to be one a column.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q onnx==1.23.0
"$work/venv/bin/python" - <<'PY'
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

FLOAT = TensorProto.FLOAT


def converted(node, batch, width=4):
    shape = [batch, 3, 4, width]
    values = [helper.make_tensor_value_info(name, FLOAT, shape) for name in "xy"]
    second = numpy_helper.from_array(np.array([1, 2, 3], np.float32), "b")
    inputs = [values[0], helper.make_tensor_value_info("b", FLOAT, [3])]
    graph = helper.make_graph([node], "g", inputs, values[1:], [second])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 6)], ir_version=3)
    return onnx.version_converter.convert_version(model, 13)


add = helper.make_node("Add", ["x", "b"], ["y"], broadcast=1, axis=1)
moved = converted(add, 3)
onnx.checker.check_model(moved)
got = ReferenceEvaluator(moved).run(None, {"x": np.zeros((3, 3, 4, 4), np.float32)})[0]
print(f"onnx {onnx.__version__}: a bias 1, 2, 3 of the channels is added to images as {got[:, 0, 0, 0].tolist()}")
print(f"                to channels as {got[0, :, 0, 0].tolist()}")
wrong = got[:, 0, 0, 0].tolist() == [1, 2, 3] and got[0, :, 0, 0].tolist() == [1, 1, 1]
refused = 0
for batch in (2, "N"):
    try:
        converted(add, batch)
        print(f"a batch of {batch} is converted")
    except Exception as error:
        refused += 1
        print(f"a batch of {batch}: {str(error).splitlines()[-1][:100]}")
prelu = converted(helper.make_node("PRelu", ["x", "b"], ["y"]), 1, width=3)
slopes = ReferenceEvaluator(prelu).run(None, {"x": np.full((1, 3, 4, 3), -1, np.float32)})[0]
print(f"slopes of the columns of a converted PRelu: {(-slopes[0, 0, 0]).tolist()}")
columns = (-slopes[0, 0, 0]).tolist() == [1, 2, 3]
sys.exit(0 if wrong and refused == 2 and columns else "changed: it keeps the axis now, or takes such models")
PY
