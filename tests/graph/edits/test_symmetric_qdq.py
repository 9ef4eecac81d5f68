"""Asymmetric and unsigned Q/DQ become symmetric INT8 that covers the same range."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.kit.models import model
from workbench.graph.edits.registry import applicable
from workbench.graph.edits.symmetric_qdq import SymmetricQDQ
from workbench.graph.load import from_proto


def model_of(scale, zero_point, *, weight_zero=None, weight_scale=None) -> onnx.ModelProto:
    """x -> Q -> DQ -> Conv with a stored 8-bit weight."""
    rng = np.random.default_rng(1)
    stored = rng.integers(0, 255, (4, 3, 3, 3))
    weight_zero = np.full(4, 120, np.uint8) if weight_zero is None else weight_zero
    weight_scale = np.float32([0.01, 0.02, 0.03, 0.04]) if weight_scale is None else weight_scale
    weights = [
        numpy_helper.from_array(np.float32(scale), "s"),
        numpy_helper.from_array(zero_point, "z"),
        numpy_helper.from_array(stored.astype(np.uint8), "w"),
        numpy_helper.from_array(weight_scale, "ws"),
        numpy_helper.from_array(weight_zero, "wz"),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"], name="q"),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"], name="dq"),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], name="dqw", axis=0),
        helper.make_node("Conv", ["xd", "wd"], ["y"], name="conv"),
    ]
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 14, 14])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def run(model, x):
    options = ort.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    return ort.InferenceSession(model.to_bytes(), options, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


@pytest.mark.parametrize(
    ("zero_point", "reach"),
    [(np.uint8(128), 128), (np.uint8(0), 255), (np.int8(-128), 255), (np.int8(5), 133), (np.uint8(255), 255)],
)
def test_the_new_scale_covers_the_larger_side(zero_point, reach):
    result = SymmetricQDQ()(from_proto(model_of(0.05, np.array(zero_point))))
    assert result.changed
    assert result.notes == ("made 1 activations and 1 weights symmetric INT8",)
    node = result.model.nodes["q"]
    assert node.inputs[1].const_value.numpy() == pytest.approx(0.05 * reach / 127)
    for name in ("q", "dq", "dqw"):
        zero = result.model.nodes[name].inputs[2].const_value.numpy()
        assert zero.dtype == np.int8
        assert not zero.any()


def test_numbers_stay_within_one_step():
    before = from_proto(model_of(0.02, np.array(100, np.uint8)))
    after = SymmetricQDQ()(before).model
    x = np.random.default_rng(0).uniform(-2, 3, (1, 3, 16, 16)).astype(np.float32)
    old, new = run(before, x), run(after, x)
    noise = 10 * np.log10((old**2).sum() / ((old - new) ** 2).sum())
    assert noise > 30  # dB; 8-bit against 8-bit of other step
    assert not np.array_equal(old, new)


def test_weights_keep_their_values_to_half_a_step():
    model = from_proto(model_of(0.02, np.array(0, np.int8)))
    result = SymmetricQDQ()(model)
    assert result.notes == ("made 0 activations and 1 weights symmetric INT8",)

    def real(m):
        w, s, z = (v.const_value.numpy().astype(np.float64) for v in m.nodes["dqw"].inputs)
        return (w - z.reshape(-1, 1, 1, 1)) * s.reshape(-1, 1, 1, 1), s

    (old, _), (new, step) = real(model), real(result.model)
    assert (np.abs(old - new) <= step.reshape(-1, 1, 1, 1) / 2 * (1 + 1e-6)).all()
    assert np.abs(result.model.nodes["dqw"].inputs[0].const_value.numpy()).max() == 127


def test_a_channel_of_zeros_survives():
    proto = model_of(0.02, np.array(3, np.int8), weight_zero=np.zeros(4, np.uint8))
    for tensor in proto.graph.initializer:
        if tensor.name == "w":
            array = numpy_helper.to_array(tensor).copy()
            array[1] = 0
            tensor.CopyFrom(numpy_helper.from_array(array, "w"))
    node = SymmetricQDQ()(from_proto(proto)).model.nodes["dqw"]
    assert np.isfinite(node.inputs[1].const_value.numpy()).all()
    assert not node.inputs[0].const_value.numpy()[1].any()


def test_symmetric_models_are_left_alone():
    weights = {"weight_zero": np.zeros(4, np.int8)}
    proto = model_of(0.02, np.array(0, np.int8), **weights)
    for tensor in proto.graph.initializer:
        if tensor.name == "w":
            array = (numpy_helper.to_array(tensor).astype(int) - 128).astype(np.int8)
            tensor.CopyFrom(numpy_helper.from_array(array, "w"))
    model = from_proto(proto)
    result = SymmetricQDQ()(model)
    assert not result.changed
    assert result.model is model


def test_integers_read_by_other_operators_are_left():
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"], name="q"),
            helper.make_node("Cast", ["xq"], ["y"], name="cast", to=TensorProto.FLOAT),
        ],
        "made",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])],
        [numpy_helper.from_array(np.float32(0.1), "s"), numpy_helper.from_array(np.array(7, np.uint8), "z")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    assert not SymmetricQDQ()(from_proto(proto)).changed


@pytest.mark.parametrize("op", ["QuantizeLinear", "DequantizeLinear"])
@pytest.mark.parametrize("fed", ["s", "q"])
def test_what_is_fed_or_given_out_is_no_offer(op, fed):
    kinds = {
        "QuantizeLinear": (TensorProto.FLOAT, TensorProto.UINT8),
        "DequantizeLinear": (TensorProto.UINT8, TensorProto.FLOAT),
    }
    kind, result = kinds[op]
    inputs = {"x": (kind, [4])} | ({"s": (TensorProto.FLOAT, [])} if fed == "s" else {})
    stored = [numpy_helper.from_array(np.uint8(3), "z")]
    if fed != "s":
        stored.append(numpy_helper.from_array(np.float32(0.1), "s"))
    network = model([helper.make_node(op, ["x", "s", "z"], ["y"], "q")], inputs, {"y": (result, [4])}, stored)
    assert not [edit for edit in applicable(network, []) if edit.do == "symmetric_qdq"]


@pytest.mark.parametrize("what", ["a scale that is fed", "blocks"])
def test_weights_of_scales_that_are_no_channels_are_left(what):
    blocks = what == "blocks"
    dequantize = helper.make_node("DequantizeLinear", ["w", "s", "z"], ["d"], name="dq", axis=0)
    if blocks:
        dequantize.attribute.append(helper.make_attribute("block_size", 2))
    shape = [2, 4] if blocks else [4]
    stored = {"w": np.full((4, 4), 7, np.uint8), "z": np.full(shape, 120, np.uint8)}
    stored |= {"s": np.full(shape, 0.1, np.float32)} if blocks else {}
    inputs = {"x": [4, 4]} if blocks else {"x": [4, 4], "s": shape}
    graph = helper.make_graph(
        [dequantize, helper.make_node("MatMul", ["x", "d"], ["y"], name="m")],
        "made",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in inputs.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 4])],
        [numpy_helper.from_array(array, name) for name, array in stored.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    assert not SymmetricQDQ()(from_proto(proto)).changed
