"""What a tuning left in its folder, read for whoever serves it."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from onnx import TensorProto, helper
from PIL import Image

import workbench
from tests.kit.serving import saved
from workbench.errors import ModelError, RecipeError
from workbench.handoff import Port, open_deployment


def test_a_result_of_tune_is_described(tuned_cnn):
    actual = open_deployment(tuned_cnn)
    assert actual.name == "small_cnn"
    assert actual.inputs == (Port("x", "FP32", (-1, 3, 8, 8)),)
    assert actual.outputs == (Port("y", "FP32", (-1, 5)),)
    assert actual.batches
    assert actual.preprocessing is None
    assert actual.files == (tuned_cnn / "tuned.onnx",)


def test_clients_can_be_given_another_name(tuned_cnn):
    assert open_deployment(tuned_cnn, name="faces-2.1").name == "faces-2.1"
    with pytest.raises(RecipeError, match="Call it for example a_b"):
        open_deployment(tuned_cnn, name="a/b")
    with pytest.raises(RecipeError, match="Call it for example model"):
        open_deployment(tuned_cnn, name="检测")


def test_a_file_whose_name_no_address_holds_makes_a_model_called_model(tuned_cnn, tmp_path):
    folder = shutil.copytree(tuned_cnn, tmp_path / "folder")
    recipe = folder / "recipe.yaml"
    recipe.write_text(recipe.read_text("utf-8").replace("small_cnn.onnx", "检测 模型.onnx"), "utf-8")
    assert open_deployment(folder).name == "model"


@pytest.mark.parametrize(("missing", "message"), [("tuned.onnx", "no tuned.onnx"), ("recipe.yaml", "no recipe.yaml")])
def test_a_folder_that_no_tuning_wrote(tuned_cnn, tmp_path, missing, message):
    folder = shutil.copytree(tuned_cnn, tmp_path / "folder")
    (folder / missing).unlink()
    with pytest.raises(RecipeError, match=f"not what a tuning writes: there is {message}"):
        open_deployment(folder)
    with pytest.raises(RecipeError, match="no such folder"):
        open_deployment(tmp_path / "nowhere")


def test_a_model_that_its_recipe_did_not_make(tuned_cnn, small_cnn, tmp_path):
    folder = shutil.copytree(tuned_cnn, tmp_path / "folder")
    shutil.copy(small_cnn, folder / "tuned.onnx")
    with pytest.raises(RecipeError, match="not the model that its recipe makes"):
        open_deployment(folder)


def value(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)


def test_an_element_type_that_no_request_carries(tmp_path):
    kind = TensorProto.FLOAT8E4M3FN
    node = helper.make_node("Cast", ["x"], ["y"], "cast", to=TensorProto.FLOAT)
    folder = saved(tmp_path, [value("x", kind, ["N"])], [value("y", TensorProto.FLOAT, ["N"])], [node])
    with pytest.raises(ModelError, match=r"input .x.: it is FLOAT8E4M3FN, which KServe's protocol cannot carry"):
        open_deployment(folder)


@pytest.mark.parametrize(
    ("x", "y", "batches"),
    [(["N", 4], ["N", 4], True), ([2, 4], [2, 4], False), (["N", "N"], ["N", "N"], False), (["N", 4], [1, 4], False)],
)
def test_a_batch_axis_is_the_first_of_all_and_of_nothing_else(tmp_path, x, y, batches):
    op = "ReduceMax" if y[0] == 1 else "Relu"
    node = helper.make_node(op, ["x", "axes"] if op == "ReduceMax" else ["x"], ["y"], "node")
    axes = helper.make_node(
        "Constant", [], ["axes"], "axes", value=helper.make_tensor("a", TensorProto.INT64, [1], [0])
    )
    nodes = [axes, node] if op == "ReduceMax" else [node]
    folder = saved(tmp_path, [value("x", TensorProto.FLOAT, x)], [value("y", TensorProto.FLOAT, y)], nodes)
    assert open_deployment(folder).batches == batches


def test_how_images_became_inputs_is_in_the_recipe(small_cnn, tmp_path):
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for i in range(3):
        Image.fromarray(rng.integers(0, 255, (9, 9, 3), np.uint8)).save(tmp_path / f"images/{i}.png")
    workbench.tune(small_cnn, tmp_path / "images", tmp_path / "out", runs=0, preprocessing="color=BGR,scale=1")
    preprocessing = open_deployment(tmp_path / "out").preprocessing
    assert preprocessing is not None
    assert (preprocessing.color, preprocessing.scale, preprocessing.size) == ("BGR", 1.0, (8, 8))
