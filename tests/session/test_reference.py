"""The tuned model is compared with the source, whatever edits did to names, types and layouts."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import workbench
from workbench.graph.save import stored_bytes

WEIGHT = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
X = np.random.default_rng(1).normal(size=(6, 3, 8, 8)).astype(np.float32)


@pytest.fixture
def wb(tmp_path):
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], "conv", pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["r"], "relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["y"], "pool"),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4, 1, 1])
    graph = helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(WEIGHT, "w")])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(proto, tmp_path / "model.onnx")
    return workbench.open_model(tmp_path / "model.onnx")


def spoilt(wb, samples):
    """Take the Relu out, which the source has: whoever compares with the edited model sees no difference."""
    wb.edit("bypass", node="relu")
    wb.calibrate(samples)
    wb.plan.use("fp32")
    return wb.compare(runs=2)


@pytest.mark.parametrize(
    ("edits", "samples"),
    [
        ([], {"x": X}),
        ([("set_batch", {"size": 2})], {"x": X}),
        ([("rename_tensor", {"tensor": "x", "to": "image"})], {"image": X}),
        ([("rename_tensor", {"tensor": "y", "to": "scores"})], {"x": X}),
        ([("set_input_layout", {"input": "x", "layout": "NHWC"})], {"x": np.moveaxis(X, 1, -1)}),
        ([("set_input_type", {"input": "x", "dtype": "FLOAT16"})], {"x": X.astype(np.float16)}),
        (
            [
                ("set_input_layout", {"input": "x", "layout": "NHWC"}),
                ("rename_tensor", {"tensor": "x", "to": "image"}),
                ("set_input_type", {"input": "image", "dtype": "UINT8"}),
            ],
            {"image": np.moveaxis(np.abs(X * 20), 1, -1).astype(np.uint8)},
        ),
    ],
)
def test_the_source_is_the_reference(wb, edits, samples):
    for name, arguments in edits:
        wb.edit(name, **arguments)
    proto = spoilt(wb, samples)
    assert proto.note == ""
    assert proto.samples == 6
    assert proto.outputs[0].sqnr_db < 20


def test_an_output_that_was_inside_is_found_in_the_source(wb):
    wb.edit("mark_output", tensor="a")
    proto = spoilt(wb, {"x": X})
    assert [output.name for output in proto.outputs] == ["y", "a"]
    assert proto.outputs[1].sqnr_db > 100


def test_where_there_is_no_way_back_it_is_said(wb):
    wb.edit("extract", inputs=["a"], outputs=["y"])
    proto = spoilt(wb, {"a": np.random.default_rng(2).normal(size=(4, 4, 8, 8)).astype(np.float32)})
    assert proto.note == "compared with the edited model instead of the source, of which 'a' is no input"
    assert proto.outputs[0].sqnr_db > 100


def test_inputs_that_the_plan_makes_fp16_take_samples_as_they_are(wb):
    wb.calibrate({"x": X})
    wb.plan.set("*", "fp16", keep_inputs=False, islands=False)
    assert wb.tune().model.inputs[0].dtype == "FLOAT16"
    assert 55 < wb.compare(runs=1).worst_sqnr_db < 90


def test_the_size_is_that_of_the_files(wb, tmp_path):
    size = (tmp_path / "model.onnx").stat().st_size
    wb.prepare()
    wb.calibrate({"x": X})
    assert wb.compare(runs=0).original_bytes == size
    onnx.save(onnx.load(tmp_path / "model.onnx"), tmp_path / "b.onnx", save_as_external_data=True, size_threshold=0)
    beside = workbench.open_model(tmp_path / "b.onnx").source
    files = [path for path in tmp_path.iterdir() if path.name != "model.onnx"]
    assert len(files) == 2
    assert stored_bytes(beside) == sum(path.stat().st_size for path in files)


def test_the_size_is_that_of_the_files_that_were_read(wb, tmp_path):
    size = (tmp_path / "model.onnx").stat().st_size
    wb.calibrate({"x": X})
    (tmp_path / "model.onnx").write_bytes(b"")
    assert wb.compare(runs=0).original_bytes == size
