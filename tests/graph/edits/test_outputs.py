"""Tensors that become outputs of the model, and outputs that are dropped."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.kit.models import constant, model, run, weight
from workbench.errors import EditError
from workbench.graph.edits.registry import applicable, edit_by_name

node = helper.make_node
info = helper.make_tensor_value_info


def refusal(network, name, **arguments):
    with pytest.raises(EditError) as refused:
        edit_by_name(name, **arguments)(network)
    return str(refused.value)


def marks(network, *addresses):
    return [edit.tensor for edit in applicable(network, addresses) if edit.do == "mark_output"]


def chain():
    nodes = [
        node("TopK", ["x", "k"], ["values", "places"], "top"),
        node("Relu", ["values"], ["r"], "relu"),
        node("Neg", ["r"], ["y"], "neg"),
    ]
    return model(nodes, {"x": [2, 5]}, {"y": [2, 3]}, [constant("k", [3])])


def test_a_tensor_is_given_out_after_the_outputs_there_are():
    network = chain()
    assert marks(network, "top", "relu", "neg") == ["values", "places", "r"]
    done = edit_by_name("mark_output", tensor="places")(network)
    assert done.notes == ("places is an output now",)
    assert [str(tensor) for tensor in done.model.outputs] == ["y float[2x3]", "places int64[2x3]"]
    assert refusal(network, "mark_output", tensor="y") == "y: it is an output already. Nothing needs to be done."
    for name in ("x", "k"):
        assert refusal(network, "mark_output", tensor=name) == (
            f"{name}: only what a node makes can become an output. Inputs and weights are known anyway."
        )


def test_a_tensor_of_any_length_is_offered():
    nodes = [node("Relu", ["x"], ["r"], "relu"), node("Neg", ["r"], ["y"], "neg")]
    assert marks(model(nodes, {"x": ["N", 3]}, {"y": ["N", 3]}), "relu") == ["r"]


def test_what_an_output_needs_to_be_known_of():
    nodes = [
        node("Reshape", ["x", "s"], ["r"], "reshape"),
        node("Own", ["r"], ["t"], "own", domain="own"),
        node("Relu", ["r"], ["y"], "relu"),
    ]
    inputs = {"x": [6], "s": (TensorProto.INT64, ["n"])}
    network = model(nodes, inputs, {"y": None}, domains=["own"])
    assert marks(network, "reshape", "own") == []
    assert "r: its rank is unknown, which an output needs" in refusal(network, "mark_output", tensor="r")
    assert "t: its element type is unknown, which an output needs" in refusal(network, "mark_output", tensor="t")


def choice(then, otherwise, results=("r",)):
    """An If of two branches, each of nodes that make ``r``; ``x`` is read from around it."""

    def branch(nodes, name):
        return helper.make_graph(nodes, name, [], [info(result, TensorProto.FLOAT, [2, 3]) for result in results])

    parts = {"then_branch": branch(then, "then"), "else_branch": branch(otherwise, "else")}
    inputs = {"x": [2, 3], "c": (TensorProto.BOOL, [])}
    ys = [f"y{place}" for place in range(len(results))]
    return model([node("If", ["c"], ys, "if", **parts)], inputs, {name: [2, 3] for name in ys})


X = np.float32([[1, -2, 3], [-4, 5, -6]])


def both(network):
    return [run(network, {"x": X, "c": np.array(way)})[-1] for way in (True, False)]


def test_a_partner_in_the_other_branch_is_that_of_the_same_name_or_else_of_the_same_node():
    then = [node("Abs", ["x"], ["t"], "inner"), node("Neg", ["t"], ["r"], "last")]
    of_name = [
        node("Exp", ["x"], ["s"], "inner"),
        node("Floor", ["x"], ["t"], "other"),
        node("Add", ["s", "t"], ["r"], "last"),
    ]
    network = choice(then, of_name)
    assert marks(network, "if/then/inner") == []
    done = edit_by_name("mark_output", tensor="if/then/t")(network)
    assert done.notes == ("if/then/t is an output now, called 'if/t'",)
    for out, expected in zip(both(done.model), (np.abs(X), np.floor(X)), strict=True):
        np.testing.assert_array_equal(out, expected)
    of_node = [node("Neg", ["x"], ["s"], "inner"), node("Neg", ["s"], ["r"], "last")]
    done = edit_by_name("mark_output", tensor="if/then/t")(choice(then, of_node))
    np.testing.assert_array_equal(both(done.model)[1], -X)
    named = edit_by_name("mark_output", tensor="if/then/t", otherwise="if/else/r")(network)
    np.testing.assert_allclose(both(named.model)[1], np.exp(X) + np.floor(X), rtol=1e-5)


def test_what_is_an_output_of_its_branch_already_goes_out_again():
    then = [node("Abs", ["x"], ["r"], "a"), node("Neg", ["r"], ["q"], "b")]
    otherwise = [node("Neg", ["x"], ["r"], "a"), node("Exp", ["r"], ["q"], "b")]
    network = choice(then, otherwise, ("r", "q"))
    done = edit_by_name("mark_output", tensor="if/then/r")(network).model
    for out, expected in zip(both(done), (np.abs(X), -X), strict=True):
        np.testing.assert_array_equal(out, expected)
    assert [one.op_type for one in done.nodes.values()].count("Identity") == 2


def test_lengths_that_differ_between_branches_are_not_stated():
    then = [node("Abs", ["x"], ["t"], "inner"), node("Neg", ["t"], ["r"], "last")]
    shorter = [
        node("Constant", [], ["z"], "z", value_ints=[0]),
        node("Constant", [], ["e"], "e", value_ints=[2]),
        node("Constant", [], ["one"], "one", value_ints=[1]),
        node("Slice", ["x", "z", "e", "one"], ["t"], "inner"),
        node("Neg", ["x"], ["r"], "last"),
    ]
    done = edit_by_name("mark_output", tensor="if/then/t")(choice(then, shorter)).model
    first, second = done.ir_model.graph.outputs[1].shape
    assert (first, second.value) == (2, None)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ([], ""),
        ([node("Cast", ["x"], ["t"], "inner", to=TensorProto.FLOAT16)], ": if/else/t float16[2x3] is not like it"),
        (
            [node("Flatten", ["x"], ["f"], "f"), node("Size", ["f"], ["t"], "inner")],
            ": if/else/t int64[] is not like it",
        ),
        (
            [node("ReduceSum", ["x"], ["t"], "inner", keepdims=0)],
            ": if/else/t float[] is not like it",
        ),
    ],
)
def test_a_partner_of_another_type_or_rank_is_none(made, said):
    then = [node("Abs", ["x"], ["t"], "inner"), node("Neg", ["t"], ["r"], "last")]
    network = choice(then, [*made, node("Neg", ["x"], ["r"], "other")])
    assert refusal(network, "mark_output", tensor="if/then/t") == (
        f"if/then/t: the other branch makes no FLOAT tensor to give out in its place{said}. "
        "Name one that is: otherwise='if/else/...'."
    )
    assert "in its place. Name" in refusal(
        network, "mark_output", tensor="if/then/t", otherwise="if/else/no such tensor"
    )


def test_what_no_subgraph_gives_out_stays_inside():
    body = helper.make_graph(
        [node("Abs", ["x"], ["t"], "abs"), node("Neg", ["t"], ["r"], "neg")],
        "b",
        [],
        [info("r", TensorProto.FLOAT, [2, 3])],
        value_info=[info("t", TensorProto.FLOAT, [2, 3])],
    )
    own = node("Own", ["x"], ["y"], "own", domain="own", body=body)
    network = model([own], {"x": [2, 3]}, {"y": [2, 3]}, domains=["own"])
    assert marks(network, "own/body/abs") == []
    assert refusal(network, "mark_output", tensor="own/body/t") == (
        "own/body/t: its node cannot give it out. Only If, Loop and Scan can."
    )


def test_outputs_are_offered_to_be_dropped_while_another_is_left():
    two = edit_by_name("mark_output", tensor="r")(chain()).model
    for network, addresses, expected in (
        (two, ["relu", "neg"], ["r", "y"]),
        (two, ["top"], []),
        (two, [], []),
        (chain(), ["neg"], []),
    ):
        offers = [edit.output for edit in applicable(network, addresses) if edit.do == "drop_output"]
        assert offers == expected
    inner = choice([node("Neg", ["x"], ["r"], "n")], [node("Abs", ["x"], ["r"], "n")], ("r",))
    assert "drop_output" not in {edit.do for edit in applicable(inner, ["if/then/n"])}


def test_what_only_a_dropped_output_needed_goes_with_it():
    nodes = [node("Relu", ["x"], ["y"], "relu"), node("Add", ["x", "w"], ["z"], "add"), node("Neg", ["x"], ["q"], "n")]
    network = model(nodes, {"x": [3]}, {"y": [3], "z": [3], "q": [3]}, [weight("w", 3)])
    done = edit_by_name("drop_output", output="z")(network)
    assert done.notes == ("dropped z", "removed 1 nodes and 1 weights that nobody needs")
    assert (list(done.model.nodes), list(done.model.initializers)) == (["relu", "n"], [])
    assert [tensor.name for tensor in done.model.outputs] == ["y", "q"]
    assert refusal(network, "drop_output", output="w") == "w: it is no output. The outputs are y, z, q."
    only = edit_by_name("drop_output", output="q")(done.model).model
    assert refusal(only, "drop_output", output="y") == (
        "y: it is the only output. Mark another tensor as output first."
    )


def test_a_dropped_output_that_others_read_only_stops_being_one():
    two = edit_by_name("mark_output", tensor="r")(chain()).model
    done = edit_by_name("drop_output", output="r")(two)
    assert list(done.model.nodes) == ["top", "relu", "neg"]
