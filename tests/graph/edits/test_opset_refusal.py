"""Why a model cannot be brought to another operator set, said of the node that stands in the way."""

from __future__ import annotations

import pytest
from onnx import TensorProto, helper

from tests.kit.models import constant, model
from workbench.graph.edits.opset_refusal import refusal

node = helper.make_node
CONVERTER = RuntimeError("it failed")


def said(network, version, error=CONVERTER):
    refused = refusal(network, version, error)
    return refused.what, refused.where, refused.fix


def of(op, opset, domain=""):
    nodes = [node("Abs", ["x"], ["a"], "first"), node(op, ["a"], ["y"], "it", domain=domain)]
    return model(nodes, {"x": [3]}, {"y": [3]}, opset=opset, domains=["own"])


def test_an_operator_that_no_set_has():
    assert said(of("Wobble", 13), 17) == (
        "operator set 13 cannot be converted to 17: no operator set of ONNX has Wobble",
        "it",
        "Give it the domain that it comes from, or replace this node first.",
    )


def test_an_operator_that_came_later():
    assert said(of("Gelu", 20), 19) == (
        "operator set 20 cannot be converted to 19: that has no Gelu, it came with 20",
        "it",
        "Convert to 20 or later, or replace this node first.",
    )


def test_an_operator_of_another_domain_stands_in_no_way():
    assert said(of("Wobble", 13, "own"), 17) == (
        "operator set 13 cannot be converted to 17: it failed",
        "g",
        "Export the model again with operator set 17.",
    )
    assert said(of("Wobble", 13, "ai.onnx"), 17)[1] == "it"
    behind = [node("Own", ["x"], ["a"], "own", domain="own"), node("Wobble", ["a"], ["y"], "it")]
    assert said(model(behind, {"x": [3]}, {"y": [3]}, opset=13, domains=["own"]), 17)[1] == "it"


def test_to_an_earlier_set_the_model_can_be_kept():
    assert said(of("Abs", 20), 19) == (
        "operator set 20 cannot be converted to 19: it failed",
        "g",
        "Keep operator set 20, or export the model again.",
    )
    assert said(of("Abs", 13), 13)[2] == "Export the model again with operator set 13."


def test_the_first_node_that_fails_alone_is_named_with_its_reason():
    nodes = [
        node("Abs", ["x"], ["a"], "abs"),
        node("Resize", ["a", "", "s"], ["y"], "it", mode="linear", antialias=1),
    ]
    network = model(nodes, {"x": [1, 1, 4, 4]}, {"y": None}, [constant("s", [1, 1, 0.5, 0.5], "float32")], opset=18)
    what, where, fix = said(network, 17)
    assert what.startswith("operator set 18 cannot be converted to 17: Resize: Resize antialias")
    assert (where, fix) == ("it", "Keep operator set 18, or export the model again.")


def test_a_node_in_a_branch_is_tried_with_what_is_known_of_its_tensors():
    def branch(op):
        result = helper.make_tensor_value_info("r", TensorProto.FLOAT, None)
        nodes = [
            node("Abs", ["x"], ["a"], "abs"),
            node("Resize", ["a", "", "s"], ["r"], op, mode="linear", antialias=1),
        ]
        return helper.make_graph(nodes, op, [], [result], [constant("s", [1, 1, 0.5, 0.5], "float32")])

    choice = node("If", ["c"], ["y"], "if", then_branch=branch("it"), else_branch=branch("other"))
    network = model([choice], {"x": [1, 1, 4, 4], "c": (TensorProto.BOOL, [])}, {"y": None}, opset=18)
    assert said(network, 17)[1] == "if/else/other"  # the order of a node's attributes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("it failed", "it failed"),
        ("first\n\n  the last line .  \n \n", "the last line"),
        ("", "RuntimeError"),
        ("[path] Assertion `a` failed: the axis is 3. ", "the axis is 3"),
        ("at convert.h:12: version failed: shape is needed", "shape is needed"),
        ("No Adapter From Version $13 for Hardmax", "ONNX has no way from its version of set 13"),
        ("x failed: No Adapter To Version 7 for Cast", "ONNX has no way to its version of set 7"),
        ("Assertion `node->hasAttribute` failed", "ONNX's converter refuses it without a reason"),
        ("onnx/version_converter/convert.cc:12", "ONNX's converter refuses it without a reason"),
        ("onnx::Node is null", "ONNX's converter refuses it without a reason"),
        ("it names a.cpp", "ONNX's converter refuses it without a reason"),
    ],
)
def test_what_the_converter_says_is_told_without_where_in_its_source(text, words):
    assert said(of("Abs", 13), 13, RuntimeError(text))[0] == f"operator set 13 cannot be converted to 13: {words}"
