"""Building and recording: real builds by TensorRT-RTX, and records made of what a GPU really said."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace

import numpy as np
import onnx
import pytest

from tests.kit.places import RECORDED
from tests.kit.searching import benchmark_model
from workbench.backends.onnxruntime.engine import OnnxRuntime
from workbench.backends.protocol import BuildOptions, Engine, Measured, Timing
from workbench.cli import main
from workbench.engine.load import load_report
from workbench.engine.summary import summarize
from workbench.errors import BackendError, RecipeError
from workbench.jobs.bench import bench
from workbench.jobs.bench.rows import BenchRow, table
from workbench.jobs.bench.run import Bench
from workbench.jobs.bench.variants import open_source, variant_of
from workbench.precision import TARGETS
from workbench.session import open_model

needs_rtx = pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="TensorRT-RTX is missing")


@needs_rtx
def test_tensorrt_rtx_builds_every_variant_it_can_and_says_why_not_the_others(small_cnn, tmp_path):
    records = []
    source = open_source(small_cnn, batch=4)
    bench = Bench([source], tmp_path, package="tensorrt_rtx", target="sm86", say=records.append)
    rows = {row.variant: row for row in bench.run()}
    assert {name: row.status for name, row in rows.items()} == {
        "qdq": "built",
        "fp16": "built",
        "implicit-int8": "failed",
        "tf32": "built",
        "fp32": "built",
    }
    assert all(row.build_s > 0 and row.engine_bytes > 0 for row in rows.values() if row.status == "built")
    assert "ended with TensorRT 8" in rows["implicit-int8"].reason
    written = json.loads((tmp_path / "results.json").read_text())
    assert [row["variant"] for row in written["rows"]] == list(rows)
    assert (tmp_path / "small_cnn.qdq.log").exists()
    assert len(records) == 5


@needs_rtx
def test_several_batches_are_rows_and_what_a_recipe_asks_of_engines_reaches_the_builder(
    small_cnn, small_data, tmp_path
):
    wb = open_model(small_cnn)
    wb.calibrate(small_data)
    wb.engines.set(version_compatible=True)
    wb.save(tmp_path / "asked")
    common = {"backend": "tensorrt_rtx", "target": "sm86", "variants": "fp32", "batch": "1,4"}
    result = bench([small_cnn], tmp_path / "out", recipe=tmp_path / "asked/recipe.yaml", **common)
    assert all("does not bring the lean runtime" in row.reason for row in result.rows)
    result = bench(
        [small_cnn], tmp_path / "out", recipe=tmp_path / "asked/recipe.yaml", exclude_lean_runtime=True, **common
    )
    assert [(row.model, row.batch, row.status) for row in result.rows] == [
        ("small_cnn-b1", 1, "built"),
        ("small_cnn-b4", 4, "built"),
    ]
    written = json.loads((tmp_path / "out/results.json").read_text())
    assert written["conditions"]["asked"]["small_cnn-b4"] == ["version_compatible", "exclude_lean_runtime"]
    with pytest.raises(RecipeError, match="exclude_lean_runtime goes with version_compatible"):
        bench([small_cnn], tmp_path / "out", exclude_lean_runtime=True, **common)


@needs_rtx
@pytest.mark.parametrize(("name", "target"), [("resnet50", "sm86"), ("mobilenet_v2", "sm89"), ("vit_small", "sm120")])
def test_what_was_measured_on_a_gpu_builds_strongly_typed_too(name, target, tmp_path):
    onnx.save(benchmark_model(name), tmp_path / f"{name}.onnx")
    source = open_source(tmp_path / f"{name}.onnx", batch=32)
    options = BuildOptions(workspace_bytes=None)
    bench = Bench([source], tmp_path, variants=("qdq",), package="tensorrt_rtx", target=target, options=options)
    (row,) = bench.run()
    assert row.status == "built", row.reason


@needs_rtx
def test_what_the_budget_has_no_time_for_is_skipped_and_told(small_cnn, tmp_path):
    source = open_source(small_cnn)
    bench = Bench([source], tmp_path, variants=("fp32",), package="tensorrt_rtx", target="sm86", budget_s=1.0)
    (row,) = bench.run()
    assert (row.status, row.build_s) == ("skipped", None)
    assert "no time left" in json.loads((tmp_path / "results.json").read_text())["rows"][0]["reason"]


@needs_rtx
def test_a_build_that_the_compiler_refuses_is_a_row_with_the_reason(shared, tmp_path):
    file = shared / "models" / "ultraface_rfb320_qdq" / "model.onnx"
    source = open_source(file, quantized=file)
    bench = Bench([source], tmp_path, variants=("given",), package="tensorrt_rtx", target="sm86")
    (row,) = bench.run()
    assert row.status == "failed"
    assert "refused" in row.reason


def test_tensorrt_without_a_gpu_is_refused_before_anything_is_written(small_cnn, tmp_path):
    from workbench.backends.registry import backend_named

    if backend_named("tensorrt").capabilities().build:
        pytest.skip("TensorRT works here")
    with pytest.raises(BackendError, match="tensorrt cannot build here"):
        Bench([open_source(small_cnn)], tmp_path / "out").run()
    assert not (tmp_path / "out").exists()


def test_a_record_reads_back_as_the_engine_that_was_measured(small_cnn, tmp_path):
    inspector = (RECORDED / "resnet50.qdq.graph.json").read_text()
    recorded = load_report(RECORDED / "resnet50.qdq.graph.json", profile=RECORDED / "resnet50.qdq.profile.json")
    layers = tuple(layer.time for layer in recorded.layers if layer.time)
    latencies = np.linspace(0.7, 0.9, 101)
    clocks = {
        "sm_clock_mhz": [1710, 1980],
        "memory_clock_mhz": [2619, 2619],
        "power_w": [299.6, 345.2],
        "temperature_c": [41, 44],
        "slowed_by": ["power limit"],
        "readings": 20,
    }
    conditions = {"profiled_runs": 20, "placement_medians_ms": [0.79, 0.8, 0.81], "clocks": clocks}
    timing = Timing.of(latencies, span_s=0.08, warm_up_runs=1, conditions=conditions)
    bench = Bench([open_source(small_cnn)], tmp_path)
    row = BenchRow("small_cnn", "qdq", "built", build_s=7.1)
    bench._built[row.stem] = Engine(
        "tensorrt", b"", {"version": "8.6.0", "engine_sha256": "0", "device": {"name": "H200"}}
    )
    row = bench._record(row, Measured(timing, tuple(latencies), layers, inspector))
    assert (row.status, row.layers, row.reformats) == ("measured", 57, 1)
    assert row.median_ms == pytest.approx(0.8)
    assert row.median_error_ms == pytest.approx(0.01 / 3**0.5)
    report = load_report(
        tmp_path / "small_cnn.qdq.graph.json",
        profile=tmp_path / "small_cnn.qdq.profile.json",
        timing=tmp_path / "small_cnn.qdq.timing.json",
        metadata=tmp_path / "small_cnn.qdq.manifest.json",
    )
    assert report.layers_ms == pytest.approx(recorded.layers_ms)
    assert report.timing.ms["p95"] == pytest.approx(timing.p95_ms)
    assert report.profile_count == 20
    assert report.tensorrt_version == "8.6.0"
    held = "SM 1710 to 1980 MHz, memory 2619 MHz, power 300 to 345 W, temperature 41 to 44 °C; held back by power limit"
    facts = summarize(report).facts()
    assert (facts["Device"], facts["Clocks while timed"]) == ("H200", held)
    text = table([row])
    assert "SM MHz" in text
    assert "1710-1980" in text
    assert f"small_cnn.qdq: {held}" in text
    assert "SM MHz" not in table([replace(row, clocks=None)])


def test_results_are_judged_where_their_ranges_mean_something(small_cnn, small_data, tmp_path):
    """On ONNX Runtime's engines: what runs them is the only thing that differs on a GPU."""
    values = {"evaluation": small_data, "labels": small_data.with_name("labels.npy")}
    calibrated = open_source(small_cnn, batch=4, samples=small_data, **values)
    for source, judged in ((calibrated, {"qdq", "fp32"}), (replace(calibrated, ranges=None), {"fp32"})):
        records = []
        bench = Bench([source], tmp_path, say=records.append)
        for variant in ("qdq", "fp32", "implicit-int8"):
            value = "qdq" if variant == "qdq" else "fp32"
            model, _ = variant_of(source, value, BuildOptions(), TARGETS["tensorrt-8.6"])
            row = BenchRow("small_cnn", variant, "measured", None, 1.0, None, 1.1)
            bench._built[row.stem] = OnnxRuntime().build(model)
            bench._put(row)
        bench._judge(source)
        rows = {row.variant: row for row in bench.rows}
        assert {name for name, row in rows.items() if row.top1 is not None} == judged
        assert rows["fp32"].top1 == rows["fp32"].top1_original
        assert rows["fp32"].sqnr_db > 100  # infinite where equal, which JSON has no number for
        messages = json.loads((tmp_path / "results.json").read_text())["rows"]
        written = {row["variant"]: row["sqnr_db"] for row in messages}
        assert {name for name, sqnr in written.items() if sqnr is not None} == judged
        assert float(written["fp32"]) == rows["fp32"].sqnr_db
        assert sum("made up" in line for line in records) == 3 - len(judged)
        if "qdq" in judged:
            assert 10 < rows["qdq"].sqnr_db < 60
            titles, _, first, *_ = table(bench.rows).splitlines()
            assert titles.split()[-5:] == ["SQNR", "dB", "top-1", "%", "drop"]
            assert first.split()[-3] == f"{rows['qdq'].sqnr_db:.1f}"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--variants", "int8"], "int8 is not one of"),
        (["--tactic-sources", "CUBLAS,MAGIC"], "MAGIC is not one of"),
        (["x.onnx", "--samples", "d"], "of one model"),
        (["x.onnx", "--eval-samples", "d"], "of one model"),
        (["--labels", "l.npy"], "--labels belong to --eval-samples"),
        (["--eval-samples", "d", "--backend", "tensorrt_rtx", "--target", "sm86"], "a target is only built for"),
        (["--layer-precisions", "Conv_0:fp8"], "Conv_0: TensorRT 8 has no fp8"),
    ],
)
def test_the_command_line_names_what_is_wrong(words, message, small_cnn, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["bench", str(small_cnn), *words, "--out", str(tmp_path / "o")])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@needs_rtx
def test_the_command_line_ends_with_the_table(small_cnn, tmp_path, capsys):
    words = ["--backend", "tensorrt_rtx", "--target", "sm86", "--variants", "fp32,implicit-int8"]
    with pytest.raises(SystemExit) as caught:
        main(["bench", str(small_cnn), *words, "--out", str(tmp_path / "o")])
    assert caught.value.code == BackendError.exit_code
    out = capsys.readouterr().out
    assert out.startswith("model ")
    assert out.strip() == (tmp_path / "o" / "table.txt").read_text().strip()
