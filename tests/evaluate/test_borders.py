"""Comparisons at the border of what is compared, counted and noted."""

from __future__ import annotations

import inspect
import math
from types import SimpleNamespace

import numpy as np
import pytest
from onnx import helper, numpy_helper

from tests.kit.models import model
from workbench.calibration import open_samples
from workbench.errors import BackendError
from workbench.evaluate import compare, compare_engine
from workbench.evaluate.equivalence import _sqnr
from workbench.evaluate.reference import Reference, _fits
from workbench.evaluate.touched import _signatures
from workbench.graph.tensor import Tensor
from workbench.runtime.session import OLDEST_OPSET

RELU = [helper.make_node("Relu", ["x"], ["y"], "r")]


def test_results_of_another_shape_or_type_are_infinitely_far():
    ones = np.ones(4, np.float32)
    assert _sqnr(ones, 1.1 * ones) == pytest.approx(20.0, abs=0.01)
    for other in (np.ones(5, np.float32), np.ones(4)):
        assert _sqnr(ones, other) == math.inf
    assert _sqnr(np.ones(4, np.int64), np.ones(4, np.int64)) == math.inf


@pytest.mark.parametrize(
    ("was", "now", "fits"),
    [
        (Tensor("t", None, "FLOAT"), Tensor("t", (1, 2), "FLOAT"), True),
        (Tensor("t", (1, 2), "FLOAT"), Tensor("t", None, "FLOAT"), True),
        (Tensor("t", (1, 2), None), Tensor("t", (1, 2), "FLOAT16"), True),
        (Tensor("t", (1, 2), "FLOAT"), Tensor("t", (1, 2), "FLOAT16"), False),
        (Tensor("t", (1, "N"), "FLOAT"), Tensor("t", (1, 5), "FLOAT"), True),
        (Tensor("t", (1, 4), "FLOAT"), Tensor("t", (1, 5), "FLOAT"), False),
        (Tensor("t", (1,), "FLOAT"), Tensor("t", (1, 5), "FLOAT"), False),
    ],
)
def test_tensors_may_be_the_same_where_nothing_stated_differs(was, now, fits):
    assert _fits(was, now) == fits


@pytest.mark.parametrize(("opset", "noted"), [(1, True), (OLDEST_OPSET - 1, True), (OLDEST_OPSET, False)])
def test_a_source_of_an_old_operator_set_is_said_to_run_in_a_newer_one(opset, noted):
    source = model(RELU, {"x": [2]}, {"y": [2]}, opset=opset)
    reference = Reference.source(source, source, [])
    assert ("the source runs in operator set" in reference.note) == noted


def test_a_source_of_operators_of_its_own_is_of_no_operator_set():
    own = [helper.make_node("Own", ["x"], ["y"], "o", domain="own")]
    graph = model(own, {"x": [2]}, {"y": [2]}, domains=["own"]).thaw()
    del graph.opset_imports[""]
    source = model(own, {"x": [2]}, {"y": [2]}, domains=["own"]).replaced(graph)
    assert source.opset == 0
    assert Reference.source(source, source, []).note == ""


def test_an_engine_may_give_more_than_the_model_and_no_less():
    source = model(RELU, {"x": ["N", 2]}, {"y": ["N", 2]})
    samples = open_samples({"x": np.ones((3, 2), np.float32)}, source)
    results = {"y": np.ones((3, 2), np.float32), "more": np.ones((3, 2), np.float32)}
    backend = SimpleNamespace(run_each=lambda _, feeds: [dict(results) for _ in feeds])
    engine = SimpleNamespace(manifest={}, backend="none")
    assert compare_engine(source, backend, engine, samples, batch=3).samples == 3
    del results["y"]
    with pytest.raises(BackendError, match="the engine has no output y"):
        compare_engine(source, backend, engine, samples, batch=3)


def test_thirty_runs_are_timed_unless_others_are_asked_for():
    assert inspect.signature(compare).parameters["runs"].default == 30


def test_a_node_that_leaves_an_input_out_is_told_by_those_it_has():
    def signature(*names):
        weights = [numpy_helper.from_array(np.float32(6), "most")]
        clip = helper.make_node("Clip", ["x", *names], ["y"], "c")
        ((_, told),) = _signatures(model([clip], {"x": [2]}, {"y": [2]}, weights))
        return told

    assert len(signature("", "most")[1]) == len(signature("most")[1]) == 1
    assert signature("", "most")[0] != signature("most")[0]
