from __future__ import annotations

import random
from itertools import combinations, pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kit import drawing
from workbench.views.graphs.layout.crossings import count_crossings, reduce_crossings
from workbench.views.graphs.layout.cycles import against_the_flow, components, topological
from workbench.views.graphs.layout.drawing import Gaps, layered
from workbench.views.graphs.layout.layers import assign_layers, insert_dummies
from workbench.views.graphs.layout.route import ports

graphs = st.integers(1, 24).flatmap(
    lambda n: st.tuples(
        st.just(n),
        st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=40, unique=True).map(
            lambda edges: sorted({(a, b) for a, b in edges if a != b})
        ),
    )
)


def network(n: int, seed: int) -> list[tuple[int, int]]:
    """A graph like a model's: mostly a chain, with shortcuts."""
    rng = random.Random(seed)  # noqa: S311
    edges = set()
    for head in range(1, n):
        edges.add((max(0, head - rng.randint(1, 4)), head))
        while rng.random() < 0.15:
            edges.add((rng.randrange(max(0, head - 25), head), head))
    return sorted(edges)


@given(graphs)
def test_components_are_mutual_reachability(graph) -> None:
    n, edges = graph
    reach = np.eye(n, dtype=bool)
    for a, b in edges:
        reach[a, b] = True
    for _ in range(n):
        reach = reach @ reach
    part = components(n, edges)
    assert all((part[a] == part[b]) == (reach[a, b] and reach[b, a]) for a, b in combinations(range(n), 2))


@given(graphs)
def test_turning_edges_leaves_no_cycle_and_an_acyclic_graph_alone(graph) -> None:
    n, edges = graph
    turned = against_the_flow(n, edges)
    flow = [(b, a) if turn else (a, b) for (a, b), turn in zip(edges, turned, strict=True)]
    assert len(topological(n, flow)) == n
    forward = [(min(e), max(e)) for e in edges]
    assert not any(against_the_flow(n, forward))


@given(graphs)
def test_every_edge_goes_down_and_no_layer_is_empty(graph) -> None:
    n, edges = graph
    flow = sorted({(min(e), max(e)) for e in edges})
    layer = assign_layers(n, flow)
    assert all(layer[a] < layer[b] for a, b in flow)
    assert set(layer) == set(range(max(layer) + 1))


@settings(deadline=None)
@given(
    st.integers(2, 6).flatmap(
        lambda n: st.tuples(
            st.just(n),
            st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=9, unique=True).map(
                lambda edges: sorted({(min(e), max(e)) for e in edges if e[0] != e[1]})
            ),
        )
    )
)
def test_no_layers_have_shorter_edges(graph) -> None:
    n, edges = graph
    layer = assign_layers(n, edges)
    tails, heads = (np.array([edge[end] for edge in edges], dtype=int) for end in (0, 1))
    every = np.array(list(product(range(n), repeat=n)))
    lengths = every[:, heads] - every[:, tails]
    valid = (lengths >= 1).all(axis=1)
    assert sum(layer[b] - layer[a] for a, b in edges) == lengths[valid].sum(axis=1).min()


def test_long_models_have_shortest_layers_too() -> None:
    # A chain of forty, and a side chain of five that could hang at either end of its long edge.
    edges = [(at, at + 1) for at in range(39)] + [(40 + at, 41 + at) for at in range(4)] + [(44, 39), (0, 40)]
    layer = assign_layers(45, edges)
    assert sum(layer[b] - layer[a] for a, b in edges) == 39 + 39
    assert assign_layers(0, []) == []


def test_a_source_is_drawn_beside_its_consumer() -> None:
    chain = [(0, 1), (1, 2), (2, 3), (4, 3)]
    assert assign_layers(5, chain)[4] == assign_layers(5, chain)[2]


def test_where_edges_dock_decides_the_order_of_what_they_come_from() -> None:
    # Three boxes feed one wide box whose docks are in the opposite order.
    docks = [(None, 40.0), (None, 0.0), (None, -40.0)]
    drawn = layered([20, 20, 20, 100], [10] * 4, [(0, 3), (1, 3), (2, 3)], docks=docks)
    assert drawn.x[2] < drawn.x[1] < drawn.x[0]
    assert drawn.crossings == 0
    assert [path[-1][0] - drawn.x[3] for path in drawn.paths] == [40, 0, -40]


def test_weak_boxes_do_not_push_a_chain_aside() -> None:
    # A chain of ten, and a small box beside the top of each but the first.
    edges = [(at, at + 1) for at in range(9)] + [(at + 9, at) for at in range(1, 10)]
    drawn = layered([80] * 10 + [30] * 9, [20] * 19, edges, weak=range(10, 19))
    assert len({round(x, 6) for x in drawn.x[:10]}) == 1
    assert drawn.width < 80 + 22 + 30 + 40


def test_ports_keep_to_the_first_and_last_layer() -> None:
    layer = assign_layers(5, [(0, 2), (1, 3), (2, 3), (3, 4)], first=[0, 1], last=[4])
    assert layer == [0, 0, 1, 2, 3]


@given(graphs)
def test_counting_crossings_agrees_with_comparing_all_pairs(graph) -> None:
    n, edges = graph
    flow = sorted({(min(e), max(e)) for e in edges})
    proper = insert_dummies(assign_layers(n, flow), flow)
    place = {node: i for layer in proper.layers for i, node in enumerate(layer)}
    expected = 0
    for layer in proper.layers:
        lines = [(place[u], place[v]) for u in layer for v in proper.down[u]]
        expected += sum((a[0] - b[0]) * (a[1] - b[1]) < 0 for a, b in combinations(lines, 2))
    assert count_crossings(proper) == expected
    assert reduce_crossings(proper) == count_crossings(proper) <= expected


def test_a_tangled_ladder_is_untangled() -> None:
    edges = [(i, 10 + (7 * i) % 10) for i in range(10)]
    assert layered([10] * 20, [10] * 20, edges).crossings == 0


@settings(deadline=None)
@given(graphs, st.integers(0, 10))
def test_boxes_never_overlap_and_edges_stay_clear_of_them(graph, seed) -> None:
    n, edges = graph
    rng = random.Random(seed)  # noqa: S311
    w, h = [rng.randint(10, 120) for _ in range(n)], [rng.randint(10, 60) for _ in range(n)]
    drawn = layered(w, h, edges)
    boxes = [(x - a / 2, y - b / 2, x + a / 2, y + b / 2) for x, y, a, b in zip(drawn.x, drawn.y, w, h, strict=True)]
    for a, b in combinations(range(n), 2):
        same = drawn.layer[a] == drawn.layer[b]
        need = Gaps().box if same else 0
        apart = max(boxes[a][0] - boxes[b][2], boxes[b][0] - boxes[a][2])
        assert apart >= need - 1e-6 or (not same and (boxes[a][3] <= boxes[b][1] or boxes[b][3] <= boxes[a][1]))
    for (tail, head), path in zip(edges, drawn.paths, strict=True):
        line = drawing.bend(path)
        for other in set(range(n)) - {tail, head}:
            x0, y0, x1, y1 = boxes[other]
            inside = (line[:, 0] > x0) & (line[:, 0] < x1) & (line[:, 1] > y0 + 1e-6) & (line[:, 1] < y1 - 1e-6)
            assert not inside.any(), (tail, head, other)
    left, top, right, bottom = np.array(boxes).T
    assert min(left.min(), top.min()) >= -1e-6
    assert right.max() <= drawn.width + 1e-6
    assert bottom.max() <= drawn.height + 1e-6


@given(graphs)
def test_an_edge_starts_at_its_tail_and_ends_at_its_head(graph) -> None:
    n, edges = graph
    drawn = layered([40] * n, [20] * n, edges)
    for (tail, head), path in zip(edges, drawn.paths, strict=True):
        for node, (x, y) in ((tail, path[0]), (head, path[-1])):
            assert abs(x - drawn.x[node]) <= 20
            assert abs(abs(y - drawn.y[node]) - 10) < 1e-6
        down = np.diff([y for _, y in path])
        assert (down >= -1e-6).all() or (down <= 1e-6).all()


def test_a_chain_is_one_straight_line() -> None:
    drawn = layered([30, 80, 50, 20], [20] * 4, [(0, 1), (1, 2), (2, 3)])
    assert len({round(x, 6) for x in drawn.x}) == 1
    assert all(a[0] == b[0] for path in drawn.paths for a, b in pairwise(path))


def test_a_long_edge_is_straight_between_its_ends() -> None:
    edges = [(i, i + 1) for i in range(9)] + [(0, 9)]
    path = layered([60] * 10, [20] * 10, edges).paths[-1]
    assert len({x for x, _ in path[2:-2]}) == 1


def test_the_same_graph_is_drawn_the_same() -> None:
    edges = network(120, 3)
    assert layered([50] * 120, [20] * 120, edges) == layered([50] * 120, [20] * 120, edges)


def test_nothing_and_one_box() -> None:
    assert layered([], [], []).height == 0
    one = layered([40], [20], [])
    assert (one.x, one.y, one.width, one.height) == ([20], [10], 40, 20)


@given(st.lists(st.floats(-200, 200), min_size=1, max_size=12))
def test_ports_keep_order_and_distance_inside_the_side(wanted) -> None:
    x = ports(wanted, wanted, -50, 50)
    assert all(-42 - 1e-6 <= value <= 42 + 1e-6 for value in x)
    order = sorted(range(len(x)), key=wanted.__getitem__)
    near = min(9, 84 / max(len(x) - 1, 1))
    assert all(x[b] - x[a] >= near - 1e-6 for a, b in pairwise(order))


def test_crossings_are_within_one_and_a_half_of_graphviz() -> None:
    ours = theirs = 0
    for n in (40, 120, 250):
        for seed in range(4):
            edges = network(n, seed)
            drawn = layered([90] * n, [34] * n, edges)
            graphviz = drawing.dot([90] * n, [34] * n, edges)
            if graphviz is None:
                pytest.skip("Graphviz is not installed; it is what this test compares with")
            ours += drawing.crossings([drawing.bend(path) for path in drawn.paths], edges)
            theirs += graphviz
    assert theirs > 0
    assert ours <= 1.5 * theirs
