"""Each step of a bench with others standing in for the builder, the clock and the GPU: what is asked, said and kept."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from onnx import helper

from tests.kit.models import model
from workbench.backends import BuildOptions, Engine
from workbench.errors import BackendError
from workbench.jobs.bench import job as bench_job
from workbench.jobs.bench import run as bench_run
from workbench.jobs.bench import variants as bench_variants
from workbench.jobs.bench.rows import BenchRow, rows_json, table
from workbench.jobs.bench.run import Bench
from workbench.jobs.bench.variants import Source, variant_of
from workbench.precision import TARGETS

MODEL = model([helper.make_node("Relu", ["x"], ["y"], "it")], {"x": [4]}, {"y": [4]})


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is moved."""
    made = SimpleNamespace(now=100.0, monotonic=lambda: made.now)
    monkeypatch.setattr(bench_run, "time", made)
    return made


@pytest.fixture
def bench(tmp_path, clock):
    """Make a bench of models by their names; what it says is in `said`."""
    del clock

    def make(*names, **options):
        said = []
        made = Bench([Source(name, MODEL) for name in names], tmp_path, say=said.append, **options)
        made.said = said
        return made

    return make


def test_a_bench_measures_400_runs_of_all_variants_but_what_others_quantized(tmp_path):
    made = Bench([], tmp_path)
    assert made.variants == ("qdq", "fp16", "implicit-int8", "tf32", "fp32")
    assert (made.timing.runs, made.keep_engines, made.budget_s) == (400, False, None)
    made.say("nothing")


# Time


def test_time_is_kept_to_measure_what_will_have_been_built(bench):
    made = bench("a", "b")
    a, b = made.sources
    assert (made._time_to_build(a), made._left()) == (3600.0, math.inf)
    made._end = 1100.0
    assert made._time_to_build(a) == 1000 - 6 - 5
    made.rows, made._built = [BenchRow("a", "fp16", "built")], {"a.fp16": None}
    assert made._time_to_build(a) == 1000 - 6 - 2 * 5
    assert made._time_to_build(b) == 1000 - 2 * 6 - 2 * 5
    made.target = "sm86"
    assert made._time_to_build(b) == 1000


@pytest.mark.parametrize(("left", "begun"), [(5.0, True), (4.999, False)])
def test_no_build_is_begun_with_less_than_five_seconds(bench, clock, monkeypatch, left, begun):
    made = bench("m", target="sm86", package="tensorrt_rtx", variants=("fp32",))
    children = []

    def compiled(row, *given):
        children.append(given[-1].timeout_s)
        clock.now += 2.5
        return replace(row, status="built", reason="r", build_s=2.0)

    def variant(*_):
        clock.now += 1.0
        return MODEL, BuildOptions()

    monkeypatch.setattr(made, "_compile", compiled)
    monkeypatch.setattr(bench_run, "variant_of", variant)
    made._end = clock.now + left
    row = made._build(made.sources[0], "fp32", TARGETS["rtx"])
    assert (row.status, children) == (("built", [4.0]) if begun else ("skipped", []))
    assert made.said == ["m.fp32: built in 3.5 s" if begun else "m.fp32: no time left"]


@pytest.mark.parametrize(("end", "limit"), [(None, 600.0), (150.0, 50.0 + 30), (99.0, 30.0)])
def test_measuring_may_take_what_is_left_and_half_a_minute(bench, monkeypatch, end, limit):
    made = bench("m", variants=("fp32",))
    made.rows, made._built = [BenchRow("m", "fp32", "built")], {"m.fp32": Engine("tensorrt", b"", {})}
    made._end, asked = end, []
    monkeypatch.setattr(bench_run, "run", lambda child, *_: asked.append(child.timeout_s) or SimpleNamespace(value={}))
    made._measure(made.sources[0])
    assert asked == [limit]
    assert made.said == ["m: measuring 1 engines side by side"]


# What builds


@pytest.mark.parametrize(
    ("package", "target", "build", "run", "refused"),
    [
        ("tensorrt", None, True, True, None),
        ("tensorrt_rtx", None, True, True, None),
        ("tensorrt_rtx", "sm86", True, False, None),
        ("tensorrt", "sm86", True, True, "tensorrt builds for the GPU of its machine. Leave the target out."),
        ("tensorrt_rtx", None, True, False, "tensorrt_rtx cannot build here: why. Name a target to build only."),
        ("tensorrt_rtx", "sm86", False, False, "tensorrt_rtx cannot build here: why. Name a target to build only."),
        ("tensorrt", None, True, False, "tensorrt cannot build here: why"),
        ("tensorrt", None, False, True, "tensorrt cannot build here: why"),
    ],
)
def test_what_cannot_build_or_run_here_is_refused(bench, monkeypatch, package, target, build, run, refused):
    able = SimpleNamespace(build=build, run=run, reason="why")
    monkeypatch.setattr(bench_run, "backend_named", lambda name: SimpleNamespace(name=name, capabilities=lambda: able))
    monkeypatch.setattr(bench_run, "target_of", lambda one: one)
    made = bench("m", package=package, target=target)
    if refused is None:
        assert made._compiler() is able
        return
    with pytest.raises(BackendError) as failure:
        made._compiler()
    assert str(failure.value) == refused


@pytest.mark.parametrize(
    ("target", "given", "cache", "measured"),
    [(None, None, "timing.cache", ["a", "b"]), (None, "mine", "mine", ["a", "b"]), ("sm86", None, None, [])],
)
def test_each_variant_is_built_for_all_models_and_then_each_model_measured(
    bench, monkeypatch, tmp_path, target, given, cache, measured
):
    options = BuildOptions(timing_cache=given)
    made = bench("a", "b", variants=("qdq", "fp16"), target=target, options=options, budget_s=9.0)
    order = []

    def build(source, variant, compiler):
        order.append((source.name, variant, compiler))
        return BenchRow(source.name, variant, "built")

    monkeypatch.setattr(made, "_compiler", lambda: "compiler")
    monkeypatch.setattr(made, "_build", build)
    monkeypatch.setattr(made, "_measure", lambda source: order.append(("measure", source.name)))
    monkeypatch.setattr(made, "_judge", lambda source: order.append(("judge", source.name)))
    rows = made.run()
    assert order == [
        *((name, variant, "compiler") for variant in ("qdq", "fp16") for name in ("a", "b")),
        *((step, name) for name in measured for step in ("measure", "judge")),
    ]
    assert [row.stem for row in rows] == ["a.qdq", "a.fp16", "b.qdq", "b.fp16"]
    assert made._end == 109.0
    used = made.options.timing_cache
    assert (used and Path(used).name) == cache
    assert (tmp_path / "table.txt").read_text() == table(rows) + "\n"


def test_an_engine_is_kept_with_its_manifest_and_with_its_weights_where_they_can_be_put_back(
    bench, monkeypatch, tmp_path
):
    manifest = {"build_s": "2.5", "engine_bytes": 7.0}
    builder = SimpleNamespace(build=lambda *_, **__: Engine("tensorrt", b"data", manifest))
    whole = []

    def with_weights(*_):
        if not whole:
            raise BackendError("no\n refitter")
        return whole[0]

    written = []
    monkeypatch.setattr("workbench.backends.with_weights", with_weights)
    monkeypatch.setattr("workbench.backends.write_engine", lambda _, path: written.append(path))
    monkeypatch.setattr("workbench.backends.tensorrt.TensorRT", lambda _: builder)
    made, row = bench("m"), BenchRow("m", "qdq", "skipped")
    kept = made._keep(row, made.sources[0], MODEL, BuildOptions(), None)
    assert (kept.status, kept.reason, kept.build_s, kept.engine_bytes) == ("built", "no refitter", 2.5, 7)
    assert (made._built, written) == ({}, [])
    whole.append("whole")
    made.keep_engines = True
    assert made._keep(row, made.sources[0], MODEL, BuildOptions(), None).reason == "it was not measured"
    assert (made._built, written) == ({"m.qdq": "whole"}, [tmp_path / "m.qdq.engine"])
    told = json.loads((tmp_path / "m.qdq.manifest.json").read_text())
    assert told == manifest | {"variant": "qdq", "ranges": made.sources[0].ranges_from}


@pytest.mark.parametrize(
    ("built", "status", "reason", "build_s"),
    [(True, "built", "tensorrt_rtx 1.7 for sm86; measuring needs that GPU", 3.0), (False, "failed", "no Loop", None)],
)
def test_what_a_compiler_takes_is_built_and_what_it_refuses_is_said(bench, monkeypatch, built, status, reason, build_s):
    compilation = SimpleNamespace(built=built, version="1.7", build_s=3.0, engine_bytes=5)
    judged = []
    # In this order: what judges is loaded with the real compiler.
    monkeypatch.setattr("workbench.backends.verdict.judge", lambda *_, compiler: judged.append(compiler) or "no\n Loop")
    monkeypatch.setattr("workbench.backends.compiler.compile_for", lambda *_, **__: SimpleNamespace(value=compilation))
    made = bench("m", target="sm86", package="tensorrt_rtx")
    row = made._compile(BenchRow("m", "qdq", "skipped"), MODEL, BuildOptions(), None)
    assert (row.status, row.reason, row.build_s) == (status, reason, build_s)
    assert judged == [] if built else ["tensorrt_rtx 1.7"]


@pytest.mark.parametrize(("timing", "inspector"), [(None, "{}"), ("timed", None), (None, None)])
def test_an_engine_is_measured_where_it_was_timed_and_looked_into(bench, timing, inspector):
    measured = SimpleNamespace(timing=timing, inspector=inspector, error="too slow")
    row = BenchRow("m", "qdq", "built", "it was not measured")
    assert bench("m")._record(row, measured) == replace(row, reason="too slow")


def test_a_record_that_cannot_be_read_back_is_no_measurement(bench, monkeypatch):
    timing = SimpleNamespace(median_ms=2.0, p95_ms=3.0, conditions={}, to_dict=dict)
    measured = SimpleNamespace(timing=timing, inspector="", exports=lambda: {"graph.json": "text"})
    monkeypatch.setattr("workbench.jobs.bench.rows.median_error_ms", lambda _: 0.5)

    def load(*_, **__):
        raise BackendError("odd")

    monkeypatch.setattr("workbench.engine.load_report", load)
    made = bench("m")
    made._built = {"m.qdq": Engine("tensorrt", b"", {})}
    row = made._record(BenchRow("m", "qdq", "built"), measured)
    assert (row.status, row.reason, row.median_ms, row.median_error_ms) == ("built", "odd", 2.0, 0.5)


@pytest.mark.parametrize(
    ("variant", "ranges", "cache", "made_up"),
    [
        ("qdq", None, None, True),
        ("qdq", {"x": 1.0}, None, False),
        ("implicit-int8", {"x": 1.0}, None, True),
        ("implicit-int8", None, "c", False),
        ("fp16", None, None, False),
        ("given", None, None, False),
    ],
)
def test_ranges_are_made_up_where_nothing_says_them(bench, variant, ranges, cache, made_up):
    made = bench("m", options=BuildOptions(calibration_cache=cache))
    assert made._made_up(variant, replace(made.sources[0], ranges=ranges)) is made_up


def test_results_that_cannot_be_compared_are_measured_all_the_same(bench, monkeypatch):
    def fail(*_, **__):
        raise BackendError("no\n memory")

    monkeypatch.setattr("workbench.evaluate.compare_engine", fail)
    made, row = bench("m"), BenchRow("m", "qdq", "measured")
    made._built = {"m.qdq": Engine("onnxruntime", b"", {})}
    judging = SimpleNamespace(samples=[], labels=None)
    assert made._judged(row, MODEL, judging) == replace(row, reason="its results were not compared: no memory")


@pytest.mark.parametrize(("end", "compared"), [(100.0, False), (100.5, True), (None, True)])
def test_results_are_compared_while_there_is_time(bench, monkeypatch, end, compared):
    made = bench("m", variants=("fp16",))
    made._end, made.rows = end, [BenchRow("m", "fp16", "measured")]
    monkeypatch.setattr(made, "_judged", lambda row, *_: row)
    made._judge(replace(made.sources[0], evaluation=SimpleNamespace(samples=[1, 2])))
    said = "comparing its results on 2 samples" if compared else "no time left to compare its results"
    assert made.said == [f"m.fp16: {said}"]


# Variants and options


@pytest.mark.parametrize("plan", [None, "the recipe's"])
@pytest.mark.parametrize(
    ("variant", "target", "lowered", "types"),
    [
        ("qdq", "rtx", "int8+fp16", None),
        ("qdq", "tensorrt-8.6", "int8+fp16", ("fp16",)),
        ("fp16", "rtx", "fp16", None),
        ("fp16", "tensorrt-8.6", None, ("fp16",)),
    ],
)
def test_a_plan_of_a_recipe_is_for_int8_and_a_weak_builder_is_asked_by_flags(
    monkeypatch, plan, variant, target, lowered, types
):
    monkeypatch.setattr(bench_variants, "preset", lambda name, _: name)
    monkeypatch.setattr(bench_variants, "_lowered", lambda *given: given[1])
    source = Source("m", MODEL, plan=plan)
    made, options = variant_of(source, variant, BuildOptions(), TARGETS[target])
    expected = plan if plan and variant == "qdq" else lowered
    assert made == (expected if lowered else MODEL)
    assert options.weak_types == types


def test_a_model_quantized_elsewhere_may_run_in_fp16_where_types_are_no_part_of_it():
    source = Source("m", MODEL, quantized=MODEL)
    for target, types in (("rtx", None), ("tensorrt-8.6", ("fp16",))):
        assert variant_of(source, "given", BuildOptions(), TARGETS[target])[1].weak_types == types


def test_a_bench_for_another_machine_is_whole_where_all_is_built(monkeypatch):
    made = []

    class Runs:
        def __init__(self, *_, **options):
            made.append(options["say"])

        def run(self):
            return [BenchRow("m", "qdq", "built")]

    monkeypatch.setattr(bench_job, "open_source", lambda *_, **__: Source("m", MODEL))
    monkeypatch.setattr(bench_job, "Bench", Runs)
    assert bench_job.bench(("m.onnx",), "o", backend="tensorrt_rtx", target="sm86").exit_code == 0
    assert bench_job.bench(("m.onnx",), "o", say=print).exit_code == BackendError.exit_code
    assert (made[0]("nothing"), made[1]) == (None, print)


def test_of_several_types_of_a_layer_the_first_is_its_precision():
    assert bench_job._layer_precisions("a:fp16+fp32") == {"a": "fp16"}


# The table


def test_a_table_has_each_figure_with_its_digits():
    clocks = {"sm_clock_mhz": [1710.4, 1980.6], "slowed_by": []}
    rows = [
        BenchRow(
            model="net",
            variant="fp16",
            status="measured",
            median_ms=2.00006,
            median_error_ms=0.01234,
            p95_ms=2.56789,
            layers=57,
            reformats=3,
            build_s=12.34,
            engine_bytes=5 << 19,
            sqnr_db=31.26,
            top1=0.70126,
            top1_original=0.7525,
            clocks=clocks,
        ),
        BenchRow(model="net", variant="implicit-int8", status="measured", median_ms=1.0),
        BenchRow(model="bad", variant="fp16", status="failed", reason="no memory"),
    ]
    first, rule, *cells, said = table(rows).splitlines()
    assert first == (
        "model  variant        median ms     +/-  p95 ms  / FP16  layers  reformats  build s  MiB     SM MHz  SQNR dB"
        "  top-1 %  drop"
    )
    assert (rule, said) == ("-" * 123, "bad.fp16: failed: no memory")
    assert cells[0] == (
        "net    fp16              2.0001  0.0123  2.5679   1.000      57          3     12.3  2.5  1710-1981     31.3"
        "    70.13  5.12"
    )
    assert cells[1] == (
        "net    implicit-int8     1.0000       -       -   0.500       -          -        -    -          -        -"
        "        -     -"
    )
    assert cells[2].split() == ["bad", "fp16", *"------------"]


def test_nothing_is_over_nothing_and_numbers_that_json_has_not_are_refused():
    lines = table([BenchRow("m", "fp16", "measured", median_ms=0.0), BenchRow("m", "qdq", "measured", median_ms=1.0)])
    assert [line.split()[5] for line in lines.splitlines()[2:]] == ["-", "-"]
    rows = [BenchRow("m", "qdq", "measured", sqnr_db=value) for value in (math.inf, -math.inf, 3.5)]
    assert [row["sqnr_db"] for row in json.loads(rows_json(rows, {}))["rows"]] == ["inf", "-inf", 3.5]
    with pytest.raises(ValueError, match="JSON compliant"):
        rows_json([BenchRow("m", "fp16", "measured", median_ms=math.nan)], {})
