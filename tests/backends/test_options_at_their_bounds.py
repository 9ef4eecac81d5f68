"""What options may be, and how a timing sums up single runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from workbench.backends import BuildOptions, Timing, TimingOptions
from workbench.backends.needs import Runtime, need_of
from workbench.errors import BackendError


@pytest.mark.parametrize(
    "options",
    [
        {"optimization_level": 0},
        {"optimization_level": 5},
        {"timing_iterations": 1, "aux_streams": 0},
        {"timing_iterations": 2, "aux_streams": 3},
        {"workspace_bytes": 1},
        {"dynamic_range": 1e-9},
        {"calibration_cache": "c"},
        {"version_compatible": True, "exclude_lean_runtime": True},
    ],
)
def test_options_of_a_build_up_to_their_bounds(options):
    assert BuildOptions(**options)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"optimization_level": -1}, "builder optimization level -1"),
        ({"optimization_level": 6}, "builder optimization level 6"),
        ({"timing_iterations": 0}, "timing_iterations=0"),
        ({"timing_iterations": -1}, "timing_iterations=-1"),
        ({"aux_streams": -1}, "aux_streams=-1"),
        ({"timing_iterations": 1, "aux_streams": -1}, "timing_iterations=1, aux_streams=-1"),
        ({"workspace_bytes": 0}, "a workspace limit of 0 bytes"),
        ({"workspace_bytes": -1}, "a workspace limit of -1 bytes"),
        ({"dynamic_range": 0.0}, "a dynamic range of 0"),
        ({"dynamic_range": -2.0}, "a dynamic range of -2"),
        ({"dynamic_range": 1.0, "calibration_cache": "c"}, "a dynamic range of 1"),
        ({"exclude_lean_runtime": True}, "only a version-compatible engine has a lean runtime"),
    ],
)
def test_options_of_a_build_beyond_them(options, what):
    with pytest.raises(BackendError, match=what):
        BuildOptions(**options)


def test_options_of_the_weakly_typed_builder_are_known():
    assert BuildOptions().weak == ()
    assert BuildOptions(weak_types=(), dynamic_range=1.0).weak == ("weak_types", "dynamic_range")


def test_options_of_a_timing():
    assert TimingOptions(runs=1, streams=1, warm_up_s=0.0)
    for wrong in ({"runs": 0}, {"streams": 0}, {"warm_up_s": -0.1}, {"runs": -1}, {"streams": -1}):
        with pytest.raises(BackendError, match=r"runs=-?\d+, streams=-?\d+, warm_up_s="):
            TimingOptions(**wrong)


def test_a_timing_has_percentiles_and_the_rate_of_the_whole_span():
    timing = Timing.of(np.arange(101.0)[::-1], span_s=0.5, warm_up_runs=7, conditions={"a": 1})
    assert (timing.median_ms, timing.p90_ms, timing.p95_ms, timing.p99_ms, timing.mean_ms) == (50, 90, 95, 99, 50)
    assert (timing.throughput, timing.runs, timing.warm_up_runs, timing.conditions) == (202.0, 101, 7, {"a": 1})
    assert timing.latencies_ms == tuple(np.arange(101.0)[::-1])
    names = "median_ms p90_ms p95_ms p99_ms mean_ms throughput runs warm_up_runs conditions"
    assert timing.to_dict() == {name: getattr(timing, name) for name in names.split()}
    assert "latencies_ms" not in repr(timing)
    assert timing == replace(timing, latencies_ms=())
    for samples, span in ((np.zeros(0), 1.0), (np.ones(1), 0.0), (np.ones(1), -1.0)):
        with pytest.raises(BackendError, match="nothing was measured"):
            Timing.of(samples, span_s=span, warm_up_runs=0, conditions={})


# What an engine needs


def need(**manifest):
    return need_of({"backend": "tensorrt", "version": "8.6.1", "model": "net", "platform": "linux-x86_64", **manifest})


@pytest.mark.parametrize(
    ("options", "kind", "version", "taken"),
    [
        ({}, "full", "8.6.1", True),
        ({}, "full", "8.6.2", False),
        ({}, "lean", "8.6.1", False),
        ({"version_compatible": True}, "lean", "8.6.1", True),
        ({"version_compatible": True}, "lean", "8.6.0", False),
        ({"version_compatible": True}, "full", "8.6.1.post2", True),
        ({"version_compatible": True}, "full", "10.9.0", True),
        ({"version_compatible": True}, "full", "11.0.0", False),
        ({"version_compatible": True, "exclude_lean_runtime": True}, "full", "8.6.2", False),
        ({"version_compatible": True, "exclude_lean_runtime": True}, "full", "8.6.1", True),
    ],
)
def test_which_runtimes_load_an_engine(options, kind, version, taken):
    assert need(options=options).takes(Runtime(kind, "m", version)) == taken


def test_the_need_of_an_engine_in_words():
    assert str(need(device={"name": "H200", "capability": [9, 0]})) == (
        "net, built with tensorrt 8.6.1, needs the full runtime of TensorRT 8.6.1 and no other version; a GPU of "
        "compute capability 9.0, as H200; linux-x86_64"
    )
    assert str(need(target="sm86", options={"strip": True})).endswith(
        "a GPU of compute capability 8.6; linux-x86_64; its weights, which were left out"
    )
    assert "a GPU of the Ampere architecture or newer" in str(
        need(target="sm90", options={"hardware_compatible": True})
    )
    compatible = need(options={"version_compatible": True})
    assert "needs the full or the lean runtime of TensorRT 8.6.1 or newer, up to 10.x" in str(compatible)
    assert str(need(backend="onnxruntime", device={"name": "CPU"})) == "net: onnxruntime 8.6.1 on CPU, linux-x86_64"
    assert str(need(trusted=True)).startswith("it has no manifest")
    assert need(trusted=True).takes(Runtime("rtx", "m", "1"))
    assert str(need_of({"backend": "tensorrt", "version": "9.1", "model": "net"})) == (
        "net, built with tensorrt 9.1, needs the full runtime of TensorRT 9.1 and no other version"
    )
    assert need(backend="tensorrt_rtx", options={"version_compatible": True}).kinds == ("rtx",)
    assert [need(version=version).last_major for version in ("8.6.1", "9.0", "10.1", "11.0", "x")] == [
        10,
        10,
        11,
        11,
        0,
    ]
    assert compatible.install == "pip install tensorrt==8.6.1"
    assert need(backend="tensorrt_rtx", version="1.7").install == "pip install tensorrt-rtx==1.7"
    targets = ("sm86", "sm121", "sm8", "x", None)
    assert [need(target=target).capability for target in targets] == [(8, 6), (12, 1), None, None, None]
