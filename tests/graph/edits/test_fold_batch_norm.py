"""BatchNormalization goes into the layer before it by the formula, and stays where it cannot."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.kit.models import assert_same, constant, model, weight
from workbench.graph.edits.registry import applicable, edit_by_name

node = helper.make_node
SCALE, SHIFT, MEAN = [0.5, 2, 3], [1.0, -1, 0.25], [0.1, -0.2, 0.3]
VARIANCE = [3e-5, 1e-4, 5e-4]  # so small that epsilon is seen
NORM = ("scale", "shift", "mean", "var")
KERNELS = {"Conv": (3, 2, 1, 1), "ConvTranspose": (2, 3, 1, 1), "Gemm": (2, 3)}


def parameters(channels=3):
    columns = zip(NORM, (SCALE, SHIFT, MEAN, VARIANCE), strict=True)
    return [constant(name, (values * 2)[:channels], "float32") for name, values in columns]


def normalized(op="Conv", layer=("w", "b"), *, stated=None, inputs=None, outputs=None, more=(), weights=(), **norm):
    """A layer of two channels to three, and a BatchNormalization behind it."""
    held = {tensor.name: tensor for tensor in (weight("w", *KERNELS[op]), weight("b", 3), *parameters(), *weights)}
    for name in {*(inputs or {}), *({"b"} - {*layer})}:
        held.pop(name)
    nodes = [
        node(op, ["x", *layer], ["a"], "layer", **(stated or {})),
        node("BatchNormalization", ["a", *NORM], ["y"], "norm", **norm),
        *more,
    ]
    image = [2] if op == "Gemm" else [2, 5, 5]
    result = [1, 3, *image[1:]]
    return model(nodes, {"x": [1, *image]} | (inputs or {}), {"y": result} | (outputs or {}), held.values())


def content(network):
    return {name: value.const_value.numpy() for name, value in network.initializers.items()}


@pytest.mark.parametrize("epsilon", [None, 1e-3])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize(("op", "axis"), [("Conv", 0), ("ConvTranspose", 1), ("Gemm", 1)])
def test_weights_and_bias_are_those_of_the_formula_rounded_once(op, axis, biased, epsilon):
    stated = {} if epsilon is None else {"epsilon": epsilon}
    before = normalized(op, ("w", "b") if biased else ("w",), **stated)
    done = edit_by_name("fold_batch_norm")(before)
    assert done.notes == ("folded 1 BatchNormalization nodes into the layer before them",)
    held, after = {name: array.astype(np.float64) for name, array in content(before).items()}, content(done.model)
    k = held["scale"] / np.sqrt(held["var"] + np.float64(np.float32(epsilon or 1e-5)))
    along = [1] * held["w"].ndim
    along[axis] = 3
    np.testing.assert_array_equal(after["w_folded_norm"], (held["w"] * k.reshape(along)).astype(np.float32))
    bias = held["b"] if biased else 0.0
    expected = (k * (bias - held["mean"]) + held["shift"]).astype(np.float32)
    np.testing.assert_array_equal(after["norm_bias"], expected)
    assert set(after) == {"w_folded_norm", "norm_bias"}
    assert list(done.model.nodes) == ["layer"]
    assert [value.name for value in done.model.nodes["layer"].outputs] == ["y"]
    assert_same(before, done.model, atol=2e-6)


@pytest.mark.parametrize(("op", "kernel"), [("Conv", (6, 2, 1, 1)), ("ConvTranspose", (4, 3, 1, 1))])
def test_channels_of_groups_are_scaled_each_by_its_own(op, kernel):
    nodes = [
        node(op, ["x", "w"], ["a"], "layer", group=2),
        node("BatchNormalization", ["a", *NORM], ["y"], "norm"),
    ]
    before = model(nodes, {"x": [1, 4, 5, 5]}, {"y": [1, 6, 5, 5]}, [weight("w", *kernel), *parameters(6)])
    done = edit_by_name("fold_batch_norm")(before)
    assert list(done.model.nodes) == ["layer"]
    assert_same(before, done.model, atol=2e-6)


@pytest.mark.parametrize("stated", [{"training_mode": 0}, {}])
def test_it_is_folded_where_it_does_not_train(stated):
    network = normalized(**stated)
    assert edit_by_name("fold_batch_norm")(network).changed
    assert "fold_batch_norm" in {edit.do for edit in applicable(network, ["norm"])}


@pytest.mark.parametrize("stated", [{"alpha": 1.0}, {"beta": 1.0}, {"transB": 0}])
def test_a_gemm_that_says_what_it_would_do_anyway_takes_it(stated):
    before = normalized("Gemm", stated=stated)
    done = edit_by_name("fold_batch_norm")(before)
    assert list(done.model.nodes) == ["layer"]
    assert_same(before, done.model, atol=2e-6)


def trained():
    statistics = {name: [3] for name in ("mean2", "var2")}
    nodes = [
        node("Conv", ["x", "w"], ["a"], "layer"),
        node("BatchNormalization", ["a", *NORM], ["y", *statistics], "norm", training_mode=1),
    ]
    weights = [weight("w", 3, 2, 1, 1), *parameters()]
    return model(nodes, {"x": [1, 2, 5, 5]}, {"y": [1, 3, 5, 5], **statistics}, weights)


def in_a_branch():
    result = helper.make_tensor_value_info("n", TensorProto.FLOAT, [1, 3, 5, 5])
    inner = [node("BatchNormalization", ["a", *NORM], ["n"], "norm")]
    other = helper.make_graph([node("Neg", ["a"], ["n"], "neg")], "other", [], [result])
    choice = node("If", ["c"], ["y"], "if", then_branch=helper.make_graph(inner, "b", [], [result]), else_branch=other)
    nodes = [node("Conv", ["x", "w"], ["a"], "layer"), choice]
    inputs = {"x": [1, 2, 5, 5], "c": (TensorProto.BOOL, [])}
    return model(nodes, inputs, {"y": [1, 3, 5, 5]}, [weight("w", 3, 2, 1, 1), *parameters()])


STAYS = {
    "the layer's weights are fed": normalized(inputs={"w": [3, 2, 1, 1]}),
    "the layer's bias is fed": normalized(inputs={"b": [3]}),
    "its scale is fed": normalized(inputs={"scale": [3]}),
    "its shift is fed": normalized(inputs={"shift": [3]}),
    "its mean is fed": normalized(inputs={"mean": [3]}),
    "its variance is fed": normalized(inputs={"var": [3]}),
    "the layer's result is given out": normalized(outputs={"a": [1, 3, 5, 5]}),
    "the layer's result is read": normalized(more=[node("Neg", ["a"], ["z"], "neg")], outputs={"z": [1, 3, 5, 5]}),
    "it is half a product": normalized("Gemm", stated={"alpha": 0.5}),
    "it has half a bias": normalized("Gemm", stated={"beta": 0.5}),
    "it trains": normalized(training_mode=1),
    "it gives out statistics": trained(),
    "it is in a branch": in_a_branch(),
    "there is no layer": model(
        [node("Relu", ["x"], ["a"], "relu"), node("BatchNormalization", ["a", *NORM], ["y"], "norm")],
        {"x": [1, 3, 5, 5]},
        {"y": [1, 3, 5, 5]},
        parameters(),
    ),
    "it is the first": model(
        [node("BatchNormalization", ["x", *NORM], ["y"], "norm")],
        {"x": [1, 3, 5, 5]},
        {"y": [1, 3, 5, 5]},
        parameters(),
    ),
    "it has one scale for three channels": normalized(weights=parameters(1)),
}


@pytest.mark.parametrize("why", STAYS)
def test_it_stays_where(why):
    assert not edit_by_name("fold_batch_norm")(STAYS[why]).changed


def test_groups_of_another_number_of_channels_are_left():
    nodes = [
        node("ConvTranspose", ["x", "w"], ["a"], "layer", group=2),
        node("BatchNormalization", ["a", *NORM], ["y"], "norm"),
    ]
    network = model(nodes, {"x": [1, 4, 5, 5]}, {"y": None}, [weight("w", 4, 3, 1, 1), *parameters(4)])
    assert not edit_by_name("fold_batch_norm")(network).changed
