"""An edit is offered where its result is valid, and refused where it is not."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.kit.models import assert_same, constant, model, run, weight
from workbench.errors import EditError
from workbench.graph.edits.registry import applicable, edit_by_name
from workbench.graph.load import from_proto
from workbench.graph.stored.content import identity


def one_node(node, inputs, outputs, weights=(), **options):
    return model([node], inputs, outputs, weights, **options)


OTHER_RESULT = {
    "type": (helper.make_node("ArgMax", ["x"], ["y"], "it", axis=1, keepdims=0), (TensorProto.INT64, [2])),
    "shape": (helper.make_node("Transpose", ["x"], ["y"], "it"), [8, 2]),
    "rank": (helper.make_node("Flatten", ["x"], ["y"], "it", axis=0), [1, 16]),
}


@pytest.mark.parametrize("name", OTHER_RESULT)
def test_bypass_is_offered_only_where_the_result_is_the_inputs_like(name):
    node, result = OTHER_RESULT[name]
    proto = one_node(node, {"x": [2, 8]}, {"y": result})
    assert not [edit for edit in applicable(proto, ["it"]) if edit.do == "bypass"]
    # Asked for all the same, the output is declared to be what it becomes.
    done = edit_by_name("bypass", node="it")(proto)
    assert "is float[2x8] now" in " ".join(done.notes)
    onnx.checker.check_model(done.model.proto, full_check=True)
    x = np.ones([2, 8], np.float32)
    np.testing.assert_array_equal(run(done.model, {"x": x})[0], x)


def test_bypass_takes_the_input_that_is_like_the_result():
    nodes = [helper.make_node("Where", ["c", "a", "b"], ["y"], "it")]
    network = model(nodes, {"c": (TensorProto.BOOL, [4]), "a": [4], "b": [4]}, {"y": [4]})
    assert [edit.input for edit in applicable(network, ["it"]) if edit.do == "bypass"] == [1]


def test_what_no_reader_takes_is_refused():
    nodes = [helper.make_node("Shape", ["x"], ["s"], "shape"), helper.make_node("Reshape", ["x", "s"], ["y"], "reader")]
    network = model(nodes, {"x": [2, 8]}, {"y": [2, 8]})
    with pytest.raises(EditError, match="would leave an invalid graph"):
        edit_by_name("bypass", node="shape")(network)


def test_a_tensor_of_unknown_rank_is_offered_neither_as_input_nor_as_output():
    nodes = [
        helper.make_node("Reshape", ["x", "s"], ["r"], "reshape"),
        helper.make_node("Relu", ["r"], ["y"], "relu"),
    ]
    network = model(nodes, {"x": [2, 8], "s": (TensorProto.INT64, ["n"])}, {"y": [2, 8]})
    offered = {edit.do for edit in applicable(network, ["relu"])} | {
        edit.do for edit in applicable(network, ["reshape"])
    }
    assert not offered & {"extract", "mark_output"}
    with pytest.raises(EditError, match="r: its rank is unknown, which an output needs"):
        edit_by_name("mark_output", tensor="r")(network)
    with pytest.raises(EditError, match="r: its shape or element type is unknown"):
        edit_by_name("extract", inputs=["x", "s"], outputs=["r"])(network)


@pytest.mark.parametrize("name", ["split_bias", "expand_gemm", "equalize_channels"])
def test_what_broadcasts_is_not_written_before_operators_did(name):
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], "conv", pads=[1] * 4)
    weights = [weight("w", 8, 8, 3, 3), weight("b", 8)]
    proto = one_node(node, {"x": [1, 8, 8, 8]}, {"y": [1, 8, 8, 8]}, weights, opset=6)
    assert name not in {edit.do for edit in applicable(proto, ["conv"])}
    arguments = {"exponents": {"x": [1] * 8}} if name == "equalize_channels" else {}
    with pytest.raises(EditError, match=r"operator set 6 does not have. Convert it first: .*version=7"):
        edit_by_name(name, **arguments)(proto)


def test_results_that_go_together_stay_together():
    names = ["q", "k", "v", "", "pk", "pv"]
    node = helper.make_node("Attention", names, ["y", "nk", "nv"], "attention")
    shape, past, full = [1, 2, 4, 8], [1, 2, 3, 8], [1, 2, 7, 8]
    inputs = dict.fromkeys("qkv", shape) | dict.fromkeys(["pk", "pv"], past)
    proto = one_node(node, inputs, {"y": shape, "nk": full, "nv": full}, opset=23, ir_version=10)
    without = edit_by_name("drop_output", output="nk")(proto).model
    assert [tensor.name for tensor in without.outputs] == ["y", "nv"]
    assert_same(proto, without, atol=1e-6, outputs=["y", "nv"])


def test_what_a_dead_node_held_inside_is_dead_too():
    inner = helper.make_graph(
        [helper.make_node("Relu", ["a"], ["r"], "inner")],
        "b",
        [],
        [helper.make_tensor_value_info("r", TensorProto.FLOAT, [2])],
    )
    nodes = [
        helper.make_node("Neg", ["x"], ["a"], "neg"),
        helper.make_node("If", ["c"], ["unread"], "if", then_branch=inner, else_branch=inner),
        helper.make_node("Exp", ["x"], ["y"], "exp"),
    ]
    network = model(nodes, {"x": [2], "c": (TensorProto.BOOL, [])}, {"y": [2]})
    assert list(edit_by_name("remove_dead")(network).model.nodes) == ["exp"]


def test_a_model_of_other_domains_alone_gets_the_default_one_with_its_first_node():
    node = helper.make_node("Binarizer", ["x"], ["y"], "it", domain="ai.onnx.ml", threshold=0.5)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])],
    )
    network = from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("ai.onnx.ml", 1)], ir_version=3))
    bypassed = edit_by_name("bypass", node="it")(network).model
    assert bypassed.opset == 13
    x = np.arange(4, dtype=np.float32)
    np.testing.assert_array_equal(run(bypassed, {"x": x})[0], x)
    assert edit_by_name("convert_opset", version=17)(network).model.opset == 17


def test_what_holds_sizes_is_not_offered_for_bypassing():
    nodes = [
        helper.make_node("Shape", ["x"], ["s"], "shape"),
        helper.make_node("Div", ["s", "two"], ["h"], "half"),
        helper.make_node("Reshape", ["x", "h"], ["y"], "reshape"),
    ]
    network = model(nodes, {"x": [4, 1]}, {"y": None}, [constant("two", [1, 1])])
    assert not [edit for edit in applicable(network, ["half"]) if edit.do == "bypass"]


def test_the_layout_of_what_is_resized_at_once_is_not_offered_to_change():
    resize = helper.make_node("Resize", ["x", "", "", "s"], ["y"], "it", mode="nearest", axes=[2, 3])
    network = model([resize], {"x": [1, 3, 8, 8]}, {"y": [1, 3, 4, 4]}, [constant("s", [4, 4])], opset=18)
    assert not [edit for edit in applicable(network, ["it"]) if edit.do == "set_input_layout"]


@pytest.mark.parametrize(("length", "offered"), [(3, True), (None, False)])
def test_a_bodys_tensor_is_offered_as_output_where_it_is_of_one_shape(length, offered):
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["on"], ["go"], "go"),
            helper.make_node("Relu", ["part"], ["r"], "relu"),
            helper.make_node("ReduceSum", ["r"], ["t"], "sum", keepdims=0),
        ],
        "body",
        [info("i", TensorProto.INT64, []), info("on", TensorProto.BOOL, []), info("part", TensorProto.FLOAT, [length])],
        [
            info("go", TensorProto.BOOL, []),
            info("part", TensorProto.FLOAT, [length]),
            info("t", TensorProto.FLOAT, []),
        ],
    )
    loop = helper.make_node("Loop", ["n", "", "x"], ["end", "y"], "loop", body=body)
    network = model([loop], {"n": (TensorProto.INT64, []), "x": [length]}, {"end": [length], "y": [None]})
    assert any(edit.do == "mark_output" for edit in applicable(network, ["loop/body/relu"])) == offered


def test_looking_for_offers_changes_nothing():
    def held(name, array):
        return helper.make_node("Constant", [], [name], name, value=numpy_helper.from_array(array))

    nodes = [
        helper.make_node("Constant", [], ["s"], "s", value_float=0.1),
        held("z", np.uint8(128)),
        held("w", np.full([8, 4], 3, np.uint8)),
        held("b", np.arange(4, dtype=np.int32)),
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], "quantize"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], "dequantize"),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["v"], "weight"),
        helper.make_node("DequantizeLinear", ["b", "s"], ["a"], "bias"),
        helper.make_node("Gemm", ["d", "v", "a"], ["y"], "product"),
    ]
    network = model(nodes, {"x": [2, 8]}, {"y": [2, 4]}, opset=19)
    before = identity(network)
    offered = {
        edit.do for address in ([], *([name] for name in network.nodes)) for edit in applicable(network, address)
    }
    assert {"symmetric_qdq", "dequantize_constants", "remove_qdq", "fold_constants"} <= offered
    assert identity(network) == before
    for name in ("symmetric_qdq", "dequantize_constants", "remove_qdq"):
        assert edit_by_name(name)(network).changed
        assert identity(network) == before


def _of_a_constant(op, outputs, *, weights, **attributes):
    nodes = [helper.make_node(op, list(weights), ["k"], "it", **attributes), helper.make_node("Relu", ["x"], ["y"])]
    stored = [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()]
    return model(nodes, {"x": [4]}, {"y": [4], **outputs}, stored, opset=21, ir_version=10)


NOT_FOLDED = {
    "rounded otherwise elsewhere": ("Cast", {}, {"a": np.float32([1.5])}, {"to": TensorProto.INT4}),
    "out of range": ("Cast", {}, {"a": np.float32([300])}, {"to": TensorProto.INT8}),
    "shaped otherwise elsewhere": ("NonZero", {}, {"a": np.float32(3)}, {}),
    "added in any order": ("Sum", {}, {"a": np.float32([1, 2]), "b": np.float32([3, 4])}, {}),
    "large": ("Expand", {}, {"a": np.float32(3), "s": np.array([4000, 4000])}, {}),
    "an output": ("Cast", {"k": (TensorProto.INT64, [1])}, {"a": np.float32([3])}, {"to": TensorProto.INT64}),
    "text": ("Constant", {}, {}, {"value_strings": [b"a"]}),
}


@pytest.mark.parametrize("name", NOT_FOLDED)
def test_folding_is_offered_only_of_what_is_folded(name):
    op, outputs, weights, attributes = NOT_FOLDED[name]
    network = _of_a_constant(op, outputs, weights=weights, **attributes)
    for place in ([], ["it"]):
        assert "fold_constants" not in {edit.do for edit in applicable(network, place)}
    assert not edit_by_name("fold_constants")(network).changed
    folded = _of_a_constant("Neg", {}, weights={"a": np.float32([3])})
    for place in ([], ["it"]):
        (edit,) = (edit for edit in applicable(folded, place) if edit.do == "fold_constants")
        assert edit(folded).changed


def test_a_weight_that_a_branch_gives_is_no_constant_to_fold():
    def branch(name):
        result = helper.make_tensor_value_info(f"{name}/r", TensorProto.FLOAT, [4])
        return helper.make_graph([helper.make_node("Identity", [name], [f"{name}/r"], name)], name, [], [result])

    node = helper.make_node("If", ["c"], ["y"], "if", then_branch=branch("v"), else_branch=branch("w"))
    network = one_node(node, {"c": (TensorProto.BOOL, [])}, {"y": [4]}, [weight("v", 4), weight("w", 4)])
    for place in ([], ["if/then/v"]):
        assert "fold_constants" not in {edit.do for edit in applicable(network, place)}
