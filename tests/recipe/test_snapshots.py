"""Recipes and their differences in words, and what is refused of them, beside this file."""

from __future__ import annotations

import itertools
import re
import tempfile
from pathlib import Path

import pytest
import yaml

from tests.kit.places import ROOT
from workbench.errors import WorkbenchError
from workbench.recipe import Recipe
from workbench.recipe.difference import drifted, recipe_difference
from workbench.recipe.telling import recipe_text

STORED = sorted((ROOT / "tests/data/recipes").glob("*.yaml"))


def loaded(content):
    """A recipe from its text or its document."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "recipe.yaml")
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
        return Recipe.load(path)


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_a_recipe_in_words(path, snapshot):
    # Where a file lies is told from the recipe's folder, which is another one each time.
    assert re.sub(r"(?<= )/\S*/", "", recipe_text(loaded(path.read_text()))) == snapshot


@pytest.mark.parametrize("pair", [*itertools.permutations(STORED, 2)], ids=lambda pair: "-".join(p.stem for p in pair))
def test_how_two_recipes_differ(pair, snapshot):
    before, after = (loaded(path.read_text()) for path in pair)
    assert "\n".join(recipe_difference(before, after)) == snapshot


def test_a_recipe_does_not_differ_from_itself():
    for path in STORED:
        assert recipe_difference(loaded(path.read_text()), loaded(path.read_text())) == ()


CHANGES = {
    "the model's weights": lambda r: r["model"].update(sha256="0" * 64),
    "the target": lambda r: r.update(target="tensorrt-10"),
    "a gate": lambda r: r.update(gates=[{"metric": "sqnr_db", "at_least": 20}]),
    "a range": lambda r: next(s for s in r["steps"] if s.get("ranges"))["ranges"].update(x=1.5),
    "the environment": lambda r: r.update(environment={"onnx": "1.0", "python": "3.10"}),
    "no last step": lambda r: r["steps"].pop(),
    "a build": lambda r: r.update(build={"optimization_level": 5}),
    "an unknown key": lambda r: r.update(gate=[]),
    "an unknown step": lambda r: r["steps"].append({"do": "tuna"}),
    "no model": lambda r: r.pop("model"),
    "a step of no kind": lambda r: r["steps"].append(7),
    "another schema": lambda r: r.update(workbench=99),
}


@pytest.mark.parametrize("count", [1, 5, 6, 8])
def test_five_ranges_are_told_and_the_others_counted(count):
    recipe = loaded(STORED[1].read_text())
    at = next(place for place, step in enumerate(recipe.steps) if getattr(step, "ranges", None))
    ranges = {f"t{place}": 1.0 for place in range(9)}
    moved = ranges | {f"t{place}": 1.0 + place for place in range(1, count + 1)}
    before, after = (
        recipe.model_copy(
            update={
                "steps": (
                    *recipe.steps[:at],
                    recipe.steps[at].model_copy(update={"ranges": one}),
                    *recipe.steps[at + 1 :],
                )
            }
        )
        for one in (ranges, moved)
    )
    (message,) = recipe_difference(before, after)
    assert f"{count} of 9 differ: t{count} 1 -> {1 + count}" in message
    assert message.count("->") == min(count, 5)
    assert message.endswith(f", and {count - 5} more") == (count > 5)


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("path", STORED[1:3], ids=lambda path: path.stem)
def test_what_is_said_of_a_change(what, path, snapshot):
    content = yaml.safe_load(path.read_text())
    before = loaded(content)
    try:
        CHANGES[what](content)
        text = "\n".join(recipe_difference(before, loaded(content)))
    except WorkbenchError as error:
        text = re.sub(r"\S*/recipe.yaml", "recipe.yaml", f"refused: {error}")
    assert text == snapshot


def test_packages_that_came_and_went():
    before, after = {"onnx": "1.17", "numpy": "2.0", "gone": "1"}, {"onnx": "1.23", "numpy": "2.0", "came": "3"}
    assert drifted(before, after) == ["onnx 1.17 -> 1.23", "gone 1 -> missing", "came absent -> 3"]
