"""The recurrent model reads images of any width."""

from __future__ import annotations

import glyphs
import measure
import numpy as np
import onnx
import pytest


@pytest.mark.parametrize("width", [48, 64])
def test_accuracy_at_other_widths(folder, width):
    images, labels = glyphs.glyphs(500, glyphs.SPLITS["test"], width=width)
    assert measure.top1(onnx.load(folder / "recurrent.onnx"), images, labels) > 0.8


def test_time_is_a_dynamic_axis_read_by_gru_nodes(folder):
    graph = onnx.load(folder / "recurrent.onnx").graph
    assert [d.dim_param or d.dim_value for d in graph.input[0].type.tensor_type.shape.dim] == ["batch", 1, 32, "time"]
    assert [node.name for node in graph.node if node.op_type == "GRU"] == ["/gru.0/GRU", "/gru.1/GRU"]
    ((logits,),) = measure.outputs(onnx.load(folder / "recurrent.onnx"), np.zeros((3, 1, 32, 17), dtype=np.float32))
    assert logits.shape == (3, 16)
