"""Channels divided by powers of two, and the weights behind them multiplied: where, and to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.kit.models import assert_same, constant, model, weight
from workbench.errors import EditError
from workbench.graph.edits.equalize_channels import equalizable
from workbench.graph.edits.registry import edit_by_name

node = helper.make_node
EXPONENTS = [1, 0, -2, 3]
FACTORS = np.float32([2, 1, 0.25, 8])


def conv(x, y, name, *inputs, **attributes):
    return node("Conv", [x, *inputs], [y], name, **attributes)


def chain(between, spatial=2, weights=None, first=("w",), group=1, extra=(), inputs=None, outputs=None):
    """A convolution that makes ``t``, nodes that make ``r`` of it, and a convolution that reads that."""
    image = [1, 4, *[5] * spatial]
    kernel = [1] * spatial
    stored = weights if weights is not None else [weight("w", 4, 4, *kernel), weight("v", 6, 4 // group, *kernel)]
    nodes = [conv("x", "t", "one", *first), *between, conv("r", "y", "two", "v", group=group), *extra]
    return model(nodes, {"x": image} | (inputs or {}), {"y": [1, 6, *[None] * spatial]} | (outputs or {}), stored)


def array(network, node_name, place=1):
    return network.nodes[node_name].inputs[place].const_value.numpy()


def equalized(network, tensor="r"):
    return edit_by_name("equalize_channels", exponents={tensor: EXPONENTS})(network)


RELU = [node("Relu", ["t"], ["r"], "relu")]
SIGMOID = [node("Sigmoid", ["t"], ["r"], "sigmoid")]


@pytest.mark.parametrize("spatial", [1, 2, 3])
@pytest.mark.parametrize("group", [1, 2])
def test_rows_are_divided_and_columns_multiplied(spatial, group):
    before = chain(RELU, spatial, group=group)
    done = equalized(before)
    assert done.notes == ("equalized r: into one",)
    ones = [1] * spatial
    np.testing.assert_array_equal(array(done.model, "one"), array(before, "one") / FACTORS.reshape(4, 1, *ones))
    # Of two groups, the first half of the rows reads the first half of the channels.
    columns = np.repeat(FACTORS.reshape(group, -1), 6 // group, axis=0).reshape(6, 4 // group, *ones)
    np.testing.assert_array_equal(array(done.model, "two"), array(before, "two") * columns)
    assert set(done.model.initializers) == {"w", "v"}
    assert_same(before, done.model)


@pytest.mark.parametrize("spatial", [1, 2, 3])
@pytest.mark.parametrize("group", [1, 2])
def test_elsewhere_a_multiplication_of_one_number_a_channel_is_added(spatial, group):
    before = chain(SIGMOID, spatial, group=group)
    done = equalized(before)
    assert done.notes == ("equalized r: a multiplication added",)
    assert list(done.model.nodes) == ["one", "sigmoid", "r/equalize", "two"]
    by = done.model.initializers["r/inverse"].const_value.numpy()
    np.testing.assert_array_equal(by, (1 / FACTORS).reshape(4, *[1] * spatial))
    assert done.model.nodes["r/equalize"].outputs[0].name == "r/equalized"
    assert_same(before, done.model)


def test_the_bias_of_the_convolution_before_is_divided_as_well():
    weights = [weight("w", 4, 4, 1, 1), weight("b", 4), weight("v", 6, 4, 1, 1)]
    before = chain(RELU, weights=weights, first=("w", "b"))
    done = equalized(before)
    np.testing.assert_array_equal(array(done.model, "one", 2), array(before, "one", 2) / FACTORS)
    assert_same(before, done.model)


BEHIND = {
    "LeakyRelu": ([node("LeakyRelu", ["t"], ["r"], "it")], "r"),
    "MaxPool": ([node("MaxPool", ["t"], ["r"], "it", kernel_shape=[2, 2])], "r"),
    "AveragePool": ([node("AveragePool", ["t"], ["r"], "it", kernel_shape=[2, 2])], "r"),
    "two": ([node("Relu", ["t"], ["s"], "a"), node("MaxPool", ["s"], ["r"], "b", kernel_shape=[2, 2])], "r"),
}


@pytest.mark.parametrize("name", BEHIND)
def test_homogeneous_operators_let_the_division_through(name):
    before = chain(BEHIND[name][0])
    done = equalized(before)
    assert done.notes == ("equalized r: into one",)
    assert_same(before, done.model)


def test_a_convolution_that_another_reads_takes_the_division_itself():
    weights = [weight("w", 4, 4, 1, 1), weight("v", 6, 4, 1, 1)]
    nodes = [conv("x", "r", "one", "w"), conv("r", "y", "two", "v")]
    before = model(nodes, {"x": [1, 4, 5, 5]}, {"y": [1, 6, 5, 5]}, weights)
    done = equalized(before)
    assert done.notes == ("equalized r: into one",)
    assert_same(before, done.model)


@pytest.mark.parametrize("made", ["ConvTranspose", "Mul", "Add"])
def test_what_no_convolution_makes_is_multiplied(made):
    kernel = (4, 4, 1, 1) if made == "ConvTranspose" else (4, 1, 1)
    nodes = [node(made, ["x", "w"], ["r"], "it"), conv("r", "y", "two", "v")]
    before = model(nodes, {"x": [1, 4, 5, 5]}, {"y": [1, 6, 5, 5]}, [weight("w", *kernel), weight("v", 6, 4, 1, 1)])
    done = equalized(before)
    assert done.notes == ("equalized r: a multiplication added",)
    assert_same(before, done.model)


@pytest.mark.parametrize("why", ["read", "given out"])
def test_the_division_goes_no_further_than_what_others_see(why):
    extra = [node("Neg", ["t"], ["z"], "neg")] if why == "read" else []
    before = chain(RELU, extra=extra, outputs={"z" if extra else "t": [1, 4, 5, 5]})
    done = equalized(before)
    assert done.notes == ("equalized r: a multiplication added",)
    assert_same(before, done.model)


def test_weights_that_others_read_stay_theirs():
    weights = [weight("w", 4, 4, 1, 1)]
    nodes = [conv("x", "t", "one", "w"), *SIGMOID, conv("r", "y", "two", "w")]
    before = model(nodes, {"x": [1, 4, 5, 5]}, {"y": [1, 4, 5, 5]}, weights)
    done = equalized(before)
    np.testing.assert_array_equal(array(done.model, "one"), array(before, "one"))
    assert set(done.model.initializers) == {"w", "w/two", "r/inverse"}
    assert_same(before, done.model)
    given_out = chain(RELU, outputs={"v": [6, 4, 1, 1]})
    assert_same(given_out, equalized(given_out).model)


def test_several_tensors_are_equalized_at_once_and_those_of_zeros_left():
    weights = [weight("w", 4, 4, 1, 1), weight("v", 4, 4, 1, 1, seed=1), weight("u", 4, 4, 1, 1, seed=2)]
    nodes = [
        conv("x", "t", "one", "w"),
        *SIGMOID,
        conv("r", "s", "two", "v"),
        node("Relu", ["s"], ["q"], "relu"),
        conv("q", "y", "three", "u"),
    ]
    before = model(nodes, {"x": [1, 4, 5, 5]}, {"y": [1, 4, 5, 5]}, weights)
    exponents = {"x": [0, 0, 0, 0], "r": EXPONENTS, "q": [0, 2, 0, 0]}
    done = edit_by_name("equalize_channels", exponents=exponents)(before)
    assert done.notes == ("equalized r: a multiplication added", "equalized q: into two")
    assert_same(before, done.model)
    assert not edit_by_name("equalize_channels", exponents={"x": [0, 0, 0, 0]})(before).changed


@pytest.mark.parametrize(
    ("network", "tensor", "channels"),
    [
        (chain(RELU), "r", 4),
        (chain(RELU), "x", 4),
        (chain(RELU), "t", None),  # no convolution reads it
        (chain(RELU), "y", None),
        (chain(RELU), "w", None),
        (chain(RELU), "no such tensor", None),
        (chain(RELU, group=2), "r", 4),
        (chain(RELU, outputs={"r": [1, 4, 5, 5]}), "r", None),
        (chain(RELU, extra=[node("Neg", ["r"], ["z"], "neg")], outputs={"z": [1, 4, 5, 5]}), "r", None),
        (chain(RELU, extra=[conv("r", "z", "three", "v")], outputs={"z": [1, 6, 5, 5]}), "r", 4),
        (chain(RELU, weights=[weight("w", 4, 4, 1, 1)], inputs={"v": [6, 4, 1, 1]}), "r", None),
        (chain(RELU, weights=[weight("w", 4, 4, 1, 1)], inputs={"v": [6, 4, 1, 1]}), "v", None),
    ],
)
def test_a_tensor_has_channels_to_equalize_where_convolutions_of_constant_weights_alone_read_it(
    network, tensor, channels
):
    assert equalizable(network, tensor) == channels


def test_weights_of_other_types_are_not_scaled():
    half = (TensorProto.FLOAT16, [1, 4, 5, 5])
    stored = [constant("w", np.ones((6, 4, 1, 1)), "float16")]
    network = model([conv("x", "y", "one", "w")], {"x": half}, {"y": (TensorProto.FLOAT16, [1, 6, 5, 5])}, stored)
    assert equalizable(network, "x") is None


def test_what_cannot_be_equalized_is_refused():
    with pytest.raises(EditError) as unread:
        equalized(chain(RELU), "t")
    assert str(unread.value) == (
        "tensor 't': it is not read by convolutions with constant weights alone. "
        "Leave it out, or measure the exponents on this model."
    )
    with pytest.raises(EditError, match=r"tensor 'r': 4 exponents for 6 channels\. Leave it out"):
        equalized(
            model(
                [conv("x", "t", "one", "w"), *RELU, conv("r", "y", "two", "v")],
                {"x": [1, 4, 5, 5]},
                {"y": [1, 2, 5, 5]},
                [weight("w", 6, 4, 1, 1), weight("v", 2, 6, 1, 1)],
            )
        )
