"""Calibration on a real GPU: the kernel as NVRTC compiles it, streams, and ONNX Runtime's CUDA provider."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.models import mobilenet_v2
from tests.calibration.cuda.test_kernel import activations, on_a_processor, same
from tests.calibration.test_observer import rows, small
from workbench.calibration.agreement import against_processor
from workbench.calibration.observer import observe
from workbench.calibration.sources import open_samples
from workbench.calibration.statistics import TensorStatistics
from workbench.errors import SamplesError
from workbench.graph.load import from_proto
from workbench.precision.lowering.lowering import activation_tensors
from workbench.precision.plan.plan import BEST_PRACTICE
from workbench.runtime.device import Device, unusable

REASON = unusable(0)
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(REASON), reason=f"no calibration on a GPU here: {REASON}")]


@pytest.mark.parametrize("shared", [True, False])
def test_every_bin_is_that_of_a_processor(shared):
    import cupy

    from workbench.calibration.cuda.counter import Counter
    from workbench.calibration.cuda.layout import KernelTuning
    from workbench.calibration.cuda.machine import Gpu

    batches = [activations(seed, scale) for seed, scale in enumerate((1.0, 1.3, 0.1, 40.0, 2.0))]
    entries = [TensorStatistics() for _ in batches[0]]
    stream = cupy.cuda.Stream(non_blocking=True)
    counter = Counter(entries, Gpu(len(entries), stream, KernelTuning(shared=shared)))
    launches = []
    for batch in batches:
        with stream:
            launches.append(counter.launch([cupy.asarray(array) for array in batch]))
    for launch in launches:
        assert counter.take(launch) == []
    counter.empty()
    for one, expected in zip(entries, on_a_processor(*batches), strict=True):
        same(one, expected)


def test_a_pass_sees_what_a_processor_sees():
    m, x = small(), rows(50, 37)  # products by 2 are exact on both
    samples = open_samples({"x": x}, m)
    actual, expected = (
        observe(m, ["m", "x", "r"], samples, batch=7, channels={"r": 1}, device=device) for device in ("cuda", None)
    )
    for name, one in actual.items():
        same(one, expected[name])
    assert np.array_equal(actual["r"].channels.maximum, expected["r"].channels.maximum)


def test_a_damaged_sample_is_named():
    m, x = small(), rows(10)
    x[7] = np.nan
    with pytest.raises(SamplesError, match="sample 7"):
        observe(m, ["r"], open_samples({"x": x}, m), device="cuda")


@pytest.mark.parametrize(("device", "most"), [("cuda", 1e-5), ("cuda:0+tf32", 5e-3)])
def test_ranges_of_a_network_are_nearly_those_of_a_processor(device, most):
    model = from_proto(mobilenet_v2(size=96))
    tensors = activation_tensors(model, BEST_PRACTICE.resolve(model))
    images = np.random.default_rng(0).normal(size=(16, 3, 96, 96)).astype(np.float32)
    samples = open_samples({"input": images}, model)
    assert against_processor(model, tensors, samples, Device.of(device), batch=8).most < most
