"""What jobs write and say of what they were given: drift, recipes, notebooks, a verdict, a matrix of releases."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from workbench.backends.verdict import Cell, Matrix
from workbench.calibration import Statistics
from workbench.cli import main
from workbench.errors import BackendError, OptionError, OutputError, RecipeError, ReportError, WorkbenchError
from workbench.evaluate.agreement import Comparison, OutputDifference
from workbench.graph import load_model
from workbench.handoff.ci import Case
from workbench.jobs import checking, diff_recipes, dossier, drift, matrix, notebooks, reading, recipes, showing, tuning
from workbench.jobs.checking import CheckResult
from workbench.jobs.fleet import job as fleet
from workbench.jobs.fleet.site import _worst
from workbench.jobs.notebooks import NotebooksResult
from workbench.jobs.replaying import replay
from workbench.recipe import GateResult, Recipe, recipe_schema
from workbench.session import open_model


@pytest.fixture(scope="module")
def tuned(small_cnn, small_data, tmp_path_factory):
    """What a tuning leaves that calibrated on twelve samples, and what was seen of ten times as large ones."""
    folder = tmp_path_factory.mktemp("told") / "out"
    wb = open_model(small_cnn)
    statistics = wb.calibrate(small_data)
    wb.plan.set("op:Conv", "int8")
    wb.require("field_clipped", at_most=100)
    wb.require("sqnr_db", at_least=1)
    wb.require("p95_ms", at_most=1000)
    wb.save(folder)
    statistics.save(folder / "statistics.npz")
    with np.load(small_data) as samples:
        np.savez(folder.parent / "large.npz", x=10 * samples["x"])
    wb.ranges.observe(folder.parent / "large.npz").save(folder.parent / "night.npz")
    return folder


def test_drift_is_told_of_tensors_that_have_a_range_the_worst_first(tuned):
    result = drift(tuned, tuned.with_name("night.npz"), gate=("field_clipped <= 1",))
    assert {one.name for one in result.drifts} == set(Recipe.load(tuned / "recipe.yaml").steps[0].ranges) & {"x", "r1"}
    scores = [one.score for one in result.drifts]
    assert scores == sorted(scores, reverse=True)
    assert [(one.gate, one.passed) for one in result.verdicts] == [
        ("field_clipped <= 1", False),
        ("field_clipped <= 100", True),
    ]
    assert result.rows == 12
    lines = result.text().splitlines()
    assert lines[0].endswith("tensor, on 12 rows")
    assert lines[1].split()[-1] == result.drifts[0].name
    assert result.sentences[0].startswith(f"night clips {result.drifts[0].outside:.1%} in ")
    assert result.files == ()


@pytest.mark.parametrize(("name", "start"), [("d.svg", b"<svg"), ("d.png", b"\x89PNG")])
def test_drift_is_drawn_as_what_the_ending_says(tuned, tmp_path, name, start):
    result = drift(tuned, tuned.with_name("night.npz"), picture=tmp_path / name)
    assert result.files == (tmp_path / name,)
    assert (tmp_path / name).read_bytes().startswith(start)


def test_drift_needs_to_know_what_calibration_saw_and_some_tensor_of_the_model(tuned, tmp_path, monkeypatch):
    Statistics({}).save(tmp_path / "none.npz")
    with pytest.raises(ReportError, match=r"none of its tensors has a range in this model.*what small_cnn saw"):
        drift(tuned, tmp_path / "none.npz")
    monkeypatch.setattr("workbench.handoff.deployment.STATISTICS", "gone.npz")
    with pytest.raises(ReportError, match=r"there is no statistics\.npz"):
        drift(tuned, tuned.with_name("night.npz"))


def test_recipes_are_shown_compared_and_described_line_by_line(tuned, tmp_path):
    recipe = tuned / "recipe.yaml"
    assert "set_precision op:Conv, int8" in recipes.show_recipe(recipe).text()
    assert diff_recipes(recipe, recipe).lines == ("the two do the same to the same model",)
    (tmp_path / "r.yaml").write_text(recipe.read_text().replace("at_least: 1", "at_least: 2"))
    assert diff_recipes(recipe, tmp_path / "r.yaml").lines == ("gate sqnr_db >= 1 is gone", "gate sqnr_db >= 2 is new")
    assert json.loads(recipes.schema().text())["title"]
    (tmp_path / "gone.yaml").write_text(recipe.read_text().replace("small_cnn.onnx", "gone.onnx"))
    assert json.loads(recipes.schema().text()) == recipe_schema()
    told = recipes.verify_recipe(tmp_path / "gone.yaml")
    assert told.lines[0].startswith("error: ")
    assert told.exit_code == RecipeError.exit_code


@pytest.mark.parametrize(
    ("problems", "notes", "lines", "code"),
    [
        ((), (), ("it can be replayed here; nothing has drifted",), 0),
        ((), ("onnx 1 -> 2",), ("onnx 1 -> 2",), 0),
        ((RecipeError("a"), BackendError("b")), ("c",), ("error: a", "error: b", "c"), RecipeError.exit_code),
    ],
)
def test_verifying_says_every_problem_and_ends_as_the_first(tuned, monkeypatch, problems, notes, lines, code):
    monkeypatch.setattr(recipes, "verify", lambda *_, **__: SimpleNamespace(problems=problems, notes=notes))
    told = recipes.verify_recipe(tuned / "recipe.yaml")
    assert (told.lines, told.exit_code) == (lines, code)
    assert told.text() == "\n".join(lines)


def test_a_recipe_without_a_calibration_cannot_be_calibrated_again(small_cnn, tmp_path):
    wb = open_model(small_cnn)
    wb.plan.use("fp16")
    wb.save(tmp_path / "old")
    with pytest.raises(RecipeError, match="the recipe has no calibration"):
        replay(tmp_path / "old/recipe.yaml", tmp_path / "out", recalibrate=True)
    again = replay(tmp_path / "old/recipe.yaml", tmp_path / "out", gates=("sqnr_db >= 1",))
    assert "there are no samples to judge on" in again.verdicts[0].reason


# Notebooks


def test_a_notebook_is_opened_by_the_program_that_is_here(small_cnn, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran, found = [], {}
    run = SimpleNamespace(run=lambda command, check: ran.append((command, check)))
    monkeypatch.setattr(showing, "subprocess", run)
    monkeypatch.setattr(showing, "importlib", SimpleNamespace(util=SimpleNamespace(find_spec=found.get)))
    monkeypatch.setattr(showing, "_write", lambda path, _: Path(path).write_text("{}") and path)
    with pytest.raises(BackendError, match=r"jupyterlab is not installed here.*pip install.*--write-only"):
        showing.open_screen(small_cnn)
    assert ran == []
    found["jupyterlab"] = True
    result = showing.open_screen(small_cnn, notebook=tmp_path / "mine.ipynb")
    assert ran == [([sys.executable, "-m", "jupyterlab", str(tmp_path / "mine.ipynb")], False)]
    assert result.text() == f"jupyterlab has ended; {tmp_path / 'mine.ipynb'} stays"
    assert result.files == (tmp_path / "mine.ipynb",)
    assert f"wrote {tmp_path / 'mine.ipynb'}" in repr(result)
    assert showing.open_screen(small_cnn, notebook=tmp_path / "mine.ipynb").files == ()


@pytest.mark.parametrize(("given", "written"), [({}, "a.html"), ({"out": "b.html"}, "b.html")])
def test_a_page_goes_where_it_is_asked_for_or_beside_its_notebook(tmp_path, monkeypatch, given, written):
    monkeypatch.chdir(tmp_path)
    asked = []
    monkeypatch.setattr(showing, "export_html", lambda *files: asked.append(files))
    for outputs, remarks in ((True, 0), (False, 1)):
        monkeypatch.setattr(showing, "has_outputs", lambda _, outputs=outputs: outputs)
        result = showing.export_notebook("a.ipynb", **given)
        assert (result.files, len(result.remarks)) == ((Path(written),), remarks)
    assert asked == [(Path("a.ipynb"), Path(written))] * 2
    assert result.text() == "a.ipynb as a page"


def test_notebooks_are_shipped_ones_or_files(tmp_path):
    shipped = notebooks._chosen(())
    (tmp_path / "own.ipynb").write_text("{}")
    name = next(iter(shipped))
    assert notebooks._chosen((str(tmp_path / "own.ipynb"), name)) == {
        "own": tmp_path / "own.ipynb",
        name: shipped[name],
    }
    with pytest.raises(OptionError, match=f"there is no notebook {name}x; did you mean {name}"):
        notebooks._chosen((f"{name}x",))
    for other in ("gone.ipynb", "own.txt", "own"):
        if not other.startswith("gone"):
            (tmp_path / other).write_text("{}")
        with pytest.raises(OptionError, match="there is no notebook"):
            notebooks._chosen((str(tmp_path / other),))


def test_a_parameter_may_have_an_equals_sign_in_its_value_and_the_folder_is_made(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(notebooks, "require", lambda *_: None)
    monkeypatch.setattr(notebooks, "_chosen", lambda _: {"one": Path("one.ipynb"), "two": Path("two.ipynb")})
    monkeypatch.setattr(notebooks, "parameters_of", lambda path: {"x": {}} if path.stem == "one" else {"z": {}})

    def run(name, _, out, texts):
        given.append((name, out, texts))
        return Case("notebooks", name, passed=True, message="done", seconds=1.6), [out / name]

    monkeypatch.setattr(notebooks, "_run", run)
    for _ in range(2):
        result = notebooks.run_notebooks((), out=tmp_path / "a/b", parameters=("x=a=b=c", "z=1"))
    assert given[2:] == [(name, tmp_path / "a/b", {"x": "a=b=c", "z": "1"}) for name in ("one", "two")]
    assert result.files == (tmp_path / "a/b/one", tmp_path / "a/b/two")
    assert result.text() == "one: done, 2 s\ntwo: done, 2 s"
    with pytest.raises(OptionError, match="no notebook has y; "):
        notebooks.run_notebooks((), out=tmp_path, parameters=("y=1",))


@pytest.mark.parametrize(("shipped", "at"), [(True, "home"), (False, "own")])
def test_a_shipped_notebook_runs_at_home_and_another_where_it_lies(tmp_path, monkeypatch, shipped, at):
    home, own = tmp_path / "home", tmp_path / "own"
    where = []
    monkeypatch.setattr(notebooks, "notebooks_home", lambda: home)
    monkeypatch.setattr(notebooks, "parameters_of", lambda _: {"count": {}})
    monkeypatch.setattr(notebooks, "run_notebook", lambda *given, cwd: where.append((given[2], cwd)))
    path = home / "notebooks/one.ipynb" if shipped else own / "one.ipynb"
    case, files = notebooks._run("one", path, tmp_path, {})
    assert where == [({}, tmp_path / at)]
    assert (case.passed, files) == (True, [])
    assert 0 <= case.seconds < 60


@pytest.mark.parametrize(("fails", "exports"), [(False, True), (True, True), (False, False), (True, False)])
def test_a_notebook_that_fails_says_why_and_what_is_written_of_it_is_kept(tmp_path, monkeypatch, fails, exports):
    path, out = tmp_path / "one.ipynb", tmp_path / "out"
    out.mkdir()
    (out / "one.html").write_text("of an earlier run")
    given = []

    def run(source, executed, parameters, *, cwd):
        given.append((source, parameters, cwd))
        executed.write_text("cells")
        if fails:
            raise WorkbenchError("a cell failed")

    def export(_, page):
        if not exports:
            raise OutputError("no page")
        page.write_text("a page")

    monkeypatch.setattr(notebooks, "parameters_of", lambda _: {"out": {}, "mine": {}})
    monkeypatch.setattr(notebooks, "run_notebook", run)
    monkeypatch.setattr(notebooks, "export_html", export)
    case, files = notebooks._run("one", path, out, {"mine": "7", "other": "8"})
    assert given == [(path, {"mine": "7", "out": str(out / "one")}, tmp_path)]
    assert case.passed == (not fails and exports)
    assert case.message == ("FAILED: a cell failed" if fails else "done" if exports else "FAILED: no page")
    assert [file.name for file in files] == ["one.ipynb", "one.html"][: 1 + exports]
    result = NotebooksResult((case,), tuple(files))
    assert result.exit_code == (0 if case.passed else 1)
    assert result.text() == f"one: {case.message}, {case.seconds:.0f} s"


# Compilers, engines, browsers


@dataclass(frozen=True)
class Verdict:
    """What of a verdict is told."""

    model: str = "m"
    accepted: bool = True
    layers: tuple = (1, 2)
    log: str = "much"


def test_a_check_as_plain_values_has_neither_layers_nor_the_log():
    result = CheckResult((Verdict(), Verdict(accepted=False)))
    told = [{"model": "m", "accepted": accepted} for accepted in (True, False)]
    assert result.to_dict() == json.loads(result.to_json()) == told
    assert repr(result).splitlines()[0].startswith("Verdict(")
    matrix_of_one = Matrix("m", (Cell("1.6", "sm86", "accepted", {}),))
    assert repr(CheckResult((), matrix=matrix_of_one)) == repr(matrix_of_one)


def test_the_model_that_was_mended_is_written_with_its_recipe(small_cnn, tmp_path):
    out = tmp_path / "m.onnx"
    model, remarks, files = checking._mended(load_model(small_cnn), out, [], {})
    assert (remarks, files) == ((), (out, tmp_path / "m.recipe.yaml"))
    assert Recipe.load(files[1]).model.sha256 == model.digest


def test_a_release_that_is_not_to_be_had_is_unknown_for_each_gpu(monkeypatch):
    def folder(release):
        if release == "1.4":
            raise BackendError("no network")
        return Path("1.5")

    asked = []
    good = {"target": "sm86", "accepted": True}

    def ask(_, __, targets, shapes):
        asked.append((list(targets), list(shapes)))
        return "it died" if "sm75" in targets else [good] * len(targets)

    monkeypatch.setattr(matrix, "_folder", folder)
    monkeypatch.setattr(matrix, "_ask", ask)
    monkeypatch.setattr(Cell, "of", lambda release, verdict: Cell(release, verdict["target"], "accepted", {}))
    table = matrix.ask_releases(Path("m.onnx"), ["1.4", "1.5"], ["sm86", "sm75"], ["x:1"])
    assert [(one.release, one.target, one.outcome, one.reason) for one in table.cells] == [
        ("1.4", "sm86", "unknown", "no network"),
        ("1.4", "sm75", "unknown", "no network"),
        ("1.5", "sm86", "accepted", ""),
        ("1.5", "sm75", "unknown", "it died"),
    ]
    assert asked == [(["sm86", "sm75"], ["x:1"]), (["sm86"], ["x:1"]), (["sm75"], ["x:1"])]
    asked.clear()
    (alone,) = matrix.ask_releases(Path("m.onnx"), ["1.5"], ["sm75"], []).cells
    assert (alone.outcome, len(asked)) == ("unknown", 1)
    (alone,) = matrix.ask_releases(Path("m.onnx"), ["1.5"], ["sm86"], []).cells
    assert alone.outcome == "accepted"
    assert table.model == "m"


def test_a_browser_is_looked_for_and_its_failure_is_told(monkeypatch):
    found = {"google-chrome": "/bin/google-chrome"}
    monkeypatch.setattr(dossier, "shutil", SimpleNamespace(which=found.get))
    assert dossier._browser() == "/bin/google-chrome"

    def run(command, *, timeout, capture_output, check):
        assert (timeout, capture_output, check) == (dossier.LONGEST_PRINT_S, True, True)
        to = next(word for word in command if word.startswith("--print-to-pdf=")).partition("=")[2]
        assert Path(command[-1].removeprefix("file://")).read_text() == "page"
        Path(to).write_bytes(b"%PDF")

    errors = SimpleNamespace(SubprocessError=subprocess.SubprocessError)
    monkeypatch.setattr(dossier, "subprocess", SimpleNamespace(run=run, **vars(errors)))
    assert dossier._printed("chrome", "page") == b"%PDF"
    monkeypatch.setattr(dossier.subprocess, "run", lambda *_, **__: None)  # which writes nothing
    with pytest.raises(BackendError, match="chrome: the browser printed nothing"):
        dossier._printed("chrome", "page")

    def crash(*_, **__):
        raise subprocess.CalledProcessError(1, "chrome")

    monkeypatch.setattr(dossier.subprocess, "run", crash)
    with pytest.raises(BackendError, match=r"chrome: the browser printed nothing: .*exit status 1"):
        dossier._printed("chrome", "page")
    found.clear()
    with pytest.raises(BackendError, match="a PDF is printed by a Chromium browser"):
        dossier._browser()


def test_what_is_inspected_is_a_model(small_cnn):
    assert "small_cnn" in reading.inspect(small_cnn).text()


# A tuning, a fleet


def test_a_tuning_is_shown_with_its_table_gates_and_files(small_cnn):
    output = OutputDifference("y", 31.25, 0.99951, 0.0125, 0.9, 0, 60)
    compared = Comparison((output,), None, 12, None, None, 4_000_000, 1_000_000)
    wb = open_model(small_cnn)
    wb.plan.use("fp16")
    good, bad = (GateResult(f"sqnr_db >= {at}", 31.25, at < 31) for at in (30, 40))
    for gates, headline in (((good,), "small_cnn is tuned"), ((good, bad), "small_cnn is tuned, and a gate FAILED")):
        result = tuning.TuneResult(wb, compared, gates, (Path("out/tuned.onnx"),))
        card = result._card()
        assert card.headline == headline
        assert ("file size", "4.00 MB", "1.00 MB", "x0.25") in card.rows
        assert card.notes == (*(f"gate {gate}" for gate in gates), f"wrote {Path('out/tuned.onnx')}")
        assert result.exit_code == (0 if len(gates) == 1 else 12)


def test_the_gate_with_the_least_room_is_the_worst():
    def gate(text, value, missed=None, passed=True):
        return GateResult(text, value, passed, missed_by=missed)

    far, near = gate("sqnr_db >= 20", 40.0), gate("p95_ms <= 10", 9.0)
    missed = gate("sqnr_db >= 20", 10.0, 10.0, passed=False)
    nothing = gate("nonfinite <= 0", 0.0)
    unmeasured = gate("layers <= 9", None, passed=False)
    assert _worst(()) == ""
    assert _worst((far, near)) == str(near)
    assert _worst((nothing, far)) == str(far)
    assert _worst((far, missed, near)) == str(missed)
    assert _worst((missed, unmeasured)) == str(unmeasured)
    assert _worst((missed, gate("nonfinite <= 0", 3.0, 3.0, passed=False))) == "nonfinite <= 0: 3, FAILED by 3"


def test_details_of_a_site_are_its_gates_or_what_was_worst():
    site = SimpleNamespace(gates=(("a <= 1: 0", True), ("b <= 1: 2", False)), worst="b")
    assert fleet._details(site) == "a <= 1: 0\nb <= 1: 2"
    assert fleet._details(SimpleNamespace(gates=(), worst="it died")) == "it died"
    assert list(fleet._run({}, Path(), None)) == []


def test_a_case_that_was_not_checked_is_neither_passed_nor_failed():
    assert Case("group", "name", None).passed is None


def test_a_parameter_is_a_pair(capsys):
    with pytest.raises(SystemExit) as end:
        main(["notebooks", "run", "--parameter", "nothing"])
    assert end.value.code == OptionError.exit_code
    assert "'nothing' is not like KEY=VALUE" in capsys.readouterr().err
