"""The plain data that backends take and give."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.backends.protocol import Backend, BuildOptions, ShapeRange, Timing, TimingOptions
from workbench.backends.tensorrt.backend import TensorRT
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
