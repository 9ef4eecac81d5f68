"""Samples that become steps of one sequence where time comes first: said, for they may have been meant otherwise."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.kit.models import model, weight
from workbench.calibration import feeds, open_samples
from workbench.errors import SamplesWarning

node = helper.make_node


def recurrent(shape, *, op="GRU", before=(), source="x", gates=3, **stated):
    outputs = ["o"] if not stated.get("layout") else ["o", "h"]
    nodes = [*before, node(op, [source, "w", "r"], outputs, "steps", hidden_size=5, **stated)]
    weights = [weight("w", 1, 5 * gates, 4), weight("r", 1, 5 * gates, 5), weight("k", 4, 4)]
    return model(nodes, {"x": shape}, {"o": ["T", 1, "B", 5]}, weights, opset=14)


def scan(shape, **stated):
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 4]) for name in ("s", "i", "t", "u")]
    nodes = [node("Add", ["s", "i"], ["t"]), node("Identity", ["t"], ["u"])]
    body = helper.make_graph(nodes, "body", values[:2], values[2:])
    last = node("Scan", ["z", "x"], ["y", "o"], "steps", body=body, num_scan_inputs=1, **stated)
    return model([last], {"x": shape}, {"o": None}, [weight("z", 2, 4)])


def told(network, array, batch=1):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        runs = list(feeds(open_samples({"x": array}, network), network, batch=batch))
    return runs, [str(one.message) for one in seen if one.category is SamplesWarning]


@pytest.mark.parametrize(
    "network",
    [
        recurrent(["T", "B", 4]),
        recurrent(["T", "B", 4], op="LSTM", gates=4),
        recurrent([3, "B", 4], before=[node("MatMul", ["x", "k"], ["p"]), node("Relu", ["p"], ["q"])], source="q"),
        scan(["T", 2, 4]),
    ],
    ids=["dynamic", "LSTM", "fixed, behind a product", "Scan"],
)
def test_samples_that_become_steps_are_told_once_and_whole_inputs_are_not(network):
    rows = np.ones((6, 2, 4), np.float32)
    runs, said = told(network, rows, batch=3)
    assert [run.arrays["x"].shape for run in runs] == [(3, 2, 4)] * 2
    (sentence,) = said
    assert sentence.startswith("input 'x': 'steps' counts time along its first axis")
    assert sentence.endswith("give it with all 3 axes")
    assert told(network, rows.reshape(2, 3, 2, 4))[1] == []


@pytest.mark.parametrize(
    "network",
    [
        recurrent([1, "B", 4]),
        recurrent(["B", "T", 4], layout=1),
        recurrent(["B", "T", 4], before=[node("Transpose", ["x"], ["q"], perm=[1, 0, 2])], source="q"),
        scan(["B", 2, 4], scan_input_axes=[1]),
    ],
    ids=["step by step", "batch first", "turned", "Scan of another axis"],
)
def test_where_the_first_axis_is_no_time_nothing_is_said(network):
    assert told(network, np.ones((2, 2, 4), np.float32))[1] == []
