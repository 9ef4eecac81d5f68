"""Comments of a person stay in a recipe, whatever the workbench changes around them."""

from __future__ import annotations

import copy

import pytest
import yaml
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

import workbench
from tests.kit.places import ROOT
from workbench.recipe import Recipe
from workbench.recipe.comments import with_comments
from workbench.recipe.reading import dumped

STORED = (ROOT / "tests/data/recipes/0.1.0.every_kind.yaml").read_text()
COMMENTED = "# for the night shift\n" + STORED.replace(
    "- do: choose_ranges", "# a better percentile\n- do: choose_ranges"
).replace("amax: 3.5", "amax: 3.5  # measured on the line").replace(
    "    r1: minmax", "    r1: minmax # as the camera clips"
)
COMMENTS = ["# for the night shift", "# a better percentile", "# measured on the line", "# as the camera clips"]


def test_comments_stay_beside_what_they_were_beside():
    content = yaml.safe_load(STORED)
    content["steps"][3]["amax"] = 4e-9
    content["steps"][1]["ranges"]["x"] = 1e-12
    content["steps"].insert(2, {"do": "remove_dead"})
    text = with_comments(COMMENTED, dumped(content))
    assert yaml.safe_load(text) == content
    lines = text.splitlines()
    assert lines[0] == "# for the night shift"
    assert lines[lines.index("# a better percentile") + 1] == "- do: choose_ranges"
    assert "  amax: 4.0e-09 # measured on the line" in [line.replace("  #", " #") for line in lines]
    assert "    r1: minmax # as the camera clips" in lines


def test_what_stays_is_written_as_the_person_wrote_it():
    written = "# kept\nnote: \"größer\"\nlabel: 'schön'\nsteps: []\n"
    content = {"note": "größer", "label": "schön", "steps": [], "more": "µ"}
    assert with_comments(written, dumped(content)) == written + "more: µ\n"


@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(st.data())
def test_what_a_recipe_says_never_depends_on_its_comments(data):
    content = yaml.safe_load(STORED)
    for _ in range(data.draw(st.integers(1, 4))):
        steps = content["steps"]
        at = data.draw(st.integers(0, max(len(steps) - 1, 0)))
        what = data.draw(st.sampled_from(["remove", "double", "turn", "number", "key"]))
        if what == "remove" and len(steps) > 1:
            del steps[at]
        elif what == "double":
            steps.insert(at, copy.deepcopy(steps[at]))
        elif what == "turn":
            steps.reverse()
        elif what == "number":
            steps[at]["amax"] = data.draw(st.floats(1e-30, 1e30))
        else:
            content[data.draw(st.text(min_size=1, max_size=8))] = data.draw(st.text(max_size=8))
    text = with_comments(COMMENTED, dumped(content))
    assert yaml.safe_load(text) == content
    assert "# for the night shift" in text


def test_a_recipe_that_is_loaded_changed_and_saved_keeps_them(small_cnn, small_data, tmp_path):
    wb = workbench.open_model(small_cnn)
    wb.calibrate(small_data)
    wb.plan.set("op:Conv", "int8")
    path = tmp_path / "recipe.yaml"
    wb.recipe.save(path)
    path.write_text(path.read_text().replace("- do: set_precision", "# convolutions pay\n- do: set_precision"))
    again = workbench.open_recipe(path)
    assert again.recipe == wb.recipe
    again.plan.set("op:Gemm", "fp32")
    again.set_range("r1", 2.0)
    again.save(tmp_path / "out")
    text = (tmp_path / "out/recipe.yaml").read_text()
    assert "# convolutions pay\n- do: set_precision\n  select: op:Conv" in text
    assert Recipe.load(tmp_path / "out/recipe.yaml").steps == again.recipe.steps


@pytest.mark.parametrize("comment", COMMENTS)
def test_each_comment_survives_a_plain_save(comment, tmp_path):
    (tmp_path / "recipe.yaml").write_text(COMMENTED)
    Recipe.load(tmp_path / "recipe.yaml").save(tmp_path / "again.yaml")
    assert comment in (tmp_path / "again.yaml").read_text()


@given(st.dictionaries(st.text(), st.text() | st.floats(allow_nan=False)))
@example({"a\x85b": "c\x85"})
def test_any_text_and_number_is_read_back_as_it_was_written(content):
    assert yaml.safe_load(dumped(content)) == content


@pytest.mark.parametrize("name", ["y", "n", "Y", "1e5", "on", "null", "1:30", "0o7", "=", "<<", "2020-01-01", "~", ""])
def test_tensors_may_have_any_name(name):
    content = {"steps": [{"do": "calibrate", "ranges": {"x": 1.5, name: 2.5}, "tensor": name}]}
    commented = "# kept\n" + dumped(content)
    content["steps"][0]["ranges"]["x"] = 3.5
    text = with_comments(commented, dumped(content))
    assert yaml.safe_load(text) == content
    assert text.startswith("# kept")
