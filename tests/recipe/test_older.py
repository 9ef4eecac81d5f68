"""Recipes that older releases wrote still make the same bytes."""

from __future__ import annotations

import shutil

import pytest

from tests.kit.places import ROOT
from workbench.graph.load import load_model
from workbench.graph.save import file_digest
from workbench.recipe.document import Recipe
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
