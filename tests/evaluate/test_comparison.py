"""What a comparison says is what a direct computation says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from onnx import TensorProto, helper

from workbench.calibration.sources import open_samples
from workbench.errors import BackendError, SamplesError
from workbench.evaluate.agreement import Accuracy, Comparison, Latency, OutputDifference
from workbench.evaluate.comparison import compare
from workbench.evaluate.metrics import Difference, top1_hits
from workbench.graph.load import from_proto, load_model
from workbench.recipe import Gate, check_gates
from workbench.runtime.session import Session


def test_difference_in_batches_equals_the_formulas():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(8, 5)).astype(np.float32), rng.normal(size=(8, 5)).astype(np.float32)
    difference = Difference()
    for part in range(0, 8, 3):
        difference.update(a[part : part + 3], b[part : part + 3])
    x, y = a.astype(np.float64), b.astype(np.float64)
    assert difference.sqnr == pytest.approx(10 * np.log10((x**2).sum() / ((x - y) ** 2).sum()))
    assert difference.cosine == pytest.approx((x * y).sum() / np.linalg.norm(x) / np.linalg.norm(y))
    assert difference.max_error == np.abs(x - y).max()


def test_equal_outputs_are_infinitely_good_and_nan_is_counted():
    a = np.ones((2, 2), np.float32)
    same = Difference()
    same.update(a, a)
    assert same.sqnr == math.inf
    assert same.cosine == pytest.approx(1)
    broken = Difference()
    broken.update(a, np.array([[1, np.nan], [np.inf, 1]], np.float32))
    assert broken.nonfinite == 2
    assert broken.sqnr == -math.inf


def test_nan_and_infinity_that_were_there_before_are_no_error():
    a = np.array([1, np.nan, -np.inf, np.inf], np.float32)
    masked = Difference()
    masked.update(a, a)
    assert (masked.differing, masked.nonfinite, masked.sqnr) == (0, 0, math.inf)
    turned = Difference()
    turned.update(a, np.array([1, np.inf, np.nan, -np.inf], np.float32))
    assert (turned.differing, turned.nonfinite) == (3, 3)


def test_nothing_to_compare_is_no_perfect_score():
    empty = Difference()
    empty.update(np.zeros((0, 4), np.float32), np.zeros((0, 4), np.float32))
    assert math.isnan(empty.sqnr)
    everywhere = Difference()
    everywhere.update(np.full(2, np.nan, np.float32), np.full(2, np.nan, np.float32))
    assert math.isnan(everywhere.sqnr)
    assert everywhere.differing == 0


def test_another_number_of_detections_is_an_error_as_large_as_the_reference():
    difference = Difference()
    difference.update(np.ones((3, 2), np.float32), np.ones((4, 2), np.float32))
    assert (difference.reshaped, difference.differing, difference.elements) == (1, 8, 8)
    assert difference.sqnr == 0.0
    classes = Difference()
    classes.update(np.array([1, 2]), np.array([1]))
    assert (classes.reshaped, classes.differing) == (1, 2)


@pytest.mark.parametrize("metric", ["sqnr_db", "top1_drop", "latency_ratio"])
def test_a_gate_on_numbers_fails_where_values_became_nan(metric):
    output = OutputDifference("y", -math.inf, 1.0, 0.0, 0.1, nonfinite=3, values=10)
    latency = Latency(1.0, 1.0, 1, 1)
    comparison = Comparison((output,), Accuracy(1.0, 1.0, 8), 8, latency, latency, 1, 1)
    bound = {"at_least": -1000.0} if metric == "sqnr_db" else {"at_most": 1000.0}
    (verdict,) = check_gates([Gate(metric=metric, **bound)], comparison)
    assert verdict.passed == (metric == "latency_ratio")
    assert verdict.passed or "3 values became NaN or infinite" in str(verdict)
    assert "3 of 10 values became NaN or infinite" in str(output)


def test_integers_are_counted_not_subtracted():
    difference = Difference()
    difference.update(np.array([1, 2, 3]), np.array([1, 0, 3]))
    assert difference.differing == 1
    assert math.isnan(difference.sqnr)


def test_top1():
    scores = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]])
    assert top1_hits(scores, np.array([1, 0, 0])).sum() == 2
    scores[0] = np.nan
    assert top1_hits(scores, np.array([0, 0, 0])).sum() == 1


def test_a_model_equals_itself(small_cnn, small_data):
    model = load_model(small_cnn)
    samples = open_samples(small_data, model)
    comparison = compare(model, model, samples, runs=0)
    assert comparison.worst_sqnr_db == math.inf
    assert comparison.original_latency is None
    assert comparison.original_bytes == comparison.tuned_bytes == len(model.to_bytes())


@pytest.mark.parametrize("batch", [1, 5, 12])
def test_accuracy_does_not_depend_on_the_batch(small_cnn, small_data, batch):
    model = load_model(small_cnn)
    samples = open_samples(small_data, model)
    x = np.load(small_data)["x"]
    labels = Session(model).run({"x": x})["y"].argmax(1)
    labels[:3] = (labels[:3] + 1) % 5
    accuracy = compare(model, model, samples, labels=labels, batch=batch, runs=0).accuracy
    assert accuracy.original == accuracy.tuned == 9 / 12
    assert accuracy.drop == 0


def test_labels_without_scores_are_refused():
    node = helper.make_node("ReduceSum", ["x"], ["y"], "sum", keepdims=0)
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [])]
    graph = helper.make_graph([node], "g", inputs, outputs)
    model = from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8))
    samples = open_samples({"x": np.ones((3, 2), np.float32)}, model)
    with pytest.raises(SamplesError, match="no output holds one row of scores a sample"):
        compare(model, model, samples, labels=np.zeros(3, np.int64), runs=0)


def test_tensors_inside_can_be_asked_for(small_cnn, small_data):
    model = load_model(small_cnn)
    x = np.load(small_data)["x"]
    result = Session(model, outputs=["r1", "x", "y"]).run({"x": x})
    assert np.array_equal(result["x"], x)
    assert (result["r1"] >= 0).all()
    with pytest.raises(BackendError, match="no such tensor"):
        Session(model, outputs=["nothing"])


def test_a_failing_run_gives_the_runtimes_reason(small_cnn):
    with pytest.raises(BackendError, match="ONNX Runtime fails"):
        Session(load_model(small_cnn)).run({"x": np.zeros((1, 3, 4), np.float32)})


@pytest.mark.parametrize("kind", ["FLOAT", "FLOAT16", "BFLOAT16"])
def test_scores_are_of_any_floating_type(kind):
    node = helper.make_node("Neg", ["x"], ["y"], "negate")
    ends = [[helper.make_tensor_value_info(name, TensorProto.DataType.Value(kind), ["N", 2])] for name in "xy"]
    graph = helper.make_graph([node], "g", *ends)
    model = from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8))
    scores = np.array([[1, 2], [5, 3], [3, 4]], "float16" if kind == "FLOAT16" else "float32")
    comparison = compare(model, model, open_samples({"x": scores}, model), labels=np.array([0, 0, 1]), runs=0)
    assert comparison.accuracy.original == comparison.accuracy.tuned == 1 / 3


@pytest.mark.parametrize("wrong", [-1, 2])
def test_labels_beyond_the_classes_are_refused(wrong):
    node = helper.make_node("Neg", ["x"], ["y"], "negate")
    ends = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 2])] for name in "xy"]
    graph = helper.make_graph([node], "g", *ends)
    model = from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8))
    samples = open_samples({"x": np.ones((3, 2), np.float32)}, model)
    with pytest.raises(SamplesError, match=f"label 2 is {wrong}, and there are scores of 2 classes"):
        compare(model, model, samples, labels=np.array([0, 1, wrong]), runs=0)
