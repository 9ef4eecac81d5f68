"""What is told of a lowered model for a target."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.kit.networks import network, ranges_of
from workbench.graph import from_proto
from workbench.precision.lowering import activation_tensors, lower
from workbench.precision.plan.presets import preset
from workbench.precision.targets import parse_target


def notes(model, name, target):
    resolution = preset(name, model).resolve(model, target=parse_target(target))
    return lower(model, resolution, ranges_of(model, activation_tensors(model, resolution))).notes


@pytest.mark.parametrize(
    ("dtype", "target", "since"),
    [
        ("INT4", "rtx@sm75", 80),
        ("INT4", "rtx@sm86", None),
        ("INT4", "rtx", None),
        ("FLOAT8E4M3FN", "rtx@sm86", 89),
        ("FLOAT8E4M3FN", "rtx@sm89", None),
        ("FLOAT4E2M1", "tensorrt-11@sm90", 100),
        ("FLOAT4E2M1", "rtx@sm120", None),
    ],
)
def test_quantization_of_the_models_own_that_the_gpu_lacks_is_said(dtype, target, since):
    stored = helper.make_tensor("q", TensorProto.DataType.Value(dtype), [4, 4], [1] * 16)
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s"], ["w"], "weight"),
        helper.make_node("MatMul", ["x", "w"], ["y"], "product"),
    ]
    info = helper.make_tensor_value_info
    weights = [stored, numpy_helper.from_array(np.float32(1), "s")]
    graph = helper.make_graph(nodes, "g", [info("x", 1, [2, 4])], [info("y", 1, [2, 4])], weights)
    model = from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11))
    entries = [note for note in notes(model, "fp16", target) if "own" in note]
    assert len(entries) == (since is not None)
    assert (
        since is None or f"{dtype} (node 'weight') needs sm{since} or newer, and the target is {target}" in entries[0]
    )


@pytest.mark.parametrize(
    ("name", "target", "message"),
    [
        ("fp32", "rtx@sm75", True),
        ("int8", "rtx@sm75", True),
        ("int8+fp16", "rtx@sm75", False),
        ("fp16", "rtx@sm75", False),
        ("fp32", "rtx@sm86", False),
        ("fp32", "tensorrt-10@sm75", False),
    ],
)
def test_a_product_that_turing_does_not_have_is_said_in_int8_over_fp32_too(name, target, message):
    actual = notes(network("conv", head="gemm"), name, target)
    assert any("no FP32 matrix product for sm75" in note for note in actual) == message
