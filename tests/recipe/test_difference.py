"""Two recipes in words: what a person would say is different, and nothing where only paths are."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import workbench
from workbench.errors import RecipeError
from workbench.graph import load_model, structure_digest
from workbench.recipe import Evaluation, Recipe, SamplesReference, drifted, recipe_difference, recipe_text, verify


@pytest.fixture(scope="module")
def retrained(small_cnn, tmp_path_factory):
    proto = onnx.load(small_cnn)
    rng = np.random.default_rng(7)
    for one in proto.graph.initializer:
        array = numpy_helper.to_array(one)
        one.CopyFrom(numpy_helper.from_array(rng.normal(size=array.shape).astype(array.dtype), one.name))
    path = tmp_path_factory.mktemp("retrained") / "small_cnn.onnx"
    onnx.save(proto, path)
    return path


@pytest.fixture(scope="module")
def tuned(small_cnn, small_data, tmp_path_factory):
    wb = workbench.open_model(small_cnn)
    wb.calibrate(small_data, batch=4)
    wb.set_range("r1", 1.5)
    wb.plan.set("op:Conv", "int8")
    wb.require("sqnr_db >= 10")
    wb.tune()
    path = tmp_path_factory.mktemp("tuned") / "recipe.yaml"
    wb.recipe.save(path)
    return path


def test_the_same_recipe_elsewhere_is_no_difference(tuned):
    recipe = Recipe.load(tuned)
    assert recipe_difference(recipe, recipe.relocated(lambda file: f"/elsewhere{file}")) == ()


def test_each_difference_is_a_sentence(tuned):
    before = Recipe.load(tuned)
    calibrated, ranged, ruled = before.steps[-3:]
    ranges = {**calibrated.ranges, "x": 2 * calibrated.ranges["x"]}
    steps = (
        calibrated.model_copy(update={"ranges": ranges, "method": "entropy"}),
        ranged.model_copy(update={"amax": 2.0}),
        ruled.model_copy(update={"precision": "fp16"}),
        ruled.model_copy(update={"select": "op:Gemm"}),
    )
    after = before.model_copy(
        update={
            "steps": (*before.steps[:-3], *steps),
            "gates": (),
            "target": "rtx@sm86",
            "environment": before.environment | {"onnx": "0"},
        }
    )
    x, onnx_version = calibrated.ranges["x"], before.environment["onnx"]
    assert recipe_difference(before, after) == (
        "step 0 (calibrate): method mse -> entropy",
        f"step 0 (calibrate): ranges: 1 of 4 differ: x {x:.6g} -> {2 * x:.6g}",
        "step 1 (set_range r1): amax 1.5 -> 2",
        "step 2 (set_precision op:Conv): precision int8 -> fp16",
        "step 3 (set_precision op:Gemm) is new: int8",
        "target: not stated -> rtx@sm86",
        "gate sqnr_db >= 10 is gone",
        f"environment: onnx {onnx_version} -> 0",
    )


def test_other_samples_for_the_gates_are_a_difference(tuned):
    before = Recipe.load(tuned)
    samples = SamplesReference(source={"kind": "npz", "path": "/t.npz"}, count=7, fingerprint="f")
    after = before.model_copy(update={"evaluation": Evaluation(samples=samples)})
    assert recipe_difference(before, after) == ("gates are judged on other samples: the calibration's -> 7",)


def test_a_retrained_model_has_the_structure_and_another_digest(small_cnn, retrained):
    one, other = load_model(small_cnn), load_model(retrained)
    assert one.digest != other.digest
    assert structure_digest(one) == structure_digest(other)


@pytest.mark.parametrize("what", ["name", "edge", "attribute", "shape", "constant"])
def test_another_network_has_another_structure(small_cnn, what, tmp_path):
    proto = onnx.load(small_cnn)
    node, weight = proto.graph.node[0], proto.graph.initializer[0]
    if what == "name":
        node.name = "other"
    elif what == "edge":
        proto.graph.node[3].input[1] = "c2"
    elif what == "attribute":
        node.attribute.append(onnx.helper.make_attribute("group", 1))
    elif what == "shape":
        weight.CopyFrom(numpy_helper.from_array(np.zeros((4, 3, 5, 5), np.float32), weight.name))
    else:
        proto.graph.initializer.append(numpy_helper.from_array(np.array([1]), "axes"))
    onnx.save(proto, tmp_path / "m.onnx")
    assert structure_digest(load_model(tmp_path / "m.onnx")) != structure_digest(load_model(small_cnn))


def test_a_retrained_model_is_told_from_another_network(tuned, retrained, tmp_path):
    with pytest.raises(RecipeError, match="the same network with other weights"):
        workbench.open_recipe(tuned, model=retrained)
    proto = onnx.load(retrained)
    proto.graph.node[0].name = "other"
    onnx.save(proto, tmp_path / "other.onnx")
    with pytest.raises(RecipeError, match="another network"):
        workbench.open_recipe(tuned, model=tmp_path / "other.onnx")


def test_all_that_is_wrong_is_said_at_once(tuned, tmp_path, small_cnn):
    recipe = Recipe.load(tuned)
    moved = recipe.relocated(lambda file: str(tmp_path / "gone" / file.rsplit("/", 1)[-1]))
    broken = moved.model_copy(update={"target": "rtxx"})
    actual = verify(broken, where=tmp_path / "recipe.yaml")
    assert len(actual.problems) == 2
    with pytest.raises(RecipeError, match=r"2 things are wrong: \(1\).*is not at .* any more.*\(2\)"):
        actual.required()
    (tmp_path / "small_cnn.onnx").write_bytes(small_cnn.read_bytes())
    (problem,) = verify(moved, where=tmp_path / "recipe.yaml").problems
    assert f"--model {tmp_path / 'small_cnn.onnx'}" in str(problem)
    assert verify(moved, where=tmp_path / "recipe.yaml", model=small_cnn).required().digest == recipe.model.sha256


def test_a_drifted_environment_is_named_package_by_package(tuned):
    assert drifted({"onnx": "1", "numpy": "2", "container": "a"}, {"onnx": "1", "numpy": "3", "new": "4"}) == [
        "numpy 2 -> 3",
        "container a -> missing",
        "new absent -> 4",
    ]
    recipe = Recipe.load(tuned)
    aged = recipe.model_copy(update={"environment": recipe.environment | {"onnx": "0.9"}})
    notes = verify(aged).notes
    assert [note.split(" -> ")[0] for note in notes] == ["drifted since it was made: onnx 0.9"]


def test_the_container_is_part_of_the_environment(monkeypatch):
    from workbench.recipe import environment

    assert "container" not in environment()
    monkeypatch.setenv("WORKBENCH_CONTAINER", "nvcr.io/nvidia/tensorrt:25.08-py3")
    assert environment()["container"] == "nvcr.io/nvidia/tensorrt:25.08-py3"


def test_show_has_the_model_every_step_the_gates_and_the_versions(tuned):
    text = recipe_text(Recipe.load(tuned))
    for message in ("small_cnn.onnx", "calibrate mse", "12 samples", "4 ranges", "set_range r1, 1.5", "op:Conv, int8"):
        assert message in text
    assert "gate         sqnr_db >= 10" in text
    assert "made with    python" in text
