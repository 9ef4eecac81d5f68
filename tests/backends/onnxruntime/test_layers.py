"""What ONNX Runtime's nodes are called in the words of TensorRT's inspector."""

from __future__ import annotations

import numpy as np
from onnx import helper, numpy_helper

from workbench.backends.onnxruntime.layers import layers_of

node = helper.make_node


def test_nodes_are_told_with_what_they_read_make_and_hold():
    nodes = [
        node(
            *("Conv", ["x", "w", "b"], ["a"], "conv"),
            domain="com.microsoft.nchwc",
            kernel_shape=[3, 1],
            strides=[2, 1],
            pads=[1, 2, 3, 4],
            group=2,
            activation="Relu",
        ),
        node("ReorderOutput", ["a"], ["r"], "reorder", domain="com.microsoft.nchwc"),
        node("QLinearConv", ["r", "", "w", "b", "c"], ["q", "more"], "integers"),
        node("Add", ["q", "unknown"], ["y"], "add"),
    ]
    weights = {
        "w": np.zeros((4, 2, 3, 1), np.float32),
        "b": np.zeros(4, np.float16),
        "c": np.zeros((2, 5), np.int8),
    }
    graph = helper.make_graph(nodes, "g", [], [], [numpy_helper.from_array(one, name) for name, one in weights.items()])
    shapes = {
        "conv": [{"float": [1, 4, 2, 2]}],
        "reorder": [{"float16": [1, 4, 2, 2]}],
        "integers": [{"uint8": [1]}],
        "add": [{"complex": [7]}],
    }
    made = layers_of(helper.make_model(graph), shapes, {"x": np.zeros((1, 2), np.float32)}, {"conv": ["a", "b"]})
    conv, reorder, integers, add = made
    assert (conv["Name"], conv["LayerType"], conv["Domain"]) == ("conv", "Conv", "com.microsoft.nchwc")
    assert conv["Metadata"] == "[ONNX Layer: a][ONNX Layer: b]"
    plain, blocked = "Row major linear", "NCHWc, channels in blocks, padded as linear"
    x = {"Name": "x", "Location": "Host", "Format/Datatype": f"{plain} FP32", "Dimensions": [1, 2]}
    a = {"Name": "a", "Location": "Host", "Format/Datatype": f"{blocked} FP32", "Dimensions": [1, 4, 2, 2]}
    assert (conv["Inputs"], conv["Outputs"]) == ([x], [a])
    assert (conv["Weights"], conv["Bias"]) == ({"Type": "FP32", "Count": 24}, {"Type": "FP16", "Count": 4})
    assert (conv["Kernel"], conv["Stride"], "Dilation" in conv, conv["Groups"]) == ([3, 1], [2, 1], False, 2)
    assert (conv["PrePadding"], conv["PostPadding"], conv["OutMaps"], conv["Activation"]) == ([1, 2], [3, 4], 4, "RELU")
    assert (reorder["Inputs"], reorder["Metadata"]) == ([a], "")
    assert reorder["Outputs"][0]["Format/Datatype"] == f"{plain} FP16"
    assert (reorder.get("Groups"), "Weights" in reorder) == (None, False)
    assert integers["Operand2Weights"] == {"Type": "Int8", "Count": 10}
    assert (integers["Groups"], "OutMaps" in integers) == (1, False)
    assert integers["Outputs"] == [
        {"Name": "q", "Location": "Host", "Format/Datatype": f"{plain} UInt8", "Dimensions": [1]},
        {"Name": "more", "Location": "Host"},
    ]
    assert add["Inputs"][1] == {"Name": "unknown"}
    assert add["Outputs"][0]["Format/Datatype"] == f"{plain} complex"
