"""Equalized channels and corrected biases as moves of a search: tried, really evaluated, kept where they help."""

from __future__ import annotations

import pytest

from tests.kit.searching import calibrated, small
from workbench.cli import main
from workbench.errors import PrecisionError
from workbench.evaluate.comparison import compare
from workbench.recipe import Recipe
from workbench.recipe.steps import PlanStep
from workbench.session import open_recipe


def workbench(folder, **kind):
    return calibrated(small(**kind), folder, 16, batch=4)


def steps(wb):
    return [step.do for step in wb.recipe.steps]


def sqnr(wb):
    return compare(wb.source, wb.tuned, wb.ranges.samples, batch=4, runs=0).worst_sqnr_db


def test_equalization_that_helps_is_an_edit_before_the_plan(tmp_path):
    wb = workbench(tmp_path, broken=True)
    without = wb.plan.search("sqnr_db", at_least=28)
    wb.undo()
    assert without.chosen.demoted
    with_it = wb.plan.search("sqnr_db", at_least=28, equalize=True)
    assert with_it.chosen.demoted == frozenset()
    assert with_it.chosen.cost_ms < without.chosen.cost_ms
    (note,) = with_it.notes
    assert note.endswith("; kept")
    assert note in with_it.text()
    assert steps(wb)[-3:] == ["equalize_channels", "calibrate", "set_plan"]
    assert sqnr(wb) == pytest.approx(with_it.chosen.measured.sqnr_db, abs=1e-3)


@pytest.mark.parametrize(("seed", "message"), [(1, "; not kept"), (0, "no channels can be equalized here")])
def test_equalization_that_does_not_help_leaves_nothing(tmp_path, seed, message):
    wb = workbench(tmp_path, seed=seed)
    before, ranges = steps(wb), dict(wb.ranges)
    result = wb.plan.search("sqnr_db", at_least=28, equalize=True)
    assert result.notes[0].endswith(message)
    assert steps(wb) == [*before, "set_plan"]
    assert wb.ranges == ranges


def test_corrected_biases_rescue_a_cheaper_plan(tmp_path):
    wb = workbench(tmp_path, seed=1)
    without = wb.plan.search("sqnr_db", at_least=43)
    assert without.chosen.demoted
    result = wb.plan.search("sqnr_db", at_least=43, correct_bias=True)
    assert result.chosen.demoted == frozenset()
    assert result.chosen.move.endswith("; biases corrected")
    assert [edit.do for edit in result.chosen.edits] == ["correct_bias"]
    assert not next(t for t in result.trials if not t.demoted and not t.edits).passed
    assert "first correct_bias" in result.text()
    assert sqnr(wb) == pytest.approx(result.chosen.measured.sqnr_db, abs=1e-3)
    assert sqnr(wb) >= 43


def test_corrected_biases_that_do_not_help_are_not_kept(tmp_path):
    wb = workbench(tmp_path, broken=True)
    result = wb.plan.search("sqnr_db", at_least=28, equalize=True, correct_bias=True)
    corrected = [trial for trial in result.trials if trial.edits]
    assert corrected
    assert result.chosen.measured.sqnr_db > corrected[-1].measured.sqnr_db
    assert wb.recipe.steps[-1].edits == ()


def test_a_plan_with_its_edit_is_one_step_that_replays_and_gives_way(tmp_path):
    wb = workbench(tmp_path, seed=1)
    file = tmp_path / "model.onnx"
    file.write_bytes(wb.source.to_bytes())
    floating = wb.model.digest
    result = wb.plan.search("sqnr_db", at_least=43, correct_bias=True)
    assert wb.model.digest != floating
    content = wb.tune().model.to_bytes()
    path = wb.recipe.save(tmp_path / "recipe.yaml")
    assert isinstance(Recipe.load(path).steps[-1], PlanStep)
    again = open_recipe(path, model=file)
    assert again.tune().model.to_bytes() == content
    assert again.plan.is_taken(result.chosen)
    # Another point takes the place of step and edit alike.
    plain = next(trial for trial in result.front if not trial.edits)
    again.plan.take(plain)
    assert again.model.digest == floating
    assert len(again.recipe.steps) == len(wb.recipe.steps)
    again.undo()
    assert again.plan.rules.rules == ()
    again.redo()
    assert again.plan.is_taken(plain)


def test_a_search_that_fails_leaves_the_recipe_as_it_was(tmp_path):
    wb = workbench(tmp_path, broken=True)
    wb.plan.search("sqnr_db", at_least=28)
    recipe, ranges = wb.recipe, dict(wb.ranges)
    with pytest.raises(PrecisionError, match="not even floating point reaches"):
        wb.plan.search(lambda _outputs: 0.0, at_least=1, equalize=True)
    assert wb.recipe == recipe
    assert wb.ranges == ranges
    assert wb.tune().model.to_bytes()


def test_a_changed_range_in_a_plan_is_noticed(tmp_path):
    from workbench.errors import RecipeError

    wb = workbench(tmp_path, broken=True)
    wb.plan.search("sqnr_db", at_least=33)
    step = wb.recipe.steps[-1]
    assert step.ranges, "the search kept the ranges; nothing to test"
    path = wb.recipe.save(tmp_path / "recipe.yaml")
    tensor, amax = next(iter(step.ranges.items()))
    text = path.read_text()
    at = text.index("do: set_plan")
    path.write_text(text[:at] + text[at:].replace(f"{tensor}: {amax}", f"{tensor}: {amax * 2}", 1))
    with pytest.raises(RecipeError, match=r"set_plan.*its ranges were changed"):
        Recipe.load(path)


def test_the_command_line_tries_both(tmp_path, capsys):
    wb = workbench(tmp_path, broken=True)
    file = tmp_path / "model.onnx"
    file.write_bytes(wb.source.to_bytes())
    words = ["search", str(file), "--samples", str(tmp_path / "samples.npz"), "--min-sqnr", "28", "--batch", "4"]
    with pytest.raises(SystemExit) as end:
        main([*words, "--equalize", "--correct-bias", "--runs", "0", "--out", str(tmp_path / "out")])
    assert end.value.code == 0
    assert "equalization: " in capsys.readouterr().out
    assert "equalize_channels" in [step.do for step in Recipe.load(tmp_path / "out" / "recipe.yaml").steps]
