"""What jobs hand to those who do the work, and make of what these answer, each a function that stands in for them."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.kit.models import model
from tests.kit.places import RECORDED
from workbench import graph, interpreter
from workbench.backends import Engine
from workbench.backends.compiler import GPUS as COMPILED
from workbench.child import ChildError
from workbench.engine import GPU_LIMITS, load_engine
from workbench.errors import BackendError, OptionError, WorkbenchError
from workbench.jobs import dossier, reading, replaying
from workbench.jobs.bench import run as bench_run
from workbench.jobs.bench.rows import BenchRow
from workbench.jobs.bench.run import Bench
from workbench.jobs.bench.variants import Source
from workbench.jobs.checking import check
from workbench.jobs.fleet.plan import Site
from workbench.jobs.fleet.site import SiteOutcome, run_site
from workbench.jobs.reading import read_engine
from workbench.jobs.replaying import _is_made_there
from workbench.precision import TARGETS
from workbench.recipe import Evidence, Gate, GateResult

PASSED = GateResult("sqnr_db >= 20", 25.0, True, unit="dB")
CLOSE = GateResult("sqnr_db >= 24", 25.0, True, unit="dB")
FAILED = GateResult("sqnr_db >= 30", 25.0, False, unit="dB", missed_by=5.0)
MODEL = model([helper.make_node("Relu", ["x"], ["y"], "it")], {"x": [4]}, {"y": [4]})


# A site of a fleet


def result(folder, *verdicts, sqnr=25.0):
    (folder / "tuned.onnx").parent.mkdir(parents=True, exist_ok=True)
    (folder / "tuned.onnx").write_bytes(b"")
    comparison = SimpleNamespace(worst_sqnr_db=sqnr)
    text = "first\nsecond"
    return SimpleNamespace(files=(folder / "tuned.onnx",), verdicts=verdicts, comparison=comparison, text=lambda: text)


def test_a_site_with_a_recipe_is_replayed_with_what_is_set_and_its_outcome_is_written(tmp_path, monkeypatch):
    asked = {}

    def replay(recipe, folder, **options):
        asked.update(options, recipe=recipe)
        return result(folder, PASSED, CLOSE)

    monkeypatch.setattr("workbench.jobs.replaying.replay", replay)
    site = Site(recipe="r", samples="s", target="rtx", gates=("sqnr_db >= 24",), runs=3, backend="onnxruntime")
    outcome = run_site("a", site, str(tmp_path), "key")
    assert asked == {
        "recipe": "r",
        "settings": ("samples=s", "target=rtx"),
        "gates": ("sqnr_db >= 24",),
        "backend": "onnxruntime",
        "runs": 3,
        "allow_scripts": False,
    }
    assert (outcome.state, outcome.worst, outcome.files) == ("passed", str(CLOSE), ("sites/a/tuned.onnx",))
    assert outcome.gates == ((str(PASSED), True), (str(CLOSE), True))
    assert 0 <= outcome.seconds < 60
    written = json.loads((tmp_path / "sites/a.json").read_text())
    assert (written["key"], written["state"], written["worker"]) == ("key", "passed", outcome.worker)


@pytest.mark.parametrize(
    ("verdicts", "sqnr", "state", "worst"),
    [
        ((), 25.04, "passed", "SQNR 25.0 dB at the worst output"),
        ((), math.nan, "passed", "no floating-point output"),
        ((PASSED, FAILED, CLOSE), 25.0, "failed", str(FAILED)),
    ],
)
def test_a_site_without_a_recipe_is_tuned(tmp_path, monkeypatch, verdicts, sqnr, state, worst):
    asked = []

    def tune(*given, **options):
        asked.append((given[:2], options))
        return result(given[2], *verdicts, sqnr=sqnr)

    monkeypatch.setattr("workbench.jobs.tuning.tune", tune)
    outcome = run_site("a", Site(model="m", samples="s", eval_samples="e", preset="fp16"), str(tmp_path), "key")
    assert asked == [(("m", "s"), {"evaluation": "e", "preset": "fp16", "gates": (), "runs": 0})]
    assert (outcome.state, outcome.worst) == (state, worst)


@pytest.mark.parametrize(
    ("error", "worst"), [(WorkbenchError("it is gone", where="s"), "s: it is gone"), (KeyError("k"), "KeyError: 'k'")]
)
def test_whatever_goes_wrong_at_a_site_is_its_own_outcome(tmp_path, monkeypatch, error, worst):
    def replay(*_, **__):
        raise error

    monkeypatch.setattr("workbench.jobs.replaying.replay", replay)
    (tmp_path / "sites").mkdir()
    outcome = run_site("a", Site(recipe="r"), str(tmp_path), "key")
    assert (outcome.state, outcome.worst, outcome.files, outcome.passed) == ("broken", worst, (), False)
    assert 0 <= outcome.seconds < 60
    assert outcome.worker == f"{platform.node()}:{os.getpid()}"
    assert SiteOutcome(**json.loads((tmp_path / "sites/a.json").read_text())).worst == worst


def test_a_folder_holds_what_a_recipe_makes_by_the_bytes(tmp_path):
    (tmp_path / "tuned.onnx").write_bytes(b"bytes")
    made = SimpleNamespace(tuned=SimpleNamespace(sha256=hashlib.sha256(b"bytes").hexdigest()))
    assert _is_made_there(tmp_path, made)
    assert not _is_made_there(tmp_path, SimpleNamespace(tuned=SimpleNamespace(sha256="other")))
    assert not _is_made_there(tmp_path, SimpleNamespace(tuned=None))
    assert not _is_made_there(tmp_path / "none", made)
    assert not _is_made_there(tmp_path / ("n" * 300), made)


# A compiler that is asked


class Said(SimpleNamespace):
    """A verdict, as far as a check looks at it."""

    def __str__(self):
        return f"{self.target}: {self.accepted}\nand more"


@pytest.fixture
def file(tmp_path):
    MODEL.save(tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def test_each_target_is_asked_and_told_to_ci(file, tmp_path, monkeypatch):
    asked = []

    def judge(asked_of, target, shapes):
        asked.append((len(asked_of.nodes), target, shapes))
        return Said(model="m", target=target, compiler="rtx", accepted=target != "sm75")

    monkeypatch.setattr("workbench.backends.verdict.check", judge)
    done = check(file, shape=("x:1x3", "z:4"), summary=tmp_path / "s.md")
    assert asked == [(1, "sm86", {"x": (1, 3), "z": (4,)})]
    assert (done.accepted, done.files, done.remarks) == (True, (tmp_path / "s.md",), ())
    assert "| ✅ | rtx | m for sm86 | sm86: True |" in (tmp_path / "s.md").read_text()
    both = check(file, target=("sm86", "sm75"))
    assert ([one.target for one in both.verdicts], both.exit_code, both.files) == (["sm86", "sm75"], 13, ())
    assert both.text() == "sm86: True\nand more\nsm75: False\nand more"


def test_the_compiler_is_loaded_while_the_model_is_read(file, monkeypatch):
    order, start, load = [], interpreter._started, graph.load_model
    monkeypatch.setattr(interpreter, "_started", lambda ahead: order.append(ahead) or start(ahead))
    monkeypatch.setattr(graph, "load_model", lambda path: order.append(path) or load(path))
    assert check(file).accepted
    assert order == [("workbench.backends.compiler.nvinfer", "tensorrt_rtx"), file]


def test_what_helps_is_done_for_each_target_and_written(file, tmp_path, monkeypatch):
    from workbench.graph.edits import edit_by_name

    edits = {"sm86": [edit_by_name("convert_opset", version=18)], "sm75": []}

    def mend(mended, target, shapes):
        assert shapes == {}
        return SimpleNamespace(edits=edits[target], notes=(f"opset {mended.opset}",))

    monkeypatch.setattr("workbench.backends.verdict.mend", mend)

    def judge(asked_of, target, **_):
        return Said(model="m", target=target, compiler="", accepted=asked_of.opset == 18)

    monkeypatch.setattr("workbench.backends.verdict.check", judge)
    done = check(file, target=("sm86", "sm75"), fix=True, out=tmp_path / "mended.onnx")
    assert (done.accepted, done.remarks) == (True, ("sm86: opset 17", "sm75: opset 18"))
    assert [path.name for path in done.files] == ["mended.onnx", "mended.recipe.yaml"]
    assert all(path.is_file() for path in done.files)


def test_a_matrix_notes_what_changed_from_each_release_to_the_next(file, tmp_path, monkeypatch):
    from workbench.backends.verdict import Cell, Matrix

    outcomes = {"1.5": "accepted", "1.6": "refused", "1.7": "accepted"}
    asked = []

    def ask(path, releases, targets, shapes):
        asked.append((path, releases, list(targets), shapes))
        return Matrix("m", tuple(Cell(one, "sm86", outcome, {}) for one, outcome in outcomes.items()))

    monkeypatch.setattr("workbench.jobs.matrix.ask_releases", ask)
    done = check(file, matrix=True, target=("sm86",), releases="1.5,1.6,1.7", summary=tmp_path / "s.md")
    assert asked == [(file, ("1.5", "1.6", "1.7"), ["sm86"], ())]
    assert (done.exit_code, done.verdicts) == (13, ())
    text = (tmp_path / "s.md").read_text()
    assert "3 releases of TensorRT-RTX" in text
    places = [text.index(f"changed from {pair}: ") for pair in ("1.5 to 1.6", "1.6 to 1.7")]
    assert places == sorted(places)
    assert "1.5 to 1.7" not in text
    with pytest.raises(OptionError, match="'x=1' is not like INPUT:1x3x224x224"):
        check(file, matrix=True, shape=("x:1", "x=1"))
    check(file, matrix=True)
    assert asked[1][1] == ("1.4", "1.5", "1.6", "1.7")
    assert asked[1][2] == list(COMPILED)


# Bench


def bench(tmp_path, *names, **options):
    sources = [Source(name, MODEL) for name in names or ("m",)]
    return Bench(sources, tmp_path, **{"variants": ("fp16", "fp32"), **options})


def test_rows_stand_by_model_and_variant_whatever_came_first(tmp_path):
    made = bench(tmp_path, "b", "a")
    for name, variant in (("a", "fp32"), ("b", "fp32"), ("a", "fp16"), ("b", "fp16")):
        made._put(BenchRow(name, variant, "built"))
    made._put(BenchRow("a", "fp32", "failed", "again"))
    assert [(row.stem, row.status) for row in made.rows] == [
        ("b.fp16", "built"),
        ("b.fp32", "built"),
        ("a.fp16", "built"),
        ("a.fp32", "failed"),
    ]
    written = json.loads((tmp_path / "results.json").read_text())
    assert [row["reason"] for row in written["rows"]] == [None, None, None, "again"]
    assert (written["conditions"]["package"], written["conditions"]["asked"]) == ("tensorrt", {"b": [], "a": []})


def test_what_a_build_comes_to_is_a_row(tmp_path, monkeypatch):
    said = []
    made = bench(tmp_path, target="sm86", package="tensorrt_rtx", say=said.append)
    outcome = {}

    def compiled(row, *_):
        if "error" in outcome:
            raise outcome["error"]
        return bench_run.replace(row, status="built", build_s=2.0)

    monkeypatch.setattr(made, "_compile", compiled)
    row = made._build(made.sources[0], "fp32", TARGETS["tensorrt-11"])
    assert (row.status, row.batch, row.sha256) == ("built", 4, MODEL.digest)
    late = ChildError("it took too long", kind="timeout")
    for error, limited, status in (
        (late, False, "failed"),
        (late, True, "skipped"),
        (ChildError("it died", kind="signal"), True, "failed"),
        (BackendError("no\n memory"), True, "failed"),
    ):
        outcome["error"] = error
        made._end = time.monotonic() + 1000 if limited else None
        row = made._build(made.sources[0], "fp32", TARGETS["tensorrt-11"])
        assert row.status == status
        assert row.reason == " ".join(str(error).split())
    made._end = time.monotonic() + bench_run.SHORTEST_BUILD_S - 1
    assert made._build(made.sources[0], "fp32", TARGETS["tensorrt-11"]).reason == "there was no time left"
    assert said[0].startswith("m.fp32: built in ")
    assert said[-2].startswith("m.fp32: no memory (")
    assert said[-1] == "m.fp32: no time left"


def test_the_engines_of_a_model_are_measured_together_from_their_files(tmp_path, monkeypatch):
    made = bench(tmp_path, "a", "b")
    for name in ("a", "b"):
        for variant in ("fp16", "fp32"):
            made._put(BenchRow(name, variant, "built", "it was not measured"))
    made._built = {stem: Engine("tensorrt", stem.encode(), {}) for stem in ("a.fp16", "a.fp32", "b.fp16")}
    asked = []

    def run(child, what, _, __, paths, ___):
        asked.append((what, {stem: Path(path).read_bytes() for stem, path in paths.items()}, child.timeout_s))
        if what == "measuring b":
            raise BackendError("the GPU is lost")
        unmeasured = SimpleNamespace(timing=None, inspector=None, error="too slow")
        return SimpleNamespace(value=dict.fromkeys(paths, unmeasured))

    monkeypatch.setattr(bench_run, "run", run)
    for source in (*made.sources, Source("none", MODEL)):
        made._measure(source)
    limit = bench_run.MEASURING_LIMIT_S
    assert asked == [
        ("measuring a", {"a.fp16": b"a.fp16", "a.fp32": b"a.fp32"}, limit),
        ("measuring b", {"b.fp16": b"b.fp16"}, limit),
    ]
    assert [row.reason for row in made.rows] == ["too slow", "too slow", "the GPU is lost", "it was not measured"]


def test_results_are_judged_of_what_was_measured_of_the_model(tmp_path, monkeypatch):
    said = []
    made = bench(tmp_path, "a", "b", say=said.append)
    judging = SimpleNamespace(samples=np.zeros(3), labels=None)
    source = bench_run.replace(made.sources[0], evaluation=judging)
    for name, variant, status in (("a", "fp16", "measured"), ("a", "fp32", "built"), ("b", "fp16", "measured")):
        made._put(BenchRow(name, variant, status))
    made._built = {row.stem: Engine("onnxruntime", b"", {}) for row in made.rows}
    answers = {}
    monkeypatch.setattr("workbench.evaluate.compare_engine", lambda *_, **__: answers["answer"]())

    def judged():
        return next(row for row in made.rows if row.stem == "a.fp16")

    answers["answer"] = lambda: SimpleNamespace(worst_sqnr_db=31.0, accuracy=SimpleNamespace(tuned=0.5, original=0.75))
    made._judge(source)
    assert (judged().sqnr_db, judged().top1, judged().top1_original) == (31.0, 0.5, 0.75)
    answers["answer"] = lambda: SimpleNamespace(worst_sqnr_db=math.nan, accuracy=None)
    made._judge(source)
    assert (judged().sqnr_db, judged().top1, judged().top1_original) == (None, None, None)
    assert [row.sqnr_db for row in made.rows] == [None, None, None]
    assert said == ["a.fp16: comparing its results on 3 samples"] * 2
    made._end = time.monotonic() - 1
    made._judge(source)
    assert said[2:] == ["a.fp16: no time left to compare its results"]
    made._judge(made.sources[0])  # nothing to judge on
    assert len(said) == 3


# A replay, and an engine that is read


@pytest.mark.parametrize(
    ("gates", "settings", "runs", "tried", "noted"),
    [
        ((), {}, 3, False, False),
        ((), {"target": "rtx"}, 0, False, False),
        ((), {"target": "rtx"}, 3, True, True),
        (("sqnr_db >= 1",), {}, 0, True, False),
        (("file_mib <= 1",), {}, 3, False, False),
        (("file_mib <= 1",), {"target": "rtx"}, 3, True, True),
    ],
)
def test_a_comparison_that_fails_is_noted_or_what_gates_lack(monkeypatch, gates, settings, runs, tried, noted):
    asked = []

    def compare():
        asked.append(True)
        raise WorkbenchError("no samples")

    options = SimpleNamespace(runs=runs, backend=None, engine=None)
    again = replaying._Replay(options, None, None, settings)
    again.wb = None
    monkeypatch.setattr(again, "_compare", compare)
    monkeypatch.setattr(replaying, "result_evidence", lambda _, __, lacking: Evidence(lacking={"comparison": lacking}))
    assert again.measure(tuple(Gate.read(text) for text in gates)) is None
    assert asked == [True] * tried
    assert again.notes == ["nothing was compared: no samples"] * noted
    if gates:
        assert again.evidence.lacking == {"comparison": "nothing was compared: no samples" if tried else ""}


def test_an_engine_is_read_with_its_model_and_drawn_with_its_gpu(tmp_path, monkeypatch):
    graph = RECORDED / "resnet50.qdq.graph.json"
    given, drawn = [], []

    def load(*files, model, **options):
        given.append(model)
        return load_engine(*files, **options)

    def card(*_, limits, **__):
        drawn.append(limits)
        return "page"

    monkeypatch.setattr(reading, "load_engine", load)
    monkeypatch.setattr(reading, "load_model", str)
    monkeypatch.setattr("workbench.views.engines.report_card", card)
    plain = read_engine(graph, html=tmp_path / "a.html")
    full = read_engine(graph, model="m.onnx", gpu="L4", html=tmp_path / "b.html", sarif=tmp_path / "s.sarif")
    assert given == [None, "m.onnx"]
    assert drawn == [None, GPU_LIMITS["L4"]]
    assert (plain.files, plain.comparison) == ((tmp_path / "a.html",), None)
    assert full.files == (tmp_path / "b.html", tmp_path / "s.sarif")
    slower = RECORDED / "resnet50.fp16.graph.json"
    worse = read_engine(slower, against=graph, no_worse=0)
    assert worse.comparison is not None
    assert {case.group for case in worse.cases} == {"against resnet50.qdq"}
    assert {case.name for case in worse.cases if case.passed is False} >= {"layers", "reformats"}
    assert worse.exit_code == 12
    assert not read_engine(slower, against=graph).cases


def test_gates_on_an_engine_and_what_got_worse_are_cases_that_ci_is_told(tmp_path):
    graph, slower = (RECORDED / f"resnet50.{kind}.graph.json" for kind in ("qdq", "fp16"))
    gates = ("layers <= 57", "layers <= 56")
    judged = read_engine(graph, gates=gates, onnx=tmp_path / "e.onnx")
    assert [(case.name, case.passed) for case in judged.cases] == [(gates[0], True), (gates[1], False)]
    assert (judged.exit_code, judged.files) == (12, (tmp_path / "e.onnx",))
    assert len(onnx.load(tmp_path / "e.onnx").graph.node) == 57
    worse = read_engine(slower, against=graph, no_worse=0, summary=tmp_path / "s.md")
    assert all(case.message.endswith(", WORSE") == (case.passed is False) for case in worse.cases)
    notes = [line for line in (tmp_path / "s.md").read_text().splitlines() if line.startswith("- ")]
    bad = [case for case in worse.cases if case.passed is False]
    assert len(notes) == sum(min(len(case.details.splitlines()), 6) for case in bad) > 0
    assert all(note.startswith(tuple(f"- {case.name}: " for case in bad)) for note in notes)


@pytest.mark.parametrize("behind", [None, "other.onnx"])
def test_an_engine_is_held_against_what_its_recipe_asked_and_another_engine_of_its_model(monkeypatch, behind):
    loaded, compared = {}, []
    wb = SimpleNamespace(tuned="tuned", plan=SimpleNamespace(precisions={"n": "int8"}))
    monkeypatch.setattr("workbench.session.open_recipe", lambda path, **how: loaded.update(how, recipe=path) or wb)
    monkeypatch.setattr(reading, "load_model", str)
    monkeypatch.setattr(reading, "load_report", lambda file, **times: loaded.update(times) or f"report of {file}")
    engine = SimpleNamespace(report="report")
    monkeypatch.setattr(reading, "load_engine", lambda _, **given: loaded.update(given) or engine)
    monkeypatch.setattr(reading, "compare_engines", lambda *given, models: compared.append((*given, models)) or "held")
    files = {"against_profile": "p2", "against_timing": "t2", "against_model": behind}
    engine.report = SimpleNamespace(name="mine")
    result = read_engine("g.json", recipe="r.yaml", model="m.onnx", allow_scripts=True, against="a.json", **files)
    assert (loaded["model"], loaded["requested"], loaded["allow_scripts"]) == ("tuned", {"n": "int8"}, True)
    assert (loaded["recipe"], loaded["profile"], loaded["timing"]) == (Path("r.yaml"), Path("p2"), Path("t2"))
    models = [] if behind is None else [behind, "tuned"]
    assert compared == [(["report of a.json", engine.report], "tuned", models)]
    assert (result.comparison, result.cases) == ("held", ())


CALIBRATIONS = (("first", 1), ("again", 2), ("last", 4))
"""Samples and batches of calibrations that follow each other: the last counts."""


class Data(SimpleNamespace):
    """Five samples of a name."""

    def __init__(self, name):
        super().__init__(name=name, fingerprint=f"print of {name}")

    def __len__(self):
        return 5

    def describe(self):
        return {"kind": self.name}


@pytest.mark.parametrize(
    ("settings", "evaluated", "open_ones", "steps", "compared", "remarks"),
    [
        ({}, ("field", "print of field"), None, 3, ("field", "l.npy", 4), 0),
        ({}, ("field", "another"), None, 0, ("field", "l.npy", None), 1),
        ({"labels": "m.npy"}, ("field", "print of field"), None, 3, ("field", "m.npy", 4), 0),
        ({"eval_samples": "e"}, ("field", "another"), None, 3, ("opened e as PIXELS", None, 4), 0),
        ({"samples": "s"}, ("field", "another"), "open", 3, ("open", None, 4), 0),
        ({}, None, "open", 3, ("open", None, 4), 0),
        ({}, None, None, 3, ("last", None, 4), 0),
    ],
)
def test_a_replay_compares_on_what_is_set_or_was_judged_on_or_was_calibrated_on_last(
    monkeypatch, settings, evaluated, open_ones, steps, compared, remarks
):
    sources = [{}, {"preprocessing": "PIXELS"}, {"preprocessing": "LATER"}]
    calibrations = [
        SimpleNamespace(samples=SimpleNamespace(name=name, source=source), batch=batch)
        for (name, batch), source in zip(CALIBRATIONS, sources, strict=True)
    ]
    judged = evaluated and SimpleNamespace(
        samples=SimpleNamespace(name=evaluated[0], fingerprint=evaluated[1]), labels=SimpleNamespace(file="l.npy")
    )
    recipe = SimpleNamespace(
        evaluation=judged,
        of_kind=lambda _: calibrations[:steps],
        newest=lambda _: calibrations[steps - 1] if steps else None,
    )
    amended, asked = [], []
    history = SimpleNamespace(
        measured=SimpleNamespace(samples=open_ones and Data(open_ones)),
        amend=lambda *, evaluation: amended.append((evaluation.samples, evaluation.labels)),
    )
    again = replaying._Replay(SimpleNamespace(runs=7), recipe, None, settings)
    again.wb = SimpleNamespace(compare=lambda data, **options: asked.append((data.name, options)))
    monkeypatch.setattr(replaying, "history_of", lambda _: history)
    monkeypatch.setattr(replaying, "samples_of", lambda _, reference: Data(reference.name))
    monkeypatch.setattr(replaying, "opened", lambda _, file, pixels: Data(f"opened {file} as {pixels}"))
    for name in ("SamplesReference", "Evaluation"):
        monkeypatch.setattr(replaying, name, SimpleNamespace)
    monkeypatch.setattr(replaying, "FileReference", SimpleNamespace(of=lambda file: file))
    again._compare()
    name, labels, batch = compared
    assert asked == [(name, {"labels": labels, "batch": batch, "runs": 7})]
    assert len(again.notes) == remarks
    reference = SimpleNamespace(source={"kind": name}, count=5, fingerprint=f"print of {name}")
    assert amended == ([(reference, labels)] if settings else [])


@pytest.mark.parametrize(
    ("gate", "options", "evidence"),
    [
        ("sqnr_db >= 1", {"backend": "onnxruntime"}, {}),
        ("p95_ms <= 1", {"backend": "onnxruntime"}, {"conditions": "built 5"}),
        ("p95_ms <= 1", {"engine": "g.json"}, {"conditions": "read n2 fp16"}),
        ("p95_ms <= 1", {}, {}),
    ],
)
def test_gates_on_engines_are_judged_on_one_that_is_built_or_read(monkeypatch, gate, options, evidence):
    decisions = [
        SimpleNamespace(node="n1", precision="int8", rule=None),
        SimpleNamespace(node="n2", precision="fp16", rule=0),
    ]
    plan = SimpleNamespace(resolve=lambda: SimpleNamespace(decisions=dict(enumerate(decisions))))
    given = {"runs": 5, "backend": None, "engine": None, "profile": "p", "timing": "t"} | options
    again = replaying._Replay(SimpleNamespace(**given), None, None, {})
    again.wb = SimpleNamespace(plan=plan, tuned="tuned")
    again.evidence = Evidence(lacking={"comparison": "none"})

    def load(file, *, profile, timing, model, requested):
        assert (file, profile, timing, model) == ("g.json", "p", "t", "tuned")
        return " ".join(*requested.items())

    monkeypatch.setattr(replaying, "built_evidence", lambda _, __, runs: {"conditions": f"built {runs}"})
    monkeypatch.setattr(replaying, "load_engine", load)
    monkeypatch.setattr(replaying, "read_evidence", lambda read: {"conditions": f"read {read}"})
    made = again._engine((Gate.read(gate),))
    if gate.startswith("sqnr"):
        assert made == {}
    else:
        assert made == evidence | {"lacking": {"comparison": "none"}}


def test_a_replay_says_what_moved_most_first_and_leaves_out_what_did_not(monkeypatch):
    steps = [
        SimpleNamespace(do="set_range", tensor="same", amax=1.0),
        SimpleNamespace(do="calibrate", ranges={"less": 2.0, "more": 3.0, "gone": 4.0}),
        SimpleNamespace(do="set_precision"),
    ]
    options = SimpleNamespace(recalibrate=True, recipe="r.yaml")
    recipe = SimpleNamespace(steps=steps, newest=lambda _: steps[1])
    again = replaying._Replay(options, recipe, None, {})
    again.wb = SimpleNamespace(ranges={"same": 1.0, "less": 1.0, "more": 6.0, "new": 5.0})
    monkeypatch.setattr(again, "_again", lambda: None)
    again.make()
    moved = [(one.tensor, one.before, one.after) for one in again.moved]
    assert moved == [("gone", 4.0, None), ("new", None, 5.0), ("more", 3.0, 6.0), ("less", 2.0, 1.0)]


@pytest.mark.parametrize(
    ("settings", "asked"),
    [
        ({}, ("other", False, [])),
        ({"target": "rtx"}, ("other", False, ["rtx"])),
        ({"samples": "mine"}, ("mine", True, [])),
        ({"model": "m.onnx", "target": "any"}, ("other", True, ["any"])),
    ],
)
def test_what_came_from_data_is_measured_anew_where_the_data_or_the_weights_are_others(monkeypatch, settings, asked):
    targets, begun, done = [], [], []
    recipe = SimpleNamespace(steps=["one", "two"], model_copy=lambda *, update: begun.append(update) or "copy")

    def session(of, *, recipe):
        assert (of.digest, recipe) == ("digest", "copy")
        return SimpleNamespace(plan=SimpleNamespace(set_target=targets.append), tune=lambda: done.append("tuned"))

    def start(_, samples, *, anew):
        asked_of.append((samples, anew))
        return SimpleNamespace(do=done.append, notes=["a note"])

    asked_of = []
    monkeypatch.setattr(replaying, "Workbench", session)
    monkeypatch.setattr(replaying, "history_of", lambda wb: wb)
    monkeypatch.setattr(replaying, "Again", start)
    monkeypatch.setattr(replaying, "structure_digest", lambda _: "structure")
    again = replaying._Replay(SimpleNamespace(samples="other"), recipe, SimpleNamespace(digest="digest"), settings)
    again._again()
    (samples, anew, target) = asked
    assert (asked_of, targets, done) == ([(samples, anew)], target, ["one", "two", "tuned"])
    assert again.notes == ["a note"]
    (update,) = begun
    model = update.pop("model", None)
    assert update == {"steps": (), "tuned": None}
    named = None if model is None else (model.file, model.sha256, model.structure)
    assert named == ((str(Path("m.onnx").resolve()), "digest", "structure") if "model" in settings else None)


# A dossier


@pytest.fixture
def measuring(monkeypatch):
    """What measures for a dossier, with a session and a recipe that are none."""
    made = object.__new__(dossier._Measuring)
    made.notes, made.steps, made.compared = [], [], []
    made.wb = SimpleNamespace(compare=lambda *given, **options: made.compared.append((given, options)), tuned=MODEL)
    made.recipe = SimpleNamespace(evaluation=None, newest=lambda _: made.steps[-1] if made.steps else None)
    made.options = SimpleNamespace(runs=20)
    monkeypatch.setattr(dossier, "history_of", lambda _: "history")
    monkeypatch.setattr(dossier, "samples_of", lambda _, samples: f"opened {samples}")
    return made


def test_a_dossier_compares_on_what_gates_are_judged_on_or_else_on_what_was_calibrated_on(measuring):
    with pytest.raises(WorkbenchError, match="the recipe has no samples"):
        measuring._compare()
    with pytest.raises(WorkbenchError, match="no calibration to compare with"):
        measuring._drift()
    measuring.steps += [SimpleNamespace(samples=name, batch=batch) for name, batch in CALIBRATIONS]
    measuring._compare()
    measuring.recipe.evaluation = SimpleNamespace(samples="field", labels=None)
    measuring._compare()
    measuring.recipe.evaluation.labels = SimpleNamespace(file="labels.npy")
    measuring.steps.clear()
    measuring._compare()
    assert measuring.compared == [
        (("opened last",), {"labels": None, "batch": 4, "runs": 0}),
        (("opened field",), {"labels": None, "batch": 4, "runs": 0}),
        (("opened field",), {"labels": "labels.npy", "batch": None, "runs": 0}),
    ]


def test_the_field_is_held_against_the_newest_calibration_as_that_saw_it(measuring, monkeypatch):
    observed, compared = [], []
    steps = [
        SimpleNamespace(samples=SimpleNamespace(name=name, source={"preprocessing": f"as {name}"}), batch=batch)
        for name, batch in CALIBRATIONS
    ]
    measuring.steps += steps

    class Ranges(dict):
        def observe(self, data, *, batch):
            observed.append((data, batch))
            return {"x": f"x of {data}"}

    measuring.wb.ranges = Ranges(x=1.5, gone=2.0)
    measuring.options.field = "f.npz"
    monkeypatch.setattr(dossier, "samples_of", lambda _, samples: samples.name)
    monkeypatch.setattr(dossier, "opened", lambda _, file, pixels: f"{file} {pixels}")
    monkeypatch.setattr(dossier, "at", lambda seen, amax: (seen, amax))
    monkeypatch.setattr(dossier, "drifts", lambda *given: compared.append(given) or "drifted")
    assert measuring._drift() == ("drifted", len("f.npz as last"))
    assert observed == [("last", 4), ("f.npz as last", 4)]
    assert compared == [({"x": "x of last"}, {"x": "x of f.npz as last"}, {"x": ("x of last", 1.5)})]


def test_what_fails_of_a_dossier_is_a_note(measuring):
    def fail():
        raise WorkbenchError("it is gone")

    assert measuring._try("the drift", fail) is None
    assert measuring._try("the drift", lambda: 7) == 7
    assert measuring.notes == ["the drift: it is gone"]


def test_engines_of_a_dossier_take_the_batches_and_are_timed_at_each(measuring, monkeypatch):
    built, timed = [], []
    free = model([helper.make_node("Relu", ["x"], ["y"], "it")], {"x": ["N", 3]}, {"y": ["N", 3]})
    measuring.wb.tuned = free
    measuring.backend = SimpleNamespace(build=lambda of, options, **_: built.append((of, options.profiles)))

    class Timer:
        def time(self, _, options):
            if options.shapes and options.shapes["x"][0] == 8:
                raise BackendError("no memory")
            timed.append((options.runs, options.shapes))
            return SimpleNamespace(conditions={"engine_scratch_bytes": 3 << 20} if options.shapes else {})

    monkeypatch.setattr(dossier, "backend_of", lambda _: Timer())
    measuring._built(free, [])
    measuring._built(free, [1, 2, 4])
    (_, none), (_, (profile,)) = built
    assert none is None
    assert (profile["x"].min, profile["x"].opt, profile["x"].max) == ((1, 3), (4, 3), (4, 3))
    measuring._timed("engine", free, None)
    served = measuring._served("engine", 2)
    assert timed == [(20, None), (20, {"x": (2, 3)})]
    assert (served.batch, served.device_mib) == (2, 3.0)
    assert served.activations_mib == pytest.approx(2 * 2 * 3 * 4 / 2**20)
    assert measuring._served("engine", 8) is None
    assert measuring.notes == ["batch 8: no memory"]
    silent = SimpleNamespace(time=lambda *_: SimpleNamespace(conditions={}))
    monkeypatch.setattr(dossier, "backend_of", lambda _: silent)
    monkeypatch.setattr(dossier, "memory_use", lambda *_: SimpleNamespace(unknown=("t",), peak=0))
    unknown = measuring._served("engine", 2)
    assert (unknown.device_mib, unknown.activations_mib) == (None, None)


class Engines(SimpleNamespace):
    """Stands for a session with a model of a free batch."""

    def inspect(self, engine):
        return f"made of {engine.data.decode()}"


@pytest.fixture
def whole(measuring, monkeypatch):
    """What measures for a dossier, and what it was asked, with an engine of each model."""
    source = model([helper.make_node("Relu", ["x"], ["y"], "it")], {"x": ["N", 3]}, {"y": ["N", 3]})
    measuring.wb = SimpleNamespace(tuned=source, source=source, engines=Engines())
    measuring.options = SimpleNamespace(
        batches=(4, 2, 4), field=None, title=None, backend="onnxruntime", recipe=Path("a/recipe.yaml")
    )
    asked = []

    def timed(engine, of, batch):
        asked.append((engine.data, of is source, batch))
        conditions = {"engine_scratch_bytes": 5.0} if engine.data == b"second" else {}
        latency = dict.fromkeys(("median_ms", "p90_ms", "p95_ms", "p99_ms"), 2.0)
        return SimpleNamespace(conditions=conditions, throughput=500.0, runs=9, **latency)

    names = iter((b"first", b"second", b"third", b"fourth"))
    measuring._built = lambda _, sizes: asked.append(sizes) or Engine("onnxruntime", next(names), {})
    measuring._timed = timed
    measuring._compare = lambda: "compared"
    measuring._served = lambda engine, size: f"{engine.data.decode()} at {size}" if size > 2 else None
    measuring._drift = lambda: ("drifts", 7)
    measuring.asked = asked
    monkeypatch.setattr(dossier, "result_evidence", lambda _, comparison: Evidence(conditions=comparison or "none"))
    monkeypatch.setattr(dossier, "suggested_workspace", lambda *_: 3 << 19)
    monkeypatch.setattr(dossier, "check_gates", lambda gates, evidence: [gates, evidence])
    monkeypatch.setattr(dossier, "_machine", lambda timing: {"timed": str(timing is not None)})
    return measuring


def test_a_dossier_of_a_free_batch_times_both_models_at_the_smallest_and_the_tuned_one_at_each(whole):
    made = whole.dossier("gates")
    assert whole.asked == [[2, 4], [2, 4], (b"first", True, 2), (b"second", True, 2)]
    assert made.batches == ["first at 4"]
    assert made.engine == "made of first"
    assert (made.drift, made.field_samples, made.suggested_workspace_mib) == (None, 0, 1.5)
    assert made.machine == {"timed": "True"}
    gates, evidence = made.verdicts
    assert (gates, evidence.throughput, evidence.device_bytes) == ("gates", 500.0, None)
    assert (evidence.conditions, evidence.engine_bytes, evidence.engine) == ("onnxruntime, 9 runs", 5, "made of first")
    whole.options.field, whole.options.title = Path("f.npz"), "Plant 7"
    again = whole.dossier("gates")
    assert (again.drift, again.field_samples, again.title) == ("drifts", 7, "Plant 7")


def test_a_dossier_goes_on_without_what_cannot_be_built(whole, monkeypatch):
    def fail(*_):
        raise BackendError("no GPU")

    whole._built = whole._compare = whole._drift = fail
    whole.options.field = Path("f.npz")
    monkeypatch.setattr(dossier, "suggested_workspace", lambda *_: None)
    made = whole.dossier("gates")
    assert (made.before, made.after, made.batches, made.engine, made.comparison) == (None, None, [], None, None)
    assert (made.drift, made.field_samples, made.suggested_workspace_mib) == (None, 0, None)
    assert (made.verdicts[1].engine_bytes, made.verdicts[1].conditions) == (None, "none")
    assert made.notes == (
        "a comparison: no GPU",
        "an engine of the tuned model: no GPU",
        "an engine of the original: no GPU",
        "the drift: no GPU",
    )


def test_scratch_memory_of_an_engine_is_told_where_the_backend_tells(whole):
    whole._built(None, [])  # the engine that tells is the first that is built now
    assert whole.dossier("gates").verdicts[1].device_bytes == 5
