"""Edits at the edges of what they take: a factor that is not 1, an absent name, results that somebody reads."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.kit.models import assert_same, constant, model, random_feeds, run, weight
from workbench.errors import EditError
from workbench.graph.edits import equalizable
from workbench.graph.edits.dequantize_constants import is_operand_constant
from workbench.graph.edits.lent_weights import Weight
from workbench.graph.edits.node_edits import Bypass
from workbench.graph.edits.outputs import _alike
from workbench.graph.edits.patterns import FUSIONS, Rewrite
from workbench.graph.edits.registry import applicable, edit_by_name
from workbench.graph.edits.surgery import constant_array, value_at
from workbench.graph.tensor import Tensor

node = helper.make_node
X, Y = {"x": [2, 4]}, {"y": [2, 4]}


def gemm(**attributes):
    weights = [weight("w", 4, 4), weight("b", 4)]
    return model([node("Gemm", ["x", "w", "b"], ["y"], "g", **attributes)], X, Y, weights)


def test_a_bias_that_is_multiplied_is_not_corrected():
    shifts = {"g": [1.0, 2, 3, 4]}
    with pytest.raises(EditError, match="its bias is multiplied by beta"):
        edit_by_name("correct_bias", shifts=shifts)(gemm(beta=0.5))
    for outcome in (gemm(), gemm(beta=1.0), gemm(alpha=2.0)):
        after = edit_by_name("correct_bias", shifts=shifts)(outcome).model
        moved = run(after, random_feeds(outcome))[0] - run(outcome, random_feeds(outcome))[0]
        np.testing.assert_allclose(moved, np.broadcast_to(shifts["g"], (2, 4)), atol=1e-5)


def test_a_node_of_which_another_result_is_read_is_not_bypassed():
    shape = {"x": [1, 2, 4, 4]}
    pool = node("MaxPool", ["x"], ["y", "places"], "p", kernel_shape=[1, 1])
    both = {"y": [1, 2, 4, 4], "places": (TensorProto.INT64, [1, 2, 4, 4])}
    read = model([pool], shape, both)
    assert not any(isinstance(edit, Bypass) for edit in applicable(read, ["p"]))
    with pytest.raises(EditError, match="another of its results is read as well"):
        edit_by_name("bypass", node="p")(read)
    unread = model([pool, node("Relu", ["y"], ["z"], "r")], shape, {"z": [1, 2, 4, 4]})
    assert edit_by_name("bypass", node="p")(unread).changed


def test_a_short_name_is_a_name():
    network = model([node("Relu", ["x"], ["y"], "r")], X, Y)
    assert list(edit_by_name("rename_node", node="r", to="q")(network).model.nodes) == ["q"]
    with pytest.raises(EditError, match="to"):
        edit_by_name("rename_node", node="r", to="")


def test_which_input_is_missing_is_counted_from_one():
    network = model([node("Add", ["x", "x"], ["y"], "a")], X, Y)
    with pytest.raises(EditError, match="it has 2 inputs, not 4"):
        edit_by_name("replace_node", node="a", op="Mul", inputs=[0, 3])(network)


def test_three_names_at_most_are_suggested():
    network = model(
        [node("Relu", ["x" if not n else f"tensor{n - 1}"], [f"tensor{n}"], f"r{n}") for n in range(6)],
        X,
        {"tensor5": [2, 4]},
    )
    with pytest.raises(EditError) as refusal:
        value_at(network.ir_model, "tensor9")
    assert str(refusal.value).count(" or ") == 2


def test_what_holds_no_numbers_is_no_array():
    text = numpy_helper.from_array(np.array(["a", "b"], dtype=object), "text")
    empty = onnx.TensorProto(name="stripped", data_type=TensorProto.FLOAT, dims=[4])
    nodes = [node("Add", ["x", "stripped"], ["y"], "a"), node("Identity", ["text"], ["t"], "i")]
    network = model(nodes, X, {**Y, "t": (TensorProto.STRING, [2])}, [text, empty])
    values = network.ir_model.graph.initializers
    assert constant_array(values["text"]) is None
    assert constant_array(values["stripped"]) is None
    assert constant_array(None) is None


def test_a_lent_weight_states_its_type():
    assert Weight(ir.StringTensor([b"a"], shape=ir.Shape([1]), name="t")).dtype == np.dtype(object)
    assert Weight(ir.tensor(np.zeros(3, np.float16), name="w")).dtype == np.float16


def test_an_edit_of_the_input_changes_what_is_fed_to_it_alone():
    array = np.ones((1, 3, 2, 2), np.float32)
    typed = edit_by_name("set_input_type", input="m", dtype="FLOAT16")
    placed = edit_by_name("set_input_layout", input="m", layout="NHWC")
    for other in ("a", "z"):  # on both sides of it in the alphabet
        assert typed.fed(other, array).dtype == np.float32
        assert placed.fed(other, array).shape == array.shape
        assert placed.unfed(other, array).shape == array.shape
    assert typed.fed("m", array).dtype == np.float16
    assert placed.fed("m", array).shape == (1, 2, 2, 3)
    assert placed.unfed("m", placed.fed("m", array)).shape == array.shape


def test_a_batch_is_set_at_the_inputs_that_are_named():
    nodes = [node("Add", ["x", "z"], ["y"], "a")]
    network = model(nodes, {"x": [2, 4], "z": [1, 4]}, Y)
    after = edit_by_name("set_batch", size=3, inputs=["x"])(network).model
    assert [tensor.shape for tensor in after.inputs] == [(3, 4), (1, 4)]
    assert [tensor.shape for tensor in after.outputs] == [(3, 4)]


def test_a_constant_that_is_an_output_is_kept():
    nodes = [
        node("Constant", [], ["c"], "c", value=constant("v", [1.0, 2], "float32")),
        node("Relu", ["x"], ["y"], "r"),
    ]
    network = model(nodes, X, {**Y, "c": [2]})
    assert "c" in [tensor.name for tensor in edit_by_name("fold_constants")(network).model.outputs]
    assert_same(network, edit_by_name("fold_constants")(network).model)


@pytest.mark.parametrize(("dtype", "folded"), [("int64", True), ("float32", False)])
def test_sums_of_integers_are_folded_and_sums_of_floats_are_not(dtype, folded):
    element = TensorProto.INT64 if dtype == "int64" else TensorProto.FLOAT
    nodes = [node("ReduceSum", ["a", "axes"], ["s"], "s", keepdims=0), node("Add", ["x", "s"], ["y"], "add")]
    shapes = {"x": (element, [2, 4])}, {"y": (element, [2, 4])}
    network = model(nodes, *shapes, [constant("a", [[1, 2, 3, 4]], dtype), constant("axes", [1])])
    after = edit_by_name("fold_constants")(network).model
    assert ("s" not in after.nodes) == folded


def test_a_pattern_is_offered_from_its_first_operator_set_to_its_last():
    form = Rewrite(opset=20, patterns=(), replacement="", until=22)
    assert [form.offered(opset) for opset in (19, 20, 21, 22, 23)] == [False, True, True, True, False]
    assert Rewrite(opset=20, patterns=(), replacement="").offered(99)


def conv(x, y, name, *inputs):
    return node("Conv", [x, *inputs], [y], name, kernel_shape=[1, 1])


@pytest.mark.parametrize("biased", [False, True])
def test_channels_are_equalized_into_the_convolution_before(biased):
    shape, weights = [1, 4, 3, 3], [weight("w1", 4, 4, 1, 1), weight("w2", 4, 4, 1, 1), weight("b", 4)]
    first = ("w1", "b") if biased else ("w1",)
    network = model(
        [conv("x", "t", "one", *first), node("Relu", ["t"], ["r"], "relu"), conv("r", "y", "two", "w2")],
        {"x": shape},
        {"y": shape},
        weights if biased else weights[:2],
    )
    assert equalizable(network, "r") == 4
    result = edit_by_name("equalize_channels", exponents={"r": [1, 0, -2, 3]})(network)
    assert result.notes == ("equalized r: into one",)
    assert_same(network, result.model, atol=1e-6)
    assert [str(n.op_type) for n in result.model.nodes.values()] == ["Conv", "Relu", "Conv"]


def test_channels_are_equalized_by_a_multiplication_behind_a_convolution_whose_bias_is_made():
    shape = [1, 4, 3, 3]
    network = model(
        [
            node("Abs", ["c"], ["b"], "abs"),
            conv("x", "t", "one", "w1", "b"),
            node("Relu", ["t"], ["r"], "relu"),
            conv("r", "y", "two", "w2"),
        ],
        {"x": shape, "c": [4]},
        {"y": shape},
        [weight("w1", 4, 4, 1, 1), weight("w2", 4, 4, 1, 1)],
    )
    result = edit_by_name("equalize_channels", exponents={"r": [1, 0, -2, 3]})(network)
    assert result.notes == ("equalized r: a multiplication added",)
    assert_same(network, result.model, atol=1e-6)


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_dequantized_weights_have_the_scale_of_their_own_axis(axis):
    rng = np.random.default_rng(0)
    q = numpy_helper.from_array(rng.integers(-9, 9, (4, 4)).astype(np.int8), "q")
    scale = numpy_helper.from_array(rng.uniform(0.1, 1, 4 if axis is not None else ()).astype(np.float32), "s")
    zero = numpy_helper.from_array(rng.integers(-3, 3, 4 if axis is not None else ()).astype(np.int8), "z")
    attributes = {} if axis is None else {"axis": axis}
    nodes = [
        node("DequantizeLinear", ["q", "s", "z"], ["w"], "dq", **attributes),
        node("MatMul", ["x", "w"], ["y"], "m"),
    ]
    network = model(nodes, X, Y, [q, scale, zero])
    after = edit_by_name("remove_qdq")(network).model
    assert [str(n.op_type) for n in after.nodes.values()] == ["MatMul"]
    assert_same(network, after, atol=1e-6)


@pytest.mark.parametrize("made_by", ["QLinearMatMul", "Relu"])
def test_remove_qdq_is_offered_only_where_there_is_a_pair_or_a_constant(made_by):
    scale = numpy_helper.from_array(np.float32(0.05), "s")
    zero = numpy_helper.from_array(np.int8(0), "z")
    q = numpy_helper.from_array(np.eye(4, dtype=np.int8), "w")
    integers = ["q", "s", "z", "w", "s", "z", "s", "z"] if made_by == "QLinearMatMul" else ["q"]
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"], "quantize"),
        node(made_by, integers, ["p"], "between"),
        node("DequantizeLinear", ["p", "s", "z"], ["d"], "dequantize"),
        node("Relu", ["d"], ["y"], "last"),
    ]
    network = model(nodes, X, Y, [scale, zero, q], opset=19)
    assert not [edit for edit in applicable(network, []) if edit.do == "remove_qdq"]
    assert not [edit for edit in applicable(network, ["dequantize"]) if edit.do == "remove_qdq"]


def test_an_output_given_out_of_a_branch_needs_one_like_it_in_the_other():
    def branch(name, op, inner):
        out = helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, [2, 4])
        nodes = [node(op, ["x"], [f"{name}_in"], inner), node("Neg", [f"{name}_in"], [f"{name}_out"], f"{name}_neg")]
        return helper.make_graph(nodes, name, [], [out])

    network = model(
        [
            node(
                "If",
                ["c"],
                ["y"],
                "if",
                then_branch=branch("t", "Relu", "same"),
                else_branch=branch("e", "Abs", "same"),
            )
        ],
        {**X, "c": (TensorProto.BOOL, [])},
        Y,
    )
    after = edit_by_name("mark_output", tensor="if/then/t_in")(network).model
    assert [tensor.shape for tensor in after.outputs] == [(2, 4), (2, 4)]
    assert "called" in edit_by_name("mark_output", tensor="if/then/t_in")(network).notes[0]
    x = random_feeds(network)["x"]
    assert np.array_equal(run(after, {"x": x, "c": np.array(False)})[1], np.abs(x))
    named = edit_by_name("mark_output", tensor="if/then/t_in", otherwise="if/else/e_out")(network).model
    assert np.array_equal(run(named, {"x": x, "c": np.array(False)})[1], -np.abs(x))


def test_what_a_function_is_called_with_is_not_extracted_from_it():
    leaky = node("LeakyRelu", ["a"], ["t"], "leaky")
    leaky.attribute.append(onnx.AttributeProto(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT))
    opset = [helper.make_opsetid("", 18)]
    body = [
        node("Abs", ["a"], ["p"], "abs"),
        node("Neg", ["p"], ["q"], "neg"),
        leaky,
        node("Add", ["q", "t"], ["o"], "add"),
    ]
    function = helper.make_function("my", "Block", ["a"], ["o"], body, opset, ["slope"])
    call = node("Block", ["x"], ["y"], "b", domain="my", slope=0.25)
    network = model([call], X, Y, opset=18, domains=["my"], ir_version=10, functions=[function])
    at = "function(my:Block)/"
    with pytest.raises(EditError, match="one of its attributes comes from the call"):
        edit_by_name("extract", inputs=[f"{at}a"], outputs=[f"{at}t"])(network)
    part = edit_by_name("extract", inputs=[f"{at}p"], outputs=[f"{at}q"])(network).model
    assert [str(n.op_type) for n in part.nodes.values()] == ["Neg"]


def test_channels_of_a_tensor_that_others_read_on_the_way_are_equalized_by_a_multiplication():
    shape = [1, 4, 3, 3]
    nodes = [
        conv("x", "t", "one", "w1"),
        node("Relu", ["t"], ["r"], "relu"),
        conv("r", "y", "two", "w2"),
        node("Abs", ["t"], ["z"], "abs"),
    ]
    weights = [weight("w1", 4, 4, 1, 1), weight("w2", 4, 4, 1, 1)]
    for outputs in ({"y": shape, "z": shape}, {"y": shape, "t": shape}):
        network = model(nodes[: 4 if "z" in outputs else 3], {"x": shape}, outputs, weights)
        result = edit_by_name("equalize_channels", exponents={"r": [1, 0, -2, 3]})(network)
        assert result.notes == ("equalized r: a multiplication added",)
        assert_same(network, result.model, atol=1e-6)


def test_channels_of_an_input_are_equalized_before_all_that_reads_it():
    shape = [1, 4, 3, 3]
    nodes = [conv("x", "t", "one", "w"), node("Relu", ["t"], ["y"], "relu")]
    network = model(nodes, {"x": shape}, {"y": shape}, [weight("w", 4, 4, 1, 1)])
    result = edit_by_name("equalize_channels", exponents={"x": [1, 0, -2, 3]})(network)
    assert [str(n.op_type) for n in result.model.nodes.values()] == ["Mul", "Conv", "Relu"]
    assert_same(network, result.model, atol=1e-6)
    alone = model([conv("x", "y", "one", "w")], {"x": shape}, {"y": shape}, [weight("w", 4, 4, 1, 1)])
    assert_same(alone, edit_by_name("equalize_channels", exponents={"x": [1, 0, -2, 3]})(alone).model, atol=1e-6)


def test_a_result_that_nobody_reads_goes_and_the_one_before_it_stays():
    shape = {"x": [1, 2, 4, 4]}
    nodes = [node("MaxPool", ["x"], ["p", "places"], "p", kernel_shape=[1, 1]), node("Relu", ["p"], ["y"], "r")]
    network = model(nodes, shape, {"y": [1, 2, 4, 4]})
    assert [len(n.outputs) for n in edit_by_name("remove_dead")(network).model.nodes.values()] == [1, 1]
    recurrent = node("LSTM", ["x", "w", "r"], ["", "last", "cell"], "l", hidden_size=3)
    weights = [weight("w", 1, 12, 5), weight("r", 1, 12, 3)]
    network = model([recurrent], {"x": [9, 2, 5]}, {"last": [1, 2, 3]}, weights)
    (after,) = edit_by_name("remove_dead")(network).model.nodes.values()
    assert [value.name for value in after.outputs] == ["", "last"]


def test_only_a_dequantized_constant_is_an_operand_constant():
    def made(first, weights, inputs):
        nodes = [node("DequantizeLinear", [first, "s", "z"], ["d"], "dq"), node("Add", ["x", "d"], ["y"], "a")]
        parameters = [constant("s", 0.5, "float32"), constant("z", 0, "int8")]
        return model(nodes, {**X, **inputs}, Y, [*weights, *parameters]).nodes["dq"]

    assert is_operand_constant(made("q", [constant("q", [[1, 2, 3, 4]], "int8")], {}))
    assert not is_operand_constant(made("fed", [], {"fed": (TensorProto.INT8, [2, 4])}))


def test_the_axis_of_dequantized_operands_is_one_unless_it_is_stated():
    q = constant("q", [[1, 2], [3, 4]], "int8")
    for stated in ({}, {"axis": 0}, {"axis": 1}):
        nodes = [node("DequantizeLinear", ["q", "s"], ["d"], "dq", **stated), node("Add", ["x", "d"], ["y"], "a")]
        network = model(nodes, {"x": [2, 2]}, {"y": [2, 2]}, [q, constant("s", [0.5, 2.0], "float32")])
        after = edit_by_name("dequantize_constants")(network).model
        assert list(after.nodes) == ["a"]
        assert_same(network, after)


@pytest.mark.parametrize("beta", [1.0, 0.5])
def test_a_third_operand_that_is_fed_is_added_where_beta_is_one(beta):
    nodes = [node("Gemm", ["x", "w", "c"], ["y"], "g", beta=beta)]
    network = model(nodes, {**X, "c": [4]}, Y, [weight("w", 4, 4)])
    expand = edit_by_name("expand_gemm", only="name:g")
    if beta != 1.0:
        with pytest.raises(EditError, match="no constant and multiplied by beta"):
            expand(network)
        return
    assert [str(n.op_type) for n in expand(network).model.nodes.values()] == ["MatMul", "Add"]
    assert_same(network, expand(network).model, atol=1e-6)


def test_a_matrix_product_of_two_axes_stays_unless_it_is_named():
    assert not edit_by_name("expand_gemm")(gemm()).changed
    assert edit_by_name("expand_gemm", only="name:g")(gemm()).changed


@pytest.mark.parametrize("name", FUSIONS)
def test_a_fusion_waits_for_the_operator_set_that_has_its_operator(name):
    operator = FUSIONS[name].replacement.split("= ")[1].partition("(")[0].partition("{")[0]
    entries = [opset for opset in range(1, onnx.defs.onnx_opset_version() + 1) if onnx.defs.has(operator, opset)]
    assert FUSIONS[name].opset == entries[0]


def test_an_attribute_that_is_not_stated_is_not_taken_from_a_weight():
    own = node("Own", ["x", "w"], ["y"], "g", domain="own")
    network = model([own], X, Y, [constant("w", [3])], domains=["own"])
    replace = edit_by_name("replace_pattern", pattern="y = own::Own{alpha=3}(x)", replacement="y = Relu(x)")
    assert not replace.equivalent
    assert not replace(network).changed


def test_a_tensor_of_unknown_shape_is_like_any_of_its_type():
    reference, unknown = Tensor("a", (2, 4), "FLOAT"), Tensor("b", None, "FLOAT")
    assert all(
        _alike(*both)
        for both in ((reference, unknown), (unknown, reference), (unknown, unknown), (reference, reference))
    )
    assert not _alike(reference, Tensor("c", (2, 4, 1), "FLOAT"))
    assert not _alike(unknown, Tensor("c", None, "INT64"))
