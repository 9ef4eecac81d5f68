"""Where an edit of the whole model acts: everywhere, or at what a selector names."""

from __future__ import annotations

import pytest
from onnx import TensorProto, helper

from tests.kit.models import model, weight
from workbench.errors import SelectorError
from workbench.graph.edits.wide import Area, WideEdit
from workbench.graph.select.selectors import pick

node = helper.make_node


def network():
    result = helper.make_tensor_value_info("r", TensorProto.FLOAT, [3])

    def branch(op):
        return helper.make_graph([node(op, ["t", "v"], ["r"], "inner")], op, [], [result], [weight("v", 3)])

    nodes = [
        node("Add", ["x", "w"], ["t"], "add"),
        node("If", ["c"], ["y"], "if", then_branch=branch("Sub"), else_branch=branch("Mul")),
    ]
    return model(nodes, {"x": [3], "c": (TensorProto.BOOL, [])}, {"y": [3]}, [weight("w", 3), weight("idle", 3)])


def area(only=None):
    outcome = network()
    return Area(outcome.thaw(), outcome, only)


def nodes(where):
    return [f"{prefix}{one.name}" for prefix, _, one in where]


@pytest.mark.parametrize(
    ("only", "named", "weights", "parts"),
    [
        (
            None,
            ["add", "if", "if/else/inner", "if/then/inner"],
            ["w", "idle", "if/else/v", "if/then/v"],
            ["", "if/else/", "if/then/"],
        ),
        ("name:add", ["add"], ["w"], [""]),
        ("op:Sub", ["if/then/inner"], ["if/then/v"], ["if/then/"]),
        ("name:if", ["if"], [], [""]),
    ],
)
def test_an_area_is_what_a_selector_names(only, named, weights, parts):
    where = area(only)
    assert where.whole is (only is None)
    assert nodes(where) == named
    assert [f"{prefix}{value.name}" for prefix, _, value in where.weights()] == weights
    assert [prefix for prefix, _ in where.parts()] == parts
    with pytest.raises(SelectorError):
        area("name:nothing")


def test_nodes_may_be_added_and_removed_meanwhile():
    where = area()
    seen = []
    for _, part, one in where:
        seen.append(one.name)
        if one.name == "add":
            one.outputs[0].name = "gone"
            part.remove(next(other for other in part if other.name == "if"))
    assert seen == ["add"]


class Own(WideEdit):
    """An edit of the test's own, which has something to do at products."""

    do: str = "own"

    @classmethod
    def fits(cls, node):
        return node.op_type == "Mul"


def test_it_is_offered_for_the_nodes_that_it_fits_or_for_all():
    outcome = network()
    assert [edit.only for edit in Own.offers(outcome, [])] == [None]
    assert [edit.only for edit in Own.offers(outcome, ["add", "if/else/inner"])] == ["name:if/else/inner"]
    assert list(Own.offers(outcome, ["add"])) == []
    assert list(WideEdit.offers(outcome, [])) == []
    assert Own(only=pick("op", "Mul")).only == "op:Mul"
    with pytest.raises(TypeError, match="Own does not say what it does"):
        Own().apply(outcome.thaw(), outcome)
