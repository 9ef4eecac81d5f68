"""Shapes of what loops hand on, where the body keeps them."""

from __future__ import annotations

from collections import ChainMap

import pytest
from onnx import TensorProto, helper

from tests.kit.models import constant, proto
from workbench.graph.load import from_proto
from workbench.graph.shapes.states import _assuming, _shaped, _states, with_states

node = helper.make_node
FLOAT, INT, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def value(name, kind=FLOAT, shape=None):
    return helper.make_tensor_value_info(name, kind, shape)


def loop(states, results, *, name="loop", made=("t", "u"), start=("x", "k")):
    """A Loop of two states: the first is negated and the second kept, or doubled in length."""
    parts = [node("Identity", ["go"], ["on"], "keep"), node("Neg", ["s"], ["t"], "neg")]
    parts.append(
        node("Identity", ["r"], ["u"], "same")
        if states == "kept"
        else node("Concat", ["r", "r"], ["u"], "grow", axis=0)
    )
    inputs = [value("i", INT, ()), value("go", BOOL, ()), value("s"), value("r")]
    body = helper.make_graph(parts, "body", inputs, [value("on", BOOL, ()), *map(value, made)])
    return node("Loop", ["", "", *start], results, name, body=body)


def graph_of(*nodes, outputs=("y",)):
    return proto(nodes, {"x": [2, 3]}, dict.fromkeys(outputs), [constant("k", [1.0, 2.0, 3.0], "float32")])


def found(made):
    return [
        (
            state.key,
            state.start and [dim.dim_value for dim in state.start.tensor_type.shape.dim],
            state.body_input.name,
            state.body_output.name,
            state.result,
        )
        for state in _states(made.graph, ChainMap())
    ]


def test_a_state_is_told_by_its_place_with_its_start_and_its_result():
    made = graph_of(node("Relu", ["x"], ["a"], "r"), loop("kept", ["y", "z"]))
    assert found(made) == [((1, "body", 0, 0), [2, 3], "s", "t", "y"), ((1, "body", 0, 1), [3], "r", "u", "z")]
    assert found(graph_of(loop("kept", ["y"]))) == [
        ((0, "body", 0, 0), [2, 3], "s", "t", "y"),
        ((0, "body", 0, 1), [3], "r", "u", ""),
    ]
    assert found(graph_of(loop("kept", ["y"], start=["a", "b"])))[0][1] is None


def test_a_body_that_takes_or_makes_fewer_has_so_many_states():
    made = graph_of(loop("kept", ["y"]))
    body = made.graph.node[0].attribute[0].g
    assert len(found(made)) == 2
    del body.output[2]
    assert len(found(made)) == 1
    del body.output[1]
    assert found(made) == []
    made = graph_of(loop("kept", ["y"], start=["x"]))
    assert len(found(made)) == 1
    del made.graph.node[0].attribute[0].g.input[2:]
    assert found(made) == []


def test_what_a_scan_reads_one_by_one_is_no_state():
    parts = [node("Add", ["s", "e"], ["t"], "add"), node("Neg", ["e"], ["n"], "neg")]
    body = helper.make_graph(parts, "body", [value("s"), value("e")], [value("t"), value("n")])
    made = graph_of(node("Scan", ["k", "x"], ["y", "all"], "scan", body=body, num_scan_inputs=1))
    assert found(made) == [((0, "body", 0, 0), [3], "s", "t", "y")]
    made.graph.node[0].op_type = "Other"
    assert found(made) == []


@pytest.mark.parametrize("kind", ["If", "Own"])
def test_a_loop_is_found_inside_of_other_nodes(kind):
    inner = helper.make_graph([loop("kept", ["y", ""])], "b", [value("x", FLOAT, (5,))], [value("y")])
    held = {"then_branch": inner} if kind == "If" else {"parts": [inner, inner]}
    made = graph_of(node("Relu", ["x"], ["a"]), node(kind, ["a"], ["y"], "n", **held))
    keys = [state[0] for state in found(made)]
    if kind == "If":
        assert keys == [(1, "then_branch", 0, 0, "body", 0, 0), (1, "then_branch", 0, 0, "body", 0, 1)]
    else:
        assert keys == [(1, "parts", at, 0, "body", 0, state) for at in (0, 1) for state in (0, 1)]
    # What is inside goes before what is around it.
    assert [state[1] for state in found(made)][:2] == [[5], [3]]


def test_a_shape_is_assumed_in_the_body_and_behind_the_loop():
    made = graph_of(loop("kept", ["y", "z"]))
    states = list(_states(made.graph, ChainMap()))
    trial = _assuming(made, {states[0].key: states[0].start, states[1].key: states[1].start})
    body = trial.graph.node[0].attribute[0].g
    assert [_shaped(one.type) for one in body.input] == [True, True, True, True]
    assert [_shaped(one.type) for one in made.graph.node[0].attribute[0].g.input] == [True, True, False, False]
    assert trial.graph.output[0].type == states[0].start
    assert [(one.name, one.type) for one in trial.graph.value_info] == [("z", states[1].start)]
    only = _assuming(made, {states[1].key: states[1].start})
    assert not _shaped(only.graph.output[0].type)
    unread = _assuming(graph_of(loop("kept", ["y"])), {states[1].key: states[1].start})
    assert len(unread.graph.value_info) == 0


@pytest.mark.parametrize(("states", "shapes"), [("kept", [(2, 3), (3,)]), ("grown", [(2, 3), None])])
def test_a_state_keeps_its_shape_where_the_body_does(states, shapes):
    network = from_proto(graph_of(loop(states, ["y", "z"]), outputs=("y", "z")))
    assert [network.tensors[name].shape for name in ("y", "z")] == shapes
    assert [network.tensors[f"loop/body/{name}"].shape for name in ("s", "r")] == shapes


def test_where_an_assumption_is_refused_nothing_more_is_known():
    made = graph_of(loop("kept", ["y", "z"]))
    assert with_states(made, made, lambda _: None) is made
    plain = graph_of(node("Relu", ["x"], ["y"]))
    assert with_states(plain, plain, lambda _: None) is plain


def test_a_loop_that_starts_from_what_another_makes_keeps_its_shape_too():
    first = loop("kept", ["a", "b"], name="one")
    second = loop("kept", ["y", "z"], name="two", start=["a", "b"])
    network = from_proto(graph_of(first, second, outputs=("y", "z")))
    assert [network.tensors[name].shape for name in "abyz"] == [(2, 3), (3,), (2, 3), (3,)]
    grown = from_proto(graph_of(loop("grown", ["a", "b"], name="one"), second, outputs=("y", "z")))
    assert [grown.tensors[name].shape for name in "abyz"] == [(2, 3), None, (2, 3), None]
