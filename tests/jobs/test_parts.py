"""What jobs decide and say, on results made by hand: without a model, an engine or a GPU."""

from __future__ import annotations

import json
import math
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from workbench.backends.verdict import Cell, Matrix
from workbench.calibration import Drift
from workbench.errors import BackendError, OptionError, WorkbenchError
from workbench.graph.load import from_proto
from workbench.handoff.ci import Case
from workbench.jobs import checking, dossier, drifting, matrix, reading, tuning
from workbench.jobs.bench import job as bench_job
from workbench.jobs.bench.rows import BenchRow, rows_json, table
from workbench.jobs.bench.variants import Source
from workbench.jobs.checking import CheckResult
from workbench.jobs.drifting import DriftResult
from workbench.jobs.fleet.job import FleetResult, _details, _given_up
from workbench.jobs.fleet.plan import FleetPlan, Site, load_plan
from workbench.jobs.fleet.site import SiteOutcome, known_outcome
from workbench.jobs.handing_over import _labels, _like_states, _limit
from workbench.jobs.options import SearchOptions, TuneOptions
from workbench.jobs.placing import measuring
from workbench.jobs.reading import EngineResult
from workbench.jobs.replaying import Moved, ReplayResult
from workbench.recipe import GateResult

PASSED, FAILED = GateResult("sqnr_db >= 20", 25.0, True, unit="dB"), GateResult("sqnr_db >= 20", 15.0, False, unit="dB")


def parsed(inputs):
    import onnx.parser

    text = (
        f'<ir_version: 8, opset_import: ["" : 17]> g ({inputs}) => (float y) {{ y = Constant <value_float = 1.0> () }}'
    )
    return from_proto(onnx.parser.parse_model(text))


# A replay


def test_a_moved_range_says_by_how_much():
    assert Moved("t", 2.0, 3.0).change == 0.5
    assert str(Moved("t", 2.0, 1.5)) == "t: 2 -> 1.5 (-25.00%)"
    assert Moved("t", None, 3.0).change == Moved("t", 3.0, None).change == math.inf
    assert str(Moved("t", None, 3.0)) == "t: none -> 3 (+inf%)"


def test_a_replay_says_what_moved_and_no_more_than_people_read():
    assert ReplayResult(()).text() == "the tuned model is, byte for byte, the recipe's"
    assert ReplayResult((), (), (PASSED,)).text().splitlines() == ["no range moved", f"gate {PASSED}"]
    moved = tuple(Moved(f"t{n}", 1.0, 2.0) for n in range(21))
    lines = ReplayResult((), moved).text().splitlines()
    assert (lines[0], lines[1], lines[-1]) == ("21 ranges moved", "  t0: 1 -> 2 (+100.00%)", "  and 1 more")
    assert len(lines) == 22
    assert ReplayResult((), moved[:20]).text().splitlines()[-1].startswith("  t19")
    assert ReplayResult((), None, (PASSED, FAILED)).exit_code == 12
    assert ReplayResult((), None, (PASSED,)).exit_code == 0


# An engine that is read


def test_what_got_worse_is_said_and_ends_with_a_code_of_its_own():
    summary = SimpleNamespace(text=lambda: "an engine", json=lambda: "{}")
    better, worse, unknown = (Case("against a", "layers", state, f"is {state}") for state in (True, False, None))
    result = EngineResult(summary, cases=(better, unknown))
    assert (result.exit_code, EngineResult(summary, cases=(better, worse)).exit_code) == (0, 12)
    assert result.text() == "an engine\n\nlayers: is True\nlayers: is None"
    comparison = SimpleNamespace(summary=lambda: "against another")
    assert EngineResult(summary, comparison).text() == "an engine\n\nagainst another"
    assert result.to_json() == "{}"
    with pytest.raises(OptionError, match="is about one engine"):
        EngineResult(summary, comparison).to_json()


def test_a_comment_names_five_places():
    assert reading._first("a\nb\nc\nd\ne") == list("abcde")
    assert reading._first("a\nb\nc\nd\ne\nf\ng") == [*"abcde", "and 2 more"]
    assert reading._first("") == []


# A compiler that is asked


def cell(outcome, **more):
    return Cell("1.6", "sm86", outcome, {}, **more)


def test_a_check_is_accepted_where_all_that_was_asked_accepts():
    yes, no = SimpleNamespace(accepted=True), SimpleNamespace(accepted=False)
    assert CheckResult((yes, yes)).accepted
    assert not CheckResult((yes, no)).accepted
    assert (CheckResult((yes,)).exit_code, CheckResult((no,)).exit_code) == (0, 13)
    assert CheckResult((), matrix=Matrix("m", (cell("accepted"),))).accepted
    assert not CheckResult((), matrix=Matrix("m", (cell("accepted"), cell("refused")))).accepted
    assert CheckResult(("one", "two")).text() == "one\ntwo"
    asked = Matrix("m", (cell("accepted"),))
    assert CheckResult((), matrix=asked).text() == asked.text()
    assert CheckResult((), matrix=asked).to_dict() == asked.to_dict()


def test_a_shape_is_a_name_and_lengths():
    assert checking._shape("x:1x3x224x224") == ("x", (1, 3, 224, 224))
    assert checking._shape("scope:x:8") == ("scope:x", (8,))
    for text in ("1x3", ":1x3", "x:", "x:1x", "x:1xa", "x:-1x3"):
        with pytest.raises(OptionError, match="is not like INPUT:1x3x224x224"):
            checking._shape(text)


def test_a_matrix_is_told_cell_by_cell():
    nodes = {
        "a": {"op": "Conv", "status": "refused", "reason": "no"},
        "b": {"op": "Add", "status": "fine", "reason": ""},
        "c": {"op": "Loop", "status": "refused", "reason": "never"},
    }
    cells = (
        Cell("1.6", "sm86", "accepted", {}, seconds=2.5),
        Cell("1.7", "sm86", "refused", nodes, "a (Conv): no"),
        Cell("1.7", "sm120", "unknown", {}, "no answer"),
        Cell("1.7", "sm75", "undecided", {}),
    )
    told = matrix.matrix_cases(Matrix("m", cells))
    assert [case.passed for case in told] == [True, False, None, False]
    assert [case.message for case in told] == ["accepted", "refused: a (Conv): no", "unknown: no answer", "undecided"]
    assert [case.details for case in told] == ["", "a (Conv): no\nc (Loop): never", "no answer", ""]
    assert (told[0].group, told[0].name, told[0].seconds) == ("TensorRT-RTX 1.6", "m for sm86", 2.5)


@pytest.fixture
def program(monkeypatch):
    """Stands for this program in another process: what it was asked, and what it is to answer."""
    asked = []

    def run(command, **options):
        asked.append((command, options))
        if isinstance(program.answer, Exception):
            raise program.answer
        code, out, err = program.answer
        return SimpleNamespace(returncode=code, stdout=out, stderr=err)

    program = SimpleNamespace(asked=asked, answer=(0, "[]", ""))
    monkeypatch.setattr(
        matrix,
        "subprocess",
        SimpleNamespace(run=run, **{name: getattr(subprocess, name) for name in ("DEVNULL", "TimeoutExpired")}),
    )
    return program


def test_a_release_is_asked_in_a_process_of_its_own(program):
    assert matrix._ask(Path("/lib"), Path("m.onnx"), ["sm86", "sm75"], ["x:1x3"]) == []
    command, options = program.asked[0]
    assert command[1:6] == ["-m", "workbench", "check", "m.onnx", "--json"]
    assert command[6:] == ["--target", "sm86", "--target", "sm75", "--shape", "x:1x3"]
    assert options["env"]["PYTHONPATH"].startswith("/lib:")
    assert {name: options[name] for name in ("text", "capture_output", "check", "stdin", "timeout")} == {
        "text": True,
        "capture_output": True,
        "check": False,
        "stdin": subprocess.DEVNULL,
        "timeout": 1200.0,
    }
    matrix._ask(None, Path("m.onnx"), ["sm86"], [])
    assert not program.asked[1][1]["env"]["PYTHONPATH"].startswith("/lib")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((13, '[{"a": 1}]', "warning"), [{"a": 1}]),
        ((7, "", "warning: b\nerror: it is gone\n"), "it is gone"),
        ((9, "", "  \n"), "exit code 9"),
        ((12, "[]", "x"), "x"),
        (subprocess.TimeoutExpired("workbench", 1), "no answer within 1200 s"),
    ],
)
def test_what_a_release_answers_is_its_verdicts_or_why_there_are_none(program, answer, said):
    program.answer = answer
    assert matrix._ask(None, Path("m.onnx"), ["sm86"], []) == said


@pytest.mark.parametrize(
    ("here", "installed"), [("1.6.1.120", True), ("1.6.1.119", False), ("1.7", False), (None, False)]
)
def test_a_release_is_the_one_that_is_here_or_one_in_a_folder_of_its_own(monkeypatch, here, installed):
    def version(name):
        assert name == "tensorrt-rtx"
        if here is None:
            raise metadata.PackageNotFoundError(name)
        return here

    asked = []
    stand_in = SimpleNamespace(version=version, PackageNotFoundError=metadata.PackageNotFoundError)
    monkeypatch.setattr(matrix, "metadata", stand_in)
    monkeypatch.setattr(matrix, "packages_folder", lambda *given: asked.append(given) or Path("folder"))
    assert matrix._folder("1.6") == (None if installed else Path("folder"))
    names = ["tensorrt-rtx", "tensorrt-rtx-cu13", "tensorrt-rtx-cu13-libs", "tensorrt-rtx-cu13-bindings"]
    packages = [f"{name}==1.6.1.120" for name in names]
    assert asked == ([] if installed else [(f"tensorrt-rtx-1.6.1.120-{sys.implementation.cache_tag}", packages)])


def test_a_release_that_fails_for_all_is_asked_for_each(monkeypatch):
    verdict = {"target": "b", "accepted": True, "nodes": [], "problems": [], "parse_s": 1.0, "build_s": 2.0}
    asked = []

    def ask(_folder, _model, targets, _shapes):
        asked.append(list(targets))
        return "no such GPU" if "a" in targets else [verdict]

    def folder(release):
        if release == "1.4":
            raise WorkbenchError("is not on PyPI")

    monkeypatch.setattr(matrix, "_ask", ask)
    monkeypatch.setattr(matrix, "_folder", folder)
    cells = matrix.ask_releases(Path("m.onnx"), ["1.4", "1.5"], ["a", "b"], []).cells
    assert [(one.release, one.target, one.outcome, one.reason) for one in cells] == [
        ("1.4", "a", "unknown", "is not on PyPI"),
        ("1.4", "b", "unknown", "is not on PyPI"),
        ("1.5", "a", "unknown", "no such GPU"),
        ("1.5", "b", "accepted", ""),
    ]
    assert asked == [["a", "b"], ["a"], ["b"]]
    assert cells[-1].seconds == 3.0
    assert [one.reason for one in matrix.ask_releases(Path("m"), ["1.5"], ["a"], []).cells] == ["no such GPU"]
    assert asked[3:] == [["a"]]
    assert matrix.ask_releases(Path("m.onnx"), ["1.5"], ["b"], []).accepted


# Bench


def measured(variant, median, **more):
    return BenchRow("m", variant, "measured", median_ms=median, **more)


def cells_of(rows):
    """Return the cells of the table of each row by title; columns are two blanks apart."""
    titles, _, *lines = [re.split(r" {2,}", line.strip()) for line in table(rows).splitlines()[: 2 + len(rows)]]
    return [dict(zip(titles, line, strict=True)) for line in lines]


def test_a_table_compares_with_fp16_and_leaves_out_what_nothing_has():
    rows = [
        measured(
            "fp16", 2.0, median_error_ms=0.01, p95_ms=2.5, layers=10, reformats=1, build_s=3.0, engine_bytes=3 << 20
        ),
        measured("qdq", 1.0, top1=0.75, top1_original=0.8, sqnr_db=31.25),
        BenchRow("m", "tf32", "failed", "no memory"),
        BenchRow("other", "qdq", "measured", median_ms=1.0),
    ]
    fp16, qdq, tf32, other = cells_of(rows)
    timed = {"median ms": "2.0000", "+/-": "0.0100", "p95 ms": "2.5000", "/ FP16": "1.000"}
    built = {"layers": "10", "reformats": "1", "build s": "3.0", "MiB": "3.0"}
    assert fp16.items() >= ({"model": "m", "variant": "fp16"} | timed | built).items()
    judged = {"SQNR dB": "31.2", "top-1 %": "75.00", "drop": "5.00"}
    assert qdq.items() >= ({"median ms": "1.0000", "p95 ms": "-", "/ FP16": "0.500"} | judged).items()
    assert set(list(tf32.values())[2:]) == {"-"}
    assert other.items() >= {"median ms": "1.0000", "/ FP16": "-"}.items()
    assert "SM MHz" not in fp16
    titles, rule, first, *_, last = table(rows).splitlines()
    assert rule == "-" * len(titles)
    assert first.startswith("m      fp16")
    assert last == "m.tf32: failed: no memory"
    assert set(cells_of(rows[2:])[0]) == set(fp16) - set(judged)


def test_a_clock_is_shown_where_it_is_known_and_what_held_it_back():
    steady = measured("fp16", 1.0, clocks={"sm_clock_mhz": [1200.4, 1200.4]})
    slowed = measured("qdq", 1.0, clocks={"sm_clock_mhz": [900, 1200], "slowed_by": ["power"]})
    lines = table([steady, slowed, measured("tf32", 1.0, clocks="no NVML")]).splitlines()
    assert lines[0].endswith("SM MHz")
    assert [line.split()[-1] for line in lines[2:5]] == ["1200", "900-1200", "-"]
    assert len(lines) == 6
    assert lines[5].startswith("m.qdq: ")


def test_rows_as_json_say_inf_in_words():
    rows = [measured("fp16", 1.5, sqnr_db=math.inf), measured("qdq", 1.0, sqnr_db=30.0)]
    content = json.loads(rows_json(rows, {"gpu": "none"}))
    assert [row["sqnr_db"] for row in content["rows"]] == ["inf", 30.0]
    assert [row["median_ms"] for row in content["rows"]] == [1.5, 1.0]
    assert (content["schema"], content["conditions"]) == ("workbench-bench/1", {"gpu": "none"})
    assert rows[0].stem == "m.fp16"


def test_a_bench_is_whole_where_every_row_is_measured_or_built_as_asked():
    built, done = BenchRow("m", "qdq", "built"), measured("fp16", 1.0)
    assert bench_job.BenchResult((done,)).exit_code == 0
    assert bench_job.BenchResult((done, built)).exit_code == BackendError.exit_code
    assert bench_job.BenchResult((built,), built_only=True).whole


def test_layer_precisions_are_those_of_tensorrt_8():
    assert bench_job._layer_precisions("a:fp16,b*:int8,c:fp32") == {"a": "fp16", "b*": "int8", "c": "fp32"}
    with pytest.raises(OptionError, match="c: TensorRT 8 has no bf16"):
        bench_job._layer_precisions("c:bf16")


def test_a_bench_of_several_batches_names_its_files_by_them(monkeypatch):
    opened, ran = [], []

    def open_source(_, **options):
        opened.append((options["batch"], options["named"]))
        return Source("m", parsed("float[1] x"))

    class Bench:
        def __init__(self, sources, _, **options):
            ran.append((sources, options))

        def run(self):
            return []

    monkeypatch.setattr(bench_job, "open_source", open_source)
    monkeypatch.setattr(bench_job, "Bench", Bench)
    bench_job.bench(("a/net.onnx",), out="o", batch=(1, 8), workspace_mib=3, quantized="q.onnx", variants=("qdq",))
    bench_job.bench(("a/net.onnx",), out="o", batch=8, refit=True, runs=7)
    bench_job.bench(("a/net.onnx",), out="o", quantized="q.onnx", variants=("given", "qdq"))
    assert opened == [(1, "net-b1"), (8, "net-b8"), (8, None), (None, None)]
    assert [options["variants"] for _, options in ran][::2] == [("qdq", "given"), ("given", "qdq")]
    assert ran[0][1]["options"].workspace_bytes == 3 * 1024 * 1024
    assert ran[1][1]["options"].workspace_bytes is None
    assert (ran[0][0][0].build.refit, ran[1][0][0].build.refit) == (False, True)
    assert (ran[1][1]["timing"].runs, ran[1][1]["timing"].cuda_graph) == (7, False)


@pytest.mark.parametrize(
    ("inputs", "batch"),
    [("float[4,3] x", 4), ("float[4] x, float[5] z", 4), ("float[N,3] x", None), ("float x", None), ("", None)],
)
def test_the_batch_of_a_source_is_the_first_axis_where_it_is_a_number(inputs, batch):
    source = Source("m", parsed(inputs))
    assert source.batch == batch
    assert source.ranges_from.startswith("none: 4.0 for every tensor")
    assert Source("m", source.model, ranges={"x": 1.0, "y": 2.0}).ranges_from == "calibrated, 2 tensors"


# A dossier


@pytest.mark.parametrize(
    ("inputs", "dynamic"),
    [
        ("float[N,3] x", True),
        ("float[N,3] x, float[M] z", True),
        ("float[4,3] x", False),
        ("float[N,M] x", False),
        ("float[N,3] x, float[4] z", False),
        ("float[N] x, float z", False),
        ("", False),
    ],
)
def test_a_batch_is_free_where_the_first_axis_alone_is(inputs, dynamic):
    assert dossier._is_dynamic(parsed(inputs)) is dynamic


def test_a_dossier_says_what_a_model_and_a_machine_are():
    assert dossier._floating(parsed("float16[1] x")) == "FP16"
    assert dossier._floating(parsed("float16[1] x, float[1] z")) == dossier._floating(parsed("float[1] x")) == "FP32"
    assert dossier._shape(parsed("float[N,3,4] x").inputs[0]) == (3, 4)
    conditions = {"backend": "b", "gpu_name": "G", "driver_version": "1", "sm_clock_mhz": 5, "runs": 3}
    assert dict(dossier._gpu(SimpleNamespace(conditions=conditions))) == {
        "gpu name": "G",
        "driver version": "1",
        "sm clock mhz": "5",
    }
    assert dict(dossier._gpu(None)) == {}
    clocks = {"sm_clock_mhz": [1200, 1980], "slowed_by": ["power cap"], "readings": 9}
    ((name, told),) = dossier._gpu(SimpleNamespace(conditions={"clocks": clocks}))
    assert (name, "{" in told, told.endswith("; held back by power cap")) == ("clocks", False, True)
    assert {"system", "processor"} <= dossier._machine(None).keys()


def test_the_load_of_a_machine_is_told_where_the_system_tells(monkeypatch):
    monkeypatch.setattr(dossier, "_processor", lambda: "a processor")
    system = f"{platform.system()} {platform.release()}"
    monkeypatch.setattr(dossier, "os", SimpleNamespace(getloadavg=lambda: (1.26, 2.26, 3.26), cpu_count=lambda: 7))
    assert dossier._machine(SimpleNamespace(conditions={"gpu": "H200"})) == {
        "system": system,
        "processor": "a processor",
        "load while it was measured": "1.3 on 7 cores",
        "gpu": "H200",
    }
    monkeypatch.setattr(dossier, "os", SimpleNamespace())
    assert dossier._machine(None) == {"system": system, "processor": "a processor"}


def test_a_processor_is_called_as_the_system_calls_it(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(dossier, "Path", lambda path: asked.append(path) or tmp_path / "cpuinfo")
    names = {"processor": "short", "machine": "x86_64"}
    monkeypatch.setattr(dossier, "platform", SimpleNamespace(**{name: (lambda key=name: names[key]) for name in names}))
    assert dossier._processor() == "short"
    names["processor"] = ""
    (tmp_path / "cpuinfo").write_text("cpu : 1\nno name\n")
    assert dossier._processor() == "x86_64"
    (tmp_path / "cpuinfo").write_text("processor : 0\nmodel name\t: A: B 7 \nmodel name : other\n")
    assert dossier._processor() == "A: B 7"
    assert set(asked) == {"/proc/cpuinfo"}


# Drift


def test_drift_shows_the_worst_and_counts_the_rest():
    one = [Drift(f"t{n}", 0.5, 2.0, 0.125, 0.001) for n in range(21)]
    result = DriftResult(SimpleNamespace(drifts=tuple(one)), ("a sentence",), (PASSED, FAILED), 64)
    lines = result.text().splitlines()
    assert lines[0].endswith("tensor, on 64 rows")
    assert lines[1].split() == ["0.500", "12.500%", "0.100%", "2.00x", "t0"]
    assert lines[20].endswith("t19")
    assert lines[21:25] == ["and 1 tensors more", "a sentence", f"gate {PASSED}", f"gate {FAILED}"]
    assert result.exit_code == 12
    assert "tensors more" not in DriftResult(SimpleNamespace(drifts=tuple(one[:20])), (), (), 1).text()


KEEP = "next: Keep counting, and make it a gate: --gate 'field_clipped <= 1'."
AGAIN = "next: Tune again on samples of the field as well, and compare on those."

CLIPPED = "the ranges of 1 of 2 tensors clip more in the field, a most:"


@pytest.mark.parametrize(
    ("worst", "gates", "said"),
    [
        (0.0, (PASSED,), ["good: the ranges hold in the field; b drifts most: 0.500", KEEP]),
        (0.005, (), [f"fair: {CLIPPED} 0.5% of its values", AGAIN]),
        (0.01, (), [f"bad: {CLIPPED} 1.0% of its values", AGAIN]),
        (0.0, (FAILED,), [f"bad: the ranges hold in the field; b drifts most: 0.500; gate {FAILED}", AGAIN]),
        (
            0.005,
            (FAILED, PASSED, FAILED),
            [
                f"bad: {CLIPPED} 0.5% of its values; gate {FAILED} (2 gates are missed)",
                AGAIN,
            ],
        ),
    ],
)
def test_drift_ends_with_a_verdict_and_one_thing_to_do(worst, gates, said):
    both = (Drift("b", 0.5, 2.0, 0.0, 0.0), Drift("a", 0.25, 2.0, worst, 0.0))
    assert DriftResult(SimpleNamespace(drifts=both), (), gates, 64).text().splitlines()[-2:] == said


@pytest.mark.parametrize(
    ("sources", "calibrated"),
    [
        ([{"kind": "images", "path": "/data/first"}, {"kind": "npz", "path": "/data/street.npz"}], "street"),
        ([{"kind": "iterable"}], "iterable"),
        ([], "other samples"),
    ],
)
def test_what_is_clipped_in_the_field_is_said_with_who_reads_it(sources, calibrated):
    steps = [SimpleNamespace(samples=SimpleNamespace(source=source)) for source in sources]
    deployment = SimpleNamespace(
        recipe=SimpleNamespace(newest=lambda _: steps[-1] if steps else None),
        readers=lambda tensor: ["conv", "pool"] if tensor == "read" else [],
    )
    read, unread = (Drift(name, 1.0, 1.0, 0.125, 0.0) for name in ("read", "unread"))
    said = drifting._sentence(read, deployment, "night")
    assert said == f"night clips 12.5% in conv, pool (tensor read); calibrated on {calibrated}"
    assert "in unread (tensor unread)" in drifting._sentence(unread, deployment, "night")


# Tuning


def test_an_engine_is_named_with_the_precision_it_computes_in():
    assert tuning._engine("int8=a/g.json") == ("int8", Path("a/g.json"))
    assert tuning._engine("g.json") == (None, Path("g.json"))
    assert tuning._engine("folder=x/g.json") == (None, Path("folder=x/g.json"))


def test_each_engine_has_a_precision_of_its_own_or_none_has(monkeypatch):
    monkeypatch.setattr("workbench.engine.load_report", lambda file, profile: (str(file), str(profile)))

    def cost(*engines):
        times = tuple(f"{n}.json" for n in range(len(engines)))
        return tuning._cost_of(
            SearchOptions(model="m", samples="s", out="o", min_sqnr=1, engine=engines, profile=times)
        )

    assert cost() is None
    assert cost("a", "b") == [("a", "0.json"), ("b", "1.json")]
    assert cost("fp16=a", "int8=b") == {"fp16": ("a", "0.json"), "int8": ("b", "1.json")}
    for engines in (("int8=a", "int8=b"), ("int8=a", "b")):
        with pytest.raises(OptionError, match="a precision of its own"):
            cost(*engines)


def test_goals_become_gates():
    def gates(**given):
        return tuning._gates(TuneOptions(model="m", samples="s", out="o", **given))

    assert gates() == []
    assert gates(min_sqnr=0) == [{"metric": "sqnr_db", "at_least": 0}]
    assert gates(max_drop=0, labels="l", min_sqnr=3) == [
        {"metric": "top1_drop", "at_most": 0},
        {"metric": "sqnr_db", "at_least": 3},
    ]


def test_how_engines_are_measured_follows_from_the_options(tmp_path):
    def how(kind=TuneOptions, **given):
        with measuring(kind(model="m", samples="s", out=tmp_path / "out", min_sqnr=1, **given)) as made:
            return made

    assert how() is None
    plain = how(measure="onnxruntime", measure_batch=4, optimization_level=2)
    assert (plain.backend, plain.batch, plain.build.optimization_level) == ("onnxruntime", 4, 2)
    assert (plain.timing.runs, plain.timing.warm_up_s, plain.executor) == (200, 0.3, None)
    assert (plain.folder, plain.builds, plain.implicit) == (tmp_path / "out.engines", 12, False)
    assert how(measure="tensorrt", engines="e", cuda_graph=True).folder == Path("e")
    assert how(measure="tensorrt").timing.runs == 1000
    searched = how(SearchOptions, measure="tensorrt", builds=3, budget_s=9, implicit=True)
    assert (searched.builds, searched.budget_s, searched.implicit) == (3, 9, True)


# A hand-over to Triton


def port(name, *shape, datatype="FP32"):
    return SimpleNamespace(name=name, shape=shape, datatype=datatype)


def test_the_largest_batch_is_that_of_the_narrowest_profile():
    deployment = SimpleNamespace(inputs=[port("x", -1, 3), port("z", -1), port("fixed", 4), port("scalar")])
    profile = [
        {"input": "x", "max": [16, 3]},
        {"input": "z", "max": [8]},
        {"input": "fixed", "max": [4]},
        {"input": "scalar", "max": []},
    ]
    assert _limit({"profile": profile}, deployment) == 8
    assert _limit({}, deployment) is None
    assert _limit({"profile": None}, deployment) is None
    for broken in ([{"input": "x"}], [{"input": "x", "max": []}], [{"input": "x", "max": ["many"]}], [None]):
        with pytest.raises(BackendError, match="profile cannot be read"):
            _limit({"profile": broken}, deployment)


def test_labels_are_as_many_as_there_are_classes(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("cat\ndog\n")

    def served(*dims):
        return SimpleNamespace(outputs=lambda: [port("y"), port("z")], dims=lambda _: dims)

    assert _labels(None, served(2)) == (None, ())
    assert _labels(path, served(7, 2)) == _labels(path, served(-1)) == ("cat\ndog\n", ("y",))
    with pytest.raises(OptionError, match="has 2 lines, and y has 3 classes"):
        _labels(path, served(2, 3))
    (tmp_path / "odd.txt").write_bytes(b"\xff\xfe\n")
    for unreadable in ("none.txt", "odd.txt"):
        with pytest.raises(OptionError, match=f"{unreadable} cannot be read"):
            _labels(tmp_path / unreadable, served(2))


def test_a_state_is_suggested_where_an_input_looks_like_an_output():
    def served(inputs, outputs, states=()):
        return SimpleNamespace(states=states, deployment=SimpleNamespace(inputs=inputs, outputs=outputs))

    x, h, y = port("x", 1, 3), port("h", 1, 8), port("y", 1, 8)
    (sentence,) = _like_states(served([x, h], [y]))
    assert "of one type and shape: h=y." in sentence
    assert _like_states(served([h], [y])) == []
    assert "type and shape: h=y, g=y. Where" in _like_states(served([x, h, port("g", 1, 8)], [y]))[0]
    assert _like_states(served([x, h], [port("y", 1, 9)])) == []
    assert _like_states(served([x, h], [port("y", 1, 8, datatype="FP16")])) == []
    assert _like_states(served([x, h], [y], states=(SimpleNamespace(input=x),))) == []


# A fleet


def test_a_site_that_lacks_something_says_what(tmp_path):
    there = tmp_path / "there"
    there.write_text("x")
    file = str(there)
    assert Site(recipe=file).problem() is None
    assert Site(model=file, samples=file, preset="fp16", method="mse", batch=2).problem() is None
    for lacking in (Site(), Site(model=file), Site(samples=file)):
        assert lacking.problem() == "give a recipe, or a model with samples to tune it on"
    assert Site(model=file, samples=file, backend="onnxruntime").problem() == "backend goes with a recipe"
    assert Site(recipe=file, backend="onnxruntime").problem() is None
    assert Site(recipe=file, preset="fp16").problem() == "preset is the recipe's own"
    assert Site(recipe=file, method="mse", batch=1).problem() == "method is the recipe's own"
    assert Site(recipe=file, batch=1).problem() == "batch is the recipe's own"
    assert Site(recipe=file, labels="none", samples="gone").problem() == "there is no gone"


def test_a_site_is_as_large_as_what_it_reads_and_known_by_it(tmp_path):
    (tmp_path / "a").write_bytes(b"123")
    (tmp_path / "images" / "more").mkdir(parents=True)
    (tmp_path / "images" / "b").write_bytes(b"12345")
    site = Site(recipe="a", samples="images", labels=None).at(tmp_path)
    assert (site.recipe, site.size()) == (str(tmp_path / "a"), 8)
    key = site.key()
    assert (key, len(key)) == (site.key(), 64)
    assert site.model_copy(update={"runs": 1}).key() != key
    (tmp_path / "images" / "c").write_bytes(b"")
    assert site.key() != key
    assert Site(recipe="none").at(tmp_path).key() != Site(recipe="a").at(tmp_path).key()


def test_sites_have_the_defaults_and_both_gates(tmp_path):
    text = """\
fleet: 1
defaults: {recipe: r.yaml, gates: [sqnr_db >= 1, file_mib <= 2], runs: 3}
sites:
  one: {samples: s.npz, gates: [file_mib <= 2, p95_ms <= 3]}
  two: {recipe: other.yaml, runs: 0}
"""
    (tmp_path / "fleet.yaml").write_text(text)
    sites = load_plan(tmp_path / "fleet.yaml")
    assert sites["one"].gates == ("sqnr_db >= 1", "file_mib <= 2", "p95_ms <= 3")
    assert (sites["one"].recipe, sites["one"].runs) == (str(tmp_path / "r.yaml"), 3)
    assert (sites["two"].recipe, sites["two"].runs) == (str(tmp_path / "other.yaml"), 0)
    assert sites["two"].gates == ("sqnr_db >= 1", "file_mib <= 2")


@pytest.mark.parametrize("name", ["../a", "a/b", ".a", "-a", "a.", "a ", ""])
def test_a_site_has_the_name_of_a_folder(name):
    with pytest.raises(ValueError, match="is no name for a site"):
        FleetPlan(fleet=1, sites={"a b.c@+-_1": Site(), name: Site()})


def test_a_fleet_has_sites_whose_folders_are_not_one():
    for sites, words in (({}, "at least one site"), ({"a": Site(), "A": Site()}, "capital letters alone")):
        with pytest.raises(ValueError, match=words):
            FleetPlan(fleet=1, sites=sites)


def test_a_site_is_done_where_all_is_as_it_was(tmp_path):
    site, folder = Site(), tmp_path / "sites"
    folder.mkdir()
    (tmp_path / "result").write_text("")

    def known(**changed):
        content = {
            "site": "a",
            "key": site.key(),
            "state": "failed",
            "worst": "w",
            "gates": [["g", 1]],
            "files": ["result"],
        }
        (folder / "a.json").write_text(json.dumps({**content, **changed}))
        return known_outcome(tmp_path, "a", site)

    assert known_outcome(tmp_path, "a", site) is None
    assert known() == SiteOutcome("a", site.key(), "failed", "w", (("g", True),), ("result",))
    assert not known().passed
    assert known(state="passed").passed
    assert known(state="broken") is known(key="other") is known(files=["result", "gone"]) is None
    assert known(more=1) is known(gates=[[1]]) is known(files=None) is None
    (folder / "a.json").write_text("{")
    assert known_outcome(tmp_path, "a", site) is None


def test_a_fleet_ends_with_what_is_worst_of_it_and_has_a_line_a_site():
    def outcome(name, state):
        return SiteOutcome(name, "key", state, f"worst of {name}")

    passed, failed, broken = outcome("a", "passed"), outcome("long name", "failed"), outcome("c", "broken")
    results = [FleetResult(some, (), ()) for some in ((passed,), (passed, failed), (failed, broken, passed))]
    assert [result.exit_code for result in results] == [0, 12, BackendError.exit_code]
    assert FleetResult((passed, failed), ("a",), ()).text().splitlines() == [
        "a          passed  worst of a",
        "long name  failed  worst of long name",
        "1 of 2 were done by an earlier run",
    ]
    assert len(results[2].text().splitlines()) == 3
    card = results[2]._card()
    assert (card.headline, card.rows[1]) == ("1 of 3 sites passed", ("c", "broken", "worst of c"))


def test_a_site_whose_worker_died_is_told_so():
    killed = type("KilledWorker", (Exception,), {})  # as Dask calls it
    assert _given_up("a", "key", killed("x")).worst == "KilledWorker: the process that did it died"
    assert _given_up("a", "key", OSError("gone")).worst == "OSError: gone"
    assert _details(SiteOutcome("a", "key", "failed", "w", (("g", True), ("h", False)))) == "g\nh"
    assert _details(SiteOutcome("a", "key", "broken", "w")) == "w"
