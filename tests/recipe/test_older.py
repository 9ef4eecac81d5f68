"""Recipes that older releases wrote still make the same bytes."""

from __future__ import annotations

import shutil

import pytest
import yaml

from tests.kit.places import ROOT
from workbench.errors import RecipeError
from workbench.graph.load import load_model
from workbench.graph.save import file_digest
from workbench.recipe.document import SCHEMA, Recipe
from workbench.recipe.migrations import MIGRATIONS
from workbench.recipe.replay import replay

STORED = sorted((ROOT / "tests/data/recipes").glob("*.yaml"))


@pytest.mark.parametrize("stored", STORED, ids=lambda path: path.stem)
def test_an_older_recipe_makes_the_same_bytes(stored, small_cnn, tmp_path):
    recipe = Recipe.load(shutil.copy(stored, tmp_path))
    assert recipe.steps
    assert recipe.tuned is not None
    _, lowered = replay(recipe, load_model(small_cnn))
    assert file_digest(lowered.model) == recipe.tuned.sha256


@pytest.mark.parametrize("stored", STORED, ids=lambda path: path.stem)
def test_an_older_recipe_is_saved_as_it_was(stored, tmp_path):
    copied = shutil.copy(stored, tmp_path / "recipe.yaml")
    Recipe.load(copied).save(tmp_path / "again.yaml")
    assert (tmp_path / "again.yaml").read_text() == stored.read_text()


def test_every_version_has_a_way_to_the_next_and_recipes_to_try_it_on():
    assert {yaml.safe_load(path.read_text())["workbench"] for path in STORED} == {*range(1, SCHEMA + 1)}
    assert {*MIGRATIONS} == {*range(1, SCHEMA)}


def test_a_recipe_of_an_earlier_version_is_read_as_one_of_this(small_cnn, tmp_path, monkeypatch):
    """Two versions that never were: steps said nothing of Conv's kernels, and before that gates were called bounds."""
    stored = (ROOT / "tests/data/recipes/0.1.0.tuned.yaml").read_text()
    older = stored.replace("workbench: 1", "workbench: -1  # the line in Oslo").replace("gates:", "bounds:")
    assert older.count("- do: state_kernel_shape\n") == 1
    (tmp_path / "recipe.yaml").write_text(older.replace("- do: state_kernel_shape\n", ""))

    def named(content):
        return {"gates" if name == "bounds" else name: value for name, value in content.items()}

    def stated(content):
        return {**content, "steps": [{"do": "state_kernel_shape"}, *content["steps"]]}

    monkeypatch.setitem(MIGRATIONS, -1, named)
    monkeypatch.setitem(MIGRATIONS, 0, stated)
    recipe = Recipe.load(tmp_path / "recipe.yaml")
    recipe.save(tmp_path / "again.yaml")
    again = (tmp_path / "again.yaml").read_text()
    assert again.splitlines()[0].split() == "workbench: 1 # the line in Oslo".split()
    assert yaml.safe_load(again) == yaml.safe_load(stored)
    assert file_digest(replay(recipe, load_model(small_cnn))[1].model) == recipe.tuned.sha256


def test_a_recipe_of_a_later_version_asks_for_a_later_release(tmp_path):
    (tmp_path / "recipe.yaml").write_text(STORED[0].read_text().replace("workbench: 1", f"workbench: {SCHEMA + 1}"))
    with pytest.raises(RecipeError, match="pip install --upgrade trt-workbench"):
        Recipe.load(tmp_path / "recipe.yaml")
