"""Q/DQ goes: pairs leave what they multiplied by, stored weights become the numbers they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.kit.models import model
from workbench.graph.edits.registry import applicable, edit_by_name

node = helper.make_node
SHAPE = (2, 3, 5)


def removed(network):
    return edit_by_name("remove_qdq")(network)


def weights_of(arrays):
    return [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]


def weight(arrays, *, out=None, opset=21, more=(), outputs=None, **stated):
    """A DequantizeLinear of stored ``q``, ``s`` and perhaps ``z``, and an Add that reads it."""
    nodes = [
        node("DequantizeLinear", list(arrays), ["d"], "dq", **stated),
        node("Add", ["x", "d"], ["y"], "add"),
        *more,
    ]
    shape = list(np.shape(arrays["q"]))
    kind = (out or TensorProto.FLOAT, shape)
    return model(nodes, {"x": kind}, {"y": kind} | (outputs or {}), weights_of(arrays), opset=opset, ir_version=10)


def expected(q, scale, zero=0):
    return ((np.float64(q) - zero) * np.float64(scale)).astype(np.float32)


Q = np.arange(-15, 15, dtype=np.int8).reshape(SHAPE)


@pytest.mark.parametrize("stated", [0, 1, 2, -1, -3, None])
@pytest.mark.parametrize("zeros", [True, False])
def test_a_weight_is_what_it_stands_for_along_its_axis(stated, zeros):
    axis = 1 if stated is None else stated
    length = SHAPE[axis]
    scale, zero = np.float32([0.5, 0.25, 2, 3, 0.125])[:length], np.int8([3, -2, 5, 1, -7])[:length]
    along = [1] * 3
    along[axis] = length
    arrays = {"q": Q, "s": scale} | ({"z": zero} if zeros else {})
    done = removed(weight(arrays, **({} if stated is None else {"axis": stated})))
    assert done.notes == ("removed 1 Q/DQ",)
    ((name, value),) = done.model.initializers.items()
    wanted = expected(Q, scale.reshape(along), zero.reshape(along) if zeros else 0)
    assert name == "d"
    np.testing.assert_array_equal(value.const_value.numpy(), wanted)


@pytest.mark.parametrize("shape", [(), (1,)])
def test_one_scale_is_for_all(shape):
    arrays = {"q": Q, "s": np.full(shape, 0.25, np.float32), "z": np.full(shape, 3, np.int8)}
    ((_, value),) = removed(weight(arrays)).model.initializers.items()
    np.testing.assert_array_equal(value.const_value.numpy(), expected(Q, 0.25, 3))


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("zeros", [None, "one", "each"])
def test_blocks_have_a_scale_and_a_zero_point_each(axis, zeros):
    q = np.arange(24, dtype=np.int8).reshape(4, 6)
    size = {0: 2, 1: 3, -1: 3}[axis]
    shape = (2, 6) if axis == 0 else (4, 2)
    scale = np.random.default_rng(0).integers(1, 9, shape).astype(np.float32)
    zero = {"one": np.int8(3), "each": np.arange(scale.size, dtype=np.int8).reshape(shape)}.get(zeros)
    arrays = {"q": q, "s": scale} | ({} if zero is None else {"z": zero})
    ((_, value),) = removed(weight(arrays, axis=axis, block_size=size)).model.initializers.items()
    wide = np.repeat(scale, size, axis)
    offset = np.repeat(zero, size, axis) if zeros == "each" else zero or 0
    np.testing.assert_array_equal(value.const_value.numpy(), expected(q, wide, offset))


def test_half_precision_and_eight_bit_floats_are_what_they_stand_for():
    half = removed(weight({"q": Q, "s": np.float16(0.5)}, out=TensorProto.FLOAT16)).model.initializers["d"].const_value
    assert (half.dtype.name, half.numpy()[0, 0, 0]) == ("FLOAT16", -7.5)
    import ml_dtypes

    q = np.array([0.5, 1.75, -3], ml_dtypes.float8_e4m3fn)
    stored = helper.make_tensor("q", TensorProto.FLOAT8E4M3FN, [3], q.tobytes(), raw=True)
    nodes = [node("DequantizeLinear", ["q", "s"], ["d"], "dq"), node("Add", ["x", "d"], ["y"], "add")]
    scale = weights_of({"s": np.float32(2)})
    network = model(nodes, {"x": [3]}, {"y": [3]}, [stored, *scale], opset=21, ir_version=10)
    assert removed(network).model.initializers["d"].const_value.numpy().tolist() == [1, 3.5, -6]


def test_a_weight_whose_name_says_that_it_was_dequantized_gets_its_own_back():
    nodes = [
        node("DequantizeLinear", ["kernel_q", "s"], ["kernel/dequantized"], "dq"),
        node("Add", ["x", "kernel/dequantized"], ["y"], "add"),
    ]
    held = weights_of({"kernel_q": Q, "s": np.float32(0.5)})
    done = removed(model(nodes, {"x": list(SHAPE)}, {"y": list(SHAPE)}, held)).model
    assert list(done.initializers) == ["kernel"]


def pair(first, second, *, zeros=(3, 3), axis=None, more=(), outputs=None, inputs=None, known=True, held=None):
    """A pair of two scales on x, or on a result of which the file says nothing, and a Neg behind it."""
    stated = {} if axis is None else {"axis": axis}
    arrays = {"s": first, "t": second} | {
        name: np.full(np.shape(scale), zero, np.uint8)
        for name, scale, zero in (("z", first, zeros[0]), ("u", second, zeros[1]))
    }
    arrays |= held or {}
    for name in inputs or {}:
        arrays.pop(name)
    read, made = (TensorProto.FLOAT16 if s.dtype == np.float16 else TensorProto.FLOAT for s in (first, second))
    nodes = [
        *([node("Relu", ["x"], ["r"], "relu")] if not known else []),
        node("QuantizeLinear", ["x" if known else "r", "s", "z"], ["q"], "quantize", **stated),
        node("DequantizeLinear", ["q", "t", "u"], ["d"], "dequantize", **stated),
        node("Neg", ["d"], ["y"], "neg"),
        *more,
    ]
    return model(
        nodes,
        {"x": (read, list(SHAPE))} | (inputs or {}),
        {"y": (made, list(SHAPE))} | (outputs or {}),
        weights_of(arrays),
        opset=21,
        ir_version=10,
    )


CHANNELS = np.float32([0.5, 0.25, 1])


def wires(network):
    return [
        f"{one.op_type}({', '.join(str(v.name) for v in one.inputs)}) -> {one.outputs[0].name}"
        for one in network.nodes.values()
    ]


def test_a_pair_of_one_scale_leaves_nothing():
    done = removed(pair(np.float32(0.5), np.float32(0.5)))
    assert done.notes == ("removed 1 Q/DQ",)
    assert wires(done.model) == ["Neg(x) -> y"]
    assert list(done.model.initializers) == []


def test_a_pair_of_two_types_leaves_a_cast():
    done = removed(pair(np.float32(0.5), np.float16(0.5))).model
    assert wires(done) == ["Cast(x) -> d/cast", "Neg(d/cast) -> y"]
    assert done.nodes["d/Cast"].attributes["to"].as_int() == TensorProto.FLOAT16
    assert str(done.tensor("d/cast")) == "d/cast float16[2x3x5]"


@pytest.mark.parametrize("axis", [1, -2, None])
def test_a_pair_of_two_scales_leaves_their_factor(axis):
    done = removed(pair(CHANNELS, CHANNELS * np.float32([3, 1, 5]), axis=axis)).model
    assert wires(done) == ["Mul(x, d/factor) -> d/scaled", "Neg(d/scaled) -> y"]
    factor = done.initializers["d/factor"].const_value.numpy()
    assert (factor.dtype, factor.tolist()) == (np.float32, [[[3], [1], [5]]])


def test_one_factor_for_all_channels_is_a_number():
    for network in (pair(np.float32(0.5), np.float32(1.5)), pair(CHANNELS, CHANNELS * np.float32(3), axis=1)):
        factor = removed(network).model.initializers["d/factor"].const_value.numpy()
        assert (factor.shape, factor.item()) == ((), 3)
    both = removed(pair(np.float32(0.5), np.float16(1.5))).model
    assert wires(both) == ["Cast(x) -> d/cast", "Mul(d/cast, d/factor) -> d/scaled", "Neg(d/scaled) -> y"]
    assert both.initializers["d/factor"].const_value.numpy().dtype == np.float16


STAYS = {
    "zero points that differ": pair(np.float32(0.5), np.float32(0.5), zeros=(3, 4)),
    "a scale that is fed": pair(np.float32(0.5), np.float32(0.5), inputs={"t": []}),
    "factors along an axis of a tensor whose axes the file does not count": pair(
        CHANNELS, CHANNELS * np.float32([3, 1, 5]), axis=1, known=False
    ),
    "a result that is given out": pair(np.float32(0.5), np.float32(0.5), outputs={"d": list(SHAPE)}),
}


def test_a_node_without_a_scale_is_left():
    nodes = [node("DequantizeLinear", ["q"], ["d"], "dq"), node("Add", ["x", "d"], ["y"], "add")]
    network = model(nodes, {"x": [3]}, {"y": [3]}, weights_of({"q": np.int8([1, 2, 3])}))
    assert not removed(network).changed
    assert "remove_qdq" not in {edit.do for edit in applicable(network, ["dq"])}


@pytest.mark.parametrize("why", STAYS)
def test_a_pair_stays_with(why):
    network = STAYS[why]
    assert not removed(network).changed
    assert "remove_qdq" not in {edit.do for edit in applicable(network, ["dequantize"])}


def test_what_is_left_is_said_beside_what_is_removed():
    more = [
        node("QuantizeLinear", ["x", "s", "z"], ["q2"], "quantize2"),
        node("DequantizeLinear", ["q2", "s", "other"], ["d2"], "dequantize2"),
        node("Neg", ["d2"], ["y2"], "neg2"),
    ]
    stated = {"y2": list(SHAPE)}
    done = removed(pair(np.float32(0.5), np.float32(0.5), more=more, outputs=stated, held={"other": np.uint8(7)}))
    assert done.notes == (
        "removed 1 Q/DQ",
        "left 1 whose scales or zero points do not allow it: dequantize2",
    )
    assert list(done.model.nodes) == ["neg", "quantize2", "dequantize2", "neg2"]
    assert list(done.model.initializers) == ["s", "z", "other"]


def test_a_quantizer_that_others_read_stays_for_them():
    more = [node("DequantizeLinear", ["q", "t", "u"], ["e"], "other"), node("Cast", ["q"], ["c"], "cast", to=1)]
    network = pair(np.float32(0.5), np.float32(0.5), more=more[1:], outputs={"c": list(SHAPE)})
    done = removed(network).model
    assert wires(done) == ["QuantizeLinear(x, s, z) -> q", "Neg(x) -> y", "Cast(q) -> c"]
    assert list(done.initializers) == ["s", "z"]
    both = pair(np.float32(0.5), np.float32(0.5), more=[more[0], node("Neg", ["e"], ["c"], "n")], outputs={"c": None})
    done = removed(both)
    assert done.notes == ("removed 2 Q/DQ",)
    assert wires(done.model) == ["Neg(x) -> y", "Neg(x) -> c"]


def test_the_type_that_is_stated_is_the_type_that_is_left():
    """From operator set 23 on a DequantizeLinear may make another type than its scale's, and a pair read another."""
    arrays = {"q": Q, "s": np.float32(0.3)}
    stated = weight(arrays, out=TensorProto.FLOAT16, opset=23, output_dtype=TensorProto.FLOAT16)
    held = removed(stated).model.initializers["d"].const_value.numpy()
    np.testing.assert_array_equal(held, expected(Q, np.float32(0.3)).astype(np.float16))
    assert held.dtype == np.float16
    kinds = {"x": (TensorProto.FLOAT16, [3]), "y": (TensorProto.FLOAT, [3])}
    for second, left in (({}, ["Cast(x) -> d/cast", "Neg(d/cast) -> y"]), ({"output_dtype": 10}, ["Neg(x) -> y"])):
        nodes = [
            node("QuantizeLinear", ["x", "s"], ["q"], "quantize", output_dtype=TensorProto.INT8),
            node("DequantizeLinear", ["q", "s"], ["d"], "dequantize", **second),
            node("Neg", ["d"], ["y"], "neg"),
        ]
        made = {"y": (TensorProto.FLOAT16 if second else TensorProto.FLOAT, [3])}
        network = model(nodes, {"x": kinds["x"]}, made, weights_of({"s": np.float32(0.5)}), opset=23, ir_version=10)
        assert wires(removed(network).model) == left


def test_a_sum_of_many_steps_in_half_precision_does_not_overflow_on_its_way():
    stored = np.array([100_000, -70_000], np.int32)
    done = removed(weight({"q": stored, "s": np.float16(0.0001)}, out=TensorProto.FLOAT16))
    product = (stored * np.float64(np.float16(0.0001))).astype(np.float16)
    np.testing.assert_array_equal(done.model.initializers["d"].const_value.numpy(), product)
