"""Nothing that an edit adds takes a name that the model has itself."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.kit.holders import CASES, HOLDERS, SHAPE, arguments_at, held
from tests.kit.models import model, random_feeds, run, weight
from tests.kit.names_taken import SUM, added, taken
from workbench.graph.edits.registry import edit_by_name

GIVEN = ("rename_node", "rename_tensor", "insert", "extract", "strip_weights", "restore_weights", "cast_operands")
"""Names that the user gives, a graph that is cut out, weights that are gone, and a model that does not run."""

CONVERTER = "convert_opset"
"""The names are those of ONNX's own version converter, which does not look outside of a subgraph for them."""


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("name", [name for name in CASES if name not in (*GIVEN, CONVERTER)])
def test_an_edit_inside_keeps_what_bears_the_names_it_would_give(name, holder):
    case, at = CASES[name], HOLDERS[holder]
    if holder not in case.holders:
        return
    outcome = held(case, holder)
    edit = edit_by_name(name, **arguments_at(case, at))
    same(outcome, edit, edit)


def same(network, edit, again):
    before = edit(network).model
    other, total = taken(network, *added(network, before))
    after = again(other).model
    onnx.checker.check_model(after.proto)
    feeds = random_feeds(network) | ({"cond": np.array(True)} if any(t.name == "cond" for t in network.inputs) else {})
    outputs = [tensor.name for tensor in network.outputs]
    *results, actual = run(after, feeds, [*outputs, SUM])
    assert actual == total
    for result, expected in zip(results, run(before, feeds, outputs), strict=True):
        np.testing.assert_array_equal(result, expected)


CONVOLUTIONS = [
    helper.make_node("Conv", ["x", "w"], ["a"], "first"),
    helper.make_node("Sigmoid", ["a"], ["s"], "act"),
    helper.make_node("Conv", ["s", "v"], ["b"], "second"),
    helper.make_node("Conv", ["b", "v"], ["y"], "third"),
]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("equalize_channels", {"exponents": {"s": (1, 2, 0, -1)}}),
        ("correct_bias", {"shifts": {"first": (0.5, 0.0, 1.0, 2.0)}}),
        ("fuse", {"pattern": "silu"}),
    ],
)
def test_an_edit_of_the_main_graph_does_so_too(name, arguments):
    nodes = CONVOLUTIONS
    if name == "fuse":
        nodes = [
            *nodes[:3],
            helper.make_node("Mul", ["a", "s"], ["m"], "m"),
            helper.make_node("Add", ["m", "b"], ["y"], "last"),
        ]
    network = model(
        nodes, {"x": SHAPE}, {"y": SHAPE}, [weight("w", 4, 4, 1, 1), weight("v", 4, 4, 1, 1)], opset=24, ir_version=10
    )
    edit = edit_by_name(name, **arguments)
    same(network, edit, edit)
