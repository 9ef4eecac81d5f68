"""A real detector through TensorRT itself: what ONNX Runtime says of a tuned model is what its engine does."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kit.detections import detections, kept
from workbench.backends.protocol import BuildOptions
from workbench.backends.tensorrt.backend import TensorRT
from workbench.runtime.session import Session
from workbench.session import open_model

TENSORRT = TensorRT()
ABLE = TENSORRT.capabilities()
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not ABLE.run, reason=f"TensorRT cannot run here: {ABLE.reason}"),
]

WEAK = ABLE.typing == "weak"
# Without cuBLAS and cuDNN a level of 1 takes ten times as long.
OPTIONS = BuildOptions(
    tactic_sources=("EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"),
    optimization_level=0,
    weak_types=("fp16",) if WEAK else None,
)


def test_the_engine_keeps_the_detections_that_the_tuned_model_keeps(shared):
    images = np.load(shared / "calibration_caches/recorded/yolox_nano.inputs.npz")["images_u8"].astype(np.float32)
    wb = open_model(shared / "models/yolox_nano/model.onnx")
    wb.prepare()
    wb.plan.set_target("tensorrt-8.6" if WEAK else "tensorrt-10")
    wb.calibrate({"images": images})
    wb.plan.set("op:Conv | op:Add", "int8")
    wb.plan.set("name:Conv_44|Conv_47|Conv_70", "fp32")
    wb.tune()
    feeds = [{"images": image[None]} for image in images]

    def found(run):
        return [detections(result["output"][0]) for result in map(run, feeds)]

    truth = found(Session(wb.source).run)
    count = sum(map(len, truth))
    here = sum(map(kept, truth, found(Session(wb.tuned).run)))
    engine = TENSORRT.build(wb.tuned, OPTIONS)
    results = iter(TENSORRT.run_each(engine, feeds))
    there = sum(map(kept, truth, found(lambda _: next(results))))
    assert count == 178
    assert here >= 0.95 * count
    assert there >= 0.95 * count
    assert abs(there - here) <= 0.03 * count  # kernels differ from build to build: 173 and 176 for 172 were seen
