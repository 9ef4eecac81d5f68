"""What one engine tells of regions and borders, and what several make of them: on layers made by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from workbench.engine import EngineTensor, Layer, LayerTime
from workbench.engine.formats import TensorFormat
from workbench.precision.placement import Observed, PlacementCosts, Region, Regions, observed
from workbench.precision.placement.costs import LARGE, _line
from workbench.precision.placement.regions import Crossing


def tensor(text):
    """`name:dtype:2x3`; the shape may be left out."""
    name, dtype, *dims = text.split(":")
    shape = tuple(int(size) for size in dims[0].split("x")) if dims else None
    return EngineTensor(name, shape, TensorFormat(dtype, dtype, "linear"))


def layer(name, ms, reads, writes, *, kind="CaskConvolution", origin=None):
    time = None if ms is None else LayerTime(name, ms)
    sides = ((tensor(each) for each in text.split()) for text in (reads, writes))
    inputs, outputs = (tuple(side) for side in sides)
    return Layer(name=name, type=kind, inputs=inputs, outputs=outputs, origin=origin, time=time)


def reformat(name, ms, reads, writes, origin="REFORMAT"):
    return layer(name, ms, reads, writes, kind="Reformat", origin=origin)


def regions(count, crossings=((0, (1,)), (1, (2,))), *, free=(), elements=0):
    names = [f"r{at}" for at in range(count)]
    tensors = tuple(Crossing(f"t{at}", elements, start, ends) for at, (start, ends) in enumerate(crossings))
    able = [() if at in free else (name,) for at, name in enumerate(names)]
    return Regions(
        tuple(Region(name, (name,), each, True, name) for name, each in zip(names, able, strict=True)), tensors
    )


def told(layers, nodes, *, bound=("x", "y"), count=3):
    """Observe layers, each made of the nodes that are named."""
    report = SimpleNamespace(layers=layers, bindings=[SimpleNamespace(name=name) for name in bound])
    made_of = {each.name: SimpleNamespace(nodes=tuple(nodes.get(each.name, "").split())) for each in layers}
    return observed(report, SimpleNamespace(by_layer=made_of), regions(count), {1, 2}, 9.0)


def test_a_layer_is_of_its_regions_and_what_converts_inside_is_what_a_border_costs():
    layers = [
        reformat("in", 0.5, "x:fp32:4x5", "a:int8:4x5"),
        layer("first", 1.0, "a:int8", "b:int8"),
        reformat("border", 0.25, "b:int8:2x3", "c:fp16:2x3"),
        layer("both", 3.0, "c:fp16", "d:fp16"),
        reformat("layout", 0.125, "d:fp16:7", "e:fp16:7"),
        layer("last", 2.0, "e:fp16", "f:fp16"),
        reformat("back", 0.75, "f:fp16", "g:int8", "QDQ"),
        layer("idle", 0.0, "g:int8", "h:int8"),
        layer("nobody's", 5.0, "h:int8", "i:int8"),
        reformat("out", 4.0, "i:int8:-1x3", "y:fp32"),
        layer("not timed", None, "y:fp32", "z:fp32"),
    ]
    nodes = {"first": "r0 unknown r0", "both": "r1 r2", "last": "r2", "idle": "r0", "not timed": "r1"}
    seen = told(layers, nodes)
    assert seen.times == {0: 0.5 + 1.0, 1: 1.5 + 4.0, 2: 1.5 + 0.125 + 2.0}
    assert seen.border_ms == 0.25 + 0.75
    assert seen.moves == ((20, 0.5), (6, 0.25), (7, 0.125), (0, 0.75), (0, 4.0))
    assert (seen.int8, seen.latency_ms) == (frozenset({1, 2}), 9.0)
    assert seen.profile_ms == sum(seen.times.values()) + 1.0


def test_what_serves_no_region_behind_it_is_of_the_one_before_and_of_one_region_alone():
    out = [layer("both", 1.0, "x:fp32", "a:int8"), reformat("out", 0.5, "x:fp32 a:int8", "y:fp32")]
    assert told(out, {"both": "r1 r2"}).times == {1: 0.5 + 0.5, 2: 0.5}
    into = [reformat("in", 0.5, "x:fp32", "a:int8"), layer("shared", 1.0, "a:int8", "b:int8")]
    assert told(into, {"shared": "r2 r1"}).times == {2: 0.5 + 0.5, 1: 0.5}
    beside = [*into, layer("unknown", 0.0, "a:int8", "c:int8")]
    assert told(beside[::-1], {"shared": "r2"}).times == {2: 1.5}
    assert told([reformat("through", 0.5, "x:fp32", "y:int8")], {}).times == {}
    own = [reformat("through", 0.5, "x:fp32", "y:int8")]
    assert told(own, {"through": "r1"}).times == {1: 0.5}


@pytest.mark.parametrize(
    ("reads", "writes", "border"),
    [
        ("a:fp16", "b:int8", True),
        ("a:int8", "b:fp16", True),
        ("a:fp16", "b:fp32", False),
        ("a:int8", "b:int8", False),
        ("a:int8 c:fp16", "b:int8", False),
    ],
)
def test_a_border_is_where_int8_begins_or_ends(reads, writes, border):
    seen = told([reformat("move", 0.5, reads, writes)], {"move": "r1"})
    assert (seen.border_ms, seen.times) == ((0.5, {}) if border else (0.0, {1: 0.5}))


@pytest.mark.parametrize(
    ("moves", "start", "each"),
    [
        ([], 0.004, 3e-9),
        ([(10, 0.5), (20, 0.25)], 0.25, 3e-9),  # both too small to tell of bandwidth
        ([(10, 0.25), (LARGE, 0.5)], 0.25, 0.25 / LARGE),
        ([(10, 0.25), (LARGE - 1, 0.5)], 0.25, 3e-9),
        ([(2 * LARGE, 0.25), (LARGE, 0.25)], 0.25, 3e-9),
        ([(1, 0.5), (LARGE, 1.0), (2 * LARGE, 4.5), (LARGE, 9.0)], 0.5, 2.0 / LARGE),
    ],
)
def test_conversions_take_the_least_that_was_seen_and_the_median_of_what_large_ones_take_more(moves, start, each):
    assert _line(moves) == (start, pytest.approx(each, rel=1e-12))


PLAIN = Observed(frozenset(), {0: 1.0, 1: 2.0, 2: 4.0}, 0.0, ((8, 0.25),), 14.0)
WHOLE = Observed(frozenset({0, 1, 2}), {0: 0.5, 1: 1.0, 2: 2.5}, 0.0, (), 6.0)
MIXED = Observed(frozenset({1}), {0: 1.5, 1: 1.25, 2: 5.0}, 0.75, ((2 * LARGE, 0.75),), 8.5)


def test_a_region_takes_what_it_took_among_neighbours_of_its_precision():
    costs = PlacementCosts.of(regions(3), [PLAIN, WHOLE, MIXED])
    assert costs.floating == {0: 1.0, 1: 2.0, 2: 4.0}
    assert costs.int8 == {0: 0.5, 1: 1.0, 2: 2.5}
    assert (costs.start_ms, costs.ms_an_element) == (0.25, pytest.approx(0.25 / LARGE))
    assert (costs.scale, costs.scale_int8) == (2.0, 1.5)
    twice = PlacementCosts.of(regions(3), [PLAIN, Observed(frozenset(), {0: 2.0, 1: 5.0}, 0.0, (), 14.0), WHOLE])
    assert twice.floating == {0: 1.5, 1: 3.5, 2: 2.0}
    assert twice.scale == (2.0 + 2.0) / 2
    alone = PlacementCosts.of(regions(3), [PLAIN, MIXED])
    assert alone.int8 == {1: 1.25}  # better than nothing
    assert alone.scale_int8 == 1.0
    assert PlacementCosts.of(regions(3), [MIXED]).floating == {0: 1.5, 2: 5.0}
    assert PlacementCosts.of(regions(3), [MIXED]).scale == 1.0
    silent = Observed(frozenset({0, 1, 2}), {}, 0.0, (), 6.0)
    assert PlacementCosts.of(regions(3), [PLAIN, WHOLE, silent]).scale_int8 == 1.5


def test_a_latency_is_the_sum_of_regions_and_borders_scaled_by_how_much_of_it_is_int8():
    costs = PlacementCosts(regions(3, elements=100), PLAIN.times, WHOLE.times, 0.25, 0.0025, 2.0, 3.0, 2.0, 1.5)
    assert costs.conversion_ms(costs.regions.crossings[0]) == 0.5
    assert [costs.border_parts(int8) for int8 in ((), {1}, {0}, {2}, {0, 1, 2})] == [
        (0.0, 0.0),
        (0.5, 0.5),
        (0.0, 0.5),
        (0.5, 0.0),
        (0.0, 0.0),
    ]
    assert costs.border_ms({1}) == 0.5 * 2.0 + 0.5 * 3.0
    assert costs.regions_ms({1}) == 1.0 + 1.0 + 4.0
    assert costs.latency_ms({1}) == pytest.approx((2.0 * 5 / 6 + 1.5 / 6) * (6.0 + 2.5))
    assert (costs.latency_ms(()), costs.latency_ms((0, 1, 2))) == (14.0, 6.0)
    assert [costs.saving_ms(position) for position in range(4)] == [0.5, 1.0, 1.5, 0.0]
    borders = PlacementCosts(regions(3), {}, {}, 0.25, 0.0, scale=2.0, scale_int8=5.0)
    assert borders.latency_ms({1}) == 2.0 * 0.5  # of no region anything is known


def test_a_tensor_that_many_regions_read_is_converted_once():
    costs = PlacementCosts(regions(3, [(0, (1, 2))]), PLAIN.times, WHOLE.times, 0.25, 0.0)
    parts = [costs.border_parts(int8) for int8 in ({1}, {1, 2}, {0}, {0, 1}, {0, 2})]
    assert parts == [(0.25, 0.0), (0.25, 0.0), (0.0, 0.25), (0.0, 0.25), (0.0, 0.25)]
    assert [costs.regions.borders(int8) for int8 in ((), {1}, {1, 2}, {0, 1}, {0, 1, 2})] == [0, 1, 1, 1, 0]


def mixed(int8, dearer):
    """An engine whose conversions take `dearer` milliseconds beyond what its regions take."""
    inside = {at: (WHOLE if at in int8 else PLAIN).times[at] for at in range(3)}
    return Observed(frozenset(int8), inside, dearer, (), 1.0)


def test_by_what_borders_are_dearer_is_fitted_and_drawn_to_what_was_expected():
    """Least squares with rows that say one, weighted by half of what a measured engine has on average."""
    seen = [mixed({1}, 2.0), mixed({2}, 0.75), mixed({0}, 0.125)]
    costs = PlacementCosts.of(regions(3), [PLAIN, WHOLE, *seen])
    table = np.array([[0.25, 0.25], [0.25, 0.0], [0.0, 0.25]])  # a conversion takes 0.25
    weight = np.sqrt(0.5 * (table**2).sum(axis=1).mean() / 2)
    rows = np.vstack([table, weight * np.eye(2)])
    expected = np.linalg.lstsq(rows, np.array([2.0, 0.75, 0.125, weight, weight]), rcond=None)[0]
    assert (costs.into, costs.out_of) == pytest.approx(tuple(expected))
    assert expected[0] != pytest.approx(expected[1])


@pytest.mark.parametrize(("dearer", "factor"), [(50.0, 6.0), (-9.0, 0.2)])
def test_no_engine_teaches_that_borders_cost_next_to_nothing_or_without_end(dearer, factor):
    costs = PlacementCosts.of(regions(3), [PLAIN, WHOLE, *[mixed({1}, dearer)] * 9])
    assert (costs.into, costs.out_of) == (factor, factor)


def test_without_borders_nothing_is_learnt_of_them():
    costs = PlacementCosts.of(regions(3), [PLAIN, WHOLE])
    assert (costs.into, costs.out_of) == (1.0, 1.0)
