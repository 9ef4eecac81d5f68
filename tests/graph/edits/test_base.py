"""What every edit does around its own work: what it refuses, what it says, what it leaves as it was."""

from __future__ import annotations

from typing import ClassVar, Literal

import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from tests.kit.models import model, proto, weight
from workbench.errors import EditError
from workbench.graph.edits.base import Edit, EditResult
from workbench.graph.edits.equivalence import Unchecked
from workbench.graph.edits.registry import applicable, edit_by_name
from workbench.graph.load import from_proto

node = helper.make_node


class Own(Edit):
    """An edit of the test's own."""

    do: Literal["own"] = "own"
    title: ClassVar[str] = "Try it"


def edit_of(change, *, equivalent=True):
    """An edit that changes the graph by a function."""

    class Changing(Own):
        def apply(self, graph, model):  # noqa: ARG002
            return change(graph)

    Changing.equivalent = equivalent
    return Changing()


def pair():
    nodes = [node("Transpose", ["x"], ["t"], "first"), node("Transpose", ["t"], ["y"], "last", perm=[1, 0])]
    return model(nodes, {"x": [2, 3]}, {"y": [2, 3]})


def test_an_edit_that_says_nothing_of_itself():
    network = pair()
    assert list(Own.offers(network, [])) == []
    assert Own().problem() is None
    assert (Own().equivalent, Own().runnable, Own().oldest) == (True, True, 1)
    with pytest.raises(TypeError, match="Own does not say what it does"):
        Own()(network)
    assert [Own().origin("t"), Own().fed("x", network), Own().unfed("x", network)] == ["t", network, network]


def test_what_changes_nothing_gives_the_very_model():
    network = pair()
    result = edit_of(lambda _: None)(network)
    assert (result.model, result.changed, result.notes, result.check) == (
        network,
        False,
        (),
        Unchecked("nothing changed"),
    )
    assert repr(result).splitlines()[0] == "nothing changed in g; not checked, because nothing changed"
    done = edit_of(lambda _: ["it was tried"])(network)
    assert (done.changed, done.notes) == (True, ("it was tried",))
    assert repr(done) == ("changed g; not checked, because the edit was made outside of a workbench\n  it was tried")
    assert EditResult(network, changed=True).notes == ()


def test_only_of_an_equivalent_edit_can_a_run_tell_whether_it_is():
    network = pair()
    assert edit_of(None).unchecked(network) is None
    meant = edit_of(None, equivalent=False).unchecked(network)
    assert meant == "this edit is not meant to keep what the model computes"


@pytest.mark.parametrize(
    ("raised", "reason"),
    [(ValueError("\n \nit is in use\nby y"), "it is in use"), (ValueError(" \n "), "ValueError")],
)
def test_why_a_move_cannot_be_made_is_one_line(raised, reason):
    def refuse(_):
        raise raised

    with pytest.raises(EditError) as caught:
        edit_of(refuse)(pair())
    assert str(caught.value) == f"g: try it cannot be done: {reason}. The model is unchanged."


def test_a_tensor_from_nowhere_is_named_with_who_reads_it():
    def remove(name):
        return lambda graph: graph.graph.remove(graph.graph.node(name)) or ["removed"]

    with pytest.raises(EditError) as read:
        edit_of(remove("first"))(pair())
    assert (read.value.where, read.value.what) == (
        "last",
        "try it would leave an invalid graph: tensor 't' is read, but nothing makes it",
    )
    with pytest.raises(EditError) as given:
        edit_of(remove("last"))(pair())
    assert (given.value.where, given.value.what) == (
        "g",
        "try it would leave an invalid graph: tensor 'y' is an output, but nothing makes it",
    )
    assert given.value.fix == "The model is unchanged."


def turned(graph):
    graph.graph.node("last").attributes.add(ir.AttrInt64s("perm", [0, 1]))
    return ["turned"]


def test_an_output_becomes_of_another_shape_only_where_the_edit_may_change_it():
    with pytest.raises(EditError, match="try it would leave an invalid graph: Transpose: ") as refused:
        edit_of(turned)(pair())
    assert refused.value.where == "last"
    done = edit_of(turned, equivalent=False)(pair())
    assert done.notes == ("turned", "output y float[2x3] is float[3x2] now")
    assert [str(tensor) for tensor in done.model.outputs] == ["y float[3x2]"]


def test_what_contradicts_itself_already_is_no_fault_of_an_edit():
    wrong = model([node("Transpose", ["x"], ["y"], "last")], {"x": [2, 3]}, {"y": [2, 3]})
    done = edit_of(lambda _: ["it was tried"])(wrong)
    assert done.notes == ("it was tried",)
    assert [value.shape.numpy() for value in done.model.ir_model.graph.outputs] == [(2, 3)]


def test_shapes_stated_inside_are_inferred_anew_where_an_edit_made_them_untrue():
    nodes = [node("Relu", ["x"], ["a"], "relu"), node("Transpose", ["a"], ["y"], "last")]
    stated = proto(nodes, {"x": [2, 3]}, {"y": [3, 2]})
    stated.graph.value_info.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, [2, 3]))

    def swap(graph):
        graph.graph.node("relu").op_type = "Transpose"
        graph.graph.node("last").op_type = "Relu"
        graph.graph.node("last").attributes.clear()
        return ["swapped"]

    done = edit_of(swap)(from_proto(stated))
    assert done.notes == ("swapped",)
    assert str(done.model.tensor("a")) == "a float[3x2]"


def test_the_node_that_is_refused_anew_is_named_beside_those_that_were_before():
    nodes = [
        node("RequantShift", ["x"], ["a"], "unheard"),
        node("Relu", ["a"], ["b"], "relu"),
        node("Neg", ["b"], ["y"], "neg"),
    ]
    stated = proto(nodes, {"x": [4]}, {"y": [4]})
    stated.graph.value_info.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "ab")
    source = from_proto(stated)
    for op, why in (("Concat", "Required attribute 'axis' is missing"), ("Unheard", "No Op registered for Unheard")):
        with pytest.raises(EditError, match=f"replace a node would leave an invalid graph: {why}") as refused:
            edit_by_name("replace_node", node="neg", op=op)(source)
        assert refused.value.where == "neg"
        assert "Context" not in refused.value.what
    assert edit_by_name("replace_node", node="neg", op="Abs")(source).changed


@pytest.mark.parametrize(("opset", "allowed"), [(1, False), (6, False), (7, True), (8, True)])
def test_an_edit_is_for_the_operator_sets_in_which_its_nodes_mean_what_they_should(opset, allowed):
    conv = node("Conv", ["x", "w", "b"], ["y"], "conv")
    network = model(
        [conv], {"x": [1, 3, 4, 4]}, {"y": [1, 5, 4, 4]}, [weight("w", 5, 3, 1, 1), weight("b", 5)], opset=opset
    )
    assert ("split_bias" in {edit.do for edit in applicable(network, ["conv"])}) is allowed
    if allowed:
        assert edit_by_name("split_bias")(network).changed
        return
    with pytest.raises(EditError) as refused:
        edit_by_name("split_bias")(network)
    assert str(refused.value) == (
        f"g: split the bias off writes what operator set {opset} does not have. "
        "Convert it first: wb.edit('convert_opset', version=7)."
    )


def test_where_there_is_no_default_operator_set_an_edit_has_nothing_to_refuse():
    call = node("Binarizer", ["x"], ["y"], "it", domain="ai.onnx.ml", threshold=0.5)
    stated = proto([call], {"x": [4]}, {"y": [4]}, domains=["ai.onnx.ml"])
    del stated.opset_import[0]
    network = from_proto(stated)
    assert network.opset == 0
    assert not edit_by_name("split_bias")(network).changed
    assert "remove_dead" not in {edit.do for edit in applicable(network, [])}
