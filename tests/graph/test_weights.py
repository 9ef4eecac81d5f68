"""Which constants are a node's parameters, and what of their content is there."""

from __future__ import annotations

import struct

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from tests.kit.models import constant, model, weight
from workbench.graph.weights import bytes_of, constant_in, constant_of, is_stripped

node = helper.make_node


def of(network):
    return {address: [str(value.name) for value in values] for address, values in network.weights.items()}


@pytest.mark.parametrize(
    ("op", "settings"),
    [
        ("Clip", {1, 2}),
        ("DequantizeLinear", {1, 2}),
        ("Dropout", {1, 2}),
        ("OneHot", {1, 2}),
        ("Pad", {1, 2, 3}),
        ("QLinearConv", {1, 2, 4, 5, 6, 7}),
        ("QLinearMatMul", {1, 2, 4, 5, 6, 7}),
        ("QuantizeLinear", {1, 2}),
        ("Range", {0, 1, 2}),
        ("Resize", {1, 2, 3}),
        ("Upsample", {1}),
        ("Conv", set()),
        ("own.Clip", set()),
        ("com.microsoft.QuantizeLinear", {1, 2}),
        ("com.microsoft.DequantizeLinear", {1, 2}),
        ("ai.onnx.Upsample", {1}),
    ],
)
def test_what_steers_an_operator_is_not_learnt(op, settings):
    domain, _, op = op.rpartition(".")
    names = [f"w{at}" for at in range(9)]
    network = model(
        [node(op, [*names, "x"], ["y"], "n", domain=domain)],
        {"x": [2]},
        {"y": [2]},
        [weight(name, 2) for name in names],
    )
    assert of(network) == {"n": [name for at, name in enumerate(names) if at not in settings]}


@pytest.mark.parametrize(
    ("dtype", "op", "learnt"),
    [
        ("float32", "Add", True),
        ("float16", "Add", True),
        ("float64", "Add", True),
        ("int8", "Add", True),
        ("uint8", "Add", True),
        ("int64", "Add", False),
        ("bool", "Add", False),
        ("int32", "Add", False),
        ("int32", "DequantizeLinear", True),
        ("int32", "QLinearConv", True),
    ],
)
def test_shapes_and_masks_are_not_learnt_and_a_bias_is_where_it_is_dequantized(dtype, op, learnt):
    nodes = [node(op, ["w", "x"], ["y"], "n")]
    network = model(nodes, {"x": [2]}, {"y": [2]}, [constant("w", [1, 1], dtype)])
    assert of(network) == ({"n": ["w"]} if learnt else {})


def test_text_is_not_learnt():
    words = helper.make_tensor("w", TensorProto.STRING, [2], [b"a", b"b"])
    assert of(model([node("Equal", ["w", "x"], ["y"], "n")], {"x": [2]}, {"y": [2]}, [words])) == {}


def test_a_constant_counts_for_the_first_node_that_depends_on_an_input_too():
    nodes = [
        node("Constant", [], ["k"], "k", value=constant("k", [1, 2], "float32")),
        node("DequantizeLinear", ["bias", "scale"], ["b"], "dq"),
        node("Add", ["w", "k"], ["wk"], "folded"),
        node("Cast", ["wk"], ["wk2"], "cast", to=1),
        node("Mul", ["x", "wk2"], ["a"], "mul"),
        node("Add", ["a", "b"], ["y"], "add"),
    ]
    weights = [weight("w", 2), constant("bias", [3, 4], "int32"), constant("scale", 0.5, "float32")]
    assert of(model(nodes, {"x": [2]}, {"y": [2]}, weights)) == {"mul": ["w", "k"], "add": ["bias"]}


@pytest.mark.parametrize("op", ["Bernoulli", "Multinomial", "RandomNormalLike", "RandomUniformLike"])
def test_what_is_drawn_at_random_depends_on_more_than_constants(op):
    nodes = [node(op, ["w"], ["r"], "random"), node("Add", ["x", "r"], ["y"], "add")]
    assert of(model(nodes, {"x": [2]}, {"y": [2]}, [weight("w", 2)])) == {"random": ["w"]}
    nodes = [node("RandomNormal", [], ["r"], "random", shape=[2]), node("Add", ["w", "r"], ["y"], "add")]
    assert of(model(nodes, {}, {"y": [2]}, [weight("w", 2)])) == {"add": ["w"]}


def test_a_node_that_holds_a_graph_has_the_weights_that_it_reads():
    body = helper.make_graph(
        [node("Identity", ["go"], ["on"], "keep"), node("Add", ["s", "x"], ["t"], "sum")],
        "body",
        [helper.make_tensor_value_info(*each) for each in (("i", 7, []), ("go", 9, []), ("s", 1, [2]))],
        [helper.make_tensor_value_info(*each) for each in (("on", 9, []), ("t", 1, [2]))],
    )
    nodes = [node("Loop", ["count", "", "w"], ["y"], "loop", body=body)]
    network = model(nodes, {"x": [2]}, {"y": [2]}, [constant("count", 3), weight("w", 2)])
    assert of(network) == {"loop": ["w"]}


def made(op="Constant", domain="", **attributes):
    return ir.node(op, [], attributes, domain=domain).outputs[0]


def test_the_content_of_a_constant_is_found_in_every_attribute_that_may_hold_it():
    tensor = ir.tensor(np.array([1.0, 2.0], np.float32))
    assert constant_of(made(value=tensor)) is constant_in(made(value=tensor)) is tensor
    for name, held, expected in (
        ("value_float", 1.5, np.float32(1.5)),
        ("value_floats", [1.5, 2.5], np.array([1.5, 2.5], np.float32)),
        ("value_int", 3, np.int64(3)),
        ("value_ints", [3, 5, 7], np.array([3, 5, 7])),
    ):
        assert constant_of(made(**{name: held})) is None
        array = constant_in(made(**{name: held})).numpy()
        np.testing.assert_array_equal(array, expected)
        assert (array.dtype, array.shape) == (expected.dtype, expected.shape)


def test_what_is_no_constant_of_onnx_has_no_content():
    tensor = ir.tensor([1.0])
    for value in (
        made("Own", "own", value=tensor),
        made("Constant", "own", value=tensor),
        made("Constant", "own", value_float=1.0),
        made(value_string="text"),
        ir.Value(name="fed"),
    ):
        assert constant_of(value) is constant_in(value) is None
    for name, kind in (("value", "TENSOR"), ("value_float", "FLOAT")):
        given = ir.RefAttr(name, "given", ir.AttributeType[kind])
        value = ir.Node("", "Constant", [], [given]).outputs[0]
        assert constant_of(value) is constant_in(value) is None


@pytest.mark.parametrize(
    ("tensor", "content"),
    [
        (ir.tensor(np.array([[1, 2], [3, 4]], "<i4")), struct.pack("<4i", 1, 2, 3, 4)),
        (ir.Tensor(np.asfortranarray(np.array([[1, 2], [3, 4]], "<i4"))), struct.pack("<4i", 1, 2, 3, 4)),
        (ir.Tensor(np.array([[1, 2], [3, 4]], "<i2").T), struct.pack("<4h", 1, 3, 2, 4)),
        (ir.Tensor(np.array([1, 2, 3], ml_dtypes.int4), dtype=ir.DataType.INT4), b"\x21\x03"),
        (ir.StringTensor([b"ab", b"", b"c"], shape=ir.Shape([3])), struct.pack("<q2sqq1s", 2, b"ab", 0, 1, b"c")),
    ],
)
def test_bytes_are_little_endian_and_in_onnxs_order(tensor, content):
    assert bytes(bytes_of(tensor)) == content


def test_bytes_are_handed_out_where_they_lie():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert np.shares_memory(np.frombuffer(bytes_of(ir.Tensor(array)), np.uint8), array)


@pytest.mark.parametrize(
    ("message", "stripped"),
    [
        (TensorProto(data_type=1, dims=[2]), True),
        (TensorProto(data_type=1, dims=[2], name="w", doc_string="bare"), True),
        (TensorProto(data_type=1, dims=[2], float_data=[1, 2]), False),
        (TensorProto(data_type=1, dims=[2], raw_data=bytes(8)), False),
        (TensorProto(data_type=7, dims=[1], int64_data=[0]), False),
        (TensorProto(data_type=1, dims=[0]), False),
        (TensorProto(data_type=1), True),
    ],
)
def test_a_weight_is_stripped_where_it_has_elements_and_no_numbers(message, stripped):
    assert is_stripped(ir.serde.TensorProtoTensor(message)) == stripped


def test_text_is_stripped_where_there_is_less_than_its_shape_says():
    assert is_stripped(ir.StringTensor([], shape=ir.Shape([2])))
    assert not is_stripped(ir.StringTensor([b"a", b"b"], shape=ir.Shape([2])))
    assert not is_stripped(ir.tensor([1.0]))
