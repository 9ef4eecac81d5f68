"""Outlines: what belongs together is within, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.views.graphs.hulls import PAD, Rect, outlines, union
from workbench.views.graphs.panel import Item
from workbench.views.graphs.rendering.marks import area
from workbench.views.graphs.scene import NodeCard, Scene, Wire


def scene(**places):
    """Cards of 60 x 30 at column and row; the gaps are those of the layout."""
    cards = [
        NodeCard(Item(name, "op", name), column * 82, row * 54, 60, 30, name, "")
        for name, (column, row) in places.items()
    ]
    return Scene(cards=cards)


def wire(laid, tail, head, *via):
    at = {card.item.id: card for card in laid.cards}
    start = (at[tail].x + 30, at[tail].y + 30)
    points = [start, *via, (at[head].x + 30, at[head].y)]
    laid.wires.append(Wire(points, tail, head, "t", 1, arrow=True, stub=False))


def holds(loops, x, y):
    """Whether a point is within the loops, by the even-odd rule."""
    inside = False
    for loop in loops:
        for (x0, y0), (_, y1) in zip(loop, [*loop[1:], loop[0]], strict=True):
            if (y0 > y) != (y1 > y) and x0 > x:  # only vertical sides can be crossed: both ends have one x
                inside = not inside
    return inside


def test_a_chain_is_one_rectangle_around_its_cards():
    laid = scene(a=(0, 0), b=(0, 1))
    loops = outlines(laid, {"g": ["a", "b"]}, [("a", "b")])
    ((loop,),) = [loops["g"]]
    assert sorted(loop) == sorted([(-PAD, -PAD), (60 + PAD, -PAD), (60 + PAD, 84 + PAD), (-PAD, 84 + PAD)])
    assert area(loop) > 0


def test_a_stranger_between_leaves_two_loops_or_a_way_around():
    laid = scene(a=(0, 0), x=(0, 1), b=(0, 2))
    assert len(outlines(laid, {"g": ["a", "b"]}, [("a", "b")])["g"]) == 2
    # With an edge that goes around the stranger, the outline follows it.
    wire(laid, "a", "b", (100, 40), (100, 100))
    (loop,) = outlines(laid, {"g": ["a", "b"]}, [("a", "b")])["g"]
    assert holds([loop], 100, 70)
    assert not holds([loop], 30, 69)


def test_outlines_of_neighbours_do_not_meet():
    laid = scene(a=(0, 0), b=(1, 0), c=(0, 1), d=(1, 1))
    actual = outlines(laid, {"left": ["a", "c"], "right": ["b", "d"]}, [("a", "c"), ("b", "d")])
    assert [len(loops) for loops in actual.values()] == [1, 1]
    assert max(x for x, _ in actual["left"][0]) <= min(x for x, _ in actual["right"][0])


def test_a_crossing_of_two_groups_gives_way():
    laid = scene(n=(1, 0), s=(1, 2), w=(0, 1), e=(2, 1))
    loops = outlines(laid, {"up": ["n", "s"], "across": ["w", "e"]}, [("n", "s"), ("w", "e")])
    assert len(loops["up"]) == 1
    assert len(loops["across"]) == 2


def test_a_ring_has_a_hole():
    laid = scene(a=(0, 0), b=(1, 0), c=(2, 0), d=(0, 1), x=(1, 1), e=(2, 1), f=(0, 2), g=(1, 2), h=(2, 2))
    ring = ["a", "b", "c", "e", "h", "g", "f", "d"]
    loops = outlines(laid, {"g": ring}, list(zip(ring, [*ring[1:], "a"], strict=True)))["g"]
    assert sorted(area(loop) > 0 for loop in loops) == [False, True]
    assert not holds(loops, 82 + 30.5, 54 + 15.5)
    assert holds(loops, 30.5, 54 + 15.5)


RECTS = st.lists(
    st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(1, 4), st.integers(1, 4)).map(
        lambda r: Rect(r[0], r[1], r[0] + r[2], r[1] + r[3])
    ),
    min_size=1,
    max_size=6,
)


@settings(deadline=None, max_examples=150)
@given(rects=RECTS)
def test_the_border_of_a_union_holds_just_its_points(rects):
    loops = union(rects)
    for x in range(13):
        for y in range(13):
            inside = any(r.left <= x + 0.5 <= r.right and r.top <= y + 0.5 <= r.foot for r in rects)
            assert holds(loops, x + 0.5, y + 0.5) == inside
    cells = {(x, y) for r in rects for x in range(r.left, r.right) for y in range(r.top, r.foot)}
    assert sum(area(loop) for loop in loops) == pytest.approx(len(cells))


@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_no_outline_takes_in_a_stranger(data):
    names = data.draw(st.lists(st.sampled_from("abcdefghij"), unique=True, min_size=2))
    spots = data.draw(
        st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), unique=True, min_size=len(names), max_size=len(names))
    )
    laid = scene(**dict(zip(names, spots, strict=True)))
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(data.draw(st.sampled_from("uvw-")), []).append(name)
    groups.pop("-", None)
    links = data.draw(st.lists(st.tuples(st.sampled_from(names), st.sampled_from(names))))
    loops = outlines(laid, groups, links)
    for group, members in groups.items():
        for card in laid.cards:
            centre = (card.x + 30.5, card.y + 15.5)
            assert holds(loops[group], *centre) == (card.item.id in members)
