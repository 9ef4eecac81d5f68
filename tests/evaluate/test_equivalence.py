"""Two versions of a model are equal, nearly equal or not, and an edit that is not is refused."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from workbench.errors import BackendError, EditError
from workbench.evaluate import edit_check as module
from workbench.evaluate import equivalence as equivalence_of
from workbench.evaluate.equivalence import compared, equivalence
from workbench.evaluate.inputs import random_inputs
from workbench.graph.edits.base import Edit
from workbench.graph.edits.equivalence import Unchecked
from workbench.graph.edits.registry import EDITS
from workbench.graph.load import from_proto, load_model
from workbench.session import open_model, open_recipe


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
    result = equivalence(scaled(2), scaled(2.02), inputs)
    assert result.errors == pytest.approx({"y": 0.01, "z": 0.01}, rel=1e-4)
    assert not result.holds()
    assert result.holds(0.02)
    assert "2 outputs within 0.01 of the largest value" in str(result)
    same = equivalence(scaled(2), scaled(2), inputs)
    assert same.worst[1] == 0
    assert str(same) == "2 outputs exactly as before, on the inputs given"


def test_what_became_infinite_or_another_type_is_infinitely_far():
    inputs = {"x": np.ones((1, 3), np.float32)}
    assert equivalence(scaled(2), scaled(math.inf), inputs).errors["y"] == math.inf
    became = compared(scaled(1), {"y": (np.array([np.nan, 1], "f"), np.array([0, 1], "f"))}, "the inputs given")
    assert became.errors == {"y": math.inf}
    whole = {"x": np.ones((1, 3), np.int64)}
    result = equivalence(scaled(2, dtype=TensorProto.INT64), scaled(3, dtype=TensorProto.INT64), whole)
    assert result.errors == {"y": 1.0, "z": 1.0}


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_an_infinity_that_stays_hides_no_error_beside_it(dtype):
    old, new = np.array([4, np.inf, 2, np.nan], dtype), np.array([4, np.inf, 3, np.nan], dtype)
    result = compared(scaled(1), {"y": (old, new), "z": (old[1:2], new[1:2])}, "the inputs given")
    assert result.errors == {"y": 0.25, "z": 0.0}
    assert result.sqnr == pytest.approx(10 * math.log10(20))
    assert (result.holds(), result.empty) == (False, ("z",))


def test_only_common_outputs_are_compared():
    assert list(equivalence(scaled(2), scaled(2, outputs=("z",))).errors) == ["z"]
    with pytest.raises(BackendError, match="no output has the name it had"):
        equivalence(scaled(2, outputs=("y",)), scaled(2, outputs=("z",)))


def test_random_inputs_are_seeded_and_a_symbol_has_one_length():
    outcome = scaled(2, shape=("N", "T", "N", 5))
    first = random_inputs(outcome)["x"]
    assert first.shape == (1, 16, 1, 5)
    assert np.array_equal(first, random_inputs(outcome)["x"])
    assert not np.array_equal(first, random_inputs(outcome, seed=1)["x"])
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
        wb.edit(Wrong())
    assert wb.model is before
    assert wb.recipe.steps == ()
    assert wb.edit(Wrong(), check=False).check == Unchecked("check=False was given")
    wb.undo()
    assert wb.edit("drop_output", output="z").check.worst == ("y", 0.0)
    inserted = wb.edit("insert", tensor="y", op="Abs", name="abs", check=True)
    assert str(inserted.check) == "not checked, because this edit is not meant to keep what the model computes"
    assert str(wb.edit("remove_noops").check) == "not checked, because nothing changed"


def test_folding_a_real_model_keeps_its_outputs(shared):
    wb = open_model(shared / "models/ultraface_rfb320/model.onnx")
    original = wb.source
    assert wb.edit("fold_constants").check.worst[1] <= 1e-5
    folded = wb.edit("fold_batch_norm").check
    assert 0 < folded.worst[1] <= 1e-5
    assert 80 < folded.sqnr < 200
    assert str(folded).endswith("the most in scores, on random inputs, seed 0")
    assert equivalence(load_model(original.path), wb.model).holds()


def test_an_edit_that_means_to_move_the_outputs_says_so():
    assert not any(
        EDITS[name].equivalent
        for name in ("insert", "bypass", "replace_node", "correct_bias", "symmetric_qdq", "set_input_type")
    )
    assert all(
        EDITS[name].equivalent for name in ("fold_constants", "fold_batch_norm", "equalize_channels", "set_batch")
    )


def opened(proto, tmp_path):
    onnx.save(proto, tmp_path / "m.onnx")
    return open_model(tmp_path / "m.onnx")


def one_node(op, inputs, outputs, *, dtype=TensorProto.FLOAT, opset=17, weights=(), **attributes):
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Identity", [next(iter(inputs))], ["copy"], "copy"),
            helper.make_node(op, ["copy", *list(inputs)[1:]], list(outputs), "it", **attributes),
        ],
        "g",
        [value(name, dtype if shape is not None else TensorProto.INT64, shape or []) for name, shape in inputs.items()],
        [value(name, dtype, shape) for name, shape in outputs.items()],
        list(weights),
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def test_what_has_another_name_or_form_is_still_compared(tmp_path):
    wb = opened(scaled(2, shape=(1, 3, 5, 7)).proto, tmp_path)
    for name, arguments in (
        ("rename_tensor", {"tensor": "x", "to": "image"}),
        ("rename_tensor", {"tensor": "z", "to": "result"}),
        ("set_input_layout", {"input": "image", "layout": "NHWC"}),
        ("set_input_layout", {"input": "image", "layout": "NCHW"}),
        ("mark_output", {"tensor": "image_Transpose"}),
        ("extract", {"inputs": ("image_Transpose",), "outputs": ("result",)}),
        ("set_batch", {"size": "batch"}),
        ("set_batch", {"size": 4}),
    ):
        check = wb.edit(name, **arguments).check
        assert not isinstance(check, Unchecked), f"{name}: {check}"
        assert check.worst[1] == 0.0
    again = wb.edit("set_batch", size=2).check
    assert str(again).endswith("exactly as before, on 4 random samples, 4 at once before and 2 after")


def test_a_swapped_layout_is_caught(tmp_path):
    wb = opened(scaled(2, shape=(1, 3, 3, 3)).proto, tmp_path)

    class WrongLayout(EDITS["set_input_layout"]):
        def fed(self, _tensor, array):
            return array

    with pytest.raises(EditError, match=r"would move output"):
        wb.edit(WrongLayout(input="x", layout="NHWC"))


def test_a_costly_model_is_checked_on_less_unless_asked(tmp_path, monkeypatch):
    proto = one_node("MatMul", {"x": [1, 2000, 3000], "w": [3000, 2000]}, {"y": [1, 2000, 2000]})
    wb = opened(proto, tmp_path)
    assert str(wb.edit("remove_noops").check) == (
        "the output exactly as before, on random inputs, seed 0, of the part that was touched: one node, cropped; "
        "the whole was not checked: one run takes 12 GMACs, over 10; it is checked with check=True"
    )
    small = opened(scaled(2).proto, tmp_path)
    monkeypatch.setattr(module, "MOST_NODES", 1)
    with pytest.raises(EditError, match=r"do it wrong would move output 'y' by 0.25"):
        small.edit(Wrong())
    assert "the model has 2 nodes, over 1" in str(small.edit("drop_output", output="z").check)
    small.undo()
    assert small.edit("drop_output", output="z", check=True).check.holds()
    small.undo()
    monkeypatch.setattr(module, "MOST_NODES", 5)
    monkeypatch.setattr(module, "MOST_BYTES", 3)
    assert "its weights are 0 MiB" in str(small.edit("drop_output", output="z").check)


def test_what_cannot_be_run_is_said_and_raised_where_it_was_asked_for(tmp_path):
    text = one_node("Identity", {"s": ["N"]}, {"y": ["N"]}, dtype=TensorProto.STRING)
    wb = opened(text, tmp_path)
    assert str(wb.edit("remove_noops").check) == "not checked, because no random numbers can be made for it (s)"
    wb.undo()
    with pytest.raises(BackendError, match="no random numbers"):
        wb.edit("remove_noops", check=True)
    plugin = one_node("Wobble", {"x": [3]}, {"y": [3]}, domain="my.plugins")
    plugin.opset_import.append(helper.make_opsetid("my.plugins", 1))
    wb = opened(plugin, tmp_path)
    assert "not checked, because ONNX Runtime refuses it" in str(wb.edit("remove_noops").check)


@pytest.mark.parametrize("length", [16, 64, 512])
def test_longer_free_axes_are_tried(tmp_path, length):
    pad = numpy_helper.from_array(np.array([0, length - 1, 0, 0]), "pads")  # a reflection ends where the axis does
    proto = one_node("Pad", {"x": ["N", "T"], "pads": None}, {"y": ["N", None]}, mode="reflect", weights=[pad])
    del proto.graph.input[1]
    wb = opened(proto, tmp_path)
    assert wb.edit("remove_noops").check.inputs == f"random inputs, seed 0, free axes {length} long"


def test_a_sum_of_symbols_is_as_long_as_its_parts():
    outcome = scaled(2, shape=("N", "past", "past + 1", "past+N"))
    assert random_inputs(outcome)["x"].shape == (1, 16, 17, 17)


def test_nothing_to_compare_is_no_check(tmp_path):
    wb = opened(one_node("Sqrt", {"x": [0, 3]}, {"y": [0, 3]}), tmp_path)
    assert "no output has a finite value to compare" in str(wb.edit("remove_noops").check)


def test_a_jump_of_the_model_itself_is_no_mistake(tmp_path):
    """A step function turns the last digit into a jump: its own inputs' last digits move it as far."""
    value = helper.make_tensor_value_info
    wide = 4096
    nodes = [
        helper.make_node("Mul", ["x", "a"], ["m"], "m"),
        helper.make_node("Mul", ["m", "b"], ["n"], "n"),
        helper.make_node("Floor", ["n"], ["y"], "floor"),
    ]
    weights = [numpy_helper.from_array(np.float32(number), name) for name, number in (("a", 300.0), ("b", 7.0))]
    graph = helper.make_graph(
        nodes, "g", [value("x", TensorProto.FLOAT, [wide])], [value("y", TensorProto.FLOAT, [wide])], weights
    )
    wb = opened(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path)

    class Regroup(Edit):
        do: str = "regroup"
        title = "Regroup"

        def apply(self, graph, _model):
            graph.graph.initializers["a"].const_value = ir.Tensor(np.float32(300.0 * (1 + 1e-6)), name="a")
            return ["regrouped"]

    check = wb.edit(Regroup()).check
    assert 1e-4 < check.worst[1] <= check.allowed < 1e-2
    assert "allowed" in str(check)


def test_half_precision_is_allowed_its_own_digits():
    def halved(factor):
        return scaled(factor, dtype=TensorProto.FLOAT16)

    assert equivalence(halved(2), halved(2.004)).holds()
    assert not equivalence(halved(2), halved(2.1)).holds()
    assert not equivalence(scaled(2), scaled(2.004)).holds()


def test_replay_checks_nothing(tmp_path, monkeypatch):
    wb = opened(one_node("Abs", {"x": [3]}, {"y": [3]}), tmp_path)
    wb.edit("remove_noops")
    ran = []
    monkeypatch.setattr(module, "Session", lambda *_args, **_options: ran.append(1))
    recipe = wb.recipe.save(tmp_path / "recipe.yaml")
    again = open_recipe(recipe)
    again.undo()
    again.redo()
    assert again.model.to_bytes() == wb.model.to_bytes()
    assert ran == []


def test_the_model_before_is_run_once_for_a_chain_of_edits(tmp_path, monkeypatch):
    wb = opened(scaled(2).proto, tmp_path)
    records = []

    class Counting(equivalence_of.Session):
        def __init__(self, model, **options):
            records.append(len(model.nodes))
            super().__init__(model, **options)

    monkeypatch.setattr(equivalence_of, "Session", Counting)
    wb.edit("rename_node", node="mul", to="product")
    wb.edit("rename_node", node="neg", to="minus")
    assert len(records) == 3
