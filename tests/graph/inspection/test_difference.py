"""Two models compared."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests.kit.models import constant, proto, weight
from workbench.graph.edits.fold_batch_norm import FoldBatchNorm
from workbench.graph.inspection.difference import GraphChange, GraphDiff, diff
from workbench.graph.load import from_proto, load_model


def original() -> onnx.ModelProto:
    return proto(
        [
            helper.make_node("Conv", ["x", "w"], ["a"], "conv", kernel_shape=[1, 1], strides=[1, 1]),
            helper.make_node("Relu", ["a"], ["b"], "relu"),
            helper.make_node("Add", ["a", "b"], ["y"], "add"),
        ],
        {"x": [1, 2, 4, 4]},
        {"y": [1, 2, 4, 4]},
        [weight("w", 2, 2, 1, 1)],
    )


def test_a_model_does_not_differ_from_itself():
    difference = diff(from_proto(original()), from_proto(original()))
    assert not difference
    assert difference.text() == "no difference"
    assert difference.frame().empty


def test_every_kind_of_change():
    changed = original()
    conv, relu, add = changed.graph.node
    conv.attribute[1].ints[:] = [2, 2]
    relu.name, relu.op_type = "sigmoid", "Sigmoid"
    add.input[1] = "a"
    first = numpy_helper.to_array(changed.graph.initializer[0])
    changed.graph.initializer[0].CopyFrom(numpy_helper.from_array(first * np.float32(1.5), "w"))
    changed.graph.initializer.append(constant("new", [1, 2]))
    changed.opset_import[0].version = 18
    changed.graph.output[0].type.tensor_type.shape.dim[2].dim_value = 2
    difference = diff(from_proto(original()), from_proto(changed))
    assert difference.added == ("sigmoid",)
    assert difference.removed == ("relu",)
    assert difference.changed == ("conv", "add")
    (stride,) = difference.of_kind("attribute")
    assert (stride.what, stride.before, stride.after) == ("strides", "(1, 1)", "(2, 2)")
    (edge,) = difference.of_kind("rewired")
    assert (edge.where, edge.what, edge.before, edge.after) == ("add", "input 1", "b", "a")
    (scaled,) = difference.of_kind("weight")
    assert math.isclose(scaled.relative_norm, 0.5, rel_tol=1e-6)
    assert [change.where for change in difference.of_kind("weight added")] == ["new"]
    assert {change.where for change in difference.of_kind("interface")} == {"y", "ai.onnx"}
    assert "1 weight added" in difference.text().splitlines()[0]
    assert "... and" in difference.text(most=2)
    frame = difference.frame()
    assert len(frame) == len(difference.changes)
    assert frame["relative_norm"].notna().sum() == 1


def test_a_new_name_is_no_new_node():
    changed = original()
    changed.graph.node[1].name = "activation"
    difference = diff(from_proto(original()), from_proto(changed))
    assert [(c.kind, c.before, c.after) for c in difference.changes] == [("node renamed", "relu", "activation")]


def test_weights_that_moved_to_a_file_are_the_same(tmp_path):
    onnx.save(original(), tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0, location="m.data")
    assert not diff(from_proto(original()), load_model(tmp_path / "m.onnx"))


def test_constants_and_subgraphs_of_a_real_model(shared):
    path = shared / "models/silero_vad_16k_op15/model.onnx"
    changed = onnx.load(path)
    (holder,) = [node for node in changed.graph.node if node.name == "/model/decoder/If_1"]
    (lstm,) = [node for node in holder.attribute[0].g.node if node.op_type == "LSTM"]
    lstm.attribute.append(helper.make_attribute("clip", 3.0))
    difference = diff(load_model(path), from_proto(changed))
    assert [(change.kind, change.what, change.after) for change in difference.changes] == [("attribute", "clip", "3.0")]
    assert difference.changed[0].startswith("/model/decoder/If_1/then/")


def test_diff_shows_what_an_edit_did(shared):
    model = load_model(shared / "models/ultraface_rfb320/model.onnx")
    result = FoldBatchNorm()(model)
    difference = diff(model, result.model)
    assert len(difference.removed) == 35
    assert difference.added == ()
    assert {model.nodes[address].op_type for address in difference.removed} == {"BatchNormalization"}


def changes(before, after):
    return diff(from_proto(before), from_proto(after)).changes


def test_a_change_in_words():
    assert str(GraphChange("weight", "w")) == "weight         w"
    assert str(GraphChange("attribute", "conv", "pads", "(1,)", "(2,)")) == "attribute      conv  pads: (1,) -> (2,)"
    assert str(GraphChange("weight added", "w", "", "", "float[2]")) == "weight added   w: - -> float[2]"
    assert str(GraphChange("weight removed", "w", "", "float[2]")) == "weight removed w: float[2] -> -"
    assert str(GraphChange("weight", "w", "values", "a", "b", 0.12345)) == (
        "weight         w  values: a -> b  (relative norm 0.123)"
    )


def test_changes_in_lines():
    several = GraphDiff((GraphChange("weight", "a"), GraphChange("rewired", "b"), GraphChange("weight", "c")))
    lines = ["2 weight, 1 rewired", "  weight         a", "  rewired        b", "  weight         c"]
    assert several.text().splitlines() == several.text(3).splitlines() == lines
    assert several.text(2).splitlines() == [*lines[:3], "  ... and 1 more"]
    many = GraphDiff(tuple(GraphChange("weight", f"w{at}") for at in range(52)))
    assert many.text().splitlines()[-2:] == ["  weight         w49", "  ... and 2 more"]
    assert [several.of_kind("weight"), bool(several), bool(GraphDiff(()))] == [
        (several.changes[0], several.changes[2]),
        True,
        False,
    ]


def test_changes_of_nodes():
    changed = original()
    conv, relu, add = changed.graph.node
    conv.op_type, conv.domain = "FusedConv", "com.microsoft"
    del conv.attribute[1]
    conv.attribute.append(helper.make_attribute("group", 1))
    relu.output[0] = add.input[1] = "c"
    add.input.append("b2")
    changed.graph.input.append(helper.make_tensor_value_info("b2", 1, [1]))
    changed.opset_import.add(domain="com.microsoft", version=1)
    assert changes(original(), changed) == (
        GraphChange("interface", "b2", "input", "", "b2 float[1]"),
        GraphChange("interface", "com.microsoft", "opset", "", "1"),
        GraphChange("attribute", "conv", "operator", "Conv", "com.microsoft.FusedConv"),
        GraphChange("attribute", "conv", "strides", "(1, 1)", ""),
        GraphChange("attribute", "conv", "group", "", "1"),
        GraphChange("rewired", "relu", "output 0", "b", "c"),
        GraphChange("rewired", "add", "input 1", "b", "c"),
        GraphChange("rewired", "add", "input 2", "", "b2"),
    )
    assert changes(changed, original())[-3:] == (
        GraphChange("rewired", "relu", "output 0", "c", "b"),
        GraphChange("rewired", "add", "input 1", "c", "b"),
        GraphChange("rewired", "add", "input 2", "b2", ""),
    )


def test_a_node_that_makes_nothing_is_another_one_where_its_name_is():
    def printing(name):
        nodes = [helper.make_node("Relu", ["x"], ["y"], "r"), helper.make_node("Print", ["y"], [], name, domain="own")]
        return proto(nodes, {"x": [2]}, {"y": [2]}, domains=["own"])

    assert changes(printing("a"), printing("b")) == (
        GraphChange("node removed", "a", "Print"),
        GraphChange("node added", "b", "Print"),
    )


def test_constants_and_graphs_among_attributes():
    def holding(*values, op="Neg"):
        out = helper.make_tensor_value_info("z", 1, [2])
        body = helper.make_graph([helper.make_node(op, ["x"], ["z"], "n")], "b", [], [out])
        nodes = [
            helper.make_node("Constant", [], ["k"], "k", value=constant("k", values, "float32")),
            helper.make_node("Own", ["x", "k"], ["y"], "own", domain="own", parts=[body]),
        ]
        return proto(nodes, {"x": [2]}, {"y": [2]}, domains=["own"])

    one, two = (f"float[{len(v)}] {hashlib.sha256(np.float32(v)).hexdigest()[:8]}" for v in ([1, 2], [1, 2, 3]))
    assert changes(holding(1, 2), holding(1, 2, 3)) == (GraphChange("attribute", "k", "value", one, two),)
    assert changes(holding(1), holding(1, op="Exp")) == (
        GraphChange("attribute", "own/parts[0]/n", "operator", "Neg", "Exp"),
    )


def test_a_reference_is_told_by_its_name():
    def referring(name):
        leaky = helper.make_node("LeakyRelu", ["a"], ["b"], "leaky")
        leaky.attribute.append(onnx.AttributeProto(name="alpha", type=1, ref_attr_name=name))
        function = helper.make_function("own", "F", ["a"], ["b"], [leaky], [helper.make_opsetid("", 17)], ["p", "q"])
        call = helper.make_node("F", ["x"], ["y"], "call", domain="own")
        return proto([call], {"x": [2]}, {"y": [2]}, domains=["own"], functions=[function])

    assert changes(referring("p"), referring("q")) == (
        GraphChange("attribute", "function(own:F)/leaky", "alpha", "@p", "@q"),
    )


def holding(tensor):
    return proto([helper.make_node("Identity", ["w"], ["y"], "i")], {}, {"y": None}, [tensor])


def stated(array):
    return (
        f"{np.dtype(array.dtype).name.replace('32', '')}[{'x'.join(map(str, array.shape))}] "
        + (hashlib.sha256(array.tobytes()).hexdigest()[:8])
    )


@pytest.mark.parametrize(
    ("before", "after", "norm"),
    [
        ([3, 4], [3, 4.5], 0.1),
        ([[3, 4]], [[0, 0]], 1.0),
        ([0, 0], [0, 1], math.inf),
        ([3, 4], [3], None),
        ([3, 4], [[3, 4.5]], None),
    ],
)
def test_a_weight_differs_by_the_norm_of_the_difference(before, after, norm):
    before, after = (np.array(values, np.float32) for values in (before, after))
    (change,) = [
        change
        for change in changes(*(holding(numpy_helper.from_array(one, "w")) for one in (before, after)))
        if change.kind == "weight"
    ]
    expected = GraphChange("weight", "w", "values", stated(before), stated(after), norm)
    assert change == replace(expected, relative_norm=norm and pytest.approx(norm, rel=1e-6))


def test_text_and_what_is_stripped_have_no_norm():
    whole, bare = weight("w", 2), onnx.TensorProto(name="w", data_type=1, dims=[2])
    for before, after in ((whole, bare), (bare, whole)):
        (change,) = changes(holding(before), holding(after))
        assert change.relative_norm is None
        assert "float[2] stripped" in (change.before, change.after)
    words = [helper.make_tensor("w", onnx.TensorProto.STRING, [1], [text]) for text in (b"a", b"b")]
    assert [(c.kind, c.relative_norm) for c in changes(*map(holding, words))] == [("weight", None)]
    other = helper.make_tensor("w", 1, [1], [1.0])
    assert [c.relative_norm for c in changes(holding(words[0]), holding(other)) if c.kind == "weight"] == [None]


def test_weights_come_and_go():
    two = original()
    two.graph.initializer.append(constant("v", [1, 2]))
    content = hashlib.sha256(np.array([1, 2]).tobytes()).hexdigest()[:8]
    assert changes(original(), two) == (GraphChange("weight added", "v", "", "", f"int64[2] {content}"),)
    assert changes(two, original()) == (GraphChange("weight removed", "v", "", f"int64[2] {content}"),)


def test_a_difference_as_a_table():
    frame = GraphDiff((GraphChange("weight", "w", "values", "a", "b", 0.5), GraphChange("rewired", "n"))).frame()
    assert list(frame.columns) == ["kind", "where", "what", "before", "after", "relative_norm"]
    assert frame.iloc[0].tolist() == ["weight", "w", "values", "a", "b", 0.5]
    assert frame["relative_norm"].dtype == np.float64
    assert frame["relative_norm"].isna().tolist() == [False, True]
