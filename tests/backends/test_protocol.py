"""The plain data that backends take and give."""

from __future__ import annotations

import json

import numpy as np
import pytest

from workbench.backends.protocol import Backend, BuildOptions, Engine, Measured, ShapeRange, Timing, TimingOptions
from workbench.backends.tensorrt.backend import TensorRT
from workbench.engine import LayerTime
from workbench.errors import BackendError


def test_tensorrt_follows_the_protocol():
    backend: Backend = TensorRT()  # mypy checks the signatures
    assert isinstance(backend, Backend)


def test_shape_ranges_are_ordered():
    with pytest.raises(BackendError, match="min <= opt <= max"):
        ShapeRange((1, 3), (4, 3), (2, 3))
    with pytest.raises(BackendError, match="differ in rank"):
        ShapeRange((1,), (1, 2), (1, 2))
    assert ShapeRange.fixed((2, 3)) == ShapeRange((2, 3), (2, 3), (2, 3))


def test_options_out_of_range_are_refused():
    with pytest.raises(BackendError, match="level 6"):
        BuildOptions(optimization_level=6)
    with pytest.raises(BackendError, match="limit of 0 bytes"):
        BuildOptions(workspace_bytes=0)
    with pytest.raises(BackendError, match="at least one run"):
        TimingOptions(runs=0)


def test_timing_percentiles():
    timing = Timing.of(np.arange(1.0, 101.0), span_s=0.5, warm_up_runs=7, conditions={"device": "x"})
    assert timing.median_ms == 50.5
    assert timing.p90_ms == pytest.approx(90.1)
    assert timing.p95_ms == pytest.approx(95.05)
    assert timing.p99_ms == pytest.approx(99.01)
    assert timing.mean_ms == 50.5
    assert timing.throughput == 200
    assert (timing.runs, timing.warm_up_runs) == (100, 7)
    with pytest.raises(BackendError, match="nothing was measured"):
        Timing.of(np.array([]), span_s=1.0, warm_up_runs=0, conditions={})


def test_what_is_not_asked_for():
    assert BuildOptions() == BuildOptions(
        profiles=None,
        workspace_bytes="suggested",
        optimization_level=None,
        timing_cache=None,
        timing_iterations=None,
        aux_streams=None,
        build_route=None,
        version_compatible=False,
        exclude_lean_runtime=False,
        hardware_compatible=False,
        tactic_sources=None,
        refit=False,
        strip=False,
        tf32=True,
        weak_types=None,
        layer_precisions=None,
        calibration_cache=None,
        dynamic_range=None,
    )
    assert TimingOptions() == TimingOptions(
        warm_up_s=0.5, runs=200, shapes=None, profile_index=0, cuda_graph=False, streams=1
    )


@pytest.mark.parametrize(
    ("shapes", "what"),
    [
        (((1,), (1, 2), (1, 2)), r"min \(1,\), opt \(1, 2\), max \(1, 2\) differ in rank"),
        (((1, 2), (1,), (1,)), "differ in rank"),
        (((1, 2), (1, 2), (1,)), "differ in rank"),
        (((1, 2), (1, 2), (1, 2, 3)), "differ in rank"),
        (((1, 3), (1, 2), (1, 4)), "does not hold on every axis"),
        (((1, 2), (1, 4), (1, 3)), "does not hold on every axis"),
        (((3, 1), (2, 1), (2, 1)), "does not hold on every axis"),
    ],
)
def test_the_three_shapes_of_a_range_have_one_rank_and_an_order(shapes, what):
    with pytest.raises(BackendError, match=what):
        ShapeRange(*shapes)
    assert ShapeRange((1, 2), (1, 3), (1, 5)).opt == (1, 3)


def test_what_was_measured_is_exported_as_trtexec_does():
    layers = (LayerTime("a", 1.5, 1.0), LayerTime("b", 0.5, 0.25))
    timing = Timing.of(np.array([1.0, 3.0]), span_s=1.0, warm_up_runs=0, conditions={"profiled_runs": 20})
    files = Measured(timing, (1.0, 3.0), layers, "the graph").exports()
    assert list(files) == ["graph.json", "profile.json", "timing.json"]
    assert files["graph.json"] == "the graph"
    assert json.loads(files["profile.json"]) == [
        {"count": 20},
        {"name": "a", "timeMs": 30.0, "averageMs": 1.5, "medianMs": 1.0},
        {"name": "b", "timeMs": 10.0, "averageMs": 0.5, "medianMs": 0.25},
    ]
    assert json.loads(files["timing.json"]) == [{"computeMs": 1.0}, {"computeMs": 3.0}]
    for untold in (None, Timing.of(np.ones(1), span_s=1.0, warm_up_runs=0, conditions={})):
        files = Measured(untold, layers=layers[:1]).exports()
        assert json.loads(files["profile.json"])[0] == {"count": 1}
        assert json.loads(files["profile.json"])[1]["timeMs"] == 1.5
        assert files["graph.json"] == ""
    assert list(Measured(timing, (1.0,), inspector="of an engine on two streams").exports()) == [
        "graph.json",
        "timing.json",
    ]


def test_an_engine_is_shown_with_its_size_and_what_its_manifest_says_in_a_word():
    engine = Engine("tensorrt", b"0" * 2_300_000, {"model": "net", "options": {}, "inputs": [], "parse_s": 0.5})
    card = engine._card()
    assert card.headline == "an engine of tensorrt, 2.30 MB"
    assert card.rows == (("model", "net"), ("parse_s", 0.5))
