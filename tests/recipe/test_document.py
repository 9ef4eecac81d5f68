"""The recipe says what was done, to the last bit, and is refused where it does not fit."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import workbench
from workbench.errors import RecipeError, SelectorError
from workbench.recipe import Gate, Recipe
from workbench.recipe.steps import CalibrateStep


@pytest.fixture
def tuned(small_cnn, small_data):
    wb = workbench.open_model(small_cnn)
    wb.prepare()
    wb.calibrate(small_data, batch=4)
    wb.set_range("r1", 1.2345678901234567)
    wb.plan.set("op:Conv", "int8")
    wb.plan.set("name:stem/*", "fp32")
    wb.require("sqnr_db", at_least=10)
    wb.tune()
    return wb


def test_saving_and_loading_keeps_every_bit(tuned, tmp_path):
    path = tuned.recipe.save(tmp_path / "recipe.yaml")
    loaded = Recipe.load(path)
    assert loaded == tuned.recipe
    assert loaded.of_kind(CalibrateStep)[0].ranges == tuned.recipe.of_kind(CalibrateStep)[0].ranges


@given(st.floats(min_value=1e-30, max_value=1e30, allow_nan=False))
def test_any_range_survives_the_text_form(amax):
    assert yaml.safe_load(yaml.safe_dump({"a": amax}))["a"] == amax


def test_the_document_reads_like_what_was_done(tuned, tmp_path):
    content = yaml.safe_load(tuned.recipe.save(tmp_path / "recipe.yaml").read_text())
    assert content["workbench"] == 1
    assert [step["do"] for step in content["steps"]] == [
        "state_kernel_shape",
        "calibrate",
        "set_range",
        "set_precision",
        "set_precision",
    ]
    assert content["steps"][3] == {"do": "set_precision", "select": "op:Conv", "precision": "int8"}
    assert len(content["tuned"]["sha256"]) == 64


def test_paths_are_relative_to_the_recipe(tuned, tmp_path, small_cnn):
    path = tuned.recipe.save(tmp_path / "recipe.yaml")
    content = yaml.safe_load(path.read_text())
    assert not content["model"]["file"].startswith("/")
    assert Recipe.load(path).model.file == str(small_cnn.resolve())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("workbench: 1", "workbench: 2"), "schema version 2; this workbench reads version 1"),
        (lambda text: text.replace("workbench: 1\n", ""), "not a recipe"),
        (lambda text: text.replace("precision: int8", "precision: int9", 1), "steps"),
        (lambda text: text.replace("batch: 4", "batch: 4\n  colour: red"), "colour"),
        (lambda text: text[:20] + ": [", "not readable as YAML"),
        (lambda text: text.replace("    x: ", "    x: 1"), "its ranges were changed"),
    ],
)
def test_what_is_no_recipe_of_ours_is_refused(tuned, tmp_path, change, message):
    path = tuned.recipe.save(tmp_path / "recipe.yaml")
    path.write_text(change(path.read_text()))
    with pytest.raises(RecipeError, match=message):
        Recipe.load(path)


def test_a_recipe_needs_its_own_model(tuned, tmp_path, small_cnn):
    path = tuned.recipe.save(tmp_path / "recipe.yaml")
    import onnx

    other = onnx.load(small_cnn)
    other.graph.initializer[0].raw_data = bytes(len(other.graph.initializer[0].raw_data))
    onnx.save(other, tmp_path / "other.onnx")
    with pytest.raises(RecipeError, match="not the recipe's model"):
        workbench.open_recipe(path, model=tmp_path / "other.onnx")


def test_undo_and_redo_are_the_recipes_tail(small_cnn, small_data):
    wb = workbench.open_model(small_cnn)
    wb.calibrate(small_data)
    wb.plan.set("op:Conv", "int8")
    before = wb.tune().model.digest
    wb.plan.set("op:Gemm", "int8")
    after = wb.tune().model.digest
    assert before != after
    wb.undo()
    assert wb.tune().model.digest == before
    wb.redo()
    assert wb.tune().model.digest == after
    wb.undo()
    wb.plan.set("op:Conv", "fp32")
    with pytest.raises(RecipeError, match="nothing to redo"):
        wb.redo()


def test_a_rule_that_selects_nothing_is_refused_and_leaves_no_trace(small_cnn):
    wb = workbench.open_model(small_cnn)
    with pytest.raises(SelectorError):
        wb.plan.set("op:Cnov", "int8")
    assert wb.recipe.steps == ()


def test_gates_hold_or_do_not():
    assert Gate(metric="top1_drop", at_most=1.0).holds(1.0)
    assert not Gate(metric="top1_drop", at_most=1.0).holds(1.01)
    assert Gate(metric="sqnr_db", at_least=20).holds(float("inf"))
    assert not Gate(metric="sqnr_db", at_least=20).holds(float("nan"))
    assert not Gate(metric="top1_drop", at_most=1.0).holds(float("nan"))


def test_ranges_in_the_recipe_are_those_that_the_graph_gets(tuned):
    initializers = tuned.tuned.initializers
    scale = initializers["r1/scale"].const_value.numpy()
    assert scale == np.float32(np.float32(1.2345678901234567) / np.float32(127))
