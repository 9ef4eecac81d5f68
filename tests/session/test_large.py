"""Models that one ONNX file cannot hold, from calibration to replay; a low limit stands in for protobuf's 2 GiB.

A model of 2.25 GiB (nine matrix products of 8192 x 8192) went the same way by hand.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.kit.places import ROOT
from workbench.errors import ModelError, RecipeError
from workbench.graph import save
from workbench.graph.load import load_model
from workbench.graph.save import file_bytes, file_digest, fits_one_file
from workbench.graph.stored import content
from workbench.jobs import replay, tune
from workbench.recipe import Recipe
from workbench.session import open_model

MODEL = ROOT / "sample_models" / "residual_cnn.onnx"
LIMIT = 100_000


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "samples.npz"
    (arguments,) = load_model(MODEL).inputs
    shape = (8, *arguments.shape[1:])
    np.savez(path, **{arguments.name: np.random.default_rng(0).uniform(0, 1, shape).astype(np.float32)})
    return path


@pytest.fixture
def low_limit(monkeypatch):
    monkeypatch.setattr(content, "PROTOBUF_LIMIT", LIMIT)
    monkeypatch.setattr(save, "PROTOBUF_LIMIT", LIMIT)


def weights(path):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}


@pytest.fixture(scope="module")
def whole(samples, tmp_path_factory):
    return tune(MODEL, samples, tmp_path_factory.mktemp("whole") / "out", runs=1)


@pytest.mark.usefixtures("low_limit")
def test_it_is_tuned_compared_and_replayed_with_its_weights_beside_it(samples, whole, tmp_path):
    model = load_model(MODEL)
    assert not fits_one_file(model)
    with pytest.raises(ModelError, match="over 2 GB"):
        model.to_bytes()
    result = tune(MODEL, samples, tmp_path / "apart", runs=1)
    names = ["tuned.onnx", "tuned.onnx.data", "recipe.yaml", "statistics.npz", "report.json", "report.html"]
    assert [path.name for path in result.files] == names
    assert result.comparison.outputs == whole.comparison.outputs
    assert result.comparison.original_bytes == pytest.approx(MODEL.stat().st_size, rel=0.05)
    outcome, expected = weights(tmp_path / "apart" / "tuned.onnx"), weights(whole.files[0])
    assert outcome.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(outcome[name], array)
    again = replay(tmp_path / "apart" / "recipe.yaml", tmp_path / "again").files
    for path in again:
        assert path.read_bytes() == (tmp_path / "apart" / path.name).read_bytes()


@pytest.mark.usefixtures("low_limit")
def test_its_identity_is_that_of_graph_and_weights_and_another_one_is_refused(samples, tmp_path):
    result = tune(MODEL, samples, tmp_path / "apart", runs=1)
    recipe = Recipe.load(tmp_path / "apart" / "recipe.yaml")
    assert recipe.tuned.sha256 == load_model(result.files[0]).digest == file_digest(result.workbench.tuned)
    other = recipe.model_copy(update={"tuned": recipe.tuned.model_copy(update={"sha256": "0" * 64})})
    other.save(tmp_path / "other.yaml")
    with pytest.raises(RecipeError, match="differs from the one this recipe made before"):
        replay(tmp_path / "other.yaml", tmp_path / "again", model=MODEL)
    assert not (tmp_path / "again").exists()


@pytest.mark.usefixtures("low_limit")
def test_plans_are_searched_for_it(samples):
    wb = open_model(MODEL)
    wb.prepare()
    wb.calibrate(samples)
    result = wb.plan.search("sqnr_db", at_least=20.0)
    assert result.chosen.measured.figure >= 20.0


def test_what_fits_is_measured_by_its_file(whole):
    tuned = whole.files[0]
    model = load_model(tuned)
    assert fits_one_file(model)
    assert file_bytes(model) == tuned.stat().st_size == whole.comparison.tuned_bytes
    assert file_digest(model) == whole.workbench.recipe.tuned.sha256
