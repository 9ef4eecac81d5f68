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


def operand(q, scale, zero=None, *, between=(), reader="Add", outputs=None, inputs=None, **stated):
    """A DequantizeLinear of stored numbers, nodes that make ``m`` of its result ``d``, and what reads that."""
    arrays = {"q": q, "s": scale} | ({} if zero is None else {"z": zero})
    held = [
        numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items() if name not in (inputs or {})
    ]
    read = "m" if between else "d"
    nodes = [
        helper.make_node("DequantizeLinear", list(arrays), ["d"], name="dq", **stated),
        *between,
        helper.make_node(reader, ["x", read], ["y"], name="reader"),
    ]
    return model(nodes, {"x": [4, 4]} | (inputs or {}), {"y": None} | (outputs or {}), held, opset=21, ir_version=10)


Q = np.arange(-30, 30, 2, dtype=np.int8).reshape(2, 3, 5)
move = helper.make_node


@pytest.mark.parametrize("stated", [0, 1, 2, -1, -2, None])
@pytest.mark.parametrize("zeros", [True, False])
def test_an_operand_is_value_less_zero_point_times_scale_along_its_axis(stated, zeros):
    axis = 1 if stated is None else stated
    scale, zero = np.float32([0.1, 0.2, 0.3, 0.7, 1.1])[: Q.shape[axis]], np.int8([3, -2, 5, 1, -7])[: Q.shape[axis]]
    along = [1, 1, 1]
    along[axis] = Q.shape[axis]
    network = operand(Q, scale, zero if zeros else None, **({} if stated is None else {"axis": stated}))
    done = DequantizeConstants()(network)
    assert done.notes == ("stored 0 INT32 constants and 1 elementwise operands as floating point",)
    ((name, value),) = done.model.initializers.items()
    offset = zero.reshape(along).astype(np.float64) if zeros else 0.0
    expected = ((Q - offset) * scale.reshape(along).astype(np.float64)).astype(np.float32)
    assert name == "d"
    np.testing.assert_array_equal(value.const_value.numpy(), expected)


@pytest.mark.parametrize(
    ("between", "reader", "stored"),
    [
        ((), "Mul", True),
        ((), "MatMul", False),
        ([move("Transpose", ["d"], ["m"])], "MatMul", False),
        ([move("Cast", ["d"], ["c"], to=1), move("Identity", ["c"], ["m"])], "MatMul", False),
        ([move("Cast", ["d"], ["c"], to=1), move("Identity", ["c"], ["m"])], "Mul", True),
        ([move("Relu", ["d"], ["m"])], "MatMul", True),
    ],
)
def test_it_is_an_operand_where_no_product_reads_it_behind_moves(between, reader, stored):
    network = operand(Q[0, [0, 1, 2, 0], :4], np.float32(0.5), between=between, reader=reader)
    assert DequantizeConstants()(network).changed is stored
    assert DequantizeConstants.fits(network.nodes["dq"]) is stored


@pytest.mark.parametrize(
    ("why", "network"),
    [
        ("blocks", operand(Q[0, :, :4], np.ones((3, 2), np.float32), axis=1, block_size=2)),
        ("given out", operand(Q[0, :1, :4], np.float32(0.5), outputs={"d": None})),
        ("a fed scale", operand(Q[0, :1, :4], np.float32(0.5), inputs={"s": []})),
        ("a fed zero point", operand(Q[0, :1, :4], np.float32(0.5), np.int8(1), inputs={"z": (TensorProto.INT8, [])})),
    ],
)
def test_what_cannot_be_stored_is_left(why, network):
    assert not DequantizeConstants()(network).changed, why
    assert not DequantizeConstants.fits(network.nodes["dq"])


def test_a_node_without_a_scale_is_left():
    nodes = [
        helper.make_node("DequantizeLinear", ["q"], ["d"], name="dq"),
        helper.make_node("Add", ["x", "d"], ["y"], name="reader"),
    ]
    network = model(nodes, {"x": [3]}, {"y": [3]}, [numpy_helper.from_array(np.int8([1, 2, 3]), "q")])
    assert not DequantizeConstants()(network).changed
    assert not DequantizeConstants.fits(network.nodes["dq"])


def test_the_scale_of_a_scale_and_what_nothing_reads_are_no_operands():
    nodes = [
        helper.make_node("DequantizeLinear", ["scales", "s"], ["scale"], name="inner"),
        helper.make_node("DequantizeLinear", ["q", "scale"], ["w"], name="outer"),
        helper.make_node("DequantizeLinear", ["q", "s"], ["unread"], name="idle"),
        helper.make_node("MatMul", ["x", "w"], ["y"], name="product"),
    ]
    arrays = {"scales": np.int8(3), "s": np.float32(0.5), "q": Q[0, :, :4]}
    held = [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]
    network = model(nodes, {"x": [2, 3]}, {"y": [2, 4]}, held, opset=21, ir_version=10)
    assert [DequantizeConstants.fits(network.nodes[name]) for name in ("inner", "outer", "idle")] == [False] * 3
    assert not DequantizeConstants()(network).changed


def test_what_is_left_is_said_beside_what_is_stored():
    nodes = [
        helper.make_node("DequantizeLinear", ["b", "s"], ["bias"], name="one"),
        helper.make_node("DequantizeLinear", ["b", "fed"], ["other"], name="two"),
        helper.make_node("DequantizeLinear", ["k", "s"], ["third"], name="three"),
        helper.make_node("Sum", ["x", "bias", "other", "third"], ["y"], name="sum"),
    ]
    arrays = {"b": np.int32([1, 2, 3]), "s": np.float32(0.5), "k": np.int8([4, 5, 6])}
    held = [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]
    network = model(nodes, {"x": [3], "fed": []}, {"y": [3]}, held)
    done = DequantizeConstants()(network)
    assert done.notes == (
        "stored 1 INT32 constants and 1 elementwise operands as floating point",
        "left 1 DequantizeLinear whose inputs are no constants: two",
    )
    assert {name: value.const_value.numpy().tolist() for name, value in done.model.initializers.items()} == {
        "b": [1, 2, 3],
        "bias": [0.5, 1, 1.5],
        "third": [2, 2.5, 3],
    }


def test_a_constant_is_stored_in_the_type_that_its_dequantization_states():
    nodes = [
        helper.make_node("DequantizeLinear", ["b", "s"], ["d"], "dq", output_dtype=TensorProto.FLOAT16),
        helper.make_node("Add", ["x", "d"], ["y"], "add"),
    ]
    held = [numpy_helper.from_array(np.int8([1, -3]), "b"), numpy_helper.from_array(np.float32(0.3), "s")]
    half = (TensorProto.FLOAT16, [2])
    done = DequantizeConstants()(model(nodes, {"x": half}, {"y": half}, held, opset=23, ir_version=10))
    array = done.model.initializers["d"].const_value.numpy()
    assert (array.dtype, array.tolist()) == (np.float16, np.float16([0.3, -0.9]).tolist())
