"""An operator of another domain, or a local function, that is called like one of ONNX's is not taken for it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests.kit.models import assert_same, constant, proto, weight
from workbench.graph.cost import costs
from workbench.graph.edits.registry import applicable, edit_by_name
from workbench.graph.load import from_proto
from workbench.precision.plan.plan import PrecisionPlan
from workbench.precision.plan.presets import preset

node = helper.make_node
NAMES = "Add BatchNormalization Conv DequantizeLinear Dropout Gemm Identity MatMul QuantizeLinear Reshape Shape".split()
LIKE_ONNX = {"bypass", "drop_output", "extract", "mark_output", "set_batch", "set_input_layout"}
"""Edits that ask for no particular operator."""


def foreign(name):
    """Twice a function of this name between convolutions, and once on a constant: ``tanh(a b)``."""
    body = [node("Mul", ["a", "b"], ["m"]), node("Tanh", ["m"], ["o"])]
    function = helper.make_function("my.ops", name, ["a", "b"], ["o"], body, [helper.make_opsetid("", 19)])
    nodes = [
        node("Conv", ["x", "k"], ["c"], "first", pads=[1] * 4),
        node(name, ["c", "w"], ["t"], "foreign", domain="my.ops"),
        node(name, ["w", "w"], ["v"], "constant", domain="my.ops"),
        node("Mul", ["t", "v"], ["s"], "scale"),
        node(name, ["s", "w"], ["u"], "before", domain="my.ops"),
        node("BatchNormalization", ["u", "one", "zero", "zero", "one"], ["n"], "norm"),
        node("Conv", ["n", "l"], ["y"], "last"),
    ]
    weights = [weight("k", 4, 3, 3, 3), weight("w", 1, 4, 1, 1, seed=1), weight("l", 2, 4, 1, 1, seed=2)]
    weights += [constant("one", np.ones(4), "float32"), constant("zero", np.zeros(4), "float32")]
    onnx_model = proto(
        nodes, {"x": [1, 3, 4, 4]}, {"y": [1, 2, 4, 4]}, weights, opset=19, domains=["my.ops"], ir_version=9
    )
    onnx_model.functions.append(function)
    return from_proto(onnx_model)


@pytest.mark.parametrize("name", NAMES)
def test_no_edit_of_onnx_operators_is_offered_for_it(name):
    outcome = foreign(name)
    for address in ("foreign", "constant", "before"):
        assert {edit.do for edit in applicable(outcome, [address])} <= LIKE_ONNX
    # The rest of the model is prepared all the same, and computes the same.
    for edit in ("fold_constants", "fold_batch_norm", "remove_noops", "remove_qdq", "dequantize_constants"):
        result = edit_by_name(edit)(outcome)
        assert not result.changed, result.notes


@pytest.mark.parametrize("name", ["Conv", "Gemm", "MatMul"])
def test_it_gets_no_pairs_and_says_why(name):
    outcome = foreign(name)
    resolution = preset("int8", outcome).resolve(outcome)
    assert sorted(resolution.to_quantize()) == ["first", "last"]
    assert "it is my.ops." in resolution.explain("foreign")
    assert "local function" in resolution.explain("before")


def test_what_comes_out_of_a_foreign_pair_may_be_quantized():
    everything = PrecisionPlan().with_rule("*", "int8")
    assert "last" in everything.resolve(foreign("DequantizeLinear")).to_quantize()


def test_blocked_convolutions_of_onnx_runtime_are_left_alone():
    convolution = node("Conv", ["x", "k", "b"], ["c"], "blocked", domain="com.microsoft.nchwc", kernel_shape=[1, 1])
    nodes = [convolution, node("QuickGelu", ["c"], ["y"], "gelu", domain="com.microsoft", alpha=1.0)]
    weights = [weight("k", 16, 16, 1, 1), weight("b", 16, seed=1)]
    model = from_proto(
        proto(
            nodes, {"x": [1, 16, 4, 4]}, {"y": [1, 16, 4, 4]}, weights, domains=["com.microsoft", "com.microsoft.nchwc"]
        )
    )
    assert preset("int8", model).resolve(model).to_quantize() == []
    assert {edit.do for edit in applicable(model, ["blocked"])} <= LIKE_ONNX
    assert costs(model)["blocked"].macs is None


def test_a_bias_beside_a_quantized_weight_is_not_offered_to_be_split_off():
    scale, zero = numpy_helper.from_array(np.float32(0.01), "s"), numpy_helper.from_array(np.int8(0), "z")
    nodes = [
        node("DequantizeLinear", ["q", "s", "z"], ["k"], "dequantize"),
        node("Conv", ["x", "k", "b"], ["y"], "convolution"),
    ]
    stored = numpy_helper.from_array(np.ones([2, 3, 1, 1], np.int8), "q")
    model = from_proto(
        proto(nodes, {"x": [1, 3, 4, 4]}, {"y": [1, 2, 4, 4]}, [stored, scale, zero, weight("b", 2)], opset=19)
    )
    onnx.checker.check_model(model.proto, full_check=True)
    offered = {edit.do for edit in applicable(model, [])}
    assert "split_bias" not in offered
    assert not edit_by_name("split_bias")(model).changed
    assert_same(model, edit_by_name("remove_qdq")(model).model, atol=1e-6)
