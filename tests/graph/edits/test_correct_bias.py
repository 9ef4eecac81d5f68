"""Biases take shifts of channels: what is added, where it is stored, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.kit.models import constant, model, random_feeds, run, weight
from workbench.errors import EditError
from workbench.graph.edits.registry import edit_by_name

node = helper.make_node
SHIFT = [1.0, 2.0, -3.0]


def corrected(network, **shifts):
    return edit_by_name("correct_bias", shifts=shifts)(network)


def stored(network):
    return {name: value.const_value.numpy().tolist() for name, value in network.initializers.items()}


def layer(op="Gemm", bias=("b",), *, weights=None, outputs=None, inputs=None, more=()):
    """One layer of four inputs and three outputs, called ``it``, and what else there is."""
    kernel = {"Gemm": (4, 3), "Conv": (3, 4, 1, 1), "ConvTranspose": (4, 3, 1, 1)}[op]
    image, result = ([2, 4], [2, 3]) if op == "Gemm" else ([2, 4, 5, 5], [2, 3, 5, 5])
    held = [weight("w", *kernel), *(weights if weights is not None else [constant("b", [5, 6, 7], "float32")])]
    nodes = [node(op, ["x", "w", *bias], ["y"], "it"), *more]
    return model(nodes, {"x": image} | (inputs or {}), {"y": result} | (outputs or {}), held)


@pytest.mark.parametrize("op", ["Gemm", "Conv", "ConvTranspose"])
def test_a_bias_is_what_it_was_and_its_shift(op):
    for bias, weights, expected in (
        (("b",), None, [6, 8, 4]),
        (("named last",), [constant("named last", [5, 6, 7], "float32")], [6, 8, 4]),
        ((), [], SHIFT),
        (("",), [], SHIFT),
        *([(("b",), [constant("b", five, "float32")], [6, 7, 2]) for five in (5, [5], [[5]])] if op == "Gemm" else []),
        *([(("b",), [constant("b", [[5, 6, 7]], "float32")], [6, 8, 4])] if op == "Gemm" else []),
    ):
        network = layer(op, bias, weights=weights)
        done = corrected(network, it=SHIFT)
        assert done.notes == ("corrected the biases of 1 nodes",)
        assert {name: held for name, held in stored(done.model).items() if name != "w"} == {
            "it/corrected_bias": expected
        }
        before, after = (run(one, random_feeds(network))[0] for one in (network, done.model))
        expected_shift = np.reshape(SHIFT, (3,) if op == "Gemm" else (3, 1, 1))
        np.testing.assert_allclose(after - before, np.broadcast_to(expected_shift, before.shape), atol=1e-5)


def test_a_bias_of_half_precision_stays_so():
    half = (TensorProto.FLOAT16, [2, 4])
    weights = [constant("w", np.ones((4, 3)), "float16"), constant("b", [5, 6, 7], "float16")]
    network = model([node("Gemm", ["x", "w", "b"], ["y"], "it")], {"x": half}, {"y": (half[0], [2, 3])}, weights)
    bias = corrected(network, it=SHIFT).model.initializers["it/corrected_bias"].const_value.numpy()
    assert (bias.dtype, bias.tolist()) == (np.float16, [6, 8, 4])


def test_only_biases_that_move_are_counted_and_stored():
    more = [node("Gemm", ["y", "v", "b"], ["z"], "next")]
    weights = [weight("v", 3, 3), constant("b", [5, 6, 7], "float32")]
    network = layer(weights=weights, outputs={"z": [2, 3]}, more=more)
    assert not corrected(network, it=[0.0, 0, 0]).changed
    done = corrected(network, it=[0.0, 0, 0], next=SHIFT)
    assert done.notes == ("corrected the biases of 1 nodes",)
    assert [done.model.nodes[name].inputs[2].name for name in ("it", "next")] == ["b", "next/corrected_bias"]
    both = corrected(network, it=SHIFT, next=SHIFT)
    assert both.notes == ("corrected the biases of 2 nodes",)
    assert "b" not in both.model.initializers


def test_a_bias_that_is_given_out_stays_beside_the_new_one():
    network = layer(outputs={"b": [3]})
    assert stored(corrected(network, it=SHIFT).model)["b"] == [5, 6, 7]


def test_a_corrected_bias_is_corrected_under_its_name_unless_others_have_it():
    once = corrected(layer(), it=SHIFT).model
    assert stored(corrected(once, it=SHIFT).model)["it/corrected_bias"] == [7, 10, 1]
    shared = once.proto
    shared.graph.node.append(node("Add", ["y", "it/corrected_bias"], ["z"], "add"))
    shared.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [2, 3]))
    from workbench.graph.load import from_proto

    twice = stored(corrected(from_proto(shared), it=SHIFT).model)
    assert (twice["it/corrected_bias"], twice["it/corrected_bias__2"]) == ([6, 8, 4], [7, 10, 1])


@pytest.mark.parametrize(
    ("network", "name", "message"),
    [
        (layer(), "other", "other: no Conv, ConvTranspose or Gemm of this name. Leave it out."),
        (
            layer(more=[node("Relu", ["y"], ["z"], "relu")], outputs={"z": [2, 3]}),
            "relu",
            "relu: no Conv, ConvTranspose or Gemm of this name. Leave it out.",
        ),
        (
            layer(weights=[constant("b", [[5, 6, 7], [1, 2, 3]], "float32")]),
            "it",
            "it: its bias is not one number a column. Leave it out.",
        ),
        (
            layer(weights=[constant("b", [[5], [6], [7]], "float32")], inputs={"x": [3, 4]}, outputs={"y": [3, 3]}),
            "it",
            "it: its bias is not one number a column. Leave it out.",
        ),
        (
            model([node("Gemm", ["w", "x"], ["y"], "it")], {"x": [4, 3]}, {"y": [2, 3]}, [weight("w", 2, 4)]),
            "it",
            "it: its columns are no channels, for they are computed. Leave it out.",
        ),
        (layer(weights=[constant("b", [5, 6], "float32")]), "it", "it: no constant bias of 3 channels. Leave it out."),
        (layer(weights=[], inputs={"b": [3]}), "it", "it: its bias is no constant. Leave it out."),
    ],
)
def test_what_has_no_such_bias_is_refused(network, name, message):
    with pytest.raises(EditError) as refused:
        corrected(network, **{name: SHIFT})
    assert str(refused.value) == message
