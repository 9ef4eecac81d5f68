"""The placement search on a real GPU: engines in INT8, in floating point and between, timed in turns."""

from __future__ import annotations

import pytest

from workbench.backends.protocol import BuildOptions, TimingOptions
from workbench.backends.tensorrt.backend import TensorRT
from workbench.precision.measuring.options import MeasureOptions
from workbench.session import open_model

TENSORRT = TensorRT()
ABLE = TENSORRT.capabilities()
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not ABLE.run, reason=f"TensorRT cannot run here: {ABLE.reason}"),
]

OPTIONS = MeasureOptions(
    "tensorrt",
    builds=6,
    batch=4,
    # cuBLAS and cuDNN need not be there.
    build=BuildOptions(tactic_sources=("EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"), optimization_level=1),
    timing=TimingOptions(runs=40, warm_up_s=0.1),
    loadings=4,
    implicit=ABLE.typing == "weak",
    tuned_builds=1,
)


def test_a_search_measures_what_it_recommends(small_cnn, small_data, tmp_path):
    from dataclasses import replace

    wb = open_model(small_cnn)
    wb.prepare()
    wb.calibrate(small_data)
    measured = wb.plan.search("sqnr_db", at_least=10.0, measure=replace(OPTIONS, folder=tmp_path / "engines")).measured
    kinds = {point.candidate.kind: point for point in measured.points}
    assert {"floating", "int8", "options"} <= kinds.keys()
    assert ("implicit" in kinds) == OPTIONS.implicit
    for point in measured.points:
        assert point.status == "measured", point.reason
        assert 0.2 < point.ratio < 5
    assert measured.figure_on_engine >= 10
    assert "tensorrt" in measured.pays.where
    assert measured.chosen.graph_ms is not None
    caches = list((tmp_path / "engines").glob("timing*.cache"))
    assert caches
    assert all(file.stat().st_size > 0 for file in caches)
    again = wb.plan.search("sqnr_db", at_least=10.0, measure=replace(OPTIONS, folder=tmp_path / "engines")).measured
    assert again.resumed >= len(measured.points)
    assert again.chosen.name == measured.chosen.name
