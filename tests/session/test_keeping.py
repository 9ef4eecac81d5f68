"""A recipe is kept beside its notebook as it grows, offered after a restart, and is nobody else's."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest
from onnx import helper

from tests.kit.models import proto
from workbench.errors import OutputError, RecipeError
from workbench.graph.load import from_proto
from workbench.recipe import Recipe
from workbench.session import Workbench, history_of, open_model
from workbench.session.keeping import Keeper, kept_file


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JPY_SESSION_NAME", "work/tune me.ipynb")
    return tmp_path


def restarted(keeper):
    """What a kernel's end leaves: the file, and no lock."""
    keeper.close()
    keeper._history.keeper = None


@pytest.mark.usefixtures("notebook")
def test_steps_are_kept_one_by_one_and_go_on_after_a_restart(small_cnn, small_data):
    wb = open_model(small_cnn)
    keeper = Keeper(history_of(wb))
    assert keeper.file.name == f"tune me.small_cnn-{wb.source.digest[:8]}.recipe.yaml"
    assert not keeper.file.exists()  # nothing was done
    wb.prepare()
    wb.calibrate(str(small_data), batch=4)
    assert Recipe.load(keeper.file).steps == wb.recipe.steps
    wb.set_range("r1", 2.5)
    wb.undo()
    wb.plan.set("op:Gemm", "fp32")
    assert Recipe.load(keeper.file).steps == wb.recipe.steps
    restarted(keeper)

    again = open_model(small_cnn)
    keeper = Keeper(history_of(again))
    assert keeper.offer is not None
    again.plan.set("op:Conv", "fp32")  # a cell does something before anybody decides
    assert Recipe.load(keeper.file).steps == wb.recipe.steps
    assert keeper.go_on() == len(wb.recipe.steps)
    assert again.recipe.steps == wb.recipe.steps
    assert dict(again.ranges) == dict(wb.ranges)
    assert again.compare(runs=0).samples == 12  # the samples are open again


@pytest.mark.usefixtures("notebook")
def test_a_parameter_decides_where_nobody_is_asked(small_cnn):
    first = open_model(small_cnn, resume=True)  # nothing there yet
    first.plan.set("op:Gemm", "fp32")
    restarted(history_of(first).keeper)
    second = open_model(small_cnn, resume=True)
    assert second.recipe.steps == first.recipe.steps
    restarted(history_of(second).keeper)
    third = open_model(small_cnn, resume=False)
    assert third.recipe.steps == ()
    assert not kept_file(history_of(third)).exists()


@pytest.mark.usefixtures("notebook")
def test_the_newest_of_one_kernel_keeps_and_the_older_one_says_so(small_cnn):
    first = open_model(small_cnn, resume=True)
    first.plan.set("op:Gemm", "fp32")
    second = open_model(small_cnn)
    keeper = Keeper(history_of(second))
    assert keeper.offer is not None
    assert "newer screen" in history_of(first).keeper.problem
    first.plan.set("op:Conv", "fp32")
    assert len(Recipe.load(keeper.file).steps) == 1
    keeper.go_on()
    assert second.recipe.steps == first.recipe.steps[:1]


@pytest.mark.usefixtures("notebook")
def test_another_kernel_keeps_nothing_and_says_who_does(small_cnn):
    wb = open_model(small_cnn, resume=True)
    wb.plan.set("op:Gemm", "fp32")
    code = (
        "import sys; from workbench.session import open_model, history_of\n"
        "wb = open_model(sys.argv[1], resume=True); wb.plan.set('op:Conv', 'fp32')\n"
        "print(len(wb.recipe.steps), history_of(wb).keeper.problem)"
    )
    stdout = subprocess.run([sys.executable, "-c", code, small_cnn], capture_output=True, text=True, check=True).stdout
    assert stdout.startswith("1 another kernel keeps")
    assert Recipe.load(history_of(wb).keeper.file).steps == wb.recipe.steps


@pytest.mark.usefixtures("notebook")
def test_two_notebooks_and_two_models_have_files_of_their_own(small_cnn, monkeypatch):
    history = history_of(open_model(small_cnn))
    one = kept_file(history)
    monkeypatch.setenv("JPY_SESSION_NAME", "other.ipynb")
    assert kept_file(history) != one


def test_a_model_without_a_file_has_one_by_its_name(notebook):
    named = proto([helper.make_node("Relu", ["x"], ["y"], "relu")], {"x": [1]}, {"y": [1]})
    named.graph.name = "a net/2.b_c-d"
    wb = Workbench(from_proto(named))
    assert kept_file(history_of(wb)) == notebook / f"tune me.a_net_2.b_c-d-{wb.source.digest[:8]}.recipe.yaml"


@pytest.mark.parametrize("refusal", [OSError(28, "No space left"), OutputError("it is full")])
@pytest.mark.usefixtures("notebook")
def test_what_cannot_be_written_is_a_problem_and_no_error(small_cnn, monkeypatch, refusal):
    wb = open_model(small_cnn)
    keeper = Keeper(history_of(wb))

    def refuse(*_):
        raise refusal

    monkeypatch.setattr(Recipe, "save", refuse)
    wb.plan.set("op:Gemm", "fp32")
    assert keeper.problem == f"the recipe is not kept: {refusal}"
    assert len(wb.recipe.steps) == 1


@pytest.mark.parametrize("other", ["", "~"], ids=["sorts before", "sorts behind"])
@pytest.mark.usefixtures("notebook")
def test_samples_that_are_others_now_are_not_gone_on_with(small_cnn, small_data, monkeypatch, other):
    first = open_model(small_cnn, resume=True)
    first.calibrate(str(small_data), batch=4)
    restarted(history_of(first).keeper)
    monkeypatch.setattr("workbench.session.samples.opened", lambda *_: SimpleNamespace(fingerprint=other))
    again = open_model(small_cnn, resume=True)
    assert again.recipe.steps == first.recipe.steps
    assert again.ranges.samples is None


@pytest.mark.parametrize("content", ["", "workbench: 1\nsteps: 3", "\x00\xff"])
@pytest.mark.usefixtures("notebook")
def test_what_is_no_recipe_there_is_left_alone(small_cnn, content):
    file = kept_file(history_of(open_model(small_cnn)))
    file.write_text(content)
    wb = open_model(small_cnn, resume=True)
    wb.plan.set("op:Gemm", "fp32")
    assert "something else" in history_of(wb).keeper.problem
    assert file.read_text() == content


def test_a_folder_that_cannot_be_written_is_said_once(notebook, small_cnn):
    keeper = Keeper(history_of(open_model(small_cnn)), notebook / "absent" / "x.recipe.yaml")
    assert "not kept" in keeper.problem
    with pytest.raises(RecipeError, match="no earlier recipe"):
        keeper.go_on()
