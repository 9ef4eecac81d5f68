"""A source stands for an edited model where it can be fed and read as that one is, and says where it cannot."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.kit.models import constant, model
from workbench.errors import BackendError
from workbench.evaluate.reference import Reference, as_type_of
from workbench.graph.edits.registry import edit_by_name
from workbench.runtime import Session

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16


def network(shape=("N", 3, 2, 4), dtype=FLOAT, x="x", outputs=("y", "z")):
    nodes = [helper.make_node("Neg", [x], ["y"], "neg"), helper.make_node("Abs", ["y"], ["z"], "abs")]
    return model(nodes, {x: (dtype, shape)}, dict.fromkeys(outputs, (dtype, shape)))


def edited(source, *steps):
    edits, after = [], source
    for name, arguments in steps:
        edits.append(edit_by_name(name, **arguments))
        after = edits[-1](after).model
    return Reference.source(source, after, edits)


def test_a_model_is_its_own_reference():
    source = network()
    reference = Reference.of(source)
    assert (reference.model, reference.form, reference.edits, reference.note) == (source, source, (), "")
    assert Reference.of(reference) is reference
    assert reference.outputs == ("y", "z")
    wrong = np.ones((1, 3, 2, 4), np.float64)  # which no edit explains
    assert reference.fed({"x": wrong})["x"] is wrong


def test_a_source_is_fed_and_read_through_all_edits_the_last_first():
    reference = edited(
        network(),
        ("set_input_layout", {"input": "x", "layout": "NHWC"}),
        ("rename_tensor", {"tensor": "x", "to": "image"}),
        ("set_input_type", {"input": "image", "dtype": "UINT8"}),
        ("rename_tensor", {"tensor": "z", "to": "half"}),
        ("rename_tensor", {"tensor": "half", "to": "scores"}),
    )
    assert reference.model is not reference.form
    assert (reference.outputs, reference.note) == (("y", "scores"), "")
    image = np.arange(24, dtype=np.uint8).reshape(1, 2, 4, 3)
    fed = reference.fed({"image": image})
    assert list(fed) == ["x"]
    assert fed["x"].dtype == np.float32
    np.testing.assert_array_equal(fed["x"], image.transpose(0, 3, 1, 2))
    results = reference.run(reference.session(), {"image": image})
    assert list(results) == ["y", "scores"]
    np.testing.assert_array_equal(results["scores"], image.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(results["y"], -image.transpose(0, 3, 1, 2).astype(np.float32))


def test_what_was_inside_of_the_source_is_compared_and_what_is_new_is_said():
    inside = edited(network(outputs=("z",)), ("mark_output", {"tensor": "y"}))
    assert (inside.outputs, inside.note) == (("z", "y"), "")
    new = edited(
        network(outputs=("z",)),
        ("insert", {"tensor": "y", "op": "Relu", "name": "relu"}),
        ("mark_output", {"tensor": "relu"}),
    )
    assert new.outputs == ("z",)
    assert new.note == "not compared, since the source has no such tensor: relu"


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        (network(x="other"), "of which 'other' is no input"),
        (network((1, 3, 2, 5)), "whose input is x float[1x3x2x4]"),
        (network((1, 3, 8)), "whose input is x float[1x3x2x4]"),
        (network((1, 3, 2, 4), HALF), "whose input is x float[1x3x2x4]"),
        (model([helper.make_node("Sin", ["x"], ["s"])], {"x": [1, 3, 2, 4]}, {"s": [1, 3, 2, 4]}), "which has none of"),
    ],
)
def test_a_source_that_cannot_stand_for_a_model_is_replaced_by_it(form, reason):
    reference = Reference.source(network((1, 3, 2, 4)), form, ())
    assert (reference.model, reference.form) == (form, form)
    assert reference.note.startswith(f"compared with the edited model instead of the source, {reason}")


def test_an_input_that_the_model_has_and_its_form_does_not_is_named():
    add = helper.make_node("Add", ["x", "also"], ["y"])
    form = model([helper.make_node("Relu", ["x"], ["y"])], {"x": [2]}, {"y": [2]})
    reference = Reference.source(model([add], {"x": [2], "also": [2]}, {"y": [2]}), form, ())
    assert reference.note.endswith("of which 'also' is an input")


@pytest.mark.parametrize("form", [("N", 3, 2, 4), ("M", 3, 2, 4), (7, 3, 2, 4), (None, 3, "H", 4)])
def test_a_symbol_is_no_length_of_its_own(form):
    reference = Reference.source(network(), network(form), ())
    assert (reference.model is reference.form, reference.outputs, reference.note) == (False, ("y", "z"), "")


def test_an_output_of_another_type_or_length_is_not_compared():
    whole = network((2, 4), outputs=("y",))
    half = [
        helper.make_node("Cast", ["x"], ["y"], to=HALF),
        helper.make_node("Slice", ["x", "from", "to"], ["z"]),
    ]
    form = model(
        half, {"x": [2, 4]}, {"y": (HALF, [2, 4]), "z": [1, 4]}, [constant("from", [0, 0]), constant("to", [1, 4])]
    )
    assert Reference.source(whole, form, ()).note.endswith("the source, which has none of its outputs")


def test_numbers_are_converted_and_what_is_none_or_no_input_is_left():
    half = network(dtype=HALF)
    arrays = {"x": np.ones(2, np.float32), "elsewhere": np.ones(2, np.float64)}
    assert {name: array.dtype for name, array in as_type_of(half, arrays).items()} == {
        "x": np.float16,
        "elsewhere": np.float64,
    }
    for content in (np.array(["a"]), np.array(["a"], object), np.array([b"a"]), np.ones(2, np.float16)):
        assert as_type_of(half, {"x": content})["x"] is content


def test_a_source_that_few_kernels_are_for_runs_in_the_next_operator_set():
    nodes = [helper.make_node("Add", ["x", "b"], ["s"], broadcast=1, axis=1), helper.make_node("Relu", ["s"], ["y"])]
    bias = np.array([1, 2, 3], np.float32)
    source = model(nodes, {"x": [2, 3, 4, 4]}, {"y": [2, 3, 4, 4]}, [constant("b", bias, "float32")], opset=6)
    reference = edited(source, ("convert_opset", {"version": 13}))
    assert (reference.model, reference.note) == (
        source,
        "the source runs in operator set 7, since few of set 6 are run here",
    )
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 4)).astype(np.float32)
    results = reference.run(reference.session(), {"x": x})
    np.testing.assert_allclose(results["y"], np.maximum(x + bias[:, None, None], 0))
    with pytest.raises(BackendError, match=r"newer operator set: wb\.prepare\(\)"):
        Session(source)
