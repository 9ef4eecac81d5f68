"""Bodies that hand on what they got, which ONNX Runtime alone returns unwritten memory for."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.kit.models import model
from workbench.runtime import Session
from workbench.runtime.bodies import with_copies

node = helper.make_node
X = np.arange(1, 11, dtype=np.float32).reshape(5, 2)
A, B = X[0], X[1]


def value(name, kind=TensorProto.FLOAT, shape=(2,)):
    return helper.make_tensor_value_info(name, kind, list(shape))


def scan(inputs, outputs, states=0):
    """A Scan over x whose body negates its last input; its own inputs are `inputs`, of which some are states."""
    names = [f"s{at}" for at in range(states)]
    body = helper.make_graph(
        [node("Neg", [inputs[-1]], ["r"], "negate")], "body", [*map(value, inputs)], [*map(value, outputs)]
    )
    results = [f"y{at}" for at in range(len(outputs))]
    shapes = {name: [2] if at < states else [5, 2] for at, name in enumerate(results)}
    nodes = [node("Scan", [*names, "x"], results, "scan", body=body, num_scan_inputs=1)]
    return model(nodes, {key: [2] for key in names} | {"x": [5, 2]}, shapes, opset=21, ir_version=10)


@pytest.mark.parametrize("mode", ["numerics", "speed"])
@pytest.mark.parametrize(
    ("inputs", "outputs", "states", "expected"),
    [
        (["a"], ["a"], 0, [X]),
        (["a"], ["a", "r"], 0, [X, -X]),
        (["a"], ["r", "r"], 0, [-X, -X]),
        (["s", "a"], ["s", "r"], 1, [A, -X]),
        (["s", "a"], ["r", "s"], 1, [-X[4], np.vstack([A, -X[:4]])]),
        (["s", "t", "a"], ["t", "s"], 2, [B, A]),
    ],
)
def test_a_scan_returns_what_its_body_hands_on(inputs, outputs, states, expected, mode):
    feeds = {"x": X} | dict(zip(["s0", "s1"][:states], [A, B], strict=False))
    results = Session(scan(inputs, outputs, states), mode=mode).run(feeds)
    for at, one in enumerate(expected):
        assert np.array_equal(results[f"y{at}"], one), at


def test_a_loop_counts_where_its_body_hands_on_the_count():
    body = helper.make_graph(
        [node("Neg", ["v"], ["u"], "negate")],
        "body",
        [value("i", TensorProto.INT64, ()), value("k", TensorProto.BOOL, ()), value("v")],
        [value("k", TensorProto.BOOL, ()), value("u"), value("i", TensorProto.INT64, ()), value("v")],
    )
    weights = [helper.make_tensor("n", TensorProto.INT64, [], [3]), helper.make_tensor("c", TensorProto.BOOL, [], [1])]
    graph = model(
        [node("Loop", ["n", "c", "x"], ["y", "counts", "states"], "loop", body=body)],
        {"x": [2]},
        {"y": [2], "counts": (TensorProto.INT64, [3]), "states": [3, 2]},
        weights,
        opset=21,
        ir_version=10,
    )
    results = Session(graph).run({"x": A})
    assert results["y"].tolist() == [-1, -2]
    assert results["counts"].tolist() == [0, 1, 2]
    assert results["states"].tolist() == [[1, 2], [-1, -2], [1, 2]]


def test_a_body_that_computes_all_of_its_outputs_is_left_alone():
    graph = scan(["a"], ["r"])
    assert with_copies(graph) is graph
    assert with_copies(scan(["a"], ["a"])).nodes["scan"].op_type == "Scan"


def test_a_body_of_an_operator_that_onnx_runtime_has_none_of_is_left_alone():
    body = helper.make_graph([], "body", [value("a")], [value("a")])
    own = model([node("Own", ["x"], ["y"], "own", domain="own", body=body)], {"x": [2]}, {"y": [2]}, domains=["own"])
    assert with_copies(own) is own
