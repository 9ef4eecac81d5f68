"""Nodes said in as few words as are exact."""

from __future__ import annotations

import pytest
from onnx import helper

from tests.kit.models import model
from workbench.graph.select.language import select
from workbench.graph.select.shortest import compact


def row(*entries):
    """Nodes one after the other, each as ``Op name``."""
    made = []
    for at, entry in enumerate(entries):
        op, _, name = entry.partition(" ")
        made.append(helper.make_node(op, [f"t{at}" if at else "x"], [f"t{at + 1}"], name))
    return model(made, {"x": [2]}, {f"t{len(entries)}": [2]})


@pytest.fixture(scope="module")
def encoder():
    return row(*ENCODER)


ENCODER = (
    "Relu enc/l0/act",
    "Neg enc/l0/neg",
    "Relu enc/l1/act",
    "Neg enc/l1/neg",
    "Abs enc/l1/abs",
    "Relu head/act",
    "Exp head/exp",
)


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (["enc/l0/act", "enc/l1/act", "head/act"], ["op:Relu"]),
        (["enc/l0/act", "enc/l1/act"], ["name:enc/l*/act"]),
        (["enc/l1/act", "enc/l1/neg", "enc/l1/abs"], ["scope:enc/l1"]),
        (["head/exp", "head/act"], ["scope:head"]),
        (["head/exp"], ["name:head/exp"]),
        (["enc/l0/neg", "head/exp"], ["name:enc/l0/neg|head/exp"]),
        (["head/exp", "enc/l0/neg"], ["name:enc/l0/neg|head/exp"]),
        (["enc/l0/act", "enc/l0/neg", "enc/l1/act", "enc/l1/neg", "enc/l1/abs"], ["scope:enc"]),
        ([], []),
    ],
)
def test_all_others_are_left_out(encoder, targets, expected):
    others = [name for name in encoder.nodes if name not in targets]
    assert compact(encoder, targets, others) == expected
    assert set().union(*(select(encoder, text) for text in expected)) == set(targets)


def test_an_operator_is_named_within_a_scope():
    network = row("Relu enc/a", "Relu enc/b", "Neg enc/c", "Relu head/d")
    assert compact(network, ["enc/a", "enc/b"], ["enc/c", "head/d"]) == ["op:Relu & scope:enc"]
    assert compact(network, ["enc/c"], ["enc/a", "enc/b", "head/d"]) == ["name:enc/c"]


def test_of_what_saves_as_many_names_the_first_by_length_and_text_is_first():
    network = row("Neg a", "Abs b", "Neg c", "Abs d", "Exp e")
    assert compact(network, ["a", "b", "c", "d"], ["e"]) == ["op:Abs", "op:Neg"]
    network = row("Conv a", "Exp b", "Conv c", "Exp d", "Neg e")
    assert compact(network, ["a", "b", "c", "d"], ["e"]) == ["op:Exp", "op:Conv"]


def test_nodes_of_neither_group_may_be_named(encoder):
    assert compact(encoder, ["enc/l0/act", "enc/l1/act"], ["enc/l0/neg"]) == ["op:Relu"]


@pytest.mark.parametrize(
    ("exceptions", "expected"),
    [(1, "name:n* & !name:n0"), (2, "name:n* & !name:n0|n1"), (3, "name:n3|n4|n5|n6|n7")],
)
def test_exceptions_are_named_where_they_are_a_third_of_what_is_meant_at_most(exceptions, expected):
    network = row(*(f"Relu n{at}" for at in range(8)))
    names = list(network.nodes)
    assert compact(network, names[exceptions:], names[:exceptions]) == [expected]


def test_a_name_is_a_pattern_only_in_its_numbers():
    network = row("Relu a*1", "Relu a*2", "Relu ab3", "Abs c")
    assert compact(network, ["a*1", "a*2"], ["ab3", "c"]) == [r"name:a\**"]
