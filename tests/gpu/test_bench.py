"""The comparison of precisions on a real GPU: built, measured side by side, recorded and read back."""

from __future__ import annotations

import json

import pytest

from workbench.backends.protocol import BuildOptions, TimingOptions
from workbench.backends.tensorrt.backend import TensorRT
from workbench.engine.load import load_report
from workbench.evaluate.comparison import compare
from workbench.jobs.bench.run import Bench
from workbench.jobs.bench.variants import open_source, variant_of
from workbench.precision import target_of

TENSORRT = TensorRT()
ABLE = TENSORRT.capabilities()
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not ABLE.run, reason=f"TensorRT cannot run here: {ABLE.reason}"),
]

# cuBLAS and cuDNN need not be there.
OPTIONS = BuildOptions(tactic_sources=("EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"), optimization_level=1)
TIMING = TimingOptions(runs=40, warm_up_s=0.1)


def test_every_variant_is_measured_beside_the_others(small_cnn, tmp_path):
    source = open_source(small_cnn, batch=4)
    variants = ("qdq", "fp16", "tf32", "fp32") + (("implicit-int8",) if ABLE.typing == "weak" else ())
    rows = Bench([source], tmp_path, variants=variants, options=OPTIONS, timing=TIMING).run()
    assert {row.variant: row.status for row in rows} == dict.fromkeys(variants, "measured")
    for row in rows:
        stem = tmp_path / row.stem
        report = load_report(
            f"{stem}.graph.json", profile=f"{stem}.profile.json", timing=f"{stem}.timing.json", name=row.stem
        )
        assert len(report.layers) == row.layers
        assert report.timing.iterations == 40
        assert report.timing.ms["median"] == pytest.approx(row.median_ms)
        manifest = json.loads((tmp_path / f"{row.stem}.manifest.json").read_text())
        assert len(manifest["timing"]["conditions"]["placement_medians_ms"]) == 10
        assert manifest["timing"]["conditions"]["clocks"]["readings"] == 20
        assert 0 < row.median_error_ms < 0.2 * row.median_ms
        assert set(manifest["timing"]["conditions"]["beside"]) == {other.stem for other in rows if other is not row}
    assert (tmp_path / "timing.cache").stat().st_size > 0


def test_the_engines_results_are_those_of_onnx_runtime(small_cnn, small_data, tmp_path):
    labels = small_data.with_name("labels.npy")
    source = open_source(small_cnn, batch=4, samples=small_data, evaluation=small_data, labels=labels)
    rows = Bench([source], tmp_path, variants=("qdq", "fp32"), options=OPTIONS, timing=TIMING).run()
    sqnr = {row.variant: row.sqnr_db for row in rows}
    assert sqnr["fp32"] > 80  # dB
    lowered = variant_of(source, "qdq", OPTIONS, target_of(ABLE))[0]
    comparison = compare(source.model, lowered, source.evaluation.samples, runs=0)
    assert sqnr["qdq"] == pytest.approx(comparison.worst_sqnr_db, abs=3)
    assert all(row.top1 == pytest.approx(row.top1_original, abs=0.1) for row in rows)


def test_builds_end_in_time_to_measure_what_there_is(small_cnn, tmp_path):
    source = open_source(small_cnn, batch=4)
    bench = Bench([source], tmp_path, variants=("fp16", "qdq"), options=OPTIONS, timing=TIMING, budget_s=8.0)
    rows = {row.variant: row.status for row in bench.run()}
    assert rows == {"fp16": "skipped", "qdq": "skipped"}
