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


def test_a_weight_is_rounded_to_steps_of_its_own_largest_number():
    """Each channel's largest number over 127 is its step; numbers are counted in steps, to the nearest."""
    rng = np.random.default_rng(2)
    stored = rng.integers(0, 256, (3, 4, 5)).astype(np.uint8)
    for axis, stated in ((0, {"axis": 0}), (1, {}), (2, {"axis": 2}), (2, {"axis": -1}), (None, {})):
        count = 1 if axis is None else stored.shape[axis]
        scale = np.float32([0.01, 0.02, 0.05, 0.03, 0.07])[:count]
        zero = np.uint8([120, 100, 0, 255, 7])[:count]
        if axis is None:
            scale, zero = scale.reshape(()), zero.reshape(())
        nodes = [
            helper.make_node("DequantizeLinear", ["w", "s", "z"], ["d"], "dq", **stated),
            helper.make_node("Add", ["x", "d"], ["y"], "add"),
        ]
        held = [numpy_helper.from_array(array, name) for name, array in (("w", stored), ("s", scale), ("z", zero))]
        network = model(nodes, {"x": [3, 4, 5]}, {"y": [3, 4, 5]}, held)
        done = SymmetricQDQ()(network)
        assert done.notes == ("made 0 activations and 1 weights symmetric INT8",)
        along = [1 if axis is None or at != axis else count for at in range(3)]
        real = (stored - zero.reshape(along).astype(np.float64)) * scale.reshape(along).astype(np.float64)
        others = None if axis is None else tuple(at for at in range(3) if at != axis)
        step = (np.abs(real).max(axis=others).reshape(scale.shape) / 127).astype(np.float32)
        integers, new_scale, new_zero = (v.const_value.numpy() for v in done.model.nodes["dq"].inputs)
        np.testing.assert_array_equal(new_scale, step)
        np.testing.assert_array_equal(integers, np.rint(real / step.reshape(along).astype(np.float64)).astype(np.int8))
        assert (integers.dtype, new_zero.dtype, new_zero.tolist()) == (np.int8, np.int8, np.zeros_like(step).tolist())
        assert set(done.model.initializers) == {"w_symmetric", "d_scale_symmetric", "d_zero_symmetric"}


def test_what_is_left_is_named():
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], "one"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], "back"),
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["r"], "two"),
        helper.make_node("Cast", ["r"], ["c"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Add", ["d", "c"], ["y"], "add"),
    ]
    held = [numpy_helper.from_array(np.float32(0.1), "s"), numpy_helper.from_array(np.uint8(3), "z")]
    network = model(nodes, {"x": [4]}, {"y": [4]}, held)
    done = SymmetricQDQ()(network)
    assert done.notes == (
        "made 1 activations and 0 weights symmetric INT8",
        "left 1 whose scale or use does not allow it: two",
    )
    assert [SymmetricQDQ.fits(network.nodes[name]) for name in ("one", "back", "two", "cast")] == [
        True,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize("zero", [None, "given"])
@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int16])
def test_only_eight_bits_with_an_offset_or_without_a_sign_are_made_symmetric(kind, zero):
    inputs = ["x", "s"] + ([] if zero is None else ["z"])
    stated = {} if zero else {"output_dtype": {np.int8: 3, np.uint8: 2, np.int16: 5}[kind]}
    nodes = [
        helper.make_node("QuantizeLinear", inputs, ["q"], "quantize", **stated),
        helper.make_node("DequantizeLinear", ["q", *inputs[1:]], ["d"], "dequantize"),
        helper.make_node("Neg", ["d"], ["y"], "neg"),
    ]
    held = [numpy_helper.from_array(np.float32(0.1), "s")] + ([numpy_helper.from_array(kind(3), "z")] if zero else [])
    network = model(nodes, {"x": [4]}, {"y": [4]}, held, opset=21, ir_version=10)
    done = SymmetricQDQ()(network)
    assert done.changed is (kind == np.uint8 or (kind == np.int8 and zero is not None))
    if done.changed:
        reach = {(np.uint8, None): 255, (np.uint8, "given"): 252, (np.int8, "given"): 131}[kind, zero]
        scale = done.model.nodes["quantize"].inputs[1].const_value.numpy()
        assert scale == np.float32(np.float64(np.float32(0.1)) * reach / 127)
        assert "output_dtype" not in done.model.nodes["quantize"].attributes
        assert done.model.tensor("q").dtype == "INT8"


def test_a_pair_of_two_zero_points_stays():
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], "quantize"),
        helper.make_node("DequantizeLinear", ["q", "s", "u"], ["d"], "dequantize"),
        helper.make_node("Neg", ["d"], ["y"], "neg"),
    ]
    arrays = {"s": np.float32(0.5), "z": np.uint8(28), "u": np.uint8(29)}
    network = model(
        nodes, {"x": [4]}, {"y": [4]}, [numpy_helper.from_array(np.asarray(a), n) for n, a in arrays.items()]
    )
    assert not SymmetricQDQ.fits(network.nodes["quantize"])
    assert not SymmetricQDQ()(network).changed


def test_a_pair_keeps_the_factor_between_its_scales():
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], "quantize"),
        helper.make_node("DequantizeLinear", ["q", "t", "z"], ["d"], "dequantize"),
        helper.make_node("Neg", ["d"], ["y"], "neg"),
    ]
    arrays = {"s": np.float32(0.5), "t": np.float32(1.5), "z": np.uint8(28)}
    network = model(
        nodes, {"x": [4]}, {"y": [4]}, [numpy_helper.from_array(np.asarray(a), n) for n, a in arrays.items()]
    )
    done = SymmetricQDQ()(network).model
    scales = [done.nodes[name].inputs[1].const_value.numpy().item() for name in ("quantize", "dequantize")]
    assert scales == [np.float32(0.5 * 227 / 127), np.float32(np.float64(np.float32(0.5 * 227 / 127)) * 3)]
    assert set(done.initializers) == {
        "q_scale_symmetric",
        "q_zero_symmetric",
        "d_scale_symmetric",
        "d_zero_symmetric",
    }
