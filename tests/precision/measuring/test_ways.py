from __future__ import annotations

import pytest
from onnx import helper

from tests.kit.models import model, weight
from workbench.backends import BuildOptions
from workbench.precision.measuring.ways import ways_of


def dense(x, y, w):
    return helper.make_node("MatMul", [x, w], [y], name=y)


def network(*layers):
    """Products of 4 x 4 matrices, each named by what it makes, and the sum of what `adds` names."""
    nodes = [dense(x, y, f"w{y}") for x, y in layers]
    nodes.append(helper.make_node("Add", [layers[-1][1], layers[0][1]], ["out"], name="add"))
    return model(nodes, {"x": [4, 4]}, {"out": [4, 4]}, [weight(f"w{y}", 4, 4) for _, y in layers])


CHAIN = network(("x", "a"), ("a", "b"), ("b", "c"))
BRANCHES = network(("x", "a"), ("a", "b"), ("a", "c"))


@pytest.mark.parametrize(
    ("graph", "build", "streams", "names"),
    [
        (CHAIN, {}, 0, ["level-5"]),
        (BRANCHES, {}, 0, ["level-5", "four-streams"]),
        (BRANCHES, {}, 1, ["level-5", "one-stream"]),
        (CHAIN, {}, 2, ["level-5", "one-stream"]),
        (BRANCHES, {"aux_streams": 4}, 0, ["level-5"]),
        (BRANCHES, {"aux_streams": 0}, 1, ["level-5"]),
        (CHAIN, {"optimization_level": 5, "timing_iterations": 4}, 0, []),
        (CHAIN, {"optimization_level": 5}, 0, ["level-5"]),
    ],
)
def test_streams_are_tried_where_products_do_not_wait_for_each_other_or_the_builder_took_some(
    graph, build, streams, names
):
    assert [way.name for way in ways_of(graph, BuildOptions(**build), streams)] == names


def test_what_a_way_sets():
    assert [way.options for way in ways_of(BRANCHES, BuildOptions(), 0)] == [
        {"optimization_level": 5, "timing_iterations": 4},
        {"aux_streams": 4},
    ]
    assert ways_of(CHAIN, BuildOptions(), 3)[1].options == {"aux_streams": 0}
