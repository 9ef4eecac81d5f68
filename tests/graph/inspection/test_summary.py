"""A model in one page, line by line."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from onnx import TensorProto, helper

from tests.kit.models import constant, model, weight
from workbench.display import Card
from workbench.graph.inspection.inspect import Summary, _short, _wrapped, batch_of_one, summary
from workbench.graph.quirk import Quirk
from workbench.graph.tensor import Tensor

node = helper.make_node

PLAIN = Summary(
    name="net",
    producer="",
    opset=17,
    ir_version=8,
    nodes=3,
    nodes_with_subgraphs=3,
    depth=2,
    parameters=1234,
    weight_bytes=4936,
    macs=0,
    macs_unknown=(),
    macs_note="",
    peak_bytes=2500,
    workspace_bytes=300 << 20,
    memory_unknown="",
    assumed={},
    ops={"Conv": 2, "Relu": 1},
    inputs=(Tensor("x", ("N", 3), "FLOAT"),),
    outputs=(Tensor("y", (2,), "INT64"),),
    custom_ops={},
    quantized=False,
    quirks=(),
)


def test_a_page_has_these_lines():
    assert PLAIN.text().splitlines() == [
        "net: opset 17, IR version 8",
        "  nodes       3",
        "  depth       2",
        "  parameters  1.23 k in 4.94 kB",
        "  MACs        0 ",
        "  memory      2.5 kB at the peak; builds get a workspace of 300 MiB",
        "  input       x float[Nx3]",
        "  output      y int64[2]",
        "  ops         Conv 2, Relu 1",
        "  quantized   no",
    ]
    odd = (
        Quirk("a", "one", "first"),
        Quirk("b", "two", "second"),
        Quirk("a", "three", "third"),
        Quirk("a", "four", ""),
    )
    full = replace(
        PLAIN, producer="torch 2", nodes_with_subgraphs=8, custom_ops={"own.A": 2}, quantized=True, quirks=odd
    )
    assert full.text().splitlines()[:2] == [
        "net: opset 17, IR version 8, torch 2",
        "  nodes       3 and 5 in subgraphs and functions",
    ]
    assert full.text().splitlines()[-4:] == [
        "  custom ops  own.A 2",
        "  quantized   yes",
        "  quirk       one: first (and 2 more like it)",
        "  quirk       two: second",
    ]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"macs": 5}, "5 "),
        ({"macs": 5, "assumed": {"N": 1, "M": 2}}, "5  with N = 1, M = 2"),
        ({"macs_unknown": ("a",), "macs_note": "why"}, "unknown; unknown for one node, a: why"),
        (
            {"macs_unknown": ("a", "b"), "macs_note": "why", "macs": 7},
            "at least 7 ; unknown for 2 nodes, the first a: why",
        ),
        (
            {"macs_unknown": ("a",), "macs_note": "why", "assumed": {"N": 1}},
            "unknown with N = 1; unknown for one node, a: why",
        ),
    ],
)
def test_what_is_known_of_the_work_is_said_with_what_is_not(changes, line):
    assert f"  MACs        {line}" in replace(PLAIN, **changes).text().splitlines()


@pytest.mark.parametrize("changes", [{"peak_bytes": None}, {"workspace_bytes": None}])
def test_memory_is_unknown_for_the_size_of_a_tensor(changes):
    text = replace(PLAIN, memory_unknown="t", **changes).text()
    assert "  memory      unknown, for the size of tensor t is" in text.splitlines()


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "0 "),
        (999, "999 "),
        (1000, "1 k"),
        (12345, "12.3 k"),
        (10**6, "1 M"),
        (10**9, "1 G"),
        (25 * 10**8, "2.5 G"),
        (10**400, "1e+291 G"),
    ],
)
def test_numbers_have_three_digits_and_a_unit(number, words):
    assert _short(number) == words


def test_long_lines_go_on_beneath_their_words():
    words = [f"Operator{at:02} 1" for at in range(10)]
    first, second = _wrapped("ops", words)
    assert first == "  ops         " + ", ".join(words[:6]) + ","
    assert second == " " * 14 + ", ".join(words[6:])
    exact = _wrapped("ops", ["a" * 42, "b" * 42])
    assert exact == ["  ops         " + "a" * 42 + ", " + "b" * 42]
    assert len(_wrapped("ops", ["a" * 43, "b" * 42])) == 2
    assert _wrapped("ops", []) == []


def test_as_a_card_and_as_a_document():
    card = PLAIN._card()
    assert card == Card("net: opset 17, IR version 8", ("", ""), card.rows)
    assert card.rows[:3] == (("nodes", "3"), ("depth", "2"), ("parameters", "1.23 k in 4.94 kB"))
    assert len(card.rows) == 9
    document = json.loads(PLAIN.to_json())
    assert document["inputs"] == [{"name": "x", "shape": ["N", 3], "dtype": "FLOAT", "form": ""}]
    assert set(document) == set(PLAIN.__dataclass_fields__)


def test_a_model_is_looked_over():
    body = helper.make_graph(
        [node("Relu", ["a"], ["z"], "relu")], "b", [], [helper.make_tensor_value_info("z", 1, None)]
    )
    nodes = [
        node("MatMul", ["x", "w"], ["a"], "mm"),
        node("Relu", ["a"], ["r"], "relu"),
        node("Relu", ["r"], ["s"], "again"),
        node("If", ["yes"], ["b"], "if", then_branch=body, else_branch=body),
        node("Wobble", ["b"], ["y"], "wobble", domain="own"),
    ]
    weights = [weight("w", 3, 5), constant("shape", [1])]
    inputs = {"x": ["N", 3], "yes": (TensorProto.BOOL, [])}
    network = model(nodes, inputs, {"y": ["N", 5], "s": ["N", 5]}, weights, domains=["own"])
    network.ir_model.producer_name, network.ir_model.producer_version = "torch", "2"
    found = summary(network)
    assert replace(found, quirks=()) == Summary(
        name="g",
        producer="torch 2",
        opset=17,
        ir_version=8,
        nodes=5,
        nodes_with_subgraphs=7,
        depth=4,
        parameters=15,
        weight_bytes=60,
        macs=15,
        macs_unknown=("wobble",),
        macs_note="there is no rule for Wobble",
        peak_bytes=None,
        workspace_bytes=None,
        memory_unknown="y",
        assumed={"N": 1},
        ops={"Relu": 4, "If": 1, "MatMul": 1, "own.Wobble": 1},
        inputs=network.inputs,
        outputs=network.outputs,
        custom_ops={"own.Wobble": 1},
        quantized=False,
        quirks=(),
    )
    assert summary(network, {"N": 7}).macs == 105
    assert [quirk.kind for quirk in found.quirks] == ["custom-op", "unused-weights"]


@pytest.mark.parametrize(
    ("op", "quantized"),
    [
        ("QuantizeLinear", True),
        ("DequantizeLinear", True),
        ("QLinearConv", True),
        ("MatMulInteger", True),
        ("DynamicQuantizeLinear", False),
        ("Conv", False),
    ],
)
def test_a_model_is_quantized_where_an_operator_says_so(op, quantized):
    found = summary(model([node(op, ["x"], ["y"], "n")], {"x": [2]}, {"y": None}))
    assert found.quantized == quantized
    assert found.depth == 1


def test_a_batch_of_one_is_assumed_for_named_first_axes():
    inputs = {"a": ["N", "T"], "b": ["M"], "c": [3, "K"], "d": [], "e": None, "f": [None, 2]}
    made = model([node("Own", list(inputs), ["y"], "n", domain="own")], inputs, {"y": None}, domains=["own"])
    assert batch_of_one(made) == {"N": 1, "M": 1}


def test_an_empty_model_has_no_depth():
    assert summary(model([], {"x": [2]}, {"x": [2]})).depth == 0
