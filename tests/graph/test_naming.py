"""Names: repaired where they are missing or taken, and fresh ones that nothing bears yet."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

from tests.kit.models import model, proto, weight
from workbench.graph.load import from_proto
from workbench.graph.naming import Names, names_in, share_names
from workbench.graph.quirk import Quirk

node = helper.make_node


def value(name):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [2])


def nested(**attributes):
    """A model with a node of another domain that holds graphs, and whose body reads what is around it."""
    body = helper.make_graph(
        [node("Add", ["fed", "kept"], ["made"], "inner")], "b", [value("fed")], [value("made")], [weight("kept", 2)]
    )
    held = node("Own", ["x"], ["y"], "own", domain="own", **{name: make(body) for name, make in attributes.items()})
    return model([held], {"x": [2]}, {"y": [2]}, [weight("w", 2)], domains=["own"])


@pytest.mark.parametrize("make", [lambda body: body, lambda body: [body]], ids=["a graph", "graphs"])
def test_a_fresh_name_is_none_of_the_graph_nor_of_those_inside(make):
    names = Names([nested(body=make).ir_model.graph])
    taken = ("x", "y", "w", "fed", "kept", "made")
    assert [names.tensor(name) for name in taken] == [f"{name}__2" for name in taken]
    assert [names.tensor("x"), names.tensor("new"), names.tensor("new")] == ["x__3", "new", "new__2"]
    # Nodes have names of their own.
    assert [names.node(name) for name in ("own", "inner", "x", "x")] == ["own__2", "inner__2", "x", "x__2"]


def test_what_a_call_gives_holds_no_names():
    given = onnx.AttributeProto(name="alpha", type=onnx.AttributeProto.FLOAT, ref_attr_name="slope")
    leaky = node("LeakyRelu", ["a"], ["b"], "leaky")
    leaky.attribute.append(given)
    function = helper.make_function("own", "F", ["a"], ["b"], [leaky], [helper.make_opsetid("", 17)], ["slope"])
    made = proto(
        [node("F", ["x"], ["y"], "call", domain="own")], {"x": [2]}, {"y": [2]}, domains=["own"], functions=[function]
    )
    (local,) = from_proto(made).ir_model.functions.values()
    names = Names([local.graph])
    assert [names.tensor("a"), names.tensor("b"), names.tensor("x"), names.node("leaky")] == [
        "a__2",
        "b__2",
        "x",
        "leaky__2",
    ]


def test_graphs_of_one_model_share_their_fresh_names():
    changed = nested(body=lambda body: body).thaw()
    outer = changed.graph
    inner = outer[0].attributes["body"].as_graph()
    assert names_in(outer) is names_in(outer)
    assert names_in(outer) is not names_in(inner)
    names = share_names(changed)
    assert names_in(outer) is names_in(inner) is names
    assert (names_in(inner).tensor("new"), names_in(outer).tensor("new")) == ("new", "new__2")


def named(*entries):
    """Nodes in a row, each by its name and what its results are called."""
    return [node("Own", ["x"], outputs, name, domain="own") for name, *outputs in entries]


@pytest.mark.parametrize(
    ("entries", "names", "quirks"),
    [
        ([("n", "a"), ("m", "b")], ["n", "m"], []),
        (
            [("n", "a"), ("n", "b"), ("n", "c")],
            ["n", "n__2", "n__3"],
            [
                ("duplicate-name", name, f"the name 'n' was taken; it is now called {name!r}")
                for name in ("n__2", "n__3")
            ],
        ),
        (
            [("n", "a"), ("n", "b"), ("n__2", "c")],
            ["n", "n__3", "n__2"],
            [("duplicate-name", "n__3", "the name 'n' was taken; it is now called 'n__3'")],
        ),
        (
            [("", "a"), ("", "", "b"), ("",)],
            ["a", "b", "Own_2"],
            [("empty-name", name, f"a Own had no name; it is now called {name!r}") for name in ("a", "b", "Own_2")],
        ),
        (
            [("", "a"), ("a", "b")],
            ["a__2", "a"],
            [("empty-name", "a__2", "a Own had no name; it is now called 'a__2'")],
        ),
    ],
)
def test_every_node_gets_a_name_of_its_own(entries, names, quirks):
    ends = [name for _, *outputs in entries for name in outputs if name][:1]
    stated = proto(named(*entries), {"x": [2]}, {name: [2] for name in ends}, domains=["own"])
    loaded = from_proto(stated)
    assert list(loaded.nodes) == names
    assert [quirk for quirk in loaded.quirks if quirk.kind.endswith("-name")] == [Quirk(*each) for each in quirks]


def test_a_name_is_told_with_the_graph_that_it_is_in():
    body = helper.make_graph([node("Neg", ["x"], ["z"])], "b", [], [value("z")])
    holder = node("If", ["c"], ["y"], "if", then_branch=body, else_branch=body)
    loaded = model([holder], {"x": [2], "c": (onnx.TensorProto.BOOL, [])}, {"y": [2]})
    assert [quirk.where for quirk in loaded.quirks] == ["if/else/z", "if/then/z"]
