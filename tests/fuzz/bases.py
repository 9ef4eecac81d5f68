"""Small valid inputs of every kind, from which others are made."""

from __future__ import annotations

import io
import json

import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

RNG = np.random.default_rng(0)
N = helper.make_node


def info(name, shape, dtype=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def weight(name, *shape):
    return numpy_helper.from_array(RNG.normal(size=shape).astype(np.float32), name)


def model(nodes, inputs, outputs, weights=(), functions=(), opset=17, domains=()):
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(weights))
    ids = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=ids, ir_version=8, functions=list(functions))


def network():
    """A small residual CNN with names of scopes."""
    return model(
        [
            N("Conv", ["x", "w"], ["c"], "stem/conv", pads=[1, 1, 1, 1]),
            N("BatchNormalization", ["c", "s", "b", "m", "v"], ["n"], "stem/norm"),
            N("Relu", ["n"], ["r"], "stem/relu"),
            N("Add", ["r", "c"], ["a"], "block/add"),
            N("GlobalAveragePool", ["a"], ["p"], "head/pool"),
            N("Flatten", ["p"], ["f"], "head/flatten"),
            N("Gemm", ["f", "g"], ["y"], "head/fc", transB=1),
        ],
        [info("x", ["N", 3, 6, 6])],
        [info("y", ["N", 5])],
        [
            weight("w", 4, 3, 3, 3),
            *(weight(n, 4) for n in "sbm"),
            numpy_helper.from_array(np.ones(4, "f4"), "v"),
            weight("g", 5, 4),
        ],
    )


def branches():
    """An If within a Loop's neighbourhood, and constants of several types."""
    then = helper.make_graph([N("MatMul", ["x", "w"], ["t"], "inner")], "then", [], [info("t", ["N", 4])])
    other = helper.make_graph([N("Neg", ["x"], ["e"])], "else", [], [info("e", ["N", 4])])
    body = helper.make_graph(
        [N("Identity", ["go"], ["on"]), N("Add", ["s", "x"], ["s2"])],
        "body",
        [info("i", [], TensorProto.INT64), info("go", [], TensorProto.BOOL), info("s", None)],
        [info("on", [], TensorProto.BOOL), info("s2", None)],
    )
    axes = N("Constant", [], ["k"], value=numpy_helper.from_array(np.array([0, 4], np.int64)))
    return model(
        [
            axes,
            N("Constant", [], ["c"], value=numpy_helper.from_array(np.array(True))),
            N("If", ["c"], ["z"], "choice", then_branch=then, else_branch=other),
            N("Constant", [], ["trip"], value=numpy_helper.from_array(np.array(2, np.int64))),
            N("Loop", ["trip", "c", "z"], ["l"], "loop", body=body),
            N("Reshape", ["l", "k"], ["y"]),
        ],
        [info("x", ["N", 4])],
        [info("y", ["N", 4])],
        [weight("w", 4, 4)],
    )


def functions():
    """A model-local function that calls another, and Q/DQ with scales."""
    ids = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    inner = helper.make_function("f", "Inner", ["a"], ["b"], [N("Relu", ["a"], ["b"])], ids)
    outer = helper.make_function("f", "Outer", ["a"], ["b"], [N("Inner", ["a"], ["b"], domain="f")], ids)
    return model(
        [
            N("Outer", ["x"], ["o"], domain="f"),
            N("QuantizeLinear", ["o", "sc", "zp"], ["q"]),
            N("DequantizeLinear", ["q", "sc", "zp"], ["d"]),
            N("LSTM", ["d", "lw", "lr"], ["h", "", ""], hidden_size=2),
            N("Squeeze", ["h", "ax"], ["y"]),
        ],
        [info("x", [3, "N", 4])],
        [info("y", None)],
        [
            numpy_helper.from_array(np.float32(0.1), "sc"),
            numpy_helper.from_array(np.int8(0), "zp"),
            weight("lw", 1, 8, 4),
            weight("lr", 1, 8, 2),
            numpy_helper.from_array(np.array([1], np.int64), "ax"),
        ],
        functions=[inner, outer],
        domains=["f"],
    )


def texts():
    """Strings, integers, a shape that is computed."""
    return model(
        [
            N("Shape", ["x"], ["sh"]),
            N("Gather", ["sh", "i"], ["n"]),
            N("Unsqueeze", ["n", "z"], ["u"]),
            N("Concat", ["u", "m"], ["to"], axis=0),
            N("Reshape", ["x", "to"], ["y"]),
        ],
        [info("x", ["N", 2, 3])],
        [info("y", ["N", None])],
        [
            numpy_helper.from_array(np.array(0, np.int64), "i"),
            numpy_helper.from_array(np.array([0], np.int64), "z"),
            numpy_helper.from_array(np.array([-1], np.int64), "m"),
            helper.make_tensor("t", TensorProto.STRING, [2], [b"a", b"b"]),
        ],
    )


MODELS = (network, branches, functions, texts)


def npz(**arrays):
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def samples(count=4):
    return RNG.normal(size=(count, 3, 6, 6)).astype(np.float32)


def image(kind="PNG"):
    stream = io.BytesIO()
    Image.fromarray(RNG.integers(0, 255, (6, 6, 3), np.uint8)).save(stream, kind)
    return stream.getvalue()


ENGINE = {
    "Layers": [
        {
            "Name": "stem/conv + stem/relu",
            "LayerType": "CaskConvolution",
            "Inputs": [
                {
                    "Name": "x",
                    "Location": "Device",
                    "Dimensions": [1, 3, 6, 6],
                    "Format/Datatype": "Row major linear FP32",
                }
            ],
            "Outputs": [
                {
                    "Name": "r",
                    "Location": "Device",
                    "Dimensions": [1, 4, 6, 6],
                    "Format/Datatype": "Channel major FP16 format",
                }
            ],
            "ParameterType": "Convolution",
            "Kernel": [3, 3],
            "Weights": {"Type": "Half", "Count": 108},
            "Bias": {"Type": "Half", "Count": 4},
            "TacticName": "sm80_xmma_fprop",
            "Metadata": "[ONNX Layer: stem/conv]\u001e[ONNX Layer: stem/relu]",
        },
        {
            "Name": "Reformatting CopyNode for Output Tensor 0 to head/fc",
            "LayerType": "Reformat",
            "Inputs": [{"Name": "r", "Dimensions": [1, 4, 6, 6], "Format/Datatype": "Channel major FP16 format"}],
            "Outputs": [{"Name": "r2", "Dimensions": [1, 4, 6, 6], "Format/Datatype": "Row major linear FP32"}],
            "Metadata": "",
        },
        "head/fc",
    ],
    "Bindings": ["x", "y"],
}
PROFILE = [
    {"count": 10},
    {"name": "stem/conv + stem/relu", "timeMs": 1.0, "averageMs": 0.1, "medianMs": 0.1, "percentage": 90.0},
    {"name": "head/fc", "timeMs": 0.1, "averageMs": 0.01, "medianMs": 0.01, "percentage": 10.0},
]
TIMING = [{"startInMs": 1.0, "latencyMs": 1.0, "enqMs": 0.1, "h2dMs": 0.1, "computeMs": 0.8, "d2hMs": 0.1}] * 3
TENSORRT_CACHE = b"TRT-8600-EntropyCalibration2\nx: 3c010a14\nr: 3d00b0c1\ny: 3e80a0b1\n"
RUNTIME_CACHE = json.dumps({"x": {"lowest": -1.0, "highest": 2.0}, "r": {"lowest": [0.0], "highest": [3.0]}}).encode()
TEXT_CACHE = b"x 2.0\nr 3.5\n"
SELECTORS = ("*", "op:Conv & scope:/stem/**", "not (op:Relu | name:head*)", "between:x..y", "stem/*", '"a b"')
PREPROCESSING = ("size=6x6", "size=6x6,layout=CHW,color=RGB,scale=1/255,mean=0.1/0.2/0.3,std=1/1/1", "color=GRAY")


def recipe_document(text):
    return yaml.safe_load(text)


def save(proto, path):
    onnx.save(proto, path)
    return path
