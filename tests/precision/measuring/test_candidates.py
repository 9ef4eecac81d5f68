"""What is built of a plan, and how, on graphs that are really lowered; and a tuned model beside floating point."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from tests.kit.networks import network
from workbench.backends import BuildOptions, Timing, TimingOptions
from workbench.backends.protocol import Capabilities
from workbench.errors import BackendError
from workbench.precision import parse_target
from workbench.precision.measuring import options as options_module
from workbench.precision.measuring import tuned
from workbench.precision.measuring.candidates import Maker
from workbench.precision.measuring.options import MeasureOptions
from workbench.precision.measuring.store import open_store
from workbench.precision.measuring.work import Done
from workbench.precision.placement import Pays
from workbench.precision.plan import PrecisionPlan

INT8 = PrecisionPlan().with_rule("op:Conv", "int8")


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path) as made:
        yield made


@pytest.fixture
def weak(monkeypatch):
    """TensorRT 8, as far as it says what it can do."""
    able = Capabilities("tensorrt", "8.6.1", build=True, run=True, typing="weak")
    monkeypatch.setattr(options_module, "able", lambda _: able)


def operators(model):
    return sorted(node.op_type for node in model.nodes.values())


def scales(model):
    return {float(v.const_value.numpy()) for name, v in model.initializers.items() if name == "x/scale"}


def test_measuring_asks_for_a_dozen_builds_two_of_them_with_other_options():
    asked = MeasureOptions("onnxruntime")
    assert (asked.builds, asked.tuned_builds, asked.implicit, asked.budget_s, asked.batch) == (12, 2, False, None, None)
    assert (asked.timing.runs, asked.timing.warm_up_s) == (200, 0.3)


def test_a_strongly_typed_builder_gets_types_and_pairs_in_the_graph(store):
    model = network("conv", "sigmoid", opset=13)
    maker = Maker(model, {"x": 127.0}, MeasureOptions("onnxruntime"), store)
    assert (maker.weak, str(maker.target)) == (False, "onnxruntime")
    floating = maker.floating()
    assert (floating.name, floating.move, floating.kind) == ("fp32", "FP32 everywhere", "floating")
    assert [str(rule) for rule in floating.plan.rules] == ["* -> fp32"]
    assert operators(floating.model) == ["Conv", "Sigmoid"]
    quantized = maker.of(INT8, "q", "a move", "placement")
    assert operators(quantized.model) == ["Conv", *["DequantizeLinear"] * 2, "QuantizeLinear", "Sigmoid"]
    assert (quantized.build.timing_cache, quantized.build.weak_types) == (None, None)
    assert scales(quantized.model) == {1.0}
    assert scales(maker.of(INT8, "q", "a move", "placement", ranges={"x": 254.0, "y": 1.0}).model) == {2.0}
    half = maker.of(INT8.with_rule("*", "fp16").with_rule("op:Conv", "int8"), "h", "", "placement")
    assert (half.model.opset, quantized.model.opset) == (19, 13)  # scales in FP16


def test_a_target_that_is_named_is_lowered_for(store):
    maker = Maker(network("conv"), {"x": 1.0}, MeasureOptions("onnxruntime"), store, target=parse_target("rtx"))
    assert maker.target.name == "rtx"
    unranged = {"x": "1 NaN and 0 infinite values were seen"}
    left = Maker(network("conv"), {}, MeasureOptions("onnxruntime"), store, unranged=unranged)
    assert operators(left.of(INT8, "q", "", "placement").model) == ["Conv"]
    plan = PrecisionPlan().with_rule("*", "fp16")
    beyond = Maker(network("conv"), {}, MeasureOptions("onnxruntime"), store, overflow={"x": 7e4})
    assert operators(beyond.of(plan, "h", "", "placement").model) == ["Conv"]


@pytest.mark.usefixtures("weak")
def test_a_weakly_typed_builder_chooses_types_itself(store, tmp_path):
    model = network("conv", "sigmoid")
    maker = Maker(model, {"x": 127.0}, MeasureOptions("tensorrt", build=BuildOptions(refit=True)), store)
    assert (maker.weak, str(maker.target)) == (True, "tensorrt-8.6")
    floating = maker.floating()
    assert (floating.name, floating.move) == ("fp16", "FP16 everywhere")
    assert floating.model is model
    assert floating.build == BuildOptions(refit=True, weak_types=("fp16",), timing_cache=str(tmp_path / "timing.cache"))
    quantized = maker.of(INT8, "q", "a move", "placement")
    assert operators(quantized.model) == [
        "Conv",
        "DequantizeLinear",
        "DequantizeLinear",
        *["QuantizeLinear"] * 2,
        "Sigmoid",
    ]
    assert quantized.build == floating.build
    implicit = maker.implicit()
    assert (implicit.name, implicit.kind, implicit.plan, implicit.model) == ("implicit-int8", "implicit", None, model)
    assert implicit.move.endswith("for comparison: its ranges are made up")
    assert (implicit.build.weak_types, implicit.build.dynamic_range) == (("fp16", "int8"), 4.0)
    assert implicit.build.timing_cache == floating.build.timing_cache


@pytest.mark.usefixtures("weak")
def test_other_build_options_have_a_timing_cache_of_their_own(store, tmp_path):
    maker = Maker(network("conv"), {"x": 1.0}, MeasureOptions("tensorrt"), store)
    plain = maker.floating()
    other = maker.with_options(plain, "fp16-level-5", "builder optimization level 5", optimization_level=5)
    assert (other.name, other.kind, other.plan, other.model) == ("fp16-level-5", "options", plain.plan, plain.model)
    assert other.move == "FP16 everywhere; builder optimization level 5"
    assert other.ways == {"optimization_level": 5}
    streams = maker.with_options(plain, "s", "", aux_streams=0)
    caches = [one.build.timing_cache for one in (plain, other, streams)]
    assert caches == [str(tmp_path / "timing.cache"), str(store.timing_cache(5, None, None)), caches[0]]
    own = MeasureOptions("tensorrt", build=BuildOptions(timing_cache="mine"))
    assert Maker(network("conv"), {}, own, store).floating().build.timing_cache == "mine"


# A tuned model beside floating point


def timing(*medians):
    return Timing.of(np.array(medians), span_s=1.0, warm_up_runs=1, conditions={"placement_medians_ms": list(medians)})


@pytest.fixture
def beside(monkeypatch):
    """Stands for who builds and times: what came of every task, and the tasks."""
    made = SimpleNamespace(ran=[], done={}, made_of=[])

    class Runner:
        def __init__(self, *_):
            pass

        def limit_s(self):
            return 42.0

        def run(self, tasks):
            made.ran += tasks
            return {task.name: made.done[task.name] for task in tasks if task.name in made.done}

    monkeypatch.setattr(tuned, "Runner", Runner)
    return made


def compared(**medians):
    return {
        "comparison": Done(
            "measured", measured={name: SimpleNamespace(timing=timing(*each)) for name, each in medians.items()}
        )
    }


def built(*names):
    return {name: Done("built", engine=f"engine of {name}") for name in names}


def measure(**options):
    asked = MeasureOptions("onnxruntime", loadings=6, timing=TimingOptions(runs=7), **options)
    return tuned.measure_tuned(network("conv", opset=13), INT8, {"x": 1.0}, asked)


def test_a_tuned_model_and_floating_point_are_built_and_then_take_turns(beside):
    beside.done = built("fp32", "tuned") | compared(fp32=(2.0, 2.0), tuned=(1.24, 1.26))
    pays = measure(batch=4)
    assert (pays.verdict, pays.ratio, pays.against) == ("pays", 0.625, "fp32")
    *builds, comparison = beside.ran
    assert [(task.name, task.timing.runs, task.limit_s, task.loadings) for task in builds] == [
        ("fp32", 7, 42.0, 0),
        ("tuned", 7, 42.0, 0),
    ]
    assert (comparison.model, comparison.loadings) == (None, 6)
    assert comparison.beside == {"fp32": "engine of fp32", "tuned": "engine of tuned"}
    assert len(builds[1].model) > len(builds[0].model)


def test_a_plan_that_makes_the_graph_in_floating_point_is_not_compared_with_it(beside):
    asked = MeasureOptions("onnxruntime")
    pays = tuned.measure_tuned(network("conv", opset=13), PrecisionPlan(rules=()), {}, asked)
    reason = "the plan makes the graph that is FP32 everywhere, so there is nothing to compare"
    assert (pays, beside.ran) == (Pays(reason=reason), [])


def test_what_was_not_built_or_timed_says_why(beside):
    beside.done = built("fp32") | {"tuned": Done("failed", "no memory")}
    with pytest.raises(BackendError, match=r"^g: tuned was not built: no memory$"):
        measure()
    beside.done = built("fp32")
    with pytest.raises(BackendError, match=r"^g: tuned was not built: it was stopped$"):
        measure()
    beside.done = built("fp32", "tuned")
    with pytest.raises(BackendError, match=r"^g: the engines were not timed: it was stopped$"):
        measure()
    beside.done |= {"comparison": Done("built", "not timed: the GPU is lost")}
    with pytest.raises(BackendError, match=r"^g: the engines were not timed: not timed: the GPU is lost$"):
        measure()
    beside.done |= compared(fp32=(2.0, 2.0))
    with pytest.raises(BackendError, match="the engines were not timed"):
        measure()
