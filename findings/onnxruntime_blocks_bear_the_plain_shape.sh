#!/usr/bin/env bash
# ONNX Runtime 1.32.0 on a processor of x86-64: what a convolution computes lies in blocks of channels (NCHWc), and a node
# ReorderOutput is put before every graph output, also where a tensor inside is made an output just to look at it. In the
# optimized graph that it writes the output of that node and its input have the same shape, [N, C, H, W]: nothing but the
# node's domain tells that the values of the input lie in another order. A graph without the node is loaded and run without
# a complaint, and gives the same values in the same shape at other places. Only where C fills no whole block does the
# written graph leave the second axis open: it is padded with zeros to the next multiple of a block.
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
random = np.random.default_rng(0)
x = random.normal(size=(2, 3, 4, 5)).astype(np.float32)
CPU = ["CPUExecutionProvider"]


def options(level=ort.GraphOptimizationLevel.ORT_ENABLE_ALL, path=""):
    made = ort.SessionOptions()
    made.log_severity_level, made.graph_optimization_level, made.optimized_model_filepath = 4, level, path
    return made


for channels, full in ((32, True), (20, False)):
    weight = n.from_array(random.normal(size=(channels, 3, 3, 3)).astype(np.float32), "w")
    ends = [[h.make_tensor_value_info("x", T.FLOAT, [2, 3, 4, 5])], [h.make_tensor_value_info("y", T.FLOAT, [2, channels, 4, 5])]]
    graph = h.make_graph([h.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])], "g", *ends, [weight])
    content = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8).SerializeToString()
    (wanted,) = ort.InferenceSession(content, options(path="optimized.onnx"), providers=CPU).run(None, {"x": x})
    optimized = onnx.load("optimized.onnx")
    reorder = optimized.graph.node[-1]
    print([(node.domain, node.op_type) for node in optimized.graph.node])
    assert (reorder.domain, reorder.op_type, reorder.output[0]) == ("com.microsoft.nchwc", "ReorderOutput", "y")
    optimized.graph.node.pop()
    optimized.graph.output[0].name = reorder.input[0]
    session = ort.InferenceSession(optimized.SerializeToString(), options(ort.GraphOptimizationLevel.ORT_DISABLE_ALL), providers=CPU)
    (blocks,) = session.run(None, {"x": x})
    print(f"{channels} channels: shape said {session.get_outputs()[0].shape}, shape had {list(blocks.shape)}, "
          f"as ordered: {np.array_equal(blocks, wanted)}")
    if full:
        assert session.get_outputs()[0].shape == [2, channels, 4, 5]
        assert blocks.shape == wanted.shape and not np.array_equal(blocks, wanted)
        assert np.array_equal(np.sort(blocks.ravel()), np.sort(wanted.ravel()))
        sizes = [k for k in (8, 16) if np.array_equal(
            blocks.reshape(2, channels // k, 4, 5, k).transpose(0, 1, 4, 2, 3).reshape(wanted.shape), wanted)]
        print(f"the same values, in blocks of {sizes}")
        assert len(sizes) == 1
    else:
        said = session.get_outputs()[0].shape
        assert said[1] != channels and blocks.shape[1] in (24, 32), (said, blocks.shape)
PYTHON
venv/bin/python probe.py
