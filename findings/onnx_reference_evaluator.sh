#!/usr/bin/env bash
# ONNX's own reference evaluator is no yardstick for every operator (onnx 1.23.2, beside ONNX Runtime 1.32.0).
#
# 1. LSTM, GRU and RNN ignore the input sequence_lens without a word: each sequence of a batch is computed to the end of
#    the longest, where the operator's text and ONNX Runtime stop it and fill up with zeros. Y, Y_h and Y_c are wrong.
# 2. ConvTranspose with more than one group is not computed: NumPy cannot reshape.
# 3. DequantizeLinear is there from operator set 19 on, QuantizeLinear from 10: a pair of operator set 13, as most
#    exporters write it, is half known.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet onnxruntime==1.32.0 onnx==1.23.2 numpy
cd "$folder"
cat > probe.py <<'PYTHON'
import numpy as np, onnx, onnxruntime as ort
from onnx import TensorProto as T, helper as h, numpy_helper as n
from onnx.reference import ReferenceEvaluator

assert onnx.__version__ == "1.23.2", onnx.__version__
rng = np.random.default_rng(0)


def model(nodes, x, outputs, weights, opset=17):
    made = [h.make_tensor_value_info(name, T.FLOAT, [None] * rank) for name, rank in outputs.items()]
    constants = [n.from_array(np.asarray(array), name) for name, array in weights.items()]
    graph = h.make_graph(nodes, "g", [h.make_tensor_value_info("x", T.FLOAT, x.shape)], made, constants)
    made = h.make_model(graph, opset_imports=[h.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    return made


def runtime(made, x):
    return ort.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})


def reason(made, x):
    try:
        ReferenceEvaluator(made).run(None, {"x": x})
    except (RuntimeError, ValueError) as error:
        return str(error)
    return None


def draw(*shape):
    return rng.normal(size=shape).astype(np.float32)


x = draw(5, 2, 3)
for op, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1)):
    weights = {"w": draw(1, gates * 4, 3), "r": draw(1, gates * 4, 4), "b": draw(1, 2 * gates * 4)}
    for lengths in ([5, 5], [5, 2]):
        node = h.make_node(op, ["x", "w", "r", "b", "lengths"], ["y", "y_h"], hidden_size=4)
        made = model([node], x, {"y": 4, "y_h": 3}, {**weights, "lengths": np.array(lengths, np.int32)})
        theirs, stopped = ReferenceEvaluator(made).run(None, {"x": x})[0], runtime(made, x)[0]
        apart = np.abs(theirs - stopped).max()
        print(f"{op}, sequences of {lengths} steps: {apart:.2g} apart from ONNX Runtime")
        assert (apart < 1e-5) == (lengths == [5, 5]), apart
    assert not stopped[2:, 0, 1].any()  # behind the end of the second sequence the operator's text wants zeros
    assert theirs[2:, 0, 1].any()

x = draw(1, 4, 4, 4)
for group in (1, 2):
    made = model([h.make_node("ConvTranspose", ["x", "w"], ["y"], group=group)], x, {"y": 4}, {"w": draw(4, 3, 3, 3)})
    print(f"ConvTranspose of {group} group(s):", reason(made, x) or "computed", "- ONNX Runtime:", runtime(made, x)[0].shape)
    assert (reason(made, x) is None) == (group == 1)

x = draw(8)
for opset in (13, 17, 19):
    nodes = [h.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]), h.make_node("DequantizeLinear", ["q", "s", "z"], ["y"])]
    made = model(nodes, x, {"y": 1}, {"s": np.float32(0.1), "z": np.int8(0)}, opset)
    print(f"Q/DQ in operator set {opset}:", reason(made, x) or "computed")
    assert (reason(made, x) is None) == (opset == 19)
PYTHON
venv/bin/python probe.py
