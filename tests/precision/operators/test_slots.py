"""What changes type with a node, and why some nodes change none: one small graph a reason."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.kit.models import constant, model
from workbench.precision.operators import FIXED, Slots, opset_for, own_type, slots
from workbench.precision.operators.float_types import _fits_fp16
from workbench.precision.operators.scalable import unscalable
from workbench.precision.operators.schemas import made_of, operator

NODE = helper.make_node
HALF, INT64 = (TensorProto.FLOAT16, [2, 3]), (TensorProto.INT64, [2, 3])
INFO = helper.make_tensor_value_info


def asked(nodes, floating="fp16", *, weights=(), opset=17, inputs=None, outputs=None, address="n", **more):
    network = model(nodes, inputs or {"x": [2, 3]}, outputs or {"y": None}, weights, opset=opset, **more)
    return slots(network, address, network.nodes[address], floating)


def placed(inputs, outputs, any_type=()):
    return Slots(frozenset(inputs), frozenset(outputs), frozenset(any_type))


@pytest.mark.parametrize(
    ("node", "weights", "places"),
    [
        (NODE("Relu", ["x"], ["y"], "n"), [], ([0], [0])),
        (NODE("Clip", ["x", "", "c"], ["y"], "n"), [constant("c", 1.0, "float32")], ([0, 2], [0])),
        (NODE("Gather", ["x", "i"], ["y"], "n"), [constant("i", [0])], ([0], [0])),
        (NODE("Resize", ["x", "", "c"], ["y"], "n"), [constant("c", [1.0, 2.0], "float32")], ([0], [0])),
        (NODE("ArgMax", ["x"], ["y"], "n"), [], ([0], [])),
        (NODE("Cast", ["x"], ["y"], "n", to=TensorProto.INT32), [], ([], [], [0])),
        (NODE("Shape", ["x"], ["y"], "n"), [], ([], [], [0])),
        (NODE("Split", ["x"], ["y", "z", "w"], "n", axis=1), [], ([0], [0, 1, 2])),
        (NODE("Dropout", ["x"], ["y", "mask"], "n"), [], ([0], [0])),
    ],
)
@pytest.mark.parametrize("floating", ["fp16", "bf16"])
def test_inputs_and_outputs_of_a_node_that_have_its_type(node, weights, places, floating):
    assert asked([node], floating, weights=weights) == placed(*places)


@pytest.mark.parametrize(
    ("node", "opset", "places"),
    [
        (NODE("IsInf", ["x"], ["y"], "n"), 17, ([0], [])),  # of float32 alone
        (NODE("IsInf", ["x"], ["y"], "n"), 20, ([], [], [0])),
        (NODE("Cast", ["x"], ["y"], "n", to=TensorProto.INT32), 17, ([], [], [0])),
        (NODE("Relu", ["x"], ["y"], "n"), 17, ([0], [])),
    ],
)
def test_in_fp32_a_node_takes_any_type_where_it_takes_both_low_ones(node, opset, places):
    assert asked([node], "fp32", opset=opset) == placed(*places)


BRANCH = helper.make_graph([NODE("Neg", ["r"], ["o"], "inner")], "b", [], [INFO("o", TensorProto.FLOAT, None)])
FLAG = numpy_helper.from_array(np.array(True), "f")


def test_what_is_inside_of_a_subgraph_or_read_by_one_keeps_its_type():
    nodes = [
        NODE("Relu", ["x"], ["r"], "n"),
        NODE("If", ["f"], ["y"], "if", then_branch=BRANCH, else_branch=BRANCH),
    ]
    assert asked(nodes, weights=[FLAG]) == "a subgraph reads its result, and its types stay as they are"
    assert asked(nodes, weights=[FLAG], address="if") == "it holds a subgraph, whose types stay as they are"
    network = model(nodes, {"x": [2, 3]}, {"y": None}, [FLAG])
    inner = next(address for address in network.nodes if address not in ("n", "if"))
    expected = "it is inside a subgraph or function, whose types stay as they are"
    assert slots(network, inner, network.nodes[inner], "fp16") == expected


@pytest.mark.parametrize(
    ("node", "more", "reason"),
    [
        (
            NODE("Gelu", ["x"], ["y"], "n", domain="com.microsoft"),
            {"domains": ["com.microsoft"]},
            "nothing is known of the types that com.microsoft.Gelu takes",
        ),
        (NODE("Upsample", ["x", "c"], ["y"], "n"), {"floating": "bf16"}, "operator set 22 has no Upsample"),
        (NODE("Swish", ["x"], ["y"], "n"), {}, "operator set 17 has no Swish"),
        (NODE("Relu", ["x"], ["y"], "n"), {"inputs": {"x": HALF}}, "it is float16 in the model itself"),
        (
            NODE("Relu", ["x"], ["y"], "n"),
            {"inputs": {"x": (TensorProto.DOUBLE, [2])}},
            "it is double in the model itself",
        ),
        (
            NODE("TopK", ["x", "k"], ["y", "at"], "n"),
            {"floating": "bf16"},
            "ONNX has no bfloat16 TopK in operator set 22",
        ),
    ],
)
def test_an_operator_that_has_no_such_type_says_so(node, more, reason):
    weights = [constant("c", [1.0, 1.0], "float32"), constant("k", [2])]
    assert asked([node], weights=weights, **more) == reason


def test_what_a_model_has_though_its_operator_set_gave_it_up_keeps_its_types():
    scales = [constant("c", [1.0, 1.0], "float32"), constant("k", [2])]
    assert asked([NODE("Upsample", ["x", "c"], ["y"], "n")], weights=scales) == placed([0], [0])
    assert asked([NODE("TopK", ["x", "k"], ["y", "at"], "n")], weights=scales) == placed([0], [0])


def test_a_tensor_of_no_known_type_is_named():
    nodes = [NODE("Odd", ["x"], ["u"], "odd", domain="own"), NODE("Relu", ["u"], ["y"], "n")]
    assert asked(nodes, domains=["own"]) == "the type of its input 'u' is not known, or no tensor's"


def test_what_computes_on_whole_numbers_has_no_floating_type():
    assert asked([NODE("Add", ["x", "x"], ["y"], "n")], inputs={"x": INT64}) == FIXED


def stored(floating="fp16", *, opset=19, source="q", scale=0.5, outputs=None, scales=None, **attributes):
    """The slots of a node that makes a weight of 8 bits floating."""
    nodes = [
        NODE("DequantizeLinear", [source, "s"], ["w"], "n", **attributes),
        NODE("MatMul", ["x", "w"], ["y"], "product"),
    ]
    weights = [helper.make_tensor("q", TensorProto.INT8, [3, 3], [1] * 9)]
    weights += [scales or numpy_helper.from_array(np.float32(scale), "s")]
    inputs = {"x": [2, 3], **({} if source == "q" else {source: (TensorProto.INT8, [3, 3])})}
    return asked(nodes, floating, weights=weights, opset=opset, inputs=inputs, outputs=outputs)


OWN = "it is quantization of the model's own"


def test_a_weight_that_is_stored_in_8_bits_comes_out_in_the_type_of_who_reads_it():
    assert stored() == stored("bf16") == placed([1], [0])
    assert stored(opset=18) == OWN
    assert stored(source="fed") == OWN
    assert stored(outputs={"w": None, "y": None}) == OWN
    assert stored(opset=23, output_dtype=TensorProto.FLOAT) == OWN
    assert stored(opset=23, output_dtype=0) == placed([1], [0])
    assert stored(scales=numpy_helper.from_array(np.float16(0.5), "s")) == OWN
    assert asked([NODE("QuantizeLinear", ["x", "c"], ["y"], "n")], weights=[constant("c", 1.0, "float32")]) == OWN


def test_a_scale_that_fp16_cannot_hold_keeps_its_weight_in_fp32():
    assert stored(scale=1e-6) == "fp16 cannot hold its scale 's'"
    assert stored("bf16", scale=1e-6) == placed([1], [0])
    least = 2.0**-14
    fits = [[least, 65504.0], [-least, 0.0], [0.0], [], [least / 2, 1.0], [1.0, 65536.0], [-1e-9, 1.0]]
    assert [_fits_fp16(np.array(scale, np.float32)) for scale in fits] == [True] * 4 + [False] * 3


def test_a_node_has_the_low_precision_that_it_makes():
    nodes = [
        NODE("Cast", ["x"], ["h"], "half", to=TensorProto.FLOAT16),
        NODE("Cast", ["h"], ["b"], "brain", to=TensorProto.BFLOAT16),
        NODE("Cast", ["b"], ["y"], "full", to=TensorProto.FLOAT),
        NODE("TopK", ["h", "k"], ["", "at"], "indices"),
    ]
    network = model(nodes, {"x": [2, 3]}, {"y": [2, 3], "at": None}, [constant("k", [1])])
    assert {name: own_type(network, node) for name, node in network.nodes.items()} == {
        "half": "fp16",
        "brain": "bf16",
        "full": None,
        "indices": None,
    }


@pytest.mark.parametrize(
    ("op", "opset", "floating", "first"),
    [
        ("Conv", 17, "bf16", 22),
        ("Conv", 23, "bf16", 23),
        ("Gemm", 11, "bf16", 13),
        ("Relu", 17, "bf16", 17),
        ("Conv", 13, "fp16", 13),
        ("Gelu", 17, "bf16", 20),
        ("NoSuchOperator", 17, "bf16", 22),
    ],
)
def test_the_first_operator_set_that_has_a_type(op, opset, floating, first):
    assert opset_for(ir.node(op, []), opset, floating) == first


# What ONNX itself says


def test_an_operator_says_which_of_its_inputs_and_outputs_share_a_type():
    gather, concat, conv = operator("Gather", 13), operator("Concat", 13), operator("Conv", 22)
    assert [gather.variable(at) for at in (0, 1)] == ["T", "Tind"]
    assert [concat.variable(at) for at in (0, 1, 7)] == ["T", "T", "T"]  # the last goes on
    assert (gather.result(0), operator("Shape", 13).result(0), operator("NonZero", 13).result(0)) == ("T", "T1", None)
    assert operator("Split", 13).result(5) == "T"
    assert (operator("RandomNormal", 13).variable(0), operator("TopK", 11).variable(1)) == (None, None)
    assert [conv.takes(at, ir.DataType.BFLOAT16) for at in (0, 2)] == [True, True]
    assert not operator("Conv", 17).takes(0, ir.DataType.BFLOAT16)
    assert not gather.takes(1, ir.DataType.FLOAT)
    assert not operator("RandomNormal", 13).takes(0, ir.DataType.FLOAT)
    kinds = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE, ir.DataType.INT64)
    assert [operator("Conv", 17).has(kind) for kind in kinds] == [True, False, True, False]
    assert gather.has(ir.DataType.BFLOAT16)  # indices hold no floating-point numbers
    assert (operator("Upsample", 10).deprecated, operator("Upsample", 9).deprecated) == (True, False)


@pytest.mark.parametrize(
    ("op", "kinds", "count", "outcome"),
    [
        ("Relu", [ir.DataType.FLOAT16], 1, (ir.DataType.FLOAT16,)),
        ("TopK", [ir.DataType.FLOAT, ir.DataType.INT64], 2, (ir.DataType.FLOAT, ir.DataType.INT64)),
        ("Clip", [ir.DataType.FLOAT, None, ir.DataType.FLOAT], 1, (ir.DataType.FLOAT,)),
        ("NonMaxSuppression", [ir.DataType.FLOAT, ir.DataType.FLOAT], 1, (ir.DataType.INT64,)),
    ],
)
def test_what_a_node_makes_of_types(op, kinds, count, outcome):
    inputs = [None if kind is None else ir.Value(name=f"x{at}") for at, kind in enumerate(kinds)]
    node = ir.node(op, inputs, num_outputs=count)
    for at, value in enumerate(node.outputs):
        value.name = f"y{at}"
    assert made_of(node, 17, kinds) == outcome


def test_a_sequence_is_no_tensor_and_a_refusal_is_a_sentence():
    node = ir.node("SequenceConstruct", [ir.Value(name="x")])
    node.outputs[0].name = "y"
    (kind,) = made_of(node, 17, [ir.DataType.FLOAT])
    assert isinstance(kind, bytes)
    refused = made_of(ir.node("Concat", [ir.Value(name="x")]), 17, [ir.DataType.FLOAT])
    assert isinstance(refused, str)
    assert "\n" not in refused


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([1.0, -2.0], None),
        ([], "holds no number"),
        ([1.0, np.nan, np.inf], "holds nan (2 of 3 numbers are not finite), which no scale covers"),
        ([-np.inf, 1.0], "holds -inf (1 of 2 numbers are not finite), which no scale covers"),
    ],
)
def test_a_weight_that_no_scale_covers_says_why(values, reason):
    tensor = ir.tensor(np.array(values, np.float32))
    assert unscalable(tensor) == unscalable(tensor) == reason
