"""Q/DQ pairs whose two scales differ: in type, or by a factor that an exporter folded into one of them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.kit.models import run
from workbench.graph.edits.registry import edit_by_name
from workbench.graph.load import from_proto

RNG = np.random.default_rng(0)
CHANNELS = np.float32([0.02, 0.03, 0.04, 0.05])


def pair(first, second, zero_points=(128, 128), axis=None):
    attributes = {} if axis is None else {"axis": axis}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], "quantize", **attributes),
        helper.make_node("DequantizeLinear", ["q", "s2", "z2"], ["d"], "dequantize", **attributes),
        helper.make_node("Relu", ["d"], ["y"], "relu"),
    ]
    value = TensorProto.FLOAT16 if second.dtype == np.float16 else TensorProto.FLOAT
    zeros = [np.full(first.shape, zero, np.uint8) for zero in zero_points]
    weights = {"s": first, "s2": second, "z": zeros[0], "z2": zeros[1]}
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [info("x", TensorProto.FLOAT, [2, 4, 3])],
        [info("y", value, [2, 4, 3])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    return from_proto(onnx.shape_inference.infer_shapes(proto))


@pytest.mark.parametrize("edit", ["symmetric_qdq", "remove_qdq"])
@pytest.mark.parametrize(
    ("first", "second", "axis"),
    [
        (np.float32(0.03), np.float32(0.03), None),
        (np.float32(0.03), np.float16(0.03), None),
        (np.float32(0.03), np.float32(0.06), None),
        (np.float32(0.03), np.float16(0.015), None),
        (np.float32(0.03), np.float32(-0.03), None),
        (CHANNELS, CHANNELS * np.float32(2), 1),
        (CHANNELS, CHANNELS[::-1].copy(), 1),
    ],
)
def test_the_factor_stays(edit, first, second, axis):
    model = pair(first, second, axis=axis)
    result = edit_by_name(edit)(model)
    assert result.changed
    onnx.checker.check_model(result.model.proto, full_check=True)
    x = {"x": RNG.normal(size=(2, 4, 3)).astype(np.float32)}
    before, after = (run(each, x)[0] for each in (model, result.model))
    assert before.dtype == after.dtype
    np.testing.assert_allclose(after, before, atol=3 * float(np.abs(second).max()))
    assert np.abs(before).max() > 10 * float(np.abs(second).max())


@pytest.mark.parametrize("edit", ["symmetric_qdq", "remove_qdq"])
def test_an_offset_that_no_factor_makes_is_left(edit):
    assert not edit_by_name(edit)(pair(np.float32(0.03), np.float32(0.03), zero_points=(128, 100))).changed


@pytest.mark.parametrize("axis", [0, 1])
def test_weights_in_blocks_become_what_they_stand_for(axis):
    stored = RNG.integers(-8, 8, (8, 8))
    scale = RNG.uniform(0.1, 1, (2, 8) if axis == 0 else (8, 2)).astype(np.float32)
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s"], ["w"], "weight", axis=axis, block_size=4),
        helper.make_node("MatMul", ["x", "w"], ["y"], "product"),
    ]
    info = helper.make_tensor_value_info
    weights = [helper.make_tensor("q", TensorProto.INT4, [8, 8], stored.ravel()), numpy_helper.from_array(scale, "s")]
    graph = helper.make_graph(nodes, "g", [info("x", 1, [3, 8])], [info("y", 1, [3, 8])], weights)
    model = from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10))
    after = edit_by_name("remove_qdq")(model).model
    assert [node.op_type for node in after.nodes.values()] == ["MatMul"]
    x = {"x": RNG.normal(size=(3, 8)).astype(np.float32)}
    np.testing.assert_allclose(run(after, x)[0], run(model, x)[0], rtol=1e-5, atol=1e-5)
