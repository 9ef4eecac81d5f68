"""Constants that TensorRT cannot dequantize become floating point, with the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.kit.models import model, run
from workbench.graph.edits.dequantize_constants import DequantizeConstants
from workbench.graph.load import from_proto, load_model


def biased(bias, scale, zero=None, *, axis=0):
    inputs = ["b", "bs"] + ([] if zero is None else ["bz"])
    nodes = [
        helper.make_node("DequantizeLinear", inputs, ["bias"], name="dqb", axis=axis),
        helper.make_node("Conv", ["x", "w", "bias"], ["y"], name="conv"),
    ]
    arrays = {"b": bias, "bs": scale, "w": np.ones((4, 3, 1, 1), np.float32)} | ({} if zero is None else {"bz": zero})
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 4, 4])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8))


@pytest.mark.parametrize(
    ("scale", "zero"),
    [
        (np.float32([0.1, 0.2, 0.3, 0.4]), None),
        (np.float32([0.1, 0.2, 0.3, 0.4]), np.zeros(4, np.int32)),
        (np.float32(0.25), None),
    ],
    ids=["per channel", "with zero point", "per tensor"],
)
def test_an_int32_bias_becomes_value_times_scale(scale, zero):
    values = np.array([1, -2, 3_000_000, 7], np.int32)
    result = DequantizeConstants()(biased(values, scale, zero))
    assert result.notes == ("stored 1 INT32 constants and 0 elementwise operands as floating point",)
    assert [n.op_type for n in result.model.nodes.values()] == ["Conv"]
    assert sorted(result.model.initializers) == ["bias", "w"]
    bias = result.model.nodes["conv"].inputs[2].const_value.numpy()
    assert bias.dtype == np.float32
    np.testing.assert_array_equal(bias, (values.astype(np.float64) * scale.astype(np.float64)).astype(np.float32))


def test_weights_stay_quantized(shared):
    model = load_model(shared / "models/yolox_nano_qdq/model.onnx")
    result = DequantizeConstants()(model)
    assert result.notes[0].startswith("stored 113 INT32 constants and 0 elementwise operands")
    assert len(model.nodes) - len(result.model.nodes) == 113
    left = [n for n in result.model.nodes.values() if n.op_type == "DequantizeLinear" and n.inputs[0].is_initializer()]
    assert {use.node.op_type for n in left for use in n.outputs[0].uses()} == {"Conv"}
    assert not DequantizeConstants()(result.model).changed


def test_the_numbers_are_the_same(shared):
    import onnxruntime as ort

    model = load_model(shared / "models/yolox_nano_qdq/model.onnx")
    image = np.load(shared / "calibration_caches/recorded/yolox_nano.inputs.npz")["images_u8"][:1].astype(np.float32)
    options = ort.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    old, new = (
        ort.InferenceSession(m.to_bytes(), options, providers=["CPUExecutionProvider"]).run(
            None, {model.inputs[0].name: image}
        )[0]
        for m in (model, DequantizeConstants()(model).model)
    )
    assert old.std() > 0.01
    np.testing.assert_allclose(new, old, atol=1e-5)


def test_a_bias_that_is_computed_is_left():
    nodes = [helper.make_node("DequantizeLinear", ["b", "s"], ["y"], name="dq")]
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("b", TensorProto.INT32, [4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])],
        [numpy_helper.from_array(np.float32(0.1), "s")],
    )
    model = from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8))
    assert not DequantizeConstants()(model).changed


def test_a_scalar_operand_stays_a_scalar():
    nodes = [
        helper.make_node("DequantizeLinear", ["k", "s"], ["half"], name="dq"),
        helper.make_node("Add", ["x", "half"], ["y"], name="add"),
    ]
    weights = [numpy_helper.from_array(np.int8(50), "k"), numpy_helper.from_array(np.float32(0.01), "s")]
    result = DequantizeConstants()(model(nodes, {"x": []}, {"y": []}, weights))
    (half,) = [value.const_value for value in result.model.initializers.values()]
    assert tuple(half.shape) == ()
    (sum_,) = run(result.model, {"x": np.array(1, np.float32)})
    assert sum_ == np.float32(1.5)
    assert sum_.shape == ()
