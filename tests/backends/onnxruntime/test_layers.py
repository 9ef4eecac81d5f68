"""What ONNX Runtime's nodes are called in the words of TensorRT's inspector."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

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


def described(nodes, weights=(), shapes=None, feeds=None):
    return layers_of(
        helper.make_model(helper.make_graph(nodes, "g", [], [], list(weights))), shapes or {}, feeds or {}, {}
    )


KINDS = {
    "FLOAT": "FP32",
    "FLOAT16": "FP16",
    "BFLOAT16": "BF16",
    "INT8": "Int8",
    "UINT8": "UInt8",
    "INT32": "Int32",
    "INT64": "Int64",
    "BOOL": "Bool",
    "DOUBLE": "",
    "INT16": "",
    "UINT16": "",
}


def test_a_weight_has_its_type_in_the_words_of_tensorrt():
    for kind, word in KINDS.items():
        stored = helper.make_tensor("w", getattr(TensorProto, kind), [1, 3], [1, 1, 1])
        (layer,) = described([node("Add", ["x", "w"], ["y"], "a")], [stored])
        assert layer["Weights"] == {"Type": word, "Count": 3}, kind


def test_tensors_have_their_types_in_the_words_of_tensorrt_where_both_have_it():
    words = [("float", "FP32"), ("float16", "FP16"), ("bfloat16", "BF16"), ("uint8", "UInt8"), ("bool", "Bool")]
    for kind, word in words:
        (layer,) = described([node("Neg", ["x"], ["y"], "n")], shapes={"n": [{kind: [3, 5]}]})
        stated = {"Format/Datatype": f"Row major linear {word}", "Dimensions": [3, 5]}
        assert layer["Outputs"] == [{"Name": "y", "Location": "Host", **stated}]
    fed = {"x": np.zeros((7, 1), np.float16), "n": np.zeros(3, np.int64)}
    (layer,) = described([node("Any", ["x", "n"], ["y"], "a")], feeds=fed)
    assert [one["Format/Datatype"] for one in layer["Inputs"]] == ["Row major linear FP16", "Row major linear Int64"]
    assert [one["Dimensions"] for one in layer["Inputs"]] == [[7, 1], [3]]


def test_outputs_that_are_left_out_have_no_place_among_the_shapes():
    shapes = {"n": [{"float": [1]}, {}, {"int8": [3]}]}
    (layer,) = described([node("Many", ["x"], ["a", "", "b", "c", "d", "e"], "n")], shapes=shapes)
    assert [one.get("Dimensions") for one in layer["Outputs"]] == [[1], None, [3], None, None]


@pytest.mark.parametrize(
    ("op", "domain", "blocked"),
    [
        ("Conv", "com.microsoft.nchwc", True),
        ("Upsample", "com.microsoft.nchwc", True),
        ("ReorderInput", "com.microsoft.nchwc", True),
        ("ReorderOutput", "com.microsoft.nchwc", False),
        ("Conv", "", False),
        ("Conv", "com.microsoft", False),
        ("Conv", "org.other", False),
    ],
)
def test_tensors_of_blocked_channels_are_those_that_their_own_operators_make(op, domain, blocked):
    (layer,) = described([node(op, ["x"], ["y"], "n", domain=domain)], shapes={"n": [{"float": [1]}]})
    assert layer["Outputs"][0]["Format/Datatype"].startswith("NCHWc" if blocked else "Row major linear")


def test_constants_are_weights_and_bias_by_their_order_and_further_ones_by_their_number():
    weights = [numpy_helper.from_array(np.zeros(count, np.float32), f"w{count}") for count in (2, 3, 5, 7)]
    names = ["w2", "x", "w3", "w5", "w7"]
    (layer,) = described([node("Any", names, ["y"], "a")], weights)
    assert [layer[key]["Count"] for key in ("Weights", "Bias", "Operand2Weights", "Operand3Weights")] == [2, 3, 5, 7]
    assert layer["Inputs"] == [{"Name": "x"}]


@pytest.mark.parametrize(
    ("op", "inputs", "maps"),
    [
        ("Conv", ["first", "w"], 4),
        ("FusedConv", ["x", "w", "bias"], 4),
        ("Conv", ["x", "fed", "w"], 4),
        ("ConvTranspose", ["x", "w"], None),
        ("ConvInteger", ["x", "w"], None),
        ("Conv", ["w", "x"], None),
        ("Conv", ["x", "scalar"], None),
    ],
)
def test_a_convolution_makes_as_many_maps_as_its_kernel_has(op, inputs, maps):
    shapes = {"first": (9, 2, 5, 5), "w": (4, 2, 3, 1), "bias": (6,), "scalar": ()}
    weights = [numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in shapes.items()]
    (layer,) = described([node(op, inputs, ["y"], "c")], weights)
    assert layer.get("OutMaps") == maps
    assert (layer["Groups"], "Kernel" in layer, "PrePadding" in layer, "Activation" in layer) == (
        1,
        False,
        False,
        False,
    )


def test_paddings_are_those_before_and_those_behind_of_each_axis():
    for pads in ([1, 2], [1, 2, 3, 4], [1, 2, 3, 4, 5, 6]):
        (layer,) = described([node("Conv", ["x", "w"], ["y"], "c", pads=pads, dilations=[2, 3])])
        half = len(pads) // 2
        assert (layer["PrePadding"], layer["PostPadding"]) == (pads[:half], pads[half:])
        assert layer["Dilation"] == [2, 3]
