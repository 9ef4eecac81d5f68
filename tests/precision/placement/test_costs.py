"""What regions and borders cost, learnt of recorded engines, and the cheapest placement by that."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from tests.kit.places import RECORDED, ROOT
from tests.kit.searching import benchmark_model
from workbench.engine import fusion_map, load_report
from workbench.graph.load import from_proto
from workbench.precision import parse_target
from workbench.precision.placement import (
    Observed,
    PlacementCosts,
    Region,
    Regions,
    cheapest,
    observed,
    proposals,
    regions_of,
    with_neutral,
)
from workbench.precision.placement.regions import Crossing
from workbench.precision.plan import preset
from workbench.session import open_model


def read(model, name):
    """Return regions, reports, and what the FP16 and INT8 engines of a model tell of them."""
    resolution = preset("int8+fp16", model).resolve(model, target=parse_target("tensorrt-8.6"))
    stems = [f"{RECORDED}/{name}.{variant}" for variant in ("fp16", "qdq")]
    reports = [
        load_report(f"{s}.graph.json", profile=f"{s}.profile.json", timing=f"{s}.timing.json", name=s) for s in stems
    ]
    maps = [fusion_map(report, model) for report in reports]
    regions = regions_of(model, resolution.nodes("int8"), list(zip(reports, maps, strict=True)))
    everything = frozenset(range(len(regions.all)))
    seen = [
        observed(report, fusion, regions, int8, report.timing.ms["median"])
        for report, fusion, int8 in zip(reports, maps, (frozenset(), everything), strict=True)
    ]
    return regions, reports, seen


@pytest.fixture(scope="module")
def recorded():
    """MobileNetV2 at batch 32 on an H200."""
    return read(from_proto(benchmark_model("mobilenet_v2", batch=32)), "mobilenet_v2")


def opened(path):
    wb = open_model(path)
    wb.prepare()
    return wb.model


def test_at_batch_1_small_conversions_tell_nothing_of_bandwidth_and_int8_everywhere_is_expected_to_be_fastest():
    regions, _, seen = read(opened(ROOT / "sample_models/residual_cnn.onnx"), "residual_cnn.b1")
    costs = PlacementCosts.of(regions, seen)
    assert costs.ms_an_element * 1e6 == pytest.approx(0.003)  # what is assumed: 1024 numbers at most were converted
    assert costs.start_ms == pytest.approx(0.0049, abs=1e-4)
    first, second, *_ = proposals(costs)
    assert first.int8 == frozenset(regions.able)
    assert costs.latency_ms(()) > second.expected_ms > first.expected_ms
    # It was built: all but the first convolution in INT8, 0.0868 ms beside 0.0867 of INT8 everywhere.
    built = next(one for one in proposals(costs) if one.move == "all behind /conv1/Conv")
    assert built.expected_ms == pytest.approx(0.0868, rel=0.06)


def test_at_batch_1_what_was_measured_of_mobilenet_is_foretold():
    """By engines on an H200; the ratios to FP16 were measured on an H100 in a run of their own."""
    regions, _, seen = read(from_proto(benchmark_model("mobilenet_v2", batch=1)), "mobilenet_v2.b1")
    costs = PlacementCosts.of(regions, seen)
    fp16 = costs.latency_ms(())
    everything = costs.latency_ms(range(len(regions.all)))
    assert everything / fp16 == pytest.approx(1.072, abs=0.02)
    pointwise = frozenset(p for p in regions.able if "depthwise" not in regions.all[p].name)
    assert costs.latency_ms(with_neutral(costs, pointwise)) / fp16 == pytest.approx(1.785, rel=0.06)
    assert min(one.expected_ms for one in proposals(costs, tried=[frozenset()])) > fp16
    half = len(regions.able) // 2
    for some in (regions.able[:half], regions.able[half:]):
        assert fp16 < costs.latency_ms(with_neutral(costs, frozenset(some)))


def test_at_batch_1_what_was_measured_of_resnet_is_foretold():
    regions, _, seen = read(from_proto(benchmark_model("resnet50", batch=1)), "resnet50.b1")
    costs = PlacementCosts.of(regions, seen)
    fp16 = costs.latency_ms(())
    everything, *others = proposals(costs)
    assert everything.int8 == frozenset(regions.able)
    # All but the last product in INT8 took 0.788 ± 0.011 of FP16, everything 0.805 ± 0.007.
    built = next(one for one in others if one.move == "all before fc")
    assert built.expected_ms / fp16 == pytest.approx(0.788, rel=0.04)
    assert built.expected_ms == pytest.approx(everything.expected_ms, rel=0.02)


def test_at_batch_1_a_real_detector_is_expected_to_be_fastest_in_int8_everywhere(shared):
    regions, _, seen = read(opened(shared / "models/ultraface_rfb320/model.onnx"), "ultraface_rfb320.b1")
    costs = PlacementCosts.of(regions, seen)
    everything = costs.latency_ms(range(len(regions.all)))
    assert everything / costs.latency_ms(()) == pytest.approx(0.951, abs=0.01)
    assert min(one.expected_ms for one in proposals(costs, tried=[frozenset(regions.able)])) > everything


def test_an_engine_with_one_border_teaches_that_it_is_cheap_there():
    model = opened(ROOT / "sample_models/residual_cnn.onnx")
    regions, _, seen = read(model, "residual_cnn.b1")
    stem = f"{RECORDED}/residual_cnn.b1.placement-1"
    report = load_report(f"{stem}.graph.json", profile=f"{stem}.profile.json", timing=f"{stem}.timing.json")
    inside = frozenset(range(len(regions.all))) - {regions.owner["/conv1/Conv"]}
    mixed = observed(report, fusion_map(report, model), regions, inside, report.timing.ms["median"])
    costs = PlacementCosts.of(regions, [*seen, mixed])
    assert costs.into < 1
    assert costs.latency_ms(inside) == pytest.approx(mixed.latency_ms, rel=0.05)


def test_regions_of_real_engines_are_their_layers_and_repeated_blocks_share_decisions(recorded):
    regions, _, _ = recorded
    assert len(regions.able) == 54
    assert len(regions.classes) == 32
    owner = regions.owner
    assert owner["blocks.2/project"] == owner["blocks.2/add"]
    assert owner["blocks.2/expand"] == owner["blocks.2/expand/relu6"]
    assert owner["blocks.2/expand"] != owner["blocks.2/depthwise"]


def test_all_the_time_of_an_engine_belongs_to_regions(recorded):
    _, reports, seen = recorded
    for report, one in zip(reports, seen, strict=True):
        medians = sum(layer.time.median_ms or 0.0 for layer in report.layers)
        assert one.profile_ms == pytest.approx(medians)
        assert one.border_ms == 0  # what converts stands at the inputs and outputs


def test_a_placement_with_many_borders_is_expected_to_be_far_slower_than_either_end(recorded):
    regions, _, seen = recorded
    costs = PlacementCosts.of(regions, seen)
    everything = range(len(regions.all))
    pointwise = [p for p in everything if "depthwise" not in regions.all[p].name]
    assert costs.latency_ms(()) == pytest.approx(seen[0].latency_ms, rel=0.05)
    assert costs.latency_ms(everything) == pytest.approx(seen[1].latency_ms, rel=0.05)
    assert costs.latency_ms(pointwise) > 2 * costs.latency_ms(())
    assert regions.borders(pointwise) == 2 * 17


def test_at_batch_32_the_cheapest_placement_is_int8_nearly_everywhere(recorded):
    regions, _, seen = recorded
    costs = PlacementCosts.of(regions, seen)
    first, second, *_ = proposals(costs)
    assert first.int8 == frozenset(regions.able)
    assert second.expected_ms <= 1.02 * first.expected_ms
    assert regions.borders(with_neutral(costs, second.int8)) <= 2


def test_engines_with_borders_teach_what_borders_cost(recorded):
    regions, _, seen = recorded
    plain = PlacementCosts.of(regions, seen)
    half = frozenset(p for p in range(len(regions.all)) if p >= len(regions.all) // 2)
    by_name = {p: (plain.int8 if p in half else plain.floating)[p] for p in range(len(regions.all))}
    into, out_of = plain.border_parts(half)
    assert (into > 0, out_of) == (True, 0)
    dear = Observed(half, by_name, border_ms=3 * into, moves=(), latency_ms=1.0)
    learnt = PlacementCosts.of(regions, [*seen, dear])
    assert 1.5 < learnt.into < 3  # drawn to what was expected, since one engine is little
    assert learnt.out_of == pytest.approx(1.0)
    sure = PlacementCosts.of(regions, [*seen, *[dear] * 8])
    assert learnt.into < sure.into <= 3.001


def chain(count, edges):
    regions = tuple(Region(f"r{p}", (f"r{p}",), (f"r{p}",), free=True, structure=str(p)) for p in range(count))
    return Regions(regions, tuple(Crossing(f"t{at}", 0, start, ends) for at, (start, ends) in enumerate(edges)))


@pytest.mark.parametrize("seed", range(12))
def test_the_minimum_cut_is_the_cheapest_of_all_assignments(seed):
    random, count = np.random.default_rng(seed), 8
    behind = [random.permutation(range(p + 1, count))[: random.integers(1, 4)] for p in range(count - 1)]
    edges = [(p, tuple(sorted(map(int, ends)))) for p, ends in enumerate(behind)]
    regions = chain(count, edges)
    if seed % 3 == 0:  # one that cannot be INT8
        fixed = replace(regions.all[3], free=False, able=())
        regions = Regions((*regions.all[:3], fixed, *regions.all[4:]), regions.crossings)
    times = [{p: round(random.uniform(1, 9), 3) for p in range(count)} for _ in range(2)]
    costs = PlacementCosts(regions, *times, start_ms=random.uniform(0.2, 3), ms_an_element=0.0, into=1.3, out_of=0.6)

    def total(int8):
        return costs.regions_ms(int8) + costs.border_ms(int8)

    every = [
        frozenset(p for p, chosen in enumerate(picks) if chosen)
        for picks in itertools.product((0, 1), repeat=count)
        if all(regions.all[p].free for p, chosen in enumerate(picks) if chosen)
    ]
    best = min(every, key=total)
    assert total(cheapest(costs, shared=False)) == pytest.approx(total(best), abs=1e-5)


@pytest.mark.parametrize("seed", range(20))
def test_what_is_shared_neutral_charged_and_doubted_is_cut_as_cheaply_as_it_can_be(seed):
    random, count = np.random.default_rng(seed), 6
    kinds = random.choice(["able", "neutral", "fixed"], count, p=[0.6, 0.2, 0.2])
    alike = random.integers(0, 3, count)
    all_of = tuple(
        Region(f"r{p}", (f"r{p}",), (f"r{p}",) if kinds[p] == "able" else (), kinds[p] != "fixed", str(alike[p]))
        for p in range(count)
    )
    read = [(p, sorted(set(map(int, random.integers(p + 1, count, 2))))) for p in (*range(count - 1), 0, 2)]
    sizes = random.integers(0, 1000, len(read))
    crossings = [Crossing("t", int(size), p, tuple(ends)) for size, (p, ends) in zip(sizes, read, strict=True)]
    regions = Regions(all_of, tuple(crossings))
    times = [dict(enumerate(random.uniform(0, 5, count).round(3))) for _ in range(2)]
    costs = PlacementCosts(regions, *times, start_ms=0.5, ms_an_element=1e-3, into=1.7, out_of=0.4)
    charged = {p: round(random.uniform(0, 3), 3) for p in regions.able}
    free = [p for p in range(count) if all_of[p].free]
    every = [frozenset(picked) for size in range(len(free) + 1) for picked in itertools.combinations(free, size)]

    def total(int8, doubt=1.0, penalty=()):
        return costs.regions_ms(int8) + doubt * costs.border_ms(int8) + sum(charged[p] for p in int8 if p in penalty)

    together = [one for one in every if all(len({p in one for p in group}) == 1 for group in regions.classes)]
    for shared, allowed in ((True, together), (False, every)):
        found = cheapest(costs, penalty=charged, doubt=0.25, shared=shared)
        assert found in allowed
        best = min(total(one, 0.25, charged) for one in allowed)
        assert total(found, 0.25, charged) == pytest.approx(best, abs=1e-4)
    closed = replace(costs, closed=frozenset(p for p in range(count) if random.random() < 0.4))
    ways = [one for one in every if all(set(c.ends) <= one for c in crossings if c.start in closed.closed & one)]
    assert [one for one in every if closed.has_kernels(one)] == ways
    found = cheapest(closed, shared=False)
    assert found in ways
    assert total(found) == pytest.approx(min(map(total, ways)), abs=1e-4)
    wanted = frozenset(p for p in regions.able if random.random() < 0.5)
    completed = with_neutral(costs, wanted)
    assert completed & set(regions.able) == wanted
    best = min(total(one) for one in every if one & set(regions.able) == wanted)
    assert total(completed) == pytest.approx(best, abs=1e-4)


def test_shared_regions_get_one_precision_and_a_penalty_keeps_int8_away():
    regions = chain(4, [(0, (1,)), (1, (2,)), (2, (3,))])
    first, *between, last = regions.all
    regions = Regions((first, *between, replace(last, structure=first.structure)), regions.crossings)
    costs = PlacementCosts(regions, {0: 1, 1: 5, 2: 5, 3: 5}, {0: 4, 1: 2, 2: 2, 3: 1}, start_ms=0.1, ms_an_element=0.0)
    assert cheapest(costs, shared=False) == {1, 2, 3}
    assert cheapest(costs, shared=True) == {0, 1, 2, 3}
    assert cheapest(costs, shared=False, penalty={1: 9.0, 2: 9.0, 3: 9.0}) == frozenset()


def test_proposals_leave_out_what_was_tried_and_are_in_the_order_of_their_latency(recorded):
    regions, _, seen = recorded
    costs = PlacementCosts.of(regions, seen)
    everything = frozenset(regions.able)
    placements = proposals(costs, tried=[frozenset(), everything])
    assert {frozenset(), everything}.isdisjoint(one.int8 for one in placements)
    assert [one.expected_ms for one in placements] == sorted(one.expected_ms for one in placements)
    assert len({one.int8 for one in placements}) == len(placements) > 100
