"""What a plan is expected to cost, node by node and in all, of figures that are given."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.kit.models import model, weight
from workbench.graph.load import load_model
from workbench.precision import estimate
from workbench.precision.estimate import (
    Estimate,
    FrontPoint,
    Sources,
    estimate_of,
    front_points,
    rows,
    selector_of,
    sources,
    weight_bytes,
)
from workbench.precision.lowering import lower
from workbench.precision.plan import PrecisionPlan

INT8 = PrecisionPlan().with_rule("op:Conv", "int8")


@pytest.fixture(scope="module")
def network(small_cnn):
    return load_model(small_cnn)


def measured(**noise):
    errors = [
        SimpleNamespace(node=node.replace("_", "/"), noise=value, sqnr_db=math.nan if value is None else 1.0)
        for node, value in noise.items()
    ]
    return SimpleNamespace(errors=errors)


def test_a_row_says_what_is_known_of_a_node(network):
    known = sources(
        network,
        measured(stem_conv=0.01, block_conv=None),
        {"stem/conv": {"int8": 1.0, "fp32": 3.0}, "head/fc": {"fp32": 1.0}, "block/conv": {}},
    )
    table = {row.node: row for row in rows(known, INT8.resolve(network))}
    assert [row.place for row in table.values()] == list(range(8))
    conv, relu, fc = (table[name] for name in ("stem/conv", "stem/relu", "head/fc"))
    assert (conv.op, conv.shape, conv.layer, conv.latency) == ("Conv", "Nx4x8x8", True, 0.75)
    assert (conv.sqnr_db, conv.requested, conv.gets, conv.floating, conv.rule) == (20.0, "int8", "int8", "fp32", 0)
    assert (table["block/conv"].sqnr_db, table["block/conv"].latency) == (None, None)
    assert (fc.latency, fc.rule, fc.requested) == (0.25, None, "fp32")
    assert (relu.layer, relu.macs, relu.realized, relu.differs) == (False, 0.0, None, False)
    assert sum(row.macs for row in table.values()) == pytest.approx(1.0)
    refused = rows(known, INT8.with_rule("op:Flatten", "int8").resolve(network))
    (flatten,) = (row for row in refused if row.op == "Flatten")
    assert (flatten.layer, flatten.gets, bool(flatten.why)) == (True, "fp32", True)


@pytest.mark.parametrize(
    ("realized", "plan", "differs"),
    [
        ("tf32", "fp32", False),
        ("fp32", "fp32", False),
        ("fp16", "fp32", True),
        ("int8", "int8", False),
        ("tf32", "int8", True),
    ],
)
def test_what_an_engine_made_of_a_node_differs_where_it_is_another_precision(network, realized, plan, differs):
    known = Sources(network, {"stem/conv": 0.5}, frozenset(), {}, {}, {"stem/conv": realized, "stem/relu": "int8"})
    resolution = (INT8 if plan == "int8" else PrecisionPlan()).resolve(network)
    table = {row.node: row for row in rows(known, resolution)}
    assert (table["stem/conv"].realized, table["stem/conv"].differs) == (realized, differs)
    assert not table["stem/relu"].differs  # what is fused to a layer has no say


def test_a_plan_is_expected_to_add_up_the_noise_of_its_nodes(network):
    resolution = INT8.resolve(network)
    both = Sources(
        network, {"stem/conv": 0.5, "block/conv": 0.25}, frozenset(), {}, {"stem/conv": 0.03, "block/conv": 0.07}, {}
    )
    told = estimate_of(both, resolution)
    assert (told.share, told.unknown) == (0.75, 0)
    assert told.sqnr_db == pytest.approx(10.0)
    one = estimate_of(Sources(network, {"stem/conv": 0.5}, frozenset(), {}, {"stem/conv": 0.1}, {}), resolution)
    assert (one.share, one.sqnr_db, one.unknown) == (None, pytest.approx(10.0), 1)
    none = estimate_of(Sources(network, both.macs, frozenset(), {}, {}, {}), resolution)
    assert (none.sqnr_db, none.unknown) == (None, 0)
    floating = estimate_of(both, PrecisionPlan().resolve(network))
    assert (floating.share, floating.sqnr_db, floating.unknown) == (0, math.inf, 0)
    assert floating.weight_bytes == floating.before_bytes == both.before_bytes


def test_weights_are_as_many_bytes_as_their_precision_has(network):
    floating = {name: value.const_value.size for name, value in network.initializers.items()}
    convolutions = floating["w1"] + floating["w2"]
    whole = 4 * sum(floating.values())
    assert weight_bytes(network) == weight_bytes(network, PrecisionPlan().resolve(network)) == whole
    assert weight_bytes(network, INT8.resolve(network)) == whole - 3 * convolutions
    half = PrecisionPlan().with_rule("*", "fp16").resolve(network)
    assert weight_bytes(network, half) == whole // 2


def test_a_weight_that_is_read_in_two_forms_is_there_in_both():
    nodes = [helper.make_node("MatMul", [x, "w"], [y], y) for x, y in (("x", "a"), ("z", "b"))]
    shared = model(nodes, {"x": [2, 4], "z": [2, 4]}, {"a": [2, 4], "b": [2, 4]}, [weight("w", 4, 4)])
    plan = PrecisionPlan().with_rule("name:a", "int8")
    assert weight_bytes(shared, plan.resolve(shared)) == 16 + 4 * 16
    narrow = numpy_helper.from_array(np.zeros((4, 4), np.float16), "w")
    half = (TensorProto.FLOAT16, [2, 4])
    small = model(nodes[:1], {"x": half}, {"a": half}, [narrow])
    assert weight_bytes(small) == weight_bytes(small, PrecisionPlan().resolve(small)) == 32


@pytest.mark.parametrize(("options", "forms"), [({}, 3), ({"per_channel": False}, 1)])
def test_a_weight_whose_scales_lie_along_two_axes_is_there_twice(options, forms):
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "columns"),
        helper.make_node("Gemm", ["x", "w"], ["b"], "rows", transB=1),
        helper.make_node("Gemm", ["w", "x"], ["c"], "left"),
        helper.make_node("MatMul", ["x", "w"], ["d"], "again"),
    ]
    network = model(nodes, {"x": [4, 4]}, {name: [4, 4] for name in "abcd"}, [weight("w", 4, 4)])
    resolution = PrecisionPlan().with_rule("*", "int8", **options).resolve(network)
    assert weight_bytes(network, resolution) == forms * 16
    held = lower(network, resolution, {"x": 1.0}).model.initializers.values()
    assert sum(value.const_value.nbytes for value in held if value.const_value.size == 16) == forms * 16


def test_a_weight_that_the_model_itself_narrows_is_as_wide_as_what_is_made_of_it():
    nodes = [
        helper.make_node("Cast", ["w"], ["h"], "narrow", to=TensorProto.FLOAT16),
        helper.make_node("MatMul", ["x", "h"], ["y"], "product"),
    ]
    half = (TensorProto.FLOAT16, [2, 4])
    assert weight_bytes(model(nodes, {"x": half}, {"y": half}, [weight("w", 4, 4)])) == 2 * 16


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (
            Estimate(0.5, 1500, 2_500_000, 31.24, 0),
            "50.0% of the MACs in 8 bits, weights 1.5 kB of 2.5 MB, SQNR about 31.2 dB",
        ),
        (
            Estimate(None, 999, 1000, None, 1),
            "MACs unknown, weights 999 B of 1 kB, the error of 1 quantized node unknown",
        ),
        (Estimate(None, 9, 10, -math.inf, 0), "MACs unknown, weights 9 B of 10 B, nothing left of an output"),
        (
            Estimate(0.0, 10**6, 10**6, math.inf, 2),
            (
                "0.0% of the MACs in 8 bits, weights 1 MB of 1 MB, no quantization error, "
                "the error of 2 quantized nodes unknown"
            ),
        ),
    ],
)
def test_an_estimate_is_a_line(told, text):
    assert told.text() == f"estimate: {text}"


def test_a_point_of_the_front_is_a_line():
    point = FrontPoint(0.25, 0.5, 30.04, 1.2345, 2000, "a move", True, False)
    end = "reaches the goal; weights 2 kB, 1.23 ms by its costs"
    assert point.text("sqnr_db") == f"25.0% of the MACs in INT8, SQNR 30.0 dB, measured by the search: {end}"
    assert "MACs in INT8, top1_drop 0.5, SQNR 30.0 dB" in point.text("top1_drop")
    missed = FrontPoint(0.25, 0.5, 30.04, 1.2345, 2000, "a move", False, False, pays="it pays")
    assert missed.text("sqnr_db").endswith("misses the goal; weights 2 kB, it pays")


def test_the_front_of_a_search_keeps_which_was_chosen_and_what_its_engine_took(network):
    def trial(share, pays=None):
        figures = SimpleNamespace(figure=1.0, sqnr_db=30.0)
        return SimpleNamespace(measured=figures, pays=pays, share=share, plan=INT8, cost_ms=2.0, move="m", passed=True)

    class Pays(SimpleNamespace):
        def __str__(self):
            return "pays"

    plain, built, floating = trial(0.5), trial(0.5, Pays(ratio=0.8, error=0.1)), trial(0.0, Pays(ratio=0.8, error=0.1))
    points = front_points(SimpleNamespace(front=(plain, built, floating), chosen=built), network)
    assert [point.chosen for point in points] == [False, True, False]
    assert [(point.ratio, point.error, point.pays) for point in points] == [
        (None, None, ""),
        (0.8, 0.1, "pays"),
        (1.0, 0.0, "pays"),
    ]
    assert points[0].weight_bytes == weight_bytes(network, INT8.resolve(network))


def test_times_of_an_engine_take_the_place_of_those_that_were_given(network, monkeypatch):
    engine = SimpleNamespace(profiled=True)
    latencies = {"stem/conv": ("int8", 1.0), "head/fc": ("fp32", 3.0)}
    monkeypatch.setattr("workbench.precision.search.engine_latencies", lambda *_, **__: (latencies, None))
    monkeypatch.setattr(estimate, "_realized", lambda *_: {"head/fc": "fp16"})
    known = sources(network, measured=None, engine=engine)
    assert known.latency == {"stem/conv": 0.25, "head/fc": 0.75}
    assert (known.realized, known.noise) == ({"head/fc": "fp16"}, {})
    engine.profiled = False
    assert sources(network, None, {"stem/conv": {"int8": 2.0}}, engine).latency == {"stem/conv": 1.0}
    assert sources(network).latency == {}


def test_nodes_are_selected_by_the_shortest_text_that_means_them(network):
    assert selector_of(network, ["stem/conv", "block/conv"]) == "op:Conv"
