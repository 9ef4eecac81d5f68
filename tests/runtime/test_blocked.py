from __future__ import annotations

import platform

import numpy as np
import pytest
from onnx import TensorProto as T
from onnx import helper

from tests.kit.models import constant, model
from workbench.runtime import Session, session
from workbench.runtime.blocked import blocked_session, without_reorders

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.normal(size=(3, 3, 5, 5)).astype(np.float32)
BLOCKED = pytest.mark.skipif(
    platform.machine().lower() not in {"x86_64", "amd64"}, reason="ONNX Runtime has no blocks of channels here"
)


def kernel(name: str, out: int, channels: int):
    return constant(name, RANDOM.normal(size=(out, channels, 1, 1)), "float32")


NETWORK = model(
    [
        helper.make_node("Conv", ["x", "w1"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w2"], ["c"]),
        helper.make_node("Add", ["b", "c"], ["d"]),
        helper.make_node("Conv", ["d", "w3"], ["e"]),
        helper.make_node("Flatten", ["b"], ["flat"]),
        helper.make_node("Tanh", ["e"], ["y"]),
    ],
    {"x": ["N", 3, 5, 5]},
    {"y": ["N", 10, 5, 5]},
    [kernel("w1", 32, 3), kernel("w2", 32, 32), kernel("w3", 10, 32)],
)
OUTPUTS = ["b", "d", "e", "flat", "y"]


def in_order(array: np.ndarray, block: int) -> np.ndarray:
    n, c, h, w = array.shape
    return array.reshape(n, c // block, h, w, block).transpose(0, 1, 4, 2, 3).reshape(n, c, h, w)


@BLOCKED
def test_full_blocks_are_handed_out_as_they_are_kept_and_all_else_in_order():
    usual = Session(NETWORK, outputs=OUTPUTS, observing=True).run({"x": IMAGES})
    loose = Session(NETWORK, outputs=OUTPUTS, observing=True, any_order=["d", "e", "y"])
    # "b" has to keep its places, "flat" has no channels, and ten channels fill no block.
    assert list(loose._called) == ["d"]
    for name, array in loose.run({"x": IMAGES}).items():
        wanted = usual[name]
        assert array.shape == wanted.shape
        assert name == "d" or np.array_equal(array, wanted)
    blocks = loose.run({"x": IMAGES[:2]})["d"]
    assert any(np.array_equal(in_order(blocks, size), usual["d"][:2]) for size in (8, 16))


def test_where_a_graph_cannot_be_written_all_is_in_order(monkeypatch):
    def full(*_: object) -> None:
        raise OSError("no space left on device")

    usual = Session(NETWORK, outputs=OUTPUTS, observing=True).run({"x": IMAGES})
    monkeypatch.setattr(session, "blocked_session", full)
    other = Session(NETWORK, outputs=OUTPUTS, observing=True, any_order=OUTPUTS).run({"x": IMAGES})
    assert all(np.array_equal(usual[name], other[name]) for name in OUTPUTS)


def test_memory_other_ways_to_look_and_narrow_types_keep_the_usual_session(monkeypatch):
    asked = []

    def watched(*arguments: object):
        asked.append(arguments[2])
        return blocked_session(*arguments)

    monkeypatch.setattr(session, "blocked_session", watched)
    half = (T.FLOAT16, ["N"])
    narrow = model([helper.make_node("Relu", ["x"], ["y"])], {"x": half}, {"y": half})
    Session(NETWORK, any_order=["d"])
    Session(NETWORK, observing=True)
    Session(narrow, observing=True, any_order=["y"])
    assert asked == []
    Session(NETWORK, observing=True, any_order=["d"])
    monkeypatch.setattr(session, "HUGE_BYTES", 1)
    Session(NETWORK, observing=True, any_order=["d"])
    assert asked == [["d"]]


def reorder(name: str, **attributes: int):
    return helper.make_node("ReorderOutput", [f"{name}_blocks"], [name], domain="com.microsoft.nchwc", **attributes)


def test_only_nodes_that_order_full_blocks_for_nobody_else_are_taken_out():
    body = helper.make_graph(
        [helper.make_node("Relu", ["in_body"], ["r"])], "body", [], [helper.make_tensor_value_info("r", T.FLOAT, None)]
    )
    handed_on = helper.make_graph([], "other", [], [helper.make_tensor_value_info("handed_on", T.FLOAT, None)])
    nodes = [
        reorder("plain", channels=48),
        reorder("padded", channels=40),
        reorder("last", channels=32, channels_last=1),
        reorder("first", channels=32, channels_last=0),
        reorder("read", channels=32),
        reorder("in_body", channels=32),
        reorder("handed_on", channels=32),
        reorder("in_its_place", channels=32),
        helper.make_node("ReorderOutput", ["z_blocks"], ["elsewhere"], domain="other", channels=32),
        helper.make_node("Relu", ["read"], ["z"]),
        helper.make_node("If", ["flag"], ["i"], then_branch=body, else_branch=handed_on),
    ]
    names = [node.output[0] for node in nodes]
    graph = helper.make_graph(nodes, "g", [], [helper.make_tensor_value_info(name, T.FLOAT, None) for name in names])
    called = without_reorders(graph, [name for name in names if name != "in_its_place"])
    assert called == {"plain": "plain_blocks", "first": "first_blocks"}
    assert [node.output[0] for node in graph.node] == [name for name in names if name not in called]
    assert [output.name for output in graph.output] == [called.get(name, name) for name in names]
