"""A replay is of its own model and makes its own bytes, or says what differs."""

from __future__ import annotations

import pytest

from workbench.errors import RecipeError
from workbench.graph import from_proto, load_model
from workbench.recipe.document import Recipe
from workbench.recipe.parts import ModelReference
from workbench.recipe.replay import check_model, check_result, replay


def recipe(model, **more) -> Recipe:
    return Recipe(model=ModelReference(file="/a/model.onnx", sha256=model.digest), environment={"onnx": "1"}, **more)


def test_another_model_is_refused_by_its_file_or_its_name(small_cnn):
    model = load_model(small_cnn)
    other = recipe(model).model_copy(update={"model": ModelReference(file="/a/model.onnx", sha256="0" * 64)})
    check_model(recipe(model), model)
    with pytest.raises(RecipeError, match="not the recipe's model") as caught:
        check_model(other, model)
    assert caught.value.where == str(small_cnn)
    assert caught.value.what.endswith(f"its sha256 is {model.digest[:12]}..., not {'0' * 12}...")
    with pytest.raises(RecipeError) as caught:
        check_model(other, from_proto(model.proto))
    assert caught.value.where == "small_cnn"
    with pytest.raises(RecipeError, match="not the recipe's model"):
        replay(other, model)


def test_what_was_made_before_must_be_made_again(small_cnn):
    model = load_model(small_cnn)
    plain = recipe(model)
    check_result(plain, None, {})
    values = {"sha256": "1" * 64}
    reference = plain.model_copy(update={"tuned": values})
    check_result(reference, dict(values), {})
    with pytest.raises(RecipeError, match="differs from the one") as caught:
        check_result(reference, None, {"onnx": "2"})
    assert caught.value.fix == "Versions that differ: onnx 1 -> 2."
    with pytest.raises(RecipeError) as caught:
        check_result(reference, None, {})
    assert caught.value.fix == "Versions that differ: onnx 1 -> missing."
    with pytest.raises(RecipeError) as caught:
        check_result(reference, None, {"onnx": "1", "numpy": "9"})
    assert caught.value.fix == "No version differs; please report this."


def test_a_document_over_the_limit_is_refused_and_one_at_it_is_read(small_cnn, tmp_path, monkeypatch):
    path = recipe(load_model(small_cnn)).save(tmp_path / "recipe.yaml")
    text = path.read_text()
    path.write_text(text + "#" * (2**20 - len(text.encode())))
    assert path.stat().st_size == 2**20
    monkeypatch.setattr("workbench.limits._raised", {"document_mib": 1})
    assert Recipe.load(path).environment == {"onnx": "1"}
    path.write_text(path.read_text() + "#")
    with pytest.raises(RecipeError, match="the limit is 1"):
        Recipe.load(path)
