"""Graphs cut in stages: each node once, in order, and the outputs of one session."""

from __future__ import annotations

import itertools
from collections import defaultdict

import numpy as np
import pytest
from onnx import TensorProto as T
from onnx import helper, numpy_helper

from tests.kit.models import constant, model
from workbench.runtime import Session, session
from workbench.runtime.stages import STAGES, cut, part_of, stages_of

ANY = defaultdict(lambda: T.FLOAT)
X = np.random.default_rng(3).normal(size=(2, 3)).astype(np.float32)


def value(name, shape=(2, 3), kind=T.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def chain(*outputs, length=8, untyped=(), **shapes):
    """Negate again and again: t1, t2 ... from x."""
    names = ["x", *(f"t{at}" for at in range(1, length + 1))]
    nodes = [helper.make_node("Neg", [a], [b]) for a, b in itertools.pairwise(names)]
    known = [value(name) for name in names[1:] if name not in (*outputs, *untyped)]
    graph = helper.make_graph(
        nodes, "g", [value("x")], [value(o, shapes.get(o, (2, 3))) for o in outputs], value_info=known
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def cut_as(model, count=STAGES):
    """Return of each stage what it reads, what it makes, and what it gives."""
    parts = [part_of(model, places, ANY)[0].graph for places in cut(model.graph, count)]
    return [
        ([one.name for one in g.input], [n.output[0] for n in g.node], [one.name for one in g.output]) for g in parts
    ]


def test_stages_hand_out_alike_much_and_hand_on_what_later_ones_read():
    assert cut_as(chain("t2", "t4", "t6", "t8")) == [
        (["x"], ["t1", "t2"], ["t2"]),
        (["t2"], ["t3", "t4"], ["t4"]),
        (["t4"], ["t5", "t6"], ["t6"]),
        (["t6"], ["t7", "t8"], ["t8"]),
    ]
    assert cut_as(chain("t1", "t2", "t8", t1=(30,), t2=(10,), t8=(20,)), count=2) == [
        (["x"], ["t1"], ["t1"]),
        (["t1"], ["t2", "t3", "t4", "t5", "t6", "t7", "t8"], ["t2", "t8"]),
    ]
    assert cut_as(chain("t1", "t2", "t8", t1=("N", 1), t2=("N", 9), t8=("N", 1)), count=2) == [
        (["x"], ["t1", "t2"], ["t1", "t2"]),
        (["t2"], ["t3", "t4", "t5", "t6", "t7", "t8"], ["t8"]),
    ]


def test_tensors_of_which_nothing_is_said_have_the_type_that_the_stage_before_tells():
    source = chain("t1", "t5", length=5, untyped=["t2", "t3", "t4"])
    assert cut_as(source) == [(["x"], ["t1"], ["t1"]), (["t1"], ["t2", "t3", "t4", "t5"], ["t5"])]
    part, outputs, hands_on = part_of(source, range(1, 3), {"t1": T.FLOAT16})
    assert (outputs, hands_on) == ([], ["t3"])
    assert part.graph.input[0].type.tensor_type.elem_type == T.FLOAT16
    assert not part.graph.output[0].HasField("type")


@pytest.mark.parametrize(
    ("order", "stated", "stages"),
    [
        ("t s large u y", False, ["t s large", "u y"]),
        ("t s large u y", True, ["t s large u", "y"]),
        ("t large s u y", True, ["t large", "s u y"]),
    ],
)
def test_no_cut_goes_through_a_sequence(order, stated, stages):
    nodes = {
        "t": helper.make_node("Neg", ["x"], ["t"]),
        "s": helper.make_node("SequenceConstruct", ["t"], ["s"]),
        "large": helper.make_node("Tile", ["t", "often"], ["large"]),
        "u": helper.make_node("SequenceAt", ["s", "first"], ["u"]),
        "y": helper.make_node("Neg", ["u"], ["y"]),
    }
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(T.FLOAT, None))
    inputs = [value("x"), value("often", (2,), T.INT64), value("first", (), T.INT64)]
    outputs, inside = [value("large", (18, 27)), value("y")], [helper.make_value_info("s", kind)] * stated
    graph = helper.make_graph([nodes[name] for name in order.split()], "g", inputs, outputs, value_info=inside)
    assert [" ".join(made) for _, made, _ in cut_as(helper.make_model(graph))] == stages


def test_what_cannot_be_cut_is_not_cut():
    weight = numpy_helper.from_array(np.zeros((2, 3), np.float32), "x")
    with_default, of_input, sparse = chain("t4", "t8"), chain("t4", "x"), chain("t4", "t8")
    with_default.graph.initializer.append(weight)
    sparse.graph.sparse_initializer.add()
    for one in (with_default, of_input, sparse, chain()):
        assert cut(one.graph) == []
    assert cut(chain("t4", "t8").graph, 1) == cut(chain("t8").graph) == [range(8)]
    assert len(cut(chain(*(f"t{at}" for at in range(1, 9))).graph)) == STAGES


def test_weights_that_are_handed_out_are_there_from_the_start_and_read_later_all_the_same():
    source = chain("t4", "t8", "w")
    source.graph.node.append(helper.make_node("Add", ["t8", "w"], ["y"]))
    source.graph.output.append(value("y"))
    source.graph.initializer.append(numpy_helper.from_array(np.zeros((2, 3), np.float32), "w"))
    (first, outputs, hands_on), *_, (last, *_) = (part_of(source, places, ANY) for places in cut(source.graph))
    assert (outputs, hands_on) == (["w"], ["t1"])
    assert [one.name for one in last.graph.input] == ["t8"]
    assert [one.name for one in first.graph.initializer] == [one.name for one in last.graph.initializer] == ["w"]


def test_bodies_take_their_weights_and_tensors_along():
    body = helper.make_graph([helper.make_node("Mul", ["t1", "w"], ["b"])], "body", [], [value("b")])
    other = helper.make_graph([], "other", [], [value("t2")])
    source = chain("t2", "t4", "t6", "t8")
    source.graph.node.append(helper.make_node("If", ["flag"], ["i"], then_branch=body, else_branch=other))
    source.graph.node.append(helper.make_node("Add", ["i", "unread"], ["y"]))
    source.graph.input.extend([value("flag", (), T.BOOL), value("unread")])
    source.graph.initializer.append(numpy_helper.from_array(np.zeros((2, 3), np.float32), "w"))
    source.graph.output.append(value("y"))
    first, *_, last = (part_of(source, places, ANY)[0].graph for places in cut(source.graph))
    assert [one.name for one in first.output] == ["t2", "t4", "t1"]
    assert [one.name for one in last.input] == ["flag", "unread", "t2", "t1"]
    assert [one.name for one in last.initializer] == ["w"]
    assert not first.initializer


NETWORK = model(
    [
        helper.make_node("MatMul", ["x", "w1"], ["a"]),
        helper.make_node("Sigmoid", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w2"], ["c"]),
        helper.make_node("Add", ["c", "b"], ["d"]),
        helper.make_node("Softmax", ["d"], ["e"]),
        helper.make_node("Mul", ["e", "a"], ["y"]),
    ],
    {"x": ["N", 3]},
    {"y": ["N", 5]},
    [
        constant("w1", np.random.default_rng(1).normal(size=(3, 5)), "float32"),
        constant("w2", np.random.default_rng(2).normal(size=(5, 5)), "float32"),
    ],
)
OUTPUTS = ["e", "a", "b", "d", "c"]


def test_a_session_in_stages_computes_the_same_and_lets_go_of_it_stage_by_stage():
    usual = Session(NETWORK, outputs=OUTPUTS, observing=True)
    staged = Session(NETWORK, outputs=OUTPUTS, observing=True, any_order=[])
    assert 1 < len(staged._stages) <= STAGES
    for rows in (X, X[:1]):
        wanted = usual.run({"x": rows})
        results = staged.run({"x": rows})
        assert list(results) == OUTPUTS
        parts = list(staged.run_in_stages({"x": rows}))
        assert [name for part in parts for name in part] == ["a", "b", "c", "d", "e"]
        assert len(parts) == len(staged._stages)
        for name in OUTPUTS:
            assert np.array_equal(results[name], wanted[name])
            assert sum(np.array_equal(part[name], wanted[name]) for part in parts if name in part) == 1
    assert [list(part) for part in usual.run_in_stages({"x": X})] == [OUTPUTS]


def test_where_a_graph_cannot_be_written_it_is_one_session(monkeypatch):
    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(session, "stages_of", full)
    whole = Session(NETWORK, outputs=OUTPUTS, observing=True, any_order=OUTPUTS)
    wanted = Session(NETWORK, outputs=OUTPUTS, observing=True).run({"x": X})
    (part,) = whole.run_in_stages({"x": X})
    assert all(np.array_equal(part[name], wanted[name]) for name in OUTPUTS)


def test_what_has_one_node_or_text_or_little_memory_is_one_session(monkeypatch):
    asked = []

    def watched(*arguments):
        asked.append(arguments[2])
        return stages_of(*arguments)

    monkeypatch.setattr(session, "stages_of", watched)
    one = Session(
        model([helper.make_node("Neg", ["x"], ["y"])], {"x": [2, 3]}, {"y": [2, 3]}), observing=True, any_order=["y"]
    )
    assert len(one._stages) == 1
    assert [list(part) for part in one.run_in_stages({"x": X})] == [["y"]]
    assert np.array_equal(one.run({"x": X})["y"], -X)
    assert asked == [["y"]]
    text = model(
        [helper.make_node("Equal", ["x", "x"], ["y"])], {"x": (T.STRING, ["N"])}, {"y": (T.BOOL, ["N"])}, opset=19
    )
    words = Session(text, observing=True, any_order=[])
    assert words.run({"x": np.array(["a", "b"], object)})["y"].tolist() == [True, True]
    Session(NETWORK, any_order=["d"])
    Session(NETWORK, observing=True)
    monkeypatch.setattr(session, "HUGE_BYTES", 1)
    Session(NETWORK, observing=True, any_order=["d"])
    assert asked == [["y"]]


def test_an_error_of_a_stage_is_one_line():
    staged = Session(NETWORK, outputs=OUTPUTS, observing=True, any_order=[])
    with pytest.raises(Exception, match="ONNX Runtime fails: ") as caught:
        staged.run({"x": X[:, :2]})
    assert "\n" not in str(caught.value)
