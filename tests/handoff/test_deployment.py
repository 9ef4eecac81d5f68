"""What a tuning left in its folder, read for whoever serves it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from onnx import TensorProto, helper
from PIL import Image

import workbench
from tests.kit.serving import saved
from workbench.errors import ModelError, RecipeError
from workbench.handoff import Port, deployment, open_deployment
from workbench.recipe import Recipe, SamplesReference, Tuned
from workbench.recipe.steps import CalibrateStep, RangeStep


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
    with pytest.raises(RecipeError, match="a file, and no folder"):
        open_deployment(tuned_cnn / "recipe.yaml")


def test_a_model_that_its_recipe_did_not_make(tuned_cnn, small_cnn, tmp_path):
    folder = shutil.copytree(tuned_cnn, tmp_path / "folder")
    shutil.copy(small_cnn, folder / "tuned.onnx")
    with pytest.raises(RecipeError, match="not the model that its recipe makes"):
        open_deployment(folder)


@pytest.mark.parametrize("digest", ["0" * 64, "f" * 64])
def test_a_model_is_its_recipes_by_its_digest_alone(tmp_path, digest):
    folder = saved(tmp_path, *relu(), [helper.make_node("Relu", ["x"], ["y"], "r")])
    recipe = Recipe.load(folder / "recipe.yaml")
    assert open_deployment(folder).recipe == recipe
    recipe.model_copy(update={"tuned": Tuned(sha256=digest)}).save(folder / "recipe.yaml")
    with pytest.raises(RecipeError, match="not the model that its recipe makes"):
        open_deployment(folder)
    recipe.model_copy(update={"tuned": None}).save(folder / "recipe.yaml")
    with pytest.raises(RecipeError, match="not the model that its recipe makes"):
        open_deployment(folder)


@pytest.mark.parametrize(
    ("name", "chosen", "usable"),
    [
        ("net-1.b_2", False, "net-1.b_2"),
        (".-hidden", False, "hidden"),
        ("a  b/c", False, "a_b_c"),
        ("_", False, "model"),
        ("", False, "model"),
        ("net", True, "net"),
        ("!net", True, None),
        ("~", True, None),
    ],
)
def test_a_name_stands_in_a_url_and_can_be_a_folders(name, chosen, usable):
    if usable is None:
        with pytest.raises(RecipeError, match="cannot be the name of a model"):
            deployment._usable(name, chosen=chosen)
    else:
        assert deployment._usable(name, chosen=chosen) == usable


def relu(shape=("N", 4)):
    return [value("x", TensorProto.FLOAT, shape)], [value("y", TensorProto.FLOAT, shape)]


def test_a_tensor_without_a_rank_cannot_be_served(tmp_path):
    folder = saved(tmp_path, *relu(None), [helper.make_node("Relu", ["x"], ["y"], "r")])
    with pytest.raises(ModelError, match=r"input 'x': its rank is not known, and a request states a shape"):
        open_deployment(folder)
    odd = SimpleNamespace(name="s", dtype="FLOAT", form="a sequence", shape=(1,))
    with pytest.raises(ModelError, match="output 's': it is a sequence, which KServe's protocol cannot carry"):
        deployment._port(odd, "output")
    with pytest.raises(ModelError, match="input 's': it is of an unknown type, which"):
        deployment._port(SimpleNamespace(name="s", dtype=None, form=None, shape=(1,)), "input")
    free = SimpleNamespace(name="x", dtype="FLOAT16", form=None, shape=("N", 3, None))
    assert deployment._port(free, "input") == Port("x", "FP16", (-1, 3, -1))


@pytest.mark.parametrize(
    ("inputs", "outputs", "batches"),
    [
        ([("N", 4)], [("N",)], True),
        ([("N",), ("N", 3)], [("N", 5)], True),
        ([(None, 4)], [(None, 4)], True),
        ([("N", 4)], [("M", 4)], False),
        ([("N", 4), ()], [("N", 4)], False),
        ([("N", "N")], [("N", 4)], False),
        ([("N", 4), (3, "N")], [("N", 4)], False),
        ([("N", 4)], [("N", "N")], True),
        ([(0, 4)], [(0, 4)], False),
        ([], [("N", 4)], False),
    ],
)
def test_a_batch_is_one_free_first_axis_that_no_other_axis_of_an_input_is(inputs, outputs, batches):
    tensors = [[SimpleNamespace(shape=shape) for shape in shapes] for shapes in (inputs, outputs)]
    assert deployment._batches(SimpleNamespace(inputs=tensors[0], outputs=tensors[1])) is batches


def test_images_became_inputs_as_the_newest_calibration_that_says_so_did():
    def step(pixels):
        return SimpleNamespace(samples=SimpleNamespace(source={} if pixels is None else {"preprocessing": pixels}))

    def read(*pixels):
        return deployment._preprocessing(SimpleNamespace(of_kind=lambda _: [step(one) for one in pixels]))

    assert read() is read(None) is None
    assert [read(*pixels).color for pixels in ([{"color": "BGR"}], [{"color": "BGR"}, {"color": "GRAY"}, None])] == [
        "BGR",
        "GRAY",
    ]


def test_ranges_in_force_are_the_last_of_tensors_that_are_quantized_and_readers_stand_behind_the_pairs(tmp_path):
    scale, zero = helper.make_tensor("s", 1, [], [0.5]), helper.make_tensor("z", TensorProto.INT8, [], [0])
    constants = [
        helper.make_node("Constant", [], ["s"], "s", value=scale),
        helper.make_node("Constant", [], ["z"], "z", value=zero),
    ]
    pair = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], "q"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], "d"),
    ]
    readers = [helper.make_node("Relu", ["d"], ["a"], "first"), helper.make_node("Abs", ["d"], ["b"], "second")]
    last = helper.make_node("Add", ["a", "b"], ["y"], "sum")
    made = open_deployment(saved(tmp_path, *relu(), [*constants, *pair, *readers, last]))
    assert made.ranges == {}
    reference = SamplesReference(source={"kind": "npz"}, count=1, fingerprint="f")
    steps = (
        CalibrateStep(samples=reference, method="mse", batch=1, ranges={"x": 1.0, "a": 2.0}),
        RangeStep(tensor="x", amax=3.0),
        RangeStep(tensor="a", amax=4.0),
    )
    told = replace(made, recipe=made.recipe.model_copy(update={"steps": steps}))
    assert told.ranges == {"x": 3.0}
    assert made.readers("x") == ["first", "second"]
    assert made.readers("a") == []


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
