"""A sample that is a whole input of several rows counts with all of them, wherever a model is run."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import workbench
from workbench.evaluate.metrics import sqnr_db
from workbench.precision.sensitivity import exact
from workbench.precision.sensitivity.estimated import quick
from workbench.runtime.session import Session
from workbench.session import history_of, samples_for

WEIGHT = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
LOUDER = np.array([0.02, 1, 1, 1, 1, 5], np.float32).reshape(6, 1, 1)


def open_frames(tmp_path, shape):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], "product")]
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, axes)
        for name, axes in (("x", shape), ("y", [*shape[:-1], 5]))
    )
    graph = helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(WEIGHT, "w")])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "model.onnx"
    )
    return workbench.open_model(tmp_path / "model.onnx")


@pytest.mark.parametrize("shape", [[6, 3, 6], ["N", 3, 6], ["N", "T", 6]], ids=["cameras", "dynamic", "free"])
def test_range_error_and_sensitivity_are_of_all_rows(tmp_path, shape):
    wb = open_frames(tmp_path, shape)
    data = np.random.default_rng(1).normal(size=(8, 6, 3, 6)).astype(np.float32) * LOUDER
    wb.calibrate({"x": data}, method="minmax")
    assert wb.ranges["x"] == np.abs(data).max()

    tuned = wb.tune().model
    pairs = [(Session(wb.source).run({"x": x})["y"], Session(tuned).run({"x": x})["y"]) for x in data]
    true = sqnr_db(
        sum(float(np.square(a.astype(np.float64)).sum()) for a, _ in pairs),
        sum(float(np.square(a.astype(np.float64) - b).sum()) for a, b in pairs),
    )
    assert wb.compare(runs=0).worst_sqnr_db == pytest.approx(true)
    samples, batch = samples_for(history_of(wb), None)
    for measure in (exact, quick):
        (error,) = measure(wb.model, ["product"], wb.ranges, samples, batch=batch).errors
        assert error.sqnr_db == pytest.approx(true, abs=1e-3)


def test_top1_takes_one_label_a_row(tmp_path):
    wb = open_frames(tmp_path, ["N", "T", 6])
    batches = [{"x": np.random.default_rng(seed).normal(size=(6, 1, 6)).astype(np.float32)} for seed in range(3)]
    wb.calibrate(batches)
    labels = np.concatenate([(b["x"] @ WEIGHT)[:, 0].argmax(1) for b in batches])
    labels[-1] = (labels[-1] + 1) % 5  # of the last row of all
    accuracy = wb.compare(labels=labels, runs=0).accuracy
    assert (accuracy.samples, accuracy.original) == (18, 17 / 18)
