"""Two models compared."""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests.kit.models import constant, proto, weight
from workbench.graph.edits.fold_batch_norm import FoldBatchNorm
from workbench.graph.inspection.difference import diff
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
