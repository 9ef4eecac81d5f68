"""Two versions of a model are equal, nearly equal or not, and an edit that is not is refused."""

from __future__ import annotations

import math

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from workbench.backends.equivalence import equivalence, random_inputs
from workbench.errors import BackendError, EditError
from workbench.graph.edits.base import Edit, Unchecked
from workbench.graph.edits.registry import EDITS
from workbench.graph.load import from_proto, load_model
from workbench.session import open_model


def scaled(factor, shape=("N", "T"), dtype=TensorProto.FLOAT, outputs=("y", "z")):
    kind = helper.tensor_dtype_to_np_dtype(dtype)
    nodes = [helper.make_node("Mul", ["x", "f"], ["y"], "mul"), helper.make_node("Neg", ["y"], ["z"], "neg")]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", dtype, shape)],
        [value(name, dtype, shape) for name in outputs],
        [numpy_helper.from_array(np.asarray(factor, kind), "f")],
    )
    return from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def test_errors_are_relative_to_the_largest_value():
    inputs = {"x": np.array([[1.0, -4.0]], np.float32)}
    found = equivalence(scaled(2), scaled(2.02), inputs)
    assert found.errors == pytest.approx({"y": 0.01, "z": 0.01}, rel=1e-4)
    assert not found.holds()
    assert found.holds(0.02)
    assert "2 outputs within 0.01 of the largest value" in str(found)
    same = equivalence(scaled(2), scaled(2), inputs)
    assert same.worst[1] == 0
    assert str(same) == "2 outputs exactly as before, on the inputs given"


def test_what_became_infinite_or_another_type_is_infinitely_far():
    inputs = {"x": np.ones((1, 3), np.float32)}
    assert equivalence(scaled(2), scaled(math.inf), inputs).errors["y"] == math.inf
    whole = {"x": np.ones((1, 3), np.int64)}
    found = equivalence(scaled(2, dtype=TensorProto.INT64), scaled(3, dtype=TensorProto.INT64), whole)
    assert found.errors == {"y": 1.0, "z": 1.0}


def test_only_common_outputs_are_compared():
    assert list(equivalence(scaled(2), scaled(2, outputs=("z",))).errors) == ["z"]
    with pytest.raises(BackendError, match="no output has the name it had"):
        equivalence(scaled(2, outputs=("y",)), scaled(2, outputs=("z",)))


def test_random_inputs_are_seeded_and_a_symbol_has_one_length():
    made = scaled(2, shape=("N", "T", "N", 5))
    first = random_inputs(made)["x"]
    assert first.shape == (1, 16, 1, 5)
    assert np.array_equal(first, random_inputs(made)["x"])
    assert not np.array_equal(first, random_inputs(made, seed=1)["x"])
    assert set(np.unique(random_inputs(scaled(2, dtype=TensorProto.INT64))["x"])) <= {0, 1}


class Wrong(Edit):
    do: str = "wrong"
    title = "Do it wrong"

    def apply(self, graph, _model):
        graph.graph.initializers["f"].const_value = ir.Tensor(np.float32(2.5), name="f")
        return ["wrong"]


def test_an_edit_that_moves_the_outputs_is_refused_and_the_model_stays(tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(scaled(2).proto, path)
    wb = open_model(path)
    before = wb.model
    with pytest.raises(EditError, match=r"do it wrong would move output '[yz]' by 0.25 of its largest value"):
        wb.edit(Wrong(), check=True)
    assert wb.model is before
    assert wb.recipe.steps == ()
    assert wb.edit("drop_output", output="z", check=True).check.worst == ("y", 0.0)
    assert wb.edit("insert", tensor="y", op="Abs", name="abs", check=True).check == Unchecked(
        "this edit is not meant to keep what the model computes"
    )


def test_folding_a_real_model_keeps_its_outputs(shared):
    wb = open_model(shared / "models/ultraface_rfb320/model.onnx")
    original = wb.source
    assert wb.edit("fold_constants", check=True).check.worst[1] <= 1e-5
    assert 0 < wb.edit("fold_batch_norm", check=True).check.worst[1] <= 1e-4
    assert equivalence(load_model(original.path), wb.model).holds()


def test_an_edit_that_means_to_move_the_outputs_says_so():
    assert not any(
        EDITS[name].equivalent
        for name in ("insert", "bypass", "replace_node", "correct_bias", "symmetric_qdq", "set_input_type")
    )
    assert all(
        EDITS[name].equivalent for name in ("fold_constants", "fold_batch_norm", "equalize_channels", "set_batch")
    )
