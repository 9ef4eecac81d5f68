"""An edit whose result does not run is refused, a costly model is checked on less, a batch on many samples."""

from __future__ import annotations

import itertools

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from tests.kit.models import constant, model, weight
from workbench.errors import EditError
from workbench.evaluate import edit_check
from workbench.evaluate.edit_check import checked
from workbench.evaluate.touched import touched
from workbench.graph.edits.base import Edit
from workbench.graph.edits.equivalence import Equivalence, Unchecked
from workbench.graph.edits.registry import applicable, edit_by_name
from workbench.session import history_of, open_model


def looked_at(network, name, check=None, **arguments):
    edit = edit_by_name(name, **arguments)
    return checked(edit, network, edit(network).model, check)


def chain(length=6):
    names = ["x", *(f"t{k}" for k in range(length - 1)), "y"]
    nodes = [helper.make_node("Sin", [a], [b], f"n{b}") for a, b in itertools.pairwise(names)]
    return model(nodes, {"x": [1, 3]}, {"y": [1, 3]})


class Relus(Edit):
    """Make a Relu of a node, which it is not, and say that nothing moves."""

    do: str = "relus"
    title = "Make a Relu"
    at: str

    def apply(self, graph, _model):
        next(node for node in graph.graph if node.name == self.at).op_type = "Relu"
        return ["done"]


def test_what_does_not_run_is_refused_though_the_model_did():
    nodes = [helper.make_node("Sigmoid", ["x"], ["s"], "sig"), helper.make_node("Mul", ["x", "s"], ["y"], "mul")]
    assert looked_at(model(nodes, {"x": [4]}, {"y": [4]}, opset=24, ir_version=10), "fuse", pattern="silu").holds()
    network = model(nodes, {"x": [4]}, {"y": [4]}, opset=26, ir_version=10)
    assert not [edit for edit in applicable(network, []) if edit.do == "fuse"]
    with pytest.raises(EditError, match=r"fuse a pattern would leave a model that does not run: .*Swish"):
        looked_at(network, "fuse", pattern="silu")
    assert looked_at(network, "fuse", False, pattern="silu") == Unchecked("check=False was given")


@pytest.mark.parametrize("check", [None, {"x": np.ones([2, 8], np.float32)}])
def test_an_edit_that_may_move_outputs_must_leave_something_that_runs_all_the_same(check):
    nodes = [
        helper.make_node("Cast", ["x"], ["i"], "cast", to=TensorProto.DOUBLE),
        helper.make_node("Cast", ["i"], ["y"], "back", to=TensorProto.FLOAT),
    ]
    network = model(nodes, {"x": [2, 8]}, {"y": [2, 8]})
    counts = looked_at(network, "insert", check, tensor="x", op="Relu")
    assert str(counts) == "not checked, because this edit is not meant to keep what the model computes"
    with pytest.raises(EditError, match="would leave a model that does not run"):
        looked_at(network, "insert", check, tensor="i", op="Softsign")
    # A custom operator has its implementation elsewhere.
    looked_at(network, "insert", check, tensor="i", op="Softsign", domain="my.plugins")


def test_what_cannot_be_fed_has_to_load_at_least():
    nodes = [helper.make_node("Identity", ["s"], ["t"], "copy"), helper.make_node("Sin", ["x"], ["y"], "sin")]
    inputs = {"s": (TensorProto.STRING, [2]), "x": (TensorProto.DOUBLE, [2])}
    network = model(nodes, inputs, {"t": (TensorProto.STRING, [2]), "y": (TensorProto.DOUBLE, [2])})
    assert "no random numbers can be made" in str(looked_at(network, "remove_noops"))
    with pytest.raises(EditError, match=r"does not run: .*Softsign"):
        looked_at(network, "replace_node", node="sin", op="Softsign", attributes={})


@pytest.fixture
def costly(monkeypatch):
    monkeypatch.setattr(edit_check, "MOST_NODES", 3)


@pytest.mark.usefixtures("costly")
def test_a_mistake_in_a_costly_model_is_found_in_the_part_that_was_touched():
    step = Relus(at="nt2")
    with pytest.raises(EditError, match="make a relu would move output 't2'"):
        checked(step, chain(), step(chain()).model)
    proto = chain()
    seen = looked_at(proto, "rename_node", node="nt2", to="other")
    assert str(seen).startswith("not checked, because the model has 6 nodes, over 3")
    renamed = looked_at(proto, "rename_tensor", tensor="t2", to="other")
    assert isinstance(renamed, Equivalence)
    assert renamed.errors == {"t3": 0.0}
    assert "the part that was touched: 2 nodes; the whole was not checked: the model has 6 nodes" in str(renamed)


@pytest.mark.usefixtures("costly")
def test_a_part_of_a_costly_model_begins_at_an_input_whatever_it_is_called_now():
    renamed = looked_at(chain(), "rename_tensor", tensor="x", to="image")
    assert renamed.errors == {"t0": 0.0}


def test_what_is_touched_ends_where_nothing_changed_and_begins_at_floating_point(monkeypatch):
    monkeypatch.setattr(edit_check, "MOST_NODES", 5)
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], "a"),
        helper.make_node("Shape", ["a"], ["s"], "s"),
        helper.make_node("Add", ["k", "k"], ["kk"], "kk"),
        helper.make_node("Mul", ["a", "kk"], ["m"], "m"),
        helper.make_node("Reshape", ["m", "s"], ["r"], "r"),
        helper.make_node("Sin", ["r"], ["y"], "y"),
    ]
    network = model(nodes, {"x": [2, 8]}, {"y": [2, 8]}, [constant("k", [1.0], "float32")])
    edit = edit_by_name("fold_constants")
    after = edit(network).model
    there = touched(edit, network, after)
    assert there.places == ["r"]
    part = there.part(there.places)
    assert [tensor.name for tensor in part.before.inputs] == ["a"]
    assert list(part.before.nodes) == ["s", "kk", "m", "r"]
    assert list(part.after.nodes) == ["m", "r"]
    assert checked(edit, network, after).worst == ("r", 0.0)


def recurrent(op, gates):
    states = [weight(f"{name}0", 1, 1, 5) for name in ("h", "c")[: gates - 2]]
    ["t", "w", "r", "", "", *(state.name for state in states)]
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], "t", perm=[1, 0, 2]),
        helper.make_node(
            op, ["t", "w", "r", "", "", *(s.name for s in states[: gates - 2])], ["", "h"], "rnn", hidden_size=5
        ),
        helper.make_node("Squeeze", ["h", "zero"], ["y"], "y"),
    ]
    weights = [weight("w", 1, gates * 5, 4), weight("r", 1, gates * 5, 5), constant("zero", [0]), *states]
    return model(nodes, {"x": [1, 7, 4]}, {"y": [1, 5]}, weights)


def mixing():
    nodes = [
        helper.make_node("Reshape", ["x", "flat"], ["f"], "f"),
        helper.make_node("Transpose", ["f"], ["ft"], "ft", perm=[1, 0]),
        helper.make_node("MatMul", ["f", "ft"], ["a"], "a"),
        helper.make_node("MatMul", ["a", "f"], ["o"], "o"),
        helper.make_node("Reshape", ["o", "back"], ["y"], "y"),
    ]
    return model(nodes, {"x": [1, 6, 8]}, {"y": [1, 6, 8]}, [constant("flat", [-1, 8]), constant("back", [-1, 6, 8])])


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (recurrent("LSTM", 4), "does not run: .*initial_h"),
        (recurrent("GRU", 3), "does not run: .*initial_h"),
        (mixing(), "would move output 'y'"),
    ],
    ids=["LSTM", "GRU", "attention over all samples"],
)
@pytest.mark.parametrize("size", ["N", 3])
def test_a_batch_that_the_graph_holds_elsewhere_is_not_called_free(network, message, size):
    with pytest.raises(EditError, match=message):
        looked_at(network, "set_batch", size=size)


@pytest.mark.parametrize(("old", "size"), [(2, "N"), (2, 3), (4, 2), ("N", 2), ("N", "M")])
def test_samples_at_once_are_compared_with_samples_one_by_one(old, size):
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"], "m"),
        helper.make_node("Reshape", ["m", "s"], ["r"], "r"),
        helper.make_node("Transpose", ["r"], ["y"], "y", perm=[1, 0, 2]),
    ]
    weights = [weight("w", 4, 6), constant("s", [old if isinstance(old, int) else -1, 3, 2])]
    network = model(nodes, {"x": [old, 4]}, {"y": [3, old, 2]}, weights)
    counts = looked_at(network, "set_batch", size=size)
    assert counts.worst[1] <= 1e-6
    assert "random samples" in counts.inputs


def test_sequences_and_what_is_empty_are_compared_too():
    nodes = [
        helper.make_node("SplitToSequence", ["x"], ["parts"], "split"),
        helper.make_node("Identity", ["parts"], ["y"], "copy"),
    ]
    network = model(nodes, {"x": [3, 4]}, {})
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    proto = network.proto
    proto.graph.output.append(helper.make_value_info("y", kind))
    from workbench.graph.load import from_proto

    counts = looked_at(from_proto(proto), "remove_noops")
    assert counts.errors == {"y": 0.0}


@pytest.mark.usefixtures("costly")
def test_a_session_says_which_edits_were_not_checked_as_a_whole(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(chain().to_bytes())
    wb = open_model(path)
    wb.edit("rename_tensor", tensor="t2", to="other")
    wb.edit("bypass", node="nt1")  # moves the outputs by intent
    assert len(history_of(wb).unchecked) == 1
    line = "wb.edit(\"rename_tensor\", tensor='t2', to='other')"
    assert history_of(wb).unchecked[0].startswith(f"{line}: the output exactly as before")
    assert "the whole was not checked: the model has 6 nodes, over 3" in history_of(wb).unchecked[0]
    assert wb.advice[0] == history_of(wb).unchecked[0]
    wb.undo()
    assert len(history_of(wb).unchecked) == 1
    wb.undo()
    assert history_of(wb).unchecked == ()
    wb.edit("rename_tensor", tensor="t2", to="other", check=True)
    assert history_of(wb).unchecked == ()


def test_what_an_edit_makes_costly_is_not_run_unasked():
    network = model([helper.make_node("Relu", ["x"], ["y"], "relu")], {"x": ["N", 4]}, {"y": ["N", 4]})
    verdict = looked_at(network, "set_batch", size=10**12)
    assert isinstance(verdict, Unchecked)
    assert "an input of it is" in str(verdict)


class Longer(Edit):
    """Reflect more at the end, which a short axis cannot."""

    do: str = "longer"
    title = "Reflect more"
    equivalent = False
    more: int

    def apply(self, graph, _model):
        graph.graph.initializers["pads"].const_value = ir.Tensor(np.array([0, 0, 0, self.more]), name="pads")
        return ["done"]


@pytest.mark.parametrize(("more", "runs"), [(40, True), (100, False)])
def test_the_first_length_at_which_the_model_ran_is_that_at_which_it_has_to_run(more, runs):
    """An axis of 16 is too short for the model itself, one of 64 is not."""
    pad = helper.make_node("Pad", ["x", "pads"], ["y"], "pad", mode="reflect")
    network = model([pad], {"x": ["N", "T"]}, {"y": ["N", None]}, [constant("pads", [0, 0, 0, 20])])
    step = Longer(more=more)
    if runs:
        assert isinstance(checked(step, network, step(network).model), Unchecked)
        return
    with pytest.raises(EditError, match="reflect more would leave a model that does not run"):
        checked(step, network, step(network).model)


@pytest.mark.parametrize("kind", [(TensorProto.FLOAT, None), (TensorProto.UNDEFINED, [1 << 40])])
def test_what_nobody_knows_the_size_of_has_no_bound_and_no_random_numbers(kind):
    """A file may say of a type that it is undefined."""
    network = model(
        [helper.make_node("Own", ["x"], ["y"], "own", domain="own")], {"x": kind}, {"y": kind}, domains=["own"]
    )
    assert edit_check.too_costly(network) is None
    verdict = looked_at(network, "rename_node", node="own", to="other")
    assert str(verdict) == "not checked, because no random numbers can be made for it (x)"
