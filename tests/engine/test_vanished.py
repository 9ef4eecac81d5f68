"""Why a source node is in no layer: only for a reason that the graph tells."""

from __future__ import annotations

import pytest

from workbench.engine.source import SourceGraph, SourceNode
from workbench.engine.vanished import why_vanished


def graph(*texts, constants="w", inputs="x", outputs="y"):
    """Nodes as "name Type inputs -> output"; lists of tensors are separated by commas."""
    nodes = []
    for text in texts:
        left, _, output = text.partition(" -> ")
        name, op, inputs_of = left.split(" ")
        nodes.append(SourceNode(name, op, tuple(filter(None, inputs_of.split(","))), (output,)))
    ends = (frozenset(names.split(",")) for names in (constants, inputs, outputs))
    return SourceGraph(tuple(nodes), *ends)


@pytest.mark.parametrize(
    ("op", "made", "reason"),
    [
        ("Identity", "x", "removed: Identity computes nothing at inference"),
        ("Dropout", "x", "removed: Dropout computes nothing at inference"),
        ("Shape", "x", "shape arithmetic, done at build time or on the host"),
        ("Mul", "w,w", "computed at build time: its inputs are constants"),
        ("Constant", "", "computed at build time: its inputs are constants"),
        ("Exp", "x", None),
        ("Cast", "x", None),
    ],
)
def test_a_node_tells_its_reason_itself(op, made, reason):
    told = why_vanished(graph(f"it {op} {made} -> t", "end Exp t -> y"), ["end"])
    assert told == ({} if reason is None else {"it": reason})


def test_shapes_stay_shapes_until_they_meet_data():
    nodes = ("shape Shape x -> s", "part Gather s,w -> p", "mix Mul p,x -> m", "end Exp m -> y", "dead Exp x -> d")
    shape = "shape arithmetic, done at build time or on the host"
    assert why_vanished(graph(*nodes), ["end"]) == {"shape": shape, "part": shape, "dead": "no output depends on it"}


@pytest.mark.parametrize(
    ("before", "node", "done", "reason"),
    [
        ("Conv", "BatchNormalization t,w", True, "folded into the weights of before"),
        ("Conv", "BatchNormalization t,w", False, None),
        ("Relu", "BatchNormalization t,w", True, None),
        ("Conv", "Add t,w", True, "folded into the bias of before"),
        ("Conv", "Add t,w", False, None),
        ("Conv", "Add t,x", True, None),
        ("Relu", "Add t,w", True, None),
        ("Conv", "Abs t", True, None),
        ("Conv", "Mul t,w", True, None),
        ("Relu", "Concat t,t", True, "no copy: its inputs are written side by side into one buffer"),
        ("Relu", "Concat t,t", False, None),
        ("Relu", "Concat x,x", True, None),
        ("Relu", "Cast t", True, None),
        ("Relu", "Relu t", True, None),
        ("Relu", "Flatten t", True, "a view: Flatten moves no data"),
        ("Relu", "Flatten t", False, None),
        ("Conv", "QuantizeLinear t,w", True, "no layer of its own: fused with before"),
        ("Conv", "QuantizeLinear t,w", False, None),
    ],
)
def test_a_node_goes_with_a_neighbour_that_is_there(before, node, done, reason):
    op, inputs = node.split(" ")
    nodes = graph(f"before {before} x -> t", f"it {op} {inputs} -> u", "end Exp u,t -> y")
    told = why_vanished(nodes, ["before"] if done else [])
    assert told.get("it") == reason


def test_q_and_dq_wait_for_each_other_and_go_with_what_computes():
    pair = graph("q QuantizeLinear x,w -> q", "dq DequantizeLinear q,w -> d", "end Exp d -> y")
    assert why_vanished(pair, ["end"]) == {
        "dq": "no layer of its own: fused with end",
        "q": "no layer of its own: fused with dq",
    }
    between = graph("conv Conv x,w -> t", "q QuantizeLinear t,w -> q", "dq DequantizeLinear q,w -> y")
    assert why_vanished(between, ["conv", "dq"]) == {"q": "no layer of its own: fused with conv"}


def test_views_in_a_row_go_with_the_one_that_is_there_however_many():
    row = graph(*(f"v{at} Reshape t{at},w -> t{at + 1}" for at in range(6)), "end Exp t6 -> y", inputs="t0")
    assert why_vanished(row, ["end"]) == {f"v{at}": "a view: Reshape moves no data" for at in range(6)}
    assert why_vanished(row, []) == {}
