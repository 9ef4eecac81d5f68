"""The comparison of precisions on a real GPU: built, measured side by side, recorded and read back."""

from __future__ import annotations

import json

import pytest

from workbench.backends.protocol import BuildOptions, TimingOptions
from workbench.backends.tensorrt import capabilities
from workbench.bench.run import Bench
from workbench.bench.variants import open_source
from workbench.engine.load import load_report

ABLE = capabilities()
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
        assert set(manifest["timing"]["conditions"]["beside"]) == {other.stem for other in rows if other is not row}
    assert (tmp_path / "timing.cache").stat().st_size > 0


def test_builds_end_in_time_to_measure_what_there_is(small_cnn, tmp_path):
    source = open_source(small_cnn, batch=4)
    bench = Bench([source], tmp_path, variants=("fp16", "qdq"), options=OPTIONS, timing=TIMING, budget_s=8.0)
    rows = {row.variant: row.status for row in bench.run()}
    assert rows == {"fp16": "skipped", "qdq": "skipped"}
