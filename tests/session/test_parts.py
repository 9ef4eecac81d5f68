"""What a session hands to the layers below it, and what it writes and shows of what they give back."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
from types import SimpleNamespace

import numpy as np
import pytest
from onnx import helper

from tests.kit.models import model
from tests.session.test_measured import point
from workbench.calibration import Preprocessing
from workbench.engine import EngineReport
from workbench.errors import EditError, ModelError, PrecisionError, RecipeError
from workbench.graph.edits import edit_by_name
from workbench.precision import target_of
from workbench.precision.measuring import MeasureOptions
from workbench.precision.placement import Pays
from workbench.recipe import Recipe
from workbench.recipe.steps import PlanStep
from workbench.session import (
    Ranges,
    Workbench,
    editing,
    evaluation,
    history_of,
    measuring,
    open_model,
    open_recipe,
    samples,
    searching,
)
from workbench.session.keeping import Keeper, notebook_name


@pytest.fixture
def wb(small_cnn, small_data):
    wb = open_model(small_cnn)
    wb.calibrate(small_data, batch=4)
    return wb


@pytest.fixture
def built(monkeypatch):
    """What a measured search is asked for; it takes the last plan that was evaluated."""
    asked = []

    def search(model, _, goal, trials, options, **how):
        asked.append(SimpleNamespace(model=model, goal=goal, trials=trials, options=options, **how))
        chosen = point("int8", trials.all[-1], latency_ms=2.0)
        points = (point("fp32", trials.all[0], "floating"), chosen) if len(trials.all) > 1 else (chosen,)
        pays = Pays(verdict="pays", where="here")
        return SimpleNamespace(
            points=points, chosen=chosen, front=(chosen, point("none")), reason="it wins", pays=pays, seconds=7.0
        )

    monkeypatch.setattr(measuring, "measured_search", search)
    return asked


def test_a_measured_search_starts_from_the_best_practice_for_what_measures(wb, built):
    result = wb.plan.search("sqnr_db", at_least=5, measure="onnxruntime")
    (asked,) = built
    (trial,) = asked.trials.all
    assert (asked.options.backend, asked.batch, asked.model) == ("onnxruntime", 4, wb.model)
    assert asked.target == target_of(MeasureOptions("onnxruntime").capabilities())
    assert (trial.passed, trial.move) == (True, "all in INT8, ranges as calibrated")
    assert asked.trials.ranges == dict(wb.ranges)
    assert (result.seconds, len(result.front), len(result.trials)) == (7.0, 1, 1)
    assert result.chosen is result.trials[0] is result.front[0]
    step = wb.recipe.steps[-1]
    assert isinstance(step, PlanStep)
    assert (step.pays.verdict, step.pays.reason) == ("pays", "int8: it wins")
    assert (wb.recipe.pays.where, str(wb.recipe.gates[-1])) == ("here", "sqnr_db >= 5")
    # Again: from the rules there were, not from those that were found.
    wb.plan.search("sqnr_db", at_least=5, measure="onnxruntime")
    assert [isinstance(step, PlanStep) for step in wb.recipe.steps].count(True) == 1


def test_a_measured_search_tries_other_ranges_where_those_there_are_do_not_reach_the_goal(wb, built):
    wb.plan.set("op:Conv", "int8")
    with contextlib.suppress(PrecisionError):
        wb.plan.search("sqnr_db", at_least=500, measure="onnxruntime")
    (asked,) = built
    assert len(asked.trials.all) > 2
    assert [trial.move for trial in asked.trials.all if trial.passed] == ["nothing in INT8"]
    assert [str(rule) for rule in asked.trials.all[0].plan.rules] == ["op:Conv -> int8"]


def test_where_fp16_is_fastest_int8_is_tried_over_it(wb, built, monkeypatch):
    monkeypatch.setattr(MeasureOptions, "floating", "fp16")
    wb.plan.search("sqnr_db", at_least=5, measure="onnxruntime")
    (asked,) = built
    assert {rule.precision for rule in asked.trials.all[0].plan.rules} == {"int8", "fp16"}
    names = [engine.name for engine in wb.recipe.steps[-1].engines]
    assert names == ["int8", "none"]


def test_a_comparison_on_the_calibrations_own_samples_says_so(wb, small_data, small_cnn):
    wb.plan.use("fp16")
    assert wb.compare(runs=0).calibrated
    assert wb.compare(small_data, runs=0).calibrated  # opened anew
    other = {"x": np.ones((2, 3, 8, 8), np.float32)}
    assert not wb.compare(other, runs=0).calibrated
    plain = open_model(small_cnn)
    plain.plan.use("fp16")
    assert not plain.compare(other, runs=0).calibrated


def test_a_recipe_with_scripts_is_opened_where_they_are_allowed(wb, tmp_path):
    (tmp_path / "own.py").write_text("def rename(graph):\n    graph.nodes[0].name = 'renamed'\n")
    wb.surgeon(f"{tmp_path / 'own.py'}:rename")
    wb.plan.use("fp16")
    wb.save(tmp_path / "out")
    with pytest.raises(RecipeError, match="script"):
        open_recipe(tmp_path / "out/recipe.yaml")
    assert open_recipe(tmp_path / "out/recipe.yaml", allow_scripts=True).model.digest == wb.model.digest


def test_the_first_of_several_wrong_options_of_a_rule_is_named(wb):
    with pytest.raises(PrecisionError, match=r"^op:Conv: precision: "):
        wb.plan.set("op:Conv", "int9", nothing=1)


def test_ranges_are_observed_one_sample_a_run_unless_more_are_asked_for(wb, small_data, monkeypatch):
    asked = []
    monkeypatch.setattr(type(wb.ranges), "_observed", lambda _, __, ___, batch, *____: asked.append(batch))
    wb.ranges.observe(small_data)
    wb.ranges.observe(small_data, batch=4)
    assert asked == [1, 4]


def test_what_of_the_recipe_is_no_step_is_told_where_it_changed(wb):
    told = []
    history = history_of(wb)
    wb.on_change(lambda change: told.append((change.kind, change.what)))
    for _ in range(2):
        history.amend(environment={"a": "1"})
    assert told == [("recipe", "environment")]


def test_an_edit_that_is_only_tried_is_blamed_on_its_node(wb):
    with pytest.raises(EditError) as refusal:
        editing.tried(wb.model, edit_by_name("bypass", node="gone"))
    assert "gone" in str(refusal.value)
    result = editing.tried(wb.model, edit_by_name("rename_node", node="stem/conv", to="first"))
    assert "first" in result.model.nodes
    assert "stem/conv" in wb.model.nodes


def test_costs_are_modelled_of_a_report_of_several_or_of_latencies(monkeypatch):
    for name in ("modelled_costs", "engine_costs", "measured_costs"):
        monkeypatch.setattr(searching, name, lambda *given, name=name: (name, *given[1:-1]))
    one, other = (object.__new__(EngineReport) for _ in range(2))

    def cost(given):
        return searching.costs_of("model", given, "sizes")

    assert cost(None) == ("modelled_costs",)
    assert cost(one) == ("engine_costs", [one])
    assert cost((one, other)) == ("engine_costs", [one, other])
    assert cost({"int8": one, "fp16": other}) == ("engine_costs", {"int8": one, "fp16": other})
    assert cost({"node": {"int8": 0.5}}) == ("measured_costs", {"node": {"int8": 0.5}})


def test_preprocessing_is_taken_as_it_is_as_text_and_as_a_recipe_keeps_it(wb, monkeypatch):
    monkeypatch.setattr(samples, "open_samples", lambda source, _, *, preprocessing: (source, preprocessing))
    wanted = Preprocessing.parse("size=8x8,scale=0.5")
    for given in (wanted, "size=8x8,scale=0.5", wanted.model_dump(mode="json", exclude_none=True)):
        assert samples.opened(history_of(wb), "folder", given) == ("folder", wanted)
    assert samples.opened(history_of(wb), "folder") == ("folder", None)


def test_a_plan_as_a_table_has_a_row_a_node_with_the_rule_that_decided(wb):
    wb.plan.set("op:Conv", "int8")
    wb.plan.set("op:Flatten", "int8")
    table = wb.plan.table().set_index("node")
    assert list(table.index) == list(wb.model.nodes)
    conv, relu = table.loc["stem/conv"], table.loc["stem/relu"]
    assert (conv["op"], conv["requested"], conv["precision"], conv["rule"], conv["reason"]) == (
        *("Conv", "int8", "int8"),
        0,
        "",
    )
    assert table["rule"].isna()["stem/relu"]
    assert (relu["precision"], relu["floating"]) == ("fp32", "fp32")
    refused = table.loc["head/flatten"]
    assert (refused["requested"], refused["precision"], refused["rule"]) == ("int8", "fp32", 1)
    assert refused["reason"]
    decided = {"stem/conv": "int8", "block/conv": "int8", "head/flatten": "fp32"}
    assert wb.plan.precisions == decided


def test_what_is_saved_makes_the_same_again_and_a_page_says_what_was_compared(wb, tmp_path, monkeypatch):
    wb.plan.set("op:Conv", "int8")
    wb.require("sqnr_db", at_least=500)
    files = wb.save(tmp_path / "out")
    assert [path.name for path in files] == ["tuned.onnx", "recipe.yaml"]
    assert Recipe.load(files[1]).tuned.sha256 == hashlib.sha256(files[0].read_bytes()).hexdigest()
    pages = []
    monkeypatch.setattr("workbench.handoff.page", lambda *given: pages.append(given) or "a page")
    compared = wb.compare(runs=0)
    path = wb.export_html(tmp_path / "page.html", compared)
    ((session, comparison, (verdict,)),) = pages
    assert (session, comparison, verdict.passed, path.read_text()) == (wb, compared, False, "a page")
    wb.export_html(tmp_path / "page.html")
    assert pages[1][1].samples == 12


def test_a_compiler_is_asked_about_what_was_tuned(wb, monkeypatch):
    wb.plan.set("op:Conv", "int8")
    monkeypatch.setattr("workbench.backends.verdict.check", lambda model, target: (model.digest, target))
    assert wb.check() == (wb.tuned.digest, "sm86")
    assert wb.check("sm120") == (wb.tuned.digest, "sm120")


# What is kept beside a notebook


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JPY_SESSION_NAME", "work/tune.ipynb")
    return tmp_path


def test_a_notebook_has_the_name_that_its_editor_tells(folder, monkeypatch):
    assert notebook_name() == "tune"
    shell = SimpleNamespace(user_ns={})
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    assert notebook_name() == "tune"
    shell.user_ns["__vsc_ipynb_file__"] = str(folder / "mine.ipynb")
    assert notebook_name() == "mine"
    monkeypatch.setattr("IPython.get_ipython", lambda: None)
    monkeypatch.setenv("JPY_SESSION_NAME", "")
    assert notebook_name() == "notebook"


@pytest.mark.usefixtures("folder")
def test_a_folder_that_takes_nothing_is_a_problem_and_no_error(small_cnn, monkeypatch):
    def refuse(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("workbench.session.keeping.hold_name", refuse)
    keeper = Keeper(history_of(open_model(small_cnn)))
    assert keeper.problem.startswith("the recipe is not kept: No space left on device (")
    assert (keeper.engines, keeper.offer) == (None, None)
    with pytest.raises(RecipeError, match="no earlier recipe is kept"):
        keeper.go_on()


def kept(wb):
    keeper = Keeper(history_of(wb))
    assert keeper.problem == ""
    return keeper


@pytest.mark.parametrize("change", ["none", "other values", "gone"])
@pytest.mark.usefixtures("folder")
def test_samples_are_open_again_where_they_are_what_they_were(small_cnn, tmp_path, change):
    rng = np.random.default_rng(0)
    file = tmp_path / "own.npz"
    np.savez(file, x=rng.normal(size=(4, 3, 8, 8)).astype(np.float32))
    first = open_model(small_cnn)
    keeper = kept(first)
    for batch in (1, 4, 2):
        first.calibrate(file, batch=batch)
    keeper.close()
    if change == "other values":
        np.savez(file, x=rng.normal(size=(4, 3, 8, 8)).astype(np.float32))
    elif change == "gone":
        file.unlink()
    second = open_model(small_cnn)
    keeper = kept(second)
    assert keeper.engines.name == keeper.file.name.replace(".recipe.yaml", ".engines")
    assert keeper.go_on() == len(first.recipe.steps)
    measured = history_of(second).measured
    assert (measured.samples is not None) == (change == "none")
    if change == "none":
        assert (len(measured.samples), measured.batch) == (4, 2)
    assert keeper.offer is None
    with pytest.raises(RecipeError, match="no earlier recipe is kept"):
        keeper.go_on()
    keeper.close()


@pytest.mark.usefixtures("folder")
def test_a_recipe_without_steps_or_with_the_same_ones_is_not_offered(small_cnn):
    wb = open_model(small_cnn)
    keeper = kept(wb)
    wb.plan.set("op:Conv", "fp16")
    keeper.close()
    again = open_model(small_cnn)
    again.plan.set("op:Conv", "fp16")
    keeper = kept(again)
    assert keeper.offer is None
    keeper.close()
    bare = open_model(small_cnn)
    bare.recipe.save(keeper.file)
    bare.plan.set("op:Conv", "fp16")
    keeper = kept(bare)
    assert keeper.offer is None
    assert Recipe.load(keeper.file).steps == bare.recipe.steps
    keeper.close()


def test_what_fails_over_a_damaged_model_is_said_against_the_model():
    def fail(*_, **__):
        raise LookupError("deep inside")

    edit = type("Fails", (), {"__call__": fail})()
    odd = model([helper.make_node("Relu", ["x"], ["y"], no=1)], {"x": [2]}, {"y": [2]})
    with pytest.raises(ModelError):
        editing.tried(odd, edit)
    wb = Workbench(odd)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workbench.session.tuning.lower", fail)
        with pytest.raises(ModelError):
            wb.tune()
        patch.setattr(editing, "needed_opset", fail)
        with pytest.raises(ModelError):
            wb.prepare()


def test_as_many_samples_a_run_are_compared_as_are_asked_for_or_were_calibrated_on(wb, monkeypatch):
    asked = []
    real = evaluation.compare

    def compare(*given, batch, runs, **how):
        asked.append((batch, runs))
        return real(*given, batch=batch, runs=0, **how)

    monkeypatch.setattr(evaluation, "compare", compare)
    wb.plan.use("fp16")
    wb.compare()  # thirty timed runs
    wb.compare(runs=5, batch=2)
    assert asked == [(4, 30), (2, 5)]


def test_what_a_part_does_is_told_where_the_workbench_hands_it_over():
    assert Workbench.calibrate.__doc__ == Ranges.calibrate.__doc__
    assert inspect.signature(Workbench.calibrate) == inspect.signature(Ranges.calibrate)


def renamed(graph):
    graph.nodes[0].name = "renamed"


def test_a_script_of_ones_own_is_not_compared_unless_that_is_asked_for(wb):
    assert str(wb.surgeon(renamed).check) == "not checked, because check=False was given"
