"""Parameters, multiply-accumulates and bytes."""

from __future__ import annotations

import pytest
from onnx import TensorProto, helper

from tests.kit.models import constant, model, proto, weight
from workbench.graph.cost import cost
from workbench.graph.cost.cost import Cost, costs, parameters_of, total, weight_bytes_of
from workbench.graph.load import from_proto


def single(op, inputs, outputs, weights=(), *, domains=(), domain="", **attributes):
    feeds = [*inputs, *(w.name for w in weights)]
    node = helper.make_node(op, feeds, list(outputs), name="n", domain=domain, **attributes)
    return proto([node], inputs, outputs, weights, domains=domains)


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
    assert costs(from_proto(network))["n"].macs == macs


def test_unknown_stays_unknown():
    strange = from_proto(single("Wobble", {"x": [2, 3]}, {"y": [2, 3]}, domain="my.ops", domains=["my.ops"]))
    assert costs(strange)["n"].macs is None
    assert total(strange, costs(strange)) == (0, ["n"])
    free = from_proto(single("MatMul", {"a": ["batch", 4], "b": [4, 6]}, {"y": None}))
    assert costs(free)["n"].macs is None
    assert costs(free)["n"].bytes is None
    assert costs(free, {"batch": 3})["n"].macs == 3 * 4 * 6


def test_bytes_count_each_tensor_once():
    cost = costs(from_proto(single("Gemm", {"x": [5, 7]}, {"y": None}, [weight("w", 7, 3)])))["n"]
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


def value(name, shape=None, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def product(name, source, weights="w", result=None):
    return helper.make_node("MatMul", [source, weights], [result or f"{name}_out"], name)


def branching(then, other, **inputs):
    """An If of two nodes, each in a branch of its own."""
    bodies = [helper.make_graph([one], "b", [], [value(one.output[0])]) for one in (then, other)]
    chosen = helper.make_node("If", ["c"], ["y"], "if", then_branch=bodies[0], else_branch=bodies[1])
    inputs = {"x": [2, 4], "c": (TensorProto.BOOL, [])} | inputs
    return model([chosen], inputs, {"y": None}, [weight("w", 4, 4)], domains=["own"])


def test_branches_that_multiply_nothing_say_nothing():
    idle = branching(helper.make_node("Relu", ["x"], ["t"], "a"), helper.make_node("Neg", ["x"], ["e"], "b"))
    assert costs(idle)["if"] == Cost(0, 0, 0, 1 + 4 * 8, 0, "")


def test_what_is_unknown_in_one_branch_is_named_and_the_other_counted():
    strange = helper.make_node("Wobble", ["x"], ["e"], "odd", domain="own")
    network = branching(product("known", "x"), strange)
    table = costs(network)
    assert (table["if"].inside, table["if"].note) == (None, "something in else is unknown")
    assert total(network, table) == (32, ["if/else/odd"])


def test_what_is_known_in_a_loop_is_counted_where_a_part_of_it_is_not():
    parts = [
        helper.make_node("Identity", ["go"], ["on"], "keep"),
        product("known", "s", result="t"),
        helper.make_node("Wobble", ["t"], ["odd"], "odd", domain="own"),
    ]
    inputs = [value("i", [], TensorProto.INT64), value("go", [], TensorProto.BOOL), value("s", [2, 4])]
    body = helper.make_graph(parts, "body", inputs, [value("on", [], TensorProto.BOOL), value("t", [2, 4])])
    loop = helper.make_node("Loop", ["count", "", "x"], ["y"], "loop", body=body)
    network = model([loop], {"x": [2, 4]}, {"y": None}, [weight("w", 4, 4), constant("count", 3)], domains=["own"])
    table = costs(network)
    assert (table["loop"].inside, table["loop"].note) == (None, "something in body is unknown")
    assert total(network, table) == (3 * 32, ["loop/body/odd"])


@pytest.mark.parametrize(
    ("count", "call", "inner"),
    [
        (3, (0, 96, ""), (96, "")),
        (0, (0, 0, "it never runs"), (0, "it never runs")),
        (None, (None, None, "the number of iterations is computed"), (None, "how often it runs is not known")),
    ],
)
def test_a_call_in_a_loop_costs_as_often_as_the_loop_runs(count, call, inner):
    opsets = [helper.make_opsetid("", 17)]
    function = helper.make_function("own", "F", ["a", "v"], ["b"], [product("mm", "a", "v", "b")], opsets)
    parts = [
        helper.make_node("Identity", ["go"], ["on"], "keep"),
        helper.make_node("F", ["s", "w"], ["t"], "call", domain="own"),
    ]
    inputs = [value("i", [], TensorProto.INT64), value("go", [], TensorProto.BOOL), value("s", [2, 4])]
    body = helper.make_graph(parts, "body", inputs, [value("on", [], TensorProto.BOOL), value("t", [2, 4])])
    loop = helper.make_node("Loop", ["count", "", "x"], ["y"], "loop", body=body)
    weights = [weight("w", 4, 4), *([] if count is None else [constant("count", count)])]
    feeds = {"x": [2, 4]} | ({"count": (TensorProto.INT64, [])} if count is None else {})
    table = costs(model([loop], feeds, {"y": None}, weights, domains=["own"], functions=[function]))
    called, held = table["loop/body/call"], table["function(own:F)/mm"]
    assert (called.macs, called.inside, called.note) == call
    assert (held.macs, held.note) == inner


def test_constants_that_are_no_weights_move_nothing():
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["r"], "reshape"),
        helper.make_node("Add", ["r", "b"], ["a"], "add"),
        helper.make_node("Clip", ["a", "", "most"], ["y"], "clip"),
    ]
    weights = [constant("shape", [4, 2]), weight("b", 2), constant("most", 6, "float32")]
    assert costs(model(nodes, {"x": [2, 4]}, {"y": None}, weights)) == {
        "reshape": Cost(0, 0, 0, 64),
        "add": Cost(2, 0, 8, 64),
        "clip": Cost(0, 0, 0, 64),
    }


def test_a_table_is_made_once_for_the_same_lengths(monkeypatch):
    network = from_proto(single("MatMul", {"a": ["N", 4], "b": [4, 6]}, {"y": None}))
    table = costs(network, {"N": 3})
    asked = []
    monkeypatch.setattr(cost, "_costs", lambda *arguments: asked.append(arguments) or {})
    assert costs(network, {"N": 3}) == table
    assert asked == []
    assert costs(network, {"N": 5}) == costs(network) == {}
    assert asked == [(network, {"N": 5}), (network, None)]
    # Who changes a table changes it for nobody else.
    costs(network, {"N": 3}).clear()
    assert costs(network, {"N": 3}) == table


def test_iterations_that_follow_from_assumed_lengths_are_counted_where_all_inputs_are_known():
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"], "keep"), product("mm", "s", result="t")],
        "body",
        [value("i", [], TensorProto.INT64), value("go", [], TensorProto.BOOL), value("s", None)],
        [value("on", [], TensorProto.BOOL), value("t", None)],
    )
    nodes = [
        helper.make_node("Shape", ["z"], ["lengths"], "shape"),
        helper.make_node("ReduceSum", ["lengths"], ["count"], "sum", keepdims=0),
        helper.make_node("Loop", ["count", "", "x"], ["y"], "loop", body=body),
    ]
    network = model(nodes, {"x": [2, 4], "z": ["M", 5]}, {"y": None}, [weight("w", 4, 4)])
    assert costs(network, {"M": 3})["loop"].inside == 8 * 32
    assert costs(network)["loop"].inside is None
    assert costs(network, {"K": 3})["loop"].note == "the number of iterations is computed"


def test_what_a_model_holds_is_counted_once():
    network = model(
        [product("one", "x", "w", "a"), product("two", "a", "w", "y")], {"x": [1, 4]}, {"y": None}, [weight("w", 4, 4)]
    )
    assert (parameters_of(network), weight_bytes_of(network)) == (16, 64)
