"""Which placements are proposed, with words and in which order: on a few regions made by hand."""

from __future__ import annotations

from dataclasses import replace

from workbench.precision.placement import PlacementCosts, Region, Regions, cheapest, proposals, with_neutral
from workbench.precision.placement.regions import Crossing


def chain(*structures, able=None, free=True):
    """Regions one behind the other; those that are not able take what their neighbours have, where they are free."""
    count = len(structures)
    able = range(count) if able is None else able
    all_of = tuple(
        Region(f"r{at}", (f"r{at}",), (f"r{at}",) if at in able else (), free or at in able, structure)
        for at, structure in enumerate(structures)
    )
    return Regions(all_of, tuple(Crossing(f"t{at}", 0, at, (at + 1,)) for at in range(count - 1)))


def costing(regions, floating, int8, border=0.0):
    return PlacementCosts(regions, dict(enumerate(floating)), dict(enumerate(int8)), border, 0.0)


def told(costs, **options):
    return [(set(one.int8), one.move, one.expected_ms) for one in proposals(costs, **options)]


THREE = costing(chain("a", "b", "c"), [1, 5, 5], [4, 2, 2])


def test_the_cheapest_comes_first_then_what_lies_before_or_behind_a_region_and_what_one_decides_otherwise():
    assert told(THREE) == [
        ({1, 2}, "the cheapest by regions and borders", 5),
        ({2}, "all behind r1", 8),
        ({0, 1, 2}, "the cheapest with r0 the other way", 8),
        ({1}, "the cheapest with r2 the other way", 8),
        ({0, 1}, "all before r2", 11),
        ({0}, "all before r1", 14),
    ]
    assert [set(one.int8) for one in proposals(THREE, tried=[frozenset({1, 2}), frozenset({0})])] == [
        *({2}, {0, 1, 2}, {1}, {0, 1}),
    ]


def test_what_int8_is_charged_counts_in_what_is_proposed_and_in_the_order_but_not_in_the_latency():
    assert told(THREE, penalty={1: 4.0}) == [
        ({2}, "the cheapest by regions and borders, region by region", 8),
        ({1, 2}, "the cheapest with r1 the other way", 5),
        ({0, 2}, "the cheapest with r0 the other way", 11),
        (set(), "the cheapest with r2 the other way", 11),
    ]
    free = told(THREE, penalty={1: 0.0})
    assert ("the cheapest by regions and borders, region by region" in free[0][1], len(free)) == (True, 6)


def test_what_has_no_kernel_beside_floating_point_is_not_proposed():
    costs = replace(THREE, closed=frozenset({1}))
    assert told(costs) == [
        ({1, 2}, "the cheapest by regions and borders", 5),
        ({2}, "all behind r1", 8),
        ({0, 1, 2}, "the cheapest with r0 the other way", 8),
        ({0}, "all before r1", 14),
    ]


def test_borders_may_be_cheaper_or_dearer_than_they_seem():
    costs = costing(chain("a", "b"), [1, 5], [3.5, 2], border=2.0)
    assert told(costs) == [
        ({1}, "the cheapest by regions and borders", 5.0),
        ({0, 1}, "the cheapest by regions and borders, were borders 2 times as dear", 5.5),
        (set(), "the cheapest with r1 the other way", 6.0),
        ({0}, "all before r1", 10.5),
    ]
    assert [cheapest(costs, doubt=doubt) for doubt in (0.25, 1.0, 1.24, 1.26, 4.0)] == [{1}, {1}, {1}, {0, 1}, {0, 1}]
    near = costing(chain("a", "b"), [1, 5], [3.5, 2], border=3.5)
    assert told(near)[1][:2] == ({1}, "the cheapest by regions and borders, were borders 0.5 times as dear")


def test_regions_that_are_built_alike_go_together_and_also_each_by_itself():
    costs = costing(chain("a", "b", "a", "a"), [1, 5, 5, 5], [4, 2, 6, 2])
    moves = {move: int8 for int8, move, _ in told(costs)}
    assert moves["the cheapest by regions and borders"] == {1}  # of the three alike, INT8 costs one more
    assert moves["the cheapest by regions and borders, region by region"] == {1, 3}
    assert moves["the cheapest with r0 and 2 like it the other way"] == {0, 1, 2, 3}


def test_what_takes_either_precision_takes_that_of_its_neighbours_and_is_no_decision():
    costs = costing(chain("a", "b", "c", able=(0, 2)), [5, 1, 5], [1, 1, 1], border=0.5)
    assert cheapest(costs) == {0, 1, 2}
    assert with_neutral(costs, frozenset({0, 2})) == {0, 1, 2}
    assert with_neutral(costs, frozenset()) == frozenset()
    assert [(int8, ms) for int8, _, ms in told(costs)] == [({0, 2}, 3), ({2}, 7.5), ({0}, 7.5)]
    fixed = costing(chain("a", "b", "c", able=(0, 2), free=False), [5, 1, 5], [1, 0, 1], border=0.5)
    assert cheapest(fixed) == with_neutral(fixed, frozenset({0, 2})) == {0, 2}


def test_a_tensor_that_two_regions_read_pays_for_its_border_once():
    alike = chain("a", "b", "c")
    fan = Regions(alike.all, (Crossing("t", 0, 0, (1, 2)),))
    assert cheapest(costing(fan, [1, 3, 3], [9, 1, 1], border=3.0)) == {1, 2}
    assert cheapest(costing(alike, [1, 3, 1], [9, 1, 9], border=1.5)) == frozenset()
    turned = Regions(alike.all, (Crossing("t", 0, 0, (1, 2)), Crossing("u", 0, 0, (1,))))
    assert cheapest(costing(turned, [1, 3, 3], [9, 1, 1], border=1.9)) == {1, 2}
    assert cheapest(costing(turned, [1, 3, 3], [9, 1, 1], border=2.1)) == frozenset()
