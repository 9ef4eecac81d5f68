"""What the side-by-side view colours: attributes and weights too, where the models are known."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from workbench import views
from workbench.graph.load import from_proto
from workbench.session import open_model
from workbench.views.graphs.diff import changes
from workbench.views.graphs.network import network_of


def proto(*, strides=(1, 1), factor=1.0, relu="relu", tail="Neg") -> onnx.ModelProto:
    weight = np.arange(4, dtype=np.float32).reshape(2, 2, 1, 1) * factor
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], "conv", kernel_shape=[1, 1], strides=list(strides)),
        helper.make_node("Relu", ["a"], ["b"], relu),
        helper.make_node("Conv", ["b", "v"], ["c"], "second", kernel_shape=[1, 1]),
        helper.make_node(tail, ["c"], ["y"], f"tail_{tail}"),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", TensorProto.FLOAT, [1, 2, 4, 4])],
        [value("y", TensorProto.FLOAT, [1, 2, None, None])],
        [numpy_helper.from_array(np.float32(weight), "w"), numpy_helper.from_array(np.float32(weight * 0 + 1), "v")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(
    ("change", "left", "right"),
    [
        ({}, {}, {}),
        ({"strides": (2, 2)}, {"conv": "changed"}, {"conv": "changed"}),
        ({"factor": 1.5}, {"conv": "changed"}, {"conv": "changed"}),
        ({"relu": "act"}, {"relu": "changed"}, {"act": "changed"}),
        ({"tail": "Abs"}, {"tail_Neg": "removed"}, {"tail_Abs": "added"}),
    ],
)
def test_attributes_weights_and_names_count(change, left, right):
    fates = changes(network_of(from_proto(proto())), network_of(from_proto(proto(**change))))
    differs = [{name: fate for name, fate in side.items() if fate != "same"} for side in fates]
    assert differs == [left, right]


def test_the_public_face_takes_a_workbench_or_a_model(tmp_path):
    onnx.save(proto(), tmp_path / "m.onnx")
    wb = open_model(tmp_path / "m.onnx")
    assert views.graph(wb).select("op:Conv") == views.graph(wb.model).select("op:Conv") == ["conv", "second"]
    both = views.side_by_side(wb.source, wb, titles=("a", "b"))
    assert [pane.title for pane in both.panes] == ["a", "b"]
    assert set(both.fates[0].values()) == {"same"}
    surgery = views.surgery(wb, height=300)
    assert surgery.workbench is wb
    assert surgery.height == 300
