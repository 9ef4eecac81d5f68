"""What nodes cost by the roofline, by what was measured of them, and by the layers of an engine made by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from onnx import helper, numpy_helper

from tests.kit.models import model as made
from tests.kit.networks import network
from workbench.engine import EngineTensor, Layer, LayerTime
from workbench.engine.formats import TensorFormat
from workbench.errors import PrecisionError
from workbench.precision.search import engine as module
from workbench.precision.search.cost import WIDTH, NodeCosts, _completed, measured_costs, modelled_costs
from workbench.precision.search.engine import engine_costs, engine_latencies

NODES = ("Conv_0", "Sigmoid_1", "Conv_2")


def product(rows):
    """A product of rows of 512 numbers by a weight of 512 by 512."""
    node = helper.make_node("MatMul", ["x", "w"], ["y"], "product")
    weight = numpy_helper.from_array(np.zeros((512, 512), np.float32), "w")
    return made([node], {"x": [rows, 512]}, {"y": [rows, 512]}, [weight])


def test_a_node_takes_as_long_as_its_products_or_its_bytes():
    rates = {"fp32": 78e12, "fp16": 156e12, "bf16": 156e12, "int8": 312e12, "fp8": 312e12}
    bytes_of = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1, "fp8": 1}
    for rows, by_products in ((8192, True), (64, False)):
        costs = modelled_costs(product(rows))
        for precision, rate in rates.items():
            products = 1e3 * rows * 512 * 512 / rate
            moved = 1e3 * bytes_of[precision] * (512 * 512 + 2 * rows * 512) / 1.555e12
            assert (products > moved) == by_products
            assert costs.of("product", precision) == pytest.approx(max(products, moved))
    assert (costs.macs, costs.measured, costs.about) == (
        {"product": 64 * 512 * 512},
        {},
        ("modelled from bytes and MACs; nothing was measured",),
    )


@pytest.mark.parametrize(
    ("times", "precision", "near"),
    [
        ({"fp32": 4.0, "int8": 3.0}, "fp16", "fp32"),  # of two as near the wider
        ({"fp32": 4.0, "int8": 3.0}, "fp8", "int8"),
        ({"fp16": 4.0, "fp8": 3.0}, "bf16", "fp16"),
        ({"fp16": 4.0, "fp8": 3.0}, "int8", "fp8"),
        ({"fp16": 4.0, "fp8": 3.0}, "fp32", "fp16"),
        ({"fp8": 3.0}, "fp32", "fp8"),
    ],
)
def test_what_was_not_measured_is_scaled_from_the_precision_of_nearest_width(times, precision, near):
    by_model = {"fp32": 11.0, "fp16": 7.0, "bf16": 6.0, "int8": 2.0, "fp8": 5.0}
    whole = _completed(times, by_model)
    assert list(whole) == list(WIDTH)
    assert whole[precision] == pytest.approx(times[near] * by_model[precision] / by_model[near])
    assert {each: whole[each] for each in times} == times
    assert _completed(times, dict.fromkeys(WIDTH, 0.0))[precision] == times[near]


def test_what_was_measured_of_some_nodes_scales_the_model_of_all_others():
    model = network("conv", "sigmoid", "conv")
    roofline = modelled_costs(model)
    costs = measured_costs(model, {"Conv_0": {"fp16": 3.0}, "Sigmoid_1": {}}, about=["an engine"])
    factor = 3.0 / roofline.of("Conv_0", "fp16")
    assert costs.of("Conv_2", "int8") == pytest.approx(factor * roofline.of("Conv_2", "int8"))
    assert (costs.of("Conv_0", "fp16"), costs.measured) == (3.0, {"Conv_0": {"fp16": 3.0}})
    assert costs.about == (
        "an engine",
        "1 of 3 nodes measured",
        (
            "not measured, so scaled from another precision by bytes and MACs: "
            "fp32 of 1 nodes, bf16 of 1 nodes, int8 of 1 nodes, fp8 of 1 nodes"
        ),
        f"2 nodes measured in no precision: modelled by bytes and MACs, times {factor:.3g}",
    )
    nothing = measured_costs(model, {})
    assert nothing.about == (
        "0 of 3 nodes measured",
        "3 nodes measured in no precision: modelled by bytes and MACs, times 1",
    )
    every = measured_costs(model, {node: dict.fromkeys(WIDTH, 0.0) for node in NODES})
    assert every.about == ("3 of 3 nodes measured",)


@pytest.mark.parametrize("bad", [{"int7": 1.0}, {"int8": -1e-9}, {"int8": math.inf}])
def test_a_latency_is_milliseconds_from_nought_in_a_precision(bad):
    with pytest.raises(
        PrecisionError, match=r"^Conv_0: .* is no latency\. Give milliseconds in fp32, fp16, bf16, int8"
    ):
        measured_costs(network("conv"), {"Conv_0": bad})


# Engines


def layer(name, ms, dtype, *, kind="CaskConvolution"):
    tensors = (EngineTensor("t", None, TensorFormat(dtype or "?", dtype, "linear")),)
    time = None if ms is None else LayerTime(name, ms)
    return Layer(name=name, type=kind, inputs=tensors, outputs=tensors, time=time)


def engine(*layers, name="e", bindings=()):
    profiled = any(each.time is not None for each in layers)
    return SimpleNamespace(name=name, layers=layers, profiled=profiled, bindings=bindings)


@pytest.fixture
def mapped(monkeypatch):
    """Stands for the map of nodes to layers, and for the roofline: convolutions alone multiply."""
    groups, vanished, sizes = {}, [], []

    def fusion_map(report, _):
        there = [
            SimpleNamespace(layer=each.name, nodes=(), absorbed=(), serves=None)
            if each.name not in groups
            else SimpleNamespace(layer=each.name, **{"absorbed": (), "serves": None, "nodes": (), **groups[each.name]})
            for each in report.layers
        ]
        return SimpleNamespace(groups=there, by_layer={each.layer: each for each in there}, vanished=vanished)

    def modelled(_, lengths):
        sizes.append(lengths)
        times = {"Conv_0": 3.0, "Sigmoid_1": 5.0, "Conv_2": 1.0}
        return NodeCosts(
            {node: {p: ms * WIDTH[p] for p in WIDTH} for node, ms in times.items()},
            {"Conv_0": 30, "Sigmoid_1": 0, "Conv_2": 10},
        )

    monkeypatch.setattr(module, "fusion_map", fusion_map)
    monkeypatch.setattr(module, "modelled_costs", modelled)
    return SimpleNamespace(groups=groups, vanished=vanished, sizes=sizes)


MODEL = network("conv", "sigmoid", "conv")


def test_in_a_fused_layer_the_products_share_the_time_and_what_is_fused_takes_none(mapped):
    mapped.groups["all"] = {"nodes": (*NODES, "of another model")}
    latencies, lost = engine_latencies(MODEL, engine(layer("all", 8.0, "fp16")))
    assert latencies == {"Conv_0": ("fp16", 6.0), "Sigmoid_1": ("fp16", 0.0), "Conv_2": ("fp16", 2.0)}
    assert lost == 0


def test_without_products_and_in_a_region_of_myelin_all_share_the_time(mapped):
    mapped.groups["one"] = {"nodes": ("Sigmoid_1",)}
    mapped.groups["region"] = {"nodes": NODES}
    report = engine(layer("one", 2.0, "int8"), layer("region", 9.0, None, kind="kgen"))
    latencies, lost = engine_latencies(MODEL, report, region="fp16")
    assert latencies == {"Conv_0": ("fp16", 3.0), "Sigmoid_1": ("fp16", 7.0), "Conv_2": ("fp16", 1.0)}
    assert lost == 0
    alone, lost = engine_latencies(MODEL, report)
    assert (alone, lost) == ({"Sigmoid_1": ("int8", 2.0)}, 9.0)


def test_the_time_of_a_reformat_is_of_the_layer_that_it_serves(mapped):
    mapped.groups |= {
        "a": {"nodes": ("Conv_0",)},
        "b": {"nodes": ("Conv_2",)},
        "to a": {"serves": "a"},
        "also": {"serves": "a"},
        "out": {"serves": "y"},
        "odd": {"serves": "odd"},
    }
    layers = [layer("to a", 0.5, "fp32", kind="Reformat"), layer("a", 1.0, "tf32"), layer("also", 0.25, "fp32")]
    layers += [layer("b", 2.0, "int8"), layer("out", 4.0, "int8", kind="Reformat"), layer("odd", 8.0, "int8")]
    latencies, lost = engine_latencies(MODEL, engine(*layers))
    assert latencies == {"Conv_0": ("fp32", 1.75), "Conv_2": ("int8", 2.0)}
    assert lost == 12.0


def test_what_vanished_takes_no_time_in_the_precision_of_most(mapped):
    mapped.groups["a"] = {"nodes": ("Conv_0",), "absorbed": ("Sigmoid_1", "unknown")}
    mapped.vanished.append("Conv_2")
    latencies, _ = engine_latencies(MODEL, engine(layer("a", 1.0, "int8")))
    assert latencies == {"Conv_0": ("int8", 1.0), "Sigmoid_1": ("int8", 0.0), "Conv_2": ("int8", 0.0)}


def test_of_a_node_in_several_layers_the_precision_is_that_of_the_longest(mapped):
    mapped.groups |= {name: {"nodes": ("Conv_0",)} for name in "abc"}
    report = engine(layer("a", 1.0, "fp16"), layer("b", 1.5, "int8"), layer("c", 0.75, "fp16"))
    assert engine_latencies(MODEL, report)[0] == {"Conv_0": ("fp16", 3.25)}


def test_an_engine_that_tells_nothing_of_nodes_is_refused(mapped):
    with pytest.raises(PrecisionError, match=r"^e: the engine tells the time of no node of this model\. Build it with"):
        engine_latencies(MODEL, engine(layer("a", 1.0, "fp16")))
    with pytest.raises(PrecisionError, match=r"^e: the engine report has no times of layers\. Give the profile too"):
        engine_latencies(MODEL, engine(layer("a", None, "fp16")))
    assert len(mapped.sizes) == 1


def test_symbolic_axes_have_the_lengths_that_an_engine_was_built_for(mapped):
    mapped.groups["a"] = {"nodes": ("Conv_0",)}
    free = made([helper.make_node("Relu", ["x"], ["y"], "Conv_0")], {"x": ["N", 4, "H", "W"]}, {"y": None})
    bindings = (SimpleNamespace(name="x", dims=(7, 4, -1, 9)), SimpleNamespace(name="y", dims=None))
    engine_latencies(free, engine(layer("a", 1.0, "fp16"), bindings=bindings), {"N": 2, "H": 5})
    assert mapped.sizes == [{"N": 7, "H": 5, "W": 9}]


def test_several_engines_are_averaged_and_told_apart(mapped):
    mapped.groups |= {"a": {"nodes": ("Conv_0",)}, "b": {"nodes": ("Conv_2",)}, "region": {"nodes": ("Sigmoid_1",)}}
    first = engine(layer("a", 1.0, "fp16"), layer("b", 2.0, "int8"), name="first")
    second = engine(
        layer("a", 3.0, "fp16"), layer("region", 4.0, None, kind="kgen"), layer("x", 0.125, "fp16"), name="second"
    )
    costs = engine_costs(MODEL, [first, second])
    assert costs.measured == {"Conv_0": {"fp16": 2.0}, "Conv_2": {"int8": 2.0}}
    assert costs.about[:3] == (
        "engine first: 1 nodes in fp16, 1 nodes in int8",
        "engine second: 1 nodes in fp16; 4.12 ms belong to no node",
        (
            "4 ms of it in regions of Myelin, whose precision the engine does not tell, left out: "
            "give the report under its precision, {'int8': report} or --engine int8=FILE"
        ),
    )
    named = engine_costs(MODEL, {"int8": second})
    assert named.measured == {"Conv_0": {"fp16": 3.0}, "Sigmoid_1": {"int8": 4.0}}
    assert named.about[0] == "engine second: 1 nodes in fp16, 1 nodes in int8; 0.125 ms belong to no node"
    with pytest.raises(PrecisionError, match=r"^g: no engine report is given\. Give one, with its profile"):
        engine_costs(MODEL, {})
