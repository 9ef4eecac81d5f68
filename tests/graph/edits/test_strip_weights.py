"""Weights lose their numbers and get the very same back, from a file that has them."""

from __future__ import annotations

import hashlib

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.kit.models import constant, model
from workbench.errors import EditError
from workbench.graph.edits.registry import edit_by_name
from workbench.graph.weights import is_stripped

node = helper.make_node
NUMBERS = {
    "three": np.float32([1, 2, 3]),
    "four": np.float32([[1, 2], [3, 4]]),
    "five": np.float32([1, 2, 3, 4, 5]),
}


def network(**other):
    held = {name: constant(name, array, array.dtype) for name, array in (NUMBERS | other).items()}
    readers = [node("Identity", [name], [f"y{name}"], f"read{name}") for name in held]
    return model(readers, {"x": [1]}, {f"y{name}": None for name in held}, held.values())


def stripped(subject):
    return [name for name, value in subject.initializers.items() if is_stripped(value.const_value)]


def test_weights_of_more_elements_than_are_kept_lose_their_numbers():
    for keep, gone in ((2, ["three", "four", "five"]), (3, ["four", "five"]), (4, ["five"]), (5, [])):
        done = edit_by_name("strip_weights", keep=keep)(network())
        assert stripped(done.model) == gone
        assert done.notes == ((f"stripped {len(gone)} weights",) if gone else ())
    done = edit_by_name("strip_weights", keep=3)(network()).model
    value = done.initializers["four"]
    assert (value.const_value.dtype.name, value.const_value.shape.numpy()) == ("FLOAT", (2, 2))
    assert value.metadata_props == {"stripped.sha256": hashlib.sha256(NUMBERS["four"].tobytes()).hexdigest()}
    again = edit_by_name("strip_weights", keep=2)(done)
    assert again.notes == ("stripped 1 weights",)
    assert again.model.initializers["four"].metadata_props == value.metadata_props


def test_a_thousand_and_some_elements_are_kept_unless_it_is_said():
    large = network(k1024=np.zeros(1024, np.float32), k1025=np.zeros(1025, np.float32))
    assert stripped(edit_by_name("strip_weights")(large).model) == ["k1025"]


def saved(subject, path):
    path.write_bytes(subject.to_bytes())
    return str(path)


def test_what_was_stripped_is_put_back(tmp_path):
    empty = edit_by_name("strip_weights", keep=3)(network()).model
    done = edit_by_name("restore_weights", source=saved(network(), tmp_path / "whole.onnx"))(empty)
    assert done.notes == ("restored 2 weights",)
    assert {name: value.metadata_props for name, value in done.model.initializers.items()} == {
        name: {} for name in NUMBERS
    }
    assert done.model.to_bytes() == network().to_bytes()
    assert not edit_by_name("restore_weights", source=str(tmp_path / "whole.onnx"))(network()).changed


WRONG = {
    "has another number": (
        {"five": np.float32([1, 2, 3, 4, 6])},
        "it holds other numbers than the ones that were stripped",
    ),
    "has another shape": (
        {"five": np.float32([[1, 2, 3, 4, 5]])},
        "it has no weight of this name, shape and element type",
    ),
    "has another type": ({"five": np.int32([1, 2, 3, 4, 5])}, "it has no weight of this name, shape and element type"),
}


@pytest.mark.parametrize("why", WRONG)
def test_a_file_whose_weight_is_another_is_refused(why, tmp_path):
    other, message = WRONG[why]
    empty = edit_by_name("strip_weights", keep=3)(network()).model
    source = saved(network(**other), tmp_path / "other.onnx")
    with pytest.raises(EditError) as refused:
        edit_by_name("restore_weights", source=source)(empty)
    assert str(refused.value) == (f"{source}, five: {message}. Name the file that the weights were stripped from.")


def test_a_file_without_the_weight_or_its_numbers_is_refused(tmp_path):
    empty = edit_by_name("strip_weights", keep=4)(network()).model
    lacking = model([node("Relu", ["x"], ["y"], "r")], {"x": [1]}, {"y": [1]})
    for subject in (empty, lacking):
        source = saved(subject, tmp_path / "source.onnx")
        with pytest.raises(EditError, match="five: it has no weight of this name, shape and element type"):
            edit_by_name("restore_weights", source=source)(empty)


def test_weights_that_no_one_stripped_with_a_digest_are_taken_by_name(tmp_path):
    stated = network().proto
    for tensor in stated.graph.initializer:
        if tensor.name == "five":
            tensor.CopyFrom(onnx.TensorProto(name="five", data_type=tensor.data_type, dims=tensor.dims))
    from workbench.graph.load import from_proto

    source = saved(network(five=np.float32([9, 8, 7, 6, 5])), tmp_path / "whole.onnx")
    done = edit_by_name("restore_weights", source=source)(from_proto(stated))
    assert done.notes == ("restored 1 weights",)
    assert done.model.initializers["five"].const_value.numpy().tolist() == [9, 8, 7, 6, 5]
