"""Parameters, multiply-accumulates and bytes."""

from __future__ import annotations

import pytest
from onnx import TensorProto, helper

from tests.kit.models import model, weight
from workbench.graph.cost.cost import costs, parameters_of, total


def single(op, inputs, outputs, weights=(), *, domains=(), domain="", **attributes):
    feeds = [*inputs, *(w.name for w in weights)]
    node = helper.make_node(op, feeds, list(outputs), name="n", domain=domain, **attributes)
    return model([node], inputs, outputs, weights, domains=domains)


@pytest.mark.parametrize(
    ("network", "macs"),
    [
        # y is [2, 6, 4, 4]; each element takes 4 / 2 * 3 * 3
        (single("Conv", {"x": [2, 4, 6, 6]}, {"y": None}, [weight("w", 6, 2, 3, 3)], group=2), 2 * 6 * 16 * 18),
        (single("ConvTranspose", {"x": [1, 4, 5, 5]}, {"y": None}, [weight("w", 4, 3, 2, 2)]), 4 * 25 * 3 * 4),
        (single("Gemm", {"x": [7, 5]}, {"y": None}, [weight("w", 7, 3)], transA=1), 5 * 3 * 7),
        (single("Gemm", {"x": [5, 7]}, {"y": None}, [weight("w", 3, 7)], transB=1), 5 * 3 * 7),
        (single("Gemm", {"x": [5, 7]}, {"y": None}, [weight("w", 7, 3)]), 5 * 3 * 7),
        (single("MatMul", {"a": [2, 1, 3, 4], "b": [5, 4, 6]}, {"y": None}), 2 * 5 * 3 * 6 * 4),
        (single("MatMul", {"a": [3, 4], "b": [4]}, {"y": None}), 12),
        (single("Einsum", {"a": [2, 3, 4], "b": [2, 4, 5]}, {"y": None}, equation="bij,bjk->bik"), 2 * 3 * 4 * 5),
        (
            single(
                "LSTM", {"x": [9, 2, 5]}, {"y": None}, [weight("w", 1, 12, 5), weight("r", 1, 12, 3)], hidden_size=3
            ),
            9 * 2 * 4 * 3 * (5 + 3),
        ),
        (
            single(
                "GRU",
                {"x": [9, 2, 5]},
                {"y": None},
                [weight("w", 2, 9, 5), weight("r", 2, 9, 3)],
                hidden_size=3,
                direction="bidirectional",
            ),
            9 * 2 * 2 * 3 * 3 * (5 + 3),
        ),
        (single("Relu", {"x": [2, 3]}, {"y": None}), 0),
    ],
)
def test_macs(network, macs):
    assert costs(network)["n"].macs == macs


def test_unknown_stays_unknown():
    strange = single("Wobble", {"x": [2, 3]}, {"y": [2, 3]}, domain="my.ops", domains=["my.ops"])
    assert costs(strange)["n"].macs is None
    assert total(strange, costs(strange)) == (0, ["n"])
    free = single("MatMul", {"a": ["batch", 4], "b": [4, 6]}, {"y": None})
    assert costs(free)["n"].macs is None
    assert costs(free)["n"].bytes is None
    assert costs(free, {"batch": 3})["n"].macs == 3 * 4 * 6


def test_bytes_count_each_tensor_once():
    cost = costs(single("Gemm", {"x": [5, 7]}, {"y": None}, [weight("w", 7, 3)]))["n"]
    assert (cost.parameters, cost.weight_bytes, cost.activation_bytes) == (21, 84, 4 * (35 + 15))
    assert cost.bytes == 84 + 200
    twice = model([helper.make_node("Add", ["x", "x"], ["y"], "n")], {"x": [3]}, {"y": None})
    assert costs(twice)["n"].activation_bytes == 12 + 12


def test_weights_behind_a_reshape_or_a_dequantize_belong_to_the_layer():
    network = model(
        [
            helper.make_node("Reshape", ["w", "shape"], ["w2"], "reshape"),
            helper.make_node("MatMul", ["x", "w2"], ["y"], "matmul"),
            helper.make_node("Clip", ["y", "low"], ["z"], "clip"),
        ],
        {"x": [1, 6]},
        {"z": None},
        [weight("w", 2, 3, 5), helper.make_tensor("shape", TensorProto.INT64, [2], [6, 5]), weight("low")],
    )
    assert {address: cost.parameters for address, cost in costs(network).items()} == {
        "reshape": 0,
        "matmul": 30,
        "clip": 0,
    }
    assert parameters_of(network) == 30


def test_shared_weight_counts_once_in_the_model():
    network = model(
        [helper.make_node("MatMul", ["x", "w"], ["y"], "a"), helper.make_node("MatMul", ["y", "w"], ["z"], "b")],
        {"x": [1, 4]},
        {"z": None},
        [weight("w", 4, 4)],
    )
    assert [cost.parameters for cost in costs(network).values()] == [16, 16]
    assert parameters_of(network) == 16


def test_of_two_branches_the_costlier_counts():
    def branch(name, size):
        node = helper.make_node("MatMul", ["x", f"w{size}"], [f"{name}_out"], "matmul")
        values = [helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, [1, size])]
        return helper.make_graph([node], name, [], values, [weight(f"w{size}", 4, size)])

    node = helper.make_node("If", ["c"], ["y"], "if", then_branch=branch("t", 5), else_branch=branch("e", 2))
    network = model([node], {"x": [1, 4], "c": (TensorProto.BOOL, [])}, {"y": [1, "n"]})
    table = costs(network)
    assert {address: cost.macs for address, cost in table.items()} == {
        "if": 0,
        "if/then/matmul": 20,
        "if/else/matmul": 8,
    }
    assert total(network, table) == (20, [])


def test_real_model(shared):
    from workbench.graph.load import load_model

    mnist = load_model(shared / "models" / "mnist_cntk" / "model.onnx")
    # conv 5x5 over 28x28 to 8, conv 5x5x8 over 14x14 to 16, 256 x 10
    assert total(mnist, costs(mnist)) == (28 * 28 * 8 * 25 + 14 * 14 * 16 * 200 + 2560, [])
    assert parameters_of(mnist) == 8 * 25 + 8 + 16 * 200 + 16 + 2560 + 10


def test_shapes_computed_inside_the_graph_are_found(shared):
    from workbench.graph.load import load_model

    vit = load_model(shared / "models" / "vit_mnist_selftrained" / "model.onnx")
    macs, unknown = total(vit, costs(vit, {"batch": 1}))
    assert unknown == []
    # Twice the batch, twice the work.
    assert total(vit, costs(vit, {"batch": 2})) == (2 * macs, [])
    assert total(vit, costs(vit))[1] != []
