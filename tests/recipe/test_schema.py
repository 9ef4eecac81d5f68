"""The published JSON Schema is the form that is read, and every stored recipe has that form."""

from __future__ import annotations

import json

import jsonschema
import pytest
import yaml

from tests.kit.places import ROOT
from workbench.errors import RecipeError
from workbench.graph.edits import EDITS
from workbench.recipe import METRICS, Recipe, recipe_schema

PUBLISHED = ROOT / "docs/reference/recipe.schema.json"
STORED = sorted((ROOT / "tests/data/recipes").glob("*.yaml"))


def test_the_published_schema_is_made_from_the_classes_that_read_recipes():
    assert json.loads(PUBLISHED.read_text()) == recipe_schema(), (
        "run: workbench recipe schema > docs/reference/recipe.schema.json"
    )


def test_every_kind_of_step_and_every_metric_is_in_it():
    schema = recipe_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    value = schema["properties"]["steps"]["items"]["discriminator"]["mapping"]
    assert set(value) > set(EDITS)
    assert schema["$defs"]["Gate"]["properties"]["metric"]["enum"] == list(METRICS)


@pytest.mark.parametrize("stored", STORED, ids=lambda path: path.stem)
def test_every_stored_recipe_is_valid(stored):
    jsonschema.validate(yaml.safe_load(stored.read_text()), recipe_schema())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": "red"}, "colour: there is no such key; there are workbench, model"),
        ({"gate": []}, "gate: there is no such key; did you mean gates?"),
        ({"steps": [{"do": "set_rang", "tensor": "r1", "amax": 1}]}, "no step 'set_rang'; did you mean set_range?"),
        (
            {"steps": [{"do": "set_range", "tensr": "r1", "amax": 1}]},
            "tensr: there is no such key; did you mean tensor?",
        ),
        ({"gates": [{"metric": "sqnr_bd", "at_least": 1}]}, "there is no metric 'sqnr_bd'; did you mean sqnr_db?"),
        ({"gates": [{"metric": "sqnr_db", "at_lest": 1}]}, "at_lest: there is no such key; did you mean at_least?"),
        ({"model": {"fil": "m", "sha256": "0"}}, "fil: there is no such key; did you mean file?"),
    ],
)
def test_what_the_schema_refuses_is_refused_with_a_near_name(change, message, tmp_path):
    content = yaml.safe_load(STORED[0].read_text()) | change
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, recipe_schema())
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(RecipeError) as caught:
        Recipe.load(path)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("workbench: 1\nmodel: !!python/object/apply:os.system ['true']\n", "could not determine a constructor"),
        ("workbench: 1\nmodel: {file: a, sha256: b}\nmodel: {file: c, sha256: d}\n", "the key 'model' is there twice"),
        ("workbench: 1\nsteps: &a [*a]\n", "holds itself"),
        ("workbench: 9\nmodel: {file: a, sha256: b}\n", "schema version 9"),
    ],
)
def test_yaml_that_is_up_to_something_is_refused(text, message, tmp_path):
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(RecipeError, match=message):
        Recipe.load(tmp_path / "recipe.yaml")


def test_an_alias_bomb_is_refused_before_it_is_copied(tmp_path):
    lines = ["workbench: 1", "a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)]
    (tmp_path / "recipe.yaml").write_text("\n".join(lines))
    with pytest.raises(RecipeError, match="values in such a document"):
        Recipe.load(tmp_path / "recipe.yaml")
