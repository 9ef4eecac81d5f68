"""A convolution's bias is split off as an Add, and such an Add merged, where that computes the same."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.kit.models import assert_same, model, random_feeds, run, weight
from workbench.graph.edits.registry import applicable, edit_by_name

node = helper.make_node
IMAGE = [1, 4, 4, 4]


def shapes(network):
    return {name: tuple(value.shape.numpy()) for name, value in network.initializers.items()}


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
@pytest.mark.parametrize("spatial", [1, 2, 3])
def test_a_bias_is_one_number_a_channel_whatever_the_rank(op, spatial):
    kernel = (6, 4, *[3] * spatial) if op == "Conv" else (4, 6, *[3] * spatial)
    network = model(
        [node(op, ["x", "w", "b"], ["y"], "conv")],
        {"x": [2, 4, *[5] * spatial]},
        {"y": [2, 6, *[None] * spatial]},
        [weight("w", *kernel), weight("b", 6)],
    )
    assert {"split_bias"} == {edit.do for edit in applicable(network, ["conv"])} & {"split_bias", "merge_bias"}
    split = edit_by_name("split_bias")(network)
    assert split.notes == ("split the bias off 1 convolutions",)
    assert shapes(split.model) == {"w": kernel, "conv_bias": (6, *[1] * spatial)}
    assert_same(network, split.model, atol=1e-6)
    merged = edit_by_name("merge_bias")(split.model)
    assert merged.notes == ("merged 1 Adds into the convolutions before them",)
    assert list(merged.model.nodes) == ["conv"]
    assert [tensor.name for tensor in merged.model.outputs] == ["y"]
    assert_same(network, merged.model, atol=1e-6)


def test_all_that_reads_a_convolution_reads_it_with_its_bias():
    nodes = [
        node("Conv", ["x", "w", "b"], ["y"], "conv"),
        node("Relu", ["y"], ["r"], "relu"),
        node("Neg", ["y"], ["n"], "neg"),
    ]
    outputs = {"r": IMAGE, "y": IMAGE, "n": IMAGE}
    network = model(nodes, {"x": IMAGE}, outputs, [weight("w", 4, 4, 1, 1), weight("b", 4)])
    after = edit_by_name("split_bias")(network).model
    assert list(after.nodes) == ["conv", "conv_add", "relu", "neg"]
    assert [tensor.name for tensor in after.outputs] == ["r", "y", "n"]
    assert_same(network, after, atol=1e-6)


def in_a_branch(nodes, weights):
    """An If whose first branch holds some nodes that make ``r``, behind a convolution that makes ``c``."""
    result = helper.make_tensor_value_info("r", TensorProto.FLOAT, IMAGE)
    other = helper.make_graph([node("Neg", ["x"], ["r"], "neg")], "other", [], [result])
    branch = helper.make_graph(nodes, "branch", [], [result])
    around = [
        node("Conv", ["x", "w", "b"], ["c"], "conv"),
        node("If", ["cond"], ["y"], "if", then_branch=branch, else_branch=other),
    ]
    return model(around, {"x": IMAGE, "cond": (TensorProto.BOOL, [])}, {"y": IMAGE}, weights)


def test_a_branch_that_reads_a_convolution_reads_it_with_its_bias():
    network = in_a_branch([node("Relu", ["c"], ["r"], "relu")], [weight("w", 4, 4, 1, 1), weight("b", 4)])
    after = edit_by_name("split_bias")(network).model
    assert list(after.top_nodes) == ["conv", "conv_add", "if"]
    assert after.nodes["if/then/relu"].inputs[0].producer() is after.nodes["conv_add"]
    feeds = random_feeds(network) | {"cond": np.array(True)}
    np.testing.assert_allclose(run(after, feeds)[0], run(network, feeds)[0], atol=1e-5)


def test_an_add_in_a_branch_is_not_merged_into_the_convolution_around_it():
    weights = [weight("w", 4, 4, 1, 1), weight("b", 4), weight("a", 4, 1, 1)]
    assert not edit_by_name("merge_bias")(in_a_branch([node("Add", ["c", "a"], ["r"], "add")], weights)).changed


def behind(shape, *, op="Add", conv=("x", "w"), rank=4, more=(), outputs=(), inputs=(), swapped=False):
    """Something behind a convolution to four channels, with an operand ``a`` of a shape."""
    nodes = [
        node("Conv", list(conv), ["c"], "conv"),
        node(op, ["a", "c"] if swapped else ["c", "a"], ["y"], "add"),
        *more,
    ]
    stored = [weight("w", 4, 4, 1, 1), weight("a", *shape), weight("b", 4)]
    return model(
        nodes,
        {"x": IMAGE} | dict(inputs),
        {"y": [None] * rank} | dict.fromkeys(outputs, IMAGE),
        [one for one in stored if one.name not in dict(inputs)],
    )


@pytest.mark.parametrize(
    ("shape", "rank"), [((), 4), ((1,), 4), ((1, 1, 1), 4), ((4, 1, 1), 4), ((1, 4, 1, 1), 4), ((1, 1, 1, 1), 4)]
)
@pytest.mark.parametrize("swapped", [False, True])
def test_what_is_one_number_a_channel_is_merged(shape, rank, swapped):
    network = behind(shape, rank=rank, swapped=swapped)
    merged = edit_by_name("merge_bias")(network).model
    assert list(merged.nodes) == ["conv"]
    assert shapes(merged)["conv_bias"] == (4,)
    assert_same(network, merged, atol=1e-6)


NOT_MERGED = {
    "one a column": behind((4,)),
    "one a row": behind((4, 1)),
    "one a row, with all axes": behind((1, 1, 4, 1)),
    "one a column, with all axes": behind((1, 1, 1, 4)),
    "one a sample": behind((3, 1, 1, 1)),
    "one a channel and row": behind((1, 4, 4, 1)),
    "of more axes": behind((1, 1, 4, 1, 1), rank=5),
    "no Add": behind((4, 1, 1), op="Mul"),
    "fed": behind((), inputs={"a": [4, 1, 1]}),
    "behind a bias that is fed": behind((4, 1, 1), conv=("x", "w", "b"), inputs={"b": [4]}),
    "read before it as well": behind((4, 1, 1), more=[node("Neg", ["c"], ["z"], "neg")], outputs=["z"]),
    "given out before it as well": behind((4, 1, 1), outputs=["c"]),
    "of two convolutions": model(
        [
            node("Conv", ["x", "w"], ["c"], "one"),
            node("Conv", ["x", "w"], ["d"], "two"),
            node("Add", ["c", "d"], ["y"], "add"),
        ],
        {"x": IMAGE},
        {"y": IMAGE},
        [weight("w", 4, 4, 1, 1)],
    ),
    "behind weights of unknown shape": model(
        [
            node("Reshape", ["k", "s"], ["w"], "reshape"),
            node("Conv", ["x", "w"], ["c"], "conv"),
            node("Add", ["c", "a"], ["y"], "add"),
        ],
        {"x": IMAGE, "k": [16], "s": (TensorProto.INT64, [4])},
        {"y": [None] * 4},
        [weight("a", 4, 1, 1)],
    ),
}


@pytest.mark.parametrize("name", NOT_MERGED)
def test_what_is_no_bias_is_not_merged(name):
    network = NOT_MERGED[name]
    assert not edit_by_name("merge_bias")(network).changed
    assert "merge_bias" not in {edit.do for edit in applicable(network, ["add"])}


def test_what_is_added_is_added_to_the_bias_there_is():
    network = behind((4, 1, 1), conv=("x", "w", "b"))
    merged = edit_by_name("merge_bias")(network).model
    stored = {name: value.const_value.numpy() for name, value in network.initializers.items()}
    np.testing.assert_array_equal(
        merged.initializers["conv_bias"].const_value.numpy(),
        (stored["a"].reshape(4).astype(np.float64) + stored["b"]).astype(np.float32),
    )
    assert list(merged.initializers) == ["w", "conv_bias"]
