"""What loops, branches and local functions cost, and the shapes of what loops hand on."""

from __future__ import annotations

import pytest
from onnx import TensorProto, helper

from tests.kit.models import constant, model, weight
from workbench.graph.cost.cost import costs, total
from workbench.graph.inspection.tables import nodes, ops

VALUE = helper.make_tensor_value_info
ONCE = 2 * 4 * 4
"""MACs of a [2, 4] times [4, 4] product."""


def node(op, inputs, outputs, name="", **attributes):
    return helper.make_node(op, inputs, outputs, name or f"{op.lower()}", **attributes)


def loop(count="count", condition="", *, ends=False, grows=False):
    """A Loop that multiplies its state with a weight; `ends` computes its condition, `grows` its state's shape."""
    parts = [node("MatMul", ["s", "w"], ["t"]), node("Concat", ["t", "t"], ["u"], axis=0)]
    parts.append(node("ReduceMax", ["t"], ["m"], keepdims=0) if ends else node("Identity", ["c"], ["go"]))
    parts += [node("Cast", ["m"], ["go"], to=TensorProto.BOOL)] if ends else []
    body = helper.make_graph(
        parts,
        "body",
        [VALUE("i", TensorProto.INT64, []), VALUE("c", TensorProto.BOOL, []), VALUE("s", TensorProto.FLOAT, None)],
        [VALUE("go", TensorProto.BOOL, []), VALUE("u" if grows else "t", TensorProto.FLOAT, None)],
    )
    return node("Loop", [count, condition, "x"], ["y"], "loop", body=body)


def looped(*, made=(), inputs=None, weights=(), **options):
    feeds = {"x": [2, 4], **(inputs or {})}
    return model([*made, loop(**options)], feeds, {"y": None}, [weight("w", 4, 4), *weights])


def test_a_loop_costs_its_body_times_its_iterations():
    proto = looped(weights=[constant("count", 5)])
    table = costs(proto)
    assert (table["loop"].macs, table["loop"].inside, table["loop"].work) == (0, 5 * ONCE, 5 * ONCE)
    assert table["loop"].note == "5 iterations"
    assert table["loop/body/matmul"].macs == 5 * ONCE
    # Each iteration reads and makes 2 x 4 numbers.
    assert table["loop/body/matmul"].activation_bytes == 5 * 2 * 8 * 4
    assert total(proto, table) == (5 * ONCE, [])
    assert ops(proto)["macs"].to_dict()["MatMul"] == 5 * ONCE
    assert nodes(proto).loc["loop", "macs_inside"] == 5 * ONCE


def test_the_shape_of_a_loops_state_is_known_where_the_body_keeps_it():
    kept, grown = looped(weights=[constant("count", 5)]), looped(weights=[constant("count", 5)], grows=True)
    assert kept.tensors["loop/body/s"].shape == kept.tensors["loop/body/t"].shape == kept.tensors["y"].shape == (2, 4)
    assert kept.shape_problem is None
    assert grown.tensors["loop/body/s"].shape is None
    assert grown.tensors["y"].shape is None
    assert costs(grown)["loop"].inside is None
    assert costs(grown)["loop/body/matmul"].note == "a shape is not known"


def test_a_state_that_rests_on_one_that_grows_is_not_taken_for_constant():
    body = helper.make_graph(
        [
            node("Identity", ["c"], ["go"]),
            node("Concat", ["p", "p"], ["longer"], axis=0),
            node("Identity", ["p"], ["follower"], "follow"),
            node("Neg", ["r"], ["steady"]),
        ],
        "body",
        [VALUE("i", TensorProto.INT64, []), VALUE("c", TensorProto.BOOL, [])]
        + [VALUE(name, TensorProto.FLOAT, None) for name in "pqr"],
        [VALUE("go", TensorProto.BOOL, [])]
        + [VALUE(name, TensorProto.FLOAT, None) for name in ("longer", "follower", "steady")],
    )
    network = model(
        [node("Loop", ["count", "", "x", "x", "x"], ["a", "b", "y"], "loop", body=body)],
        {"x": [2, 4]},
        {"a": None, "b": None, "y": None},
        [constant("count", 5)],
    )
    # In the first iteration the follower's shape is that of the start; in the second it is not.
    assert [network.tensors[name].shape for name in "aby"] == [None, None, (2, 4)]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"inputs": {"count": (TensorProto.INT64, [])}}, "the number of iterations is computed"),
        ({"count": ""}, "the Loop has no end"),
        ({"weights": [constant("count", 5)], "ends": True}, "the condition of the Loop is computed"),
        (
            {"weights": [constant("count", 5)], "condition": "on", "inputs": {"on": (TensorProto.BOOL, [])}},
            "the condition of the Loop is computed",
        ),
    ],
)
def test_what_runs_nobody_knows_how_often_is_unknown_and_says_why(options, reason):
    proto = looped(**options)
    table = costs(proto)
    assert table["loop"].work is None
    assert table["loop"].note == table["loop/body/matmul"].note == reason
    assert table["loop/body/matmul"].macs is None
    assert table["loop/body/matmul"].activation_bytes is None
    assert total(proto, table) == (0, ["loop"])
    assert str(nodes(proto).loc["loop/body/matmul", "macs"]) == "<NA>"


def test_a_loop_that_never_runs_costs_nothing_and_says_so():
    for options in (
        {"weights": [constant("count", 0)]},
        {"weights": [constant("count", 5), constant("off", False, "bool")], "condition": "off"},
    ):
        table = costs(looped(**options))
        assert table["loop"].work == 0
        assert table["loop/body/matmul"].note == "it never runs"


def test_iterations_that_are_computed_from_a_shape_are_counted():
    shape = [node("Shape", ["x"], ["shape"]), node("Gather", ["shape", "first"], ["count"])]
    proto = looped(made=shape, weights=[constant("first", 0)], inputs={"x": ["batch", 4]})
    assert costs(proto)["loop"].work is None
    assert costs(proto, {"batch": 3})["loop"].inside == 3 * 3 * 4 * 4


def scan(axis=0, **options):
    body = helper.make_graph(
        [node("MatMul", ["s", "w"], ["t"]), node("Add", ["t", "e"], ["u"])],
        "body",
        [VALUE("s", TensorProto.FLOAT, None), VALUE("e", TensorProto.FLOAT, None)],
        [VALUE("u", TensorProto.FLOAT, None), VALUE("t", TensorProto.FLOAT, None)],
    )
    outcome = node("Scan", ["x", "steps"], ["y", "all"], body=body, num_scan_inputs=1, scan_input_axes=[axis])
    feeds = {"x": [2, 4], "steps": [7, 2, 4] if axis == 0 else [2, 6, 4]} | options
    return model([outcome], feeds, {"y": None, "all": None}, [weight("w", 4, 4)])


def test_a_scan_costs_its_body_times_the_length_of_its_axis():
    assert costs(scan())["scan"].inside == 7 * ONCE
    assert scan().tensors["y"].shape == (2, 4)
    assert scan().tensors["all"].shape == (7, 2, 4)
    assert costs(scan(axis=1))["scan"].inside == 6 * ONCE
    unknown = costs(scan(steps=["time", 2, 4]))
    assert (unknown["scan"].inside, unknown["scan"].note) == (None, "the length of the scanned axis is not known: time")
    assert costs(scan(steps=["time", 2, 4]), {"time": 9})["scan"].inside == 9 * ONCE


def branch(name, size):
    outcome = node("MatMul", ["x", f"w{size}"], [f"{name}_y"])
    return helper.make_graph(
        [outcome], name, [], [VALUE(f"{name}_y", TensorProto.FLOAT, None)], [weight(f"w{size}", 4, size)]
    )


def test_of_an_if_the_costlier_branch_counts_and_it_says_which():
    choice = node("If", ["c"], ["y"], then_branch=branch("t", 5), else_branch=branch("e", 9))
    assert [attribute.name for attribute in choice.attribute] == ["else_branch", "then_branch"]
    network = model([choice], {"x": [2, 4], "c": (TensorProto.BOOL, [])}, {"y": None})
    table = costs(network)
    assert (table["if"].inside, table["if"].note) == (2 * 4 * 9, "of its branches the costlier counts: else")
    assert total(network, table) == (2 * 4 * 9, [])
    free = model([choice], {"x": ["n", 4], "c": (TensorProto.BOOL, [])}, {"y": None})
    assert costs(free)["if"].inside is None
    assert costs(free)["if"].note == "something in else and then is unknown"
    assert total(free, costs(free)) == (0, ["if/else/matmul", "if/then/matmul"])


def test_a_loop_in_a_loop_multiplies():
    inner = loop()
    inner.input[2] = "o"
    outer = helper.make_graph(
        [inner, node("Identity", ["d"], ["on"])],
        "outer",
        [VALUE("j", TensorProto.INT64, []), VALUE("d", TensorProto.BOOL, []), VALUE("o", TensorProto.FLOAT, None)],
        [VALUE("on", TensorProto.BOOL, []), VALUE("y", TensorProto.FLOAT, None)],
    )
    network = model(
        [node("Loop", ["outer_count", "", "x"], ["z"], "outer", body=outer)],
        {"x": [2, 4]},
        {"z": None},
        [weight("w", 4, 4), constant("count", 5), constant("outer_count", 3)],
    )
    table = costs(network)
    assert table["outer"].inside == table["outer/body/loop"].inside == 15 * ONCE
    assert table["outer/body/loop/body/matmul"].macs == 15 * ONCE
    assert total(network, table) == (15 * ONCE, [])
    assert network.tensors["z"].shape == (2, 4)


def functions():
    """`twice` calls `linear` two times; `linear` multiplies with a weight that it is given."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    linear = helper.make_function("mine", "linear", ["a", "v"], ["b"], [node("MatMul", ["a", "v"], ["b"])], opsets)
    parts = [
        node("linear", ["a", "v"], ["m"], "one", domain="mine"),
        node("linear", ["m", "v"], ["b"], "two", domain="mine"),
    ]
    idle = helper.make_function("mine", "idle", ["a"], ["b"], [node("Relu", ["a"], ["b"])], opsets)
    return [linear, helper.make_function("mine", "twice", ["a", "v"], ["b"], parts, opsets), idle]


def called(shape):
    parts = [
        node("twice", ["x", "w"], ["h"], "first", domain="mine"),
        node("linear", ["h", "w6"], ["y"], "second", domain="mine"),
    ]
    weights = [weight("w", 4, 4), weight("w6", 4, 6)]
    return model(parts, {"x": shape}, {"y": None}, weights, domains=["mine"], functions=functions())


def test_a_call_costs_its_function_with_its_own_shapes():
    result = called([2, 4])
    table = costs(result)
    assert (table["first"].macs, table["first"].inside) == (0, 2 * ONCE)
    assert table["second"].inside == 2 * 4 * 6
    # The product in the function runs three times, in all of its calls together.
    assert table["function(mine:linear)/matmul"].macs == 2 * ONCE + 2 * 4 * 6
    assert table["function(mine:idle)/relu"].note == "it never runs"
    assert total(result, table) == (2 * ONCE + 2 * 4 * 6, [])


def test_a_call_of_unknown_shape_is_unknown():
    result = called(["n", 4])
    table = costs(result)
    assert table["first"].work is None
    assert table["first"].note == "in its function one is unknown"
    assert total(result, table) == (0, ["first", "second"])
    assert costs(result, {"n": 3})["first"].inside == 3 * ONCE


def test_a_function_takes_the_attributes_of_its_call():
    product = node("Gemm", ["a", "v"], ["b"])
    product.attribute.append(helper.make_attribute("transB", 0))
    product.attribute[0].ClearField("i")
    product.attribute[0].ref_attr_name = "flip"
    function = helper.make_function(
        "mine", "f", ["a", "v"], ["b"], [product], [helper.make_opsetid("", 17)], attributes=["flip"]
    )
    network = model(
        [node("f", ["x", "w"], ["y"], "call", domain="mine", flip=1)],
        {"x": [2, 4]},
        {"y": None},
        [weight("w", 6, 4)],
        domains=["mine"],
        functions=[function],
    )
    assert costs(network)["call"].inside == 2 * 4 * 6
