"""How a model is fed: the batch, element types, layouts."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.kit.models import assert_same, constant, model, proto, random_feeds, run, weight
from workbench.errors import EditError
from workbench.graph.edits.inputs import SetBatch
from workbench.graph.edits.registry import applicable, edit_by_name
from workbench.graph.load import from_proto

node = helper.make_node


def batch(network, size, *inputs):
    return edit_by_name("set_batch", size=size, inputs=inputs)(network)


def shapes(tensors):
    return [str(tensor) for tensor in tensors]


def test_the_batch_is_what_the_first_input_begins_with():
    """A scalar begins with nothing, and who begins with another length is no sample."""
    nodes = [
        node("Add", ["x", "k"], ["a"], "a"),
        node("Mul", ["a", "z"], ["b"], "b"),
        node("Add", ["b", "row"], ["y"], "y"),
    ]
    network = model(nodes, {"k": [], "x": [2, 3], "z": [2, 1], "row": [3]}, {"y": [2, 3]})
    assert SetBatch(size=4).of(network) == ["x", "z"]
    done = batch(network, 5)
    assert done.notes == ("the batch of x, z is 5",)
    assert shapes(done.model.inputs) == ["k float[]", "x float[5x3]", "z float[5x1]", "row float[3]"]
    assert shapes(done.model.outputs) == ["y float[5x3]"]
    assert not batch(network, 2).changed
    assert batch(network, "x", "x", "z").notes == ("the batch of x, z is x",)
    assert SetBatch(size=4, inputs=("z",)).of(network) == ["z"]


def test_one_sample_is_a_batch_and_none_is_not():
    network = model([node("Relu", ["x"], ["y"], "r")], {"x": [2, 3]}, {"y": [2, 3]})
    assert shapes(batch(network, 1).model.outputs) == ["y float[1x3]"]
    for size in (0, -1):
        with pytest.raises(EditError, match=f"{size}: a batch has at least one sample. Give 1 or more, or a name"):
            batch(network, size)
    with pytest.raises(EditError, match=r"q: it is no input of the model\. The inputs are x"):
        batch(network, 4, "q")
    scalar = model([node("Relu", ["x"], ["y"], "r")], {"x": []}, {"y": []})
    with pytest.raises(EditError, match=r"g: no input has a first axis\. Name the inputs it is about"):
        batch(scalar, 4)


def reshaped(target, shape=(2, 3, 4), result=(2, 12), **stated):
    nodes = [node("Relu", ["x"], ["r"], "relu"), node("Reshape", ["r", "s"], ["y"], "reshape", **stated)]
    return model(nodes, {"x": list(shape)}, {"y": list(result)}, [constant("s", target)])


@pytest.mark.parametrize("target", [[2, 12], [2, -1], [2, 2, 6]])
def test_a_reshape_to_the_batch_takes_it_from_its_input(target):
    network = reshaped(target, result=[2, 12] if len(target) == 2 else target)
    done = batch(network, 5)
    assert done.notes == ("the batch of x is 5; 1 reshapes follow it",)
    assert {name: value.const_value.numpy().tolist() for name, value in done.model.initializers.items()} == {
        "reshape_shape": [0, *target[1:]]
    }
    assert done.model.outputs[0].shape[0] == 5
    feeds = random_feeds(done.model)
    np.testing.assert_array_equal(run(done.model, feeds)[0][:2], run(network, {"x": feeds["x"][:2]})[0])


def test_a_reshape_that_follows_by_itself_is_left():
    done = batch(reshaped([-1, 12]), 5)
    assert done.notes == ("the batch of x is 5",)
    assert list(done.model.initializers) == ["s"]


def test_a_reshape_that_keeps_zero_or_is_of_something_else_holds_the_batch():
    for network in (
        reshaped([2, 12], allowzero=1),
        model(
            [
                node("Reshape", ["w", "s"], ["c"], "reshape"),
                node("Add", ["x", "c"], ["y"], "add"),
            ],
            {"x": [2, 3]},
            {"y": [2, 3]},
            [weight("w", 6), constant("s", [2, 3])],
        ),
    ):
        with pytest.raises(EditError):
            batch(network, 5)


@pytest.mark.parametrize("before", ["longer", "shorter"])
def test_a_reshape_of_another_length_is_left(before):
    if before == "longer":
        first = node("Reshape", ["x", "t"], ["r"], "first")  # [4, 3]
        weights = [constant("t", [-1, 3]), constant("s", [2, 6])]
        network = model([first, node("Reshape", ["r", "s"], ["y"], "second")], {"x": [2, 6]}, {"y": [2, 6]}, weights)
    else:
        first = node("ReduceSum", ["x", "t"], ["r"], "first")  # [1, 2, 3]
        weights = [constant("t", [0]), constant("s", [2, 3])]
        network = model([first, node("Reshape", ["r", "s"], ["y"], "second")], {"x": [2, 2, 3]}, {"y": [2, 3]}, weights)
    with pytest.raises(EditError, match=r"output 'y' does not follow the batch; it stays 2\."):
        batch(network, 5)


def test_a_reshape_to_a_number_is_left():
    nodes = [
        node("ReduceSum", ["x"], ["t"], "sum", keepdims=0),
        node("Reshape", ["t", "none"], ["one"], "reshape"),
        node("Add", ["x", "one"], ["y"], "add"),
    ]
    network = model(nodes, {"x": [2, 3]}, {"y": [2, 3]}, [constant("none", [])])
    assert batch(network, 5).notes == ("the batch of x is 5",)


def test_a_reshape_in_a_branch_follows_as_well():
    result = helper.make_tensor_value_info("o", TensorProto.FLOAT, [2, 12])

    def branch(op):
        nodes = [node(op, ["x"], ["r"], "r"), node("Reshape", ["r", "s"], ["o"], "reshape")]
        return helper.make_graph(nodes, op, [], [result], [constant("s", [2, 12])])

    choice = node("If", ["c"], ["y"], "if", then_branch=branch("Relu"), else_branch=branch("Neg"))
    network = model([choice], {"x": [2, 3, 4], "c": (TensorProto.BOOL, [])}, {"y": [2, 12]})
    done = batch(network, 5, "x")
    assert done.notes == ("the batch of x is 5; 2 reshapes follow it",)
    assert shapes(done.model.outputs) == ["y float[5x12]"]


def test_outputs_that_nobody_can_infer_follow_where_they_began_with_the_batch():
    nodes = [node("Own", ["x"], ["y", "k", "n", "q"], "own", domain="own")]
    stated = {"y": [2, 7], "k": [3, 2], "n": [], "q": None}
    network = model(nodes, {"x": [2, 3]}, stated, domains=["own"])
    done = batch(network, 5)
    assert shapes(done.model.outputs) == ["y float[5x7]", "k float[3x2]", "n float[]", "q float[?]"]


@pytest.mark.parametrize("size", [5, "N"])
def test_an_output_that_holds_the_batch_is_refused(size):
    nodes = [
        node("Expand", ["c", "s"], ["e"], "expand"),
        node("ReduceSum", ["x"], ["r"], "sum", keepdims=0),
        node("Add", ["e", "r"], ["y"], "add"),
    ]
    network = model(nodes, {"x": [2, 3]}, {"y": [2, 3]}, [constant("c", 1.0, "float32"), constant("s", [2, 3])])
    with pytest.raises(EditError) as refused:
        batch(network, size)
    assert str(refused.value) == (
        "g: output 'y' does not follow the batch; it stays 2. "
        "Its graph holds the batch in a constant; the model is unchanged."
    )


def test_an_output_of_another_length_may_stay():
    nodes = [
        node("Relu", ["x"], ["y"], "relu"),
        node("ReduceSum", ["x"], ["t"], "sum", keepdims=0),
        node("Reshape", ["t", "one"], ["z"], "reshape"),
    ]
    network = model(nodes, {"x": [2, 3]}, {"y": [2, 3], "z": [1], "t": []}, [constant("one", [1])])
    assert shapes(batch(network, "N").model.outputs) == ["y float[Nx3]", "z float[1]", "t float[]"]


def test_a_graph_that_ties_the_batch_is_refused_with_what_inference_says():
    tied = model(
        [node("Concat", ["x", "w"], ["y"], "concat", axis=1)], {"x": [2, 3]}, {"y": [2, 5]}, [weight("w", 2, 2)]
    )
    with pytest.raises(EditError, match=r"g: the model does not work with another batch: .+") as refused:
        batch(tied, "N")
    assert refused.value.fix == "Its graph holds the batch in a constant; the model is unchanged."


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ([1, 3, 8, 9], "NHWC"),
        ([1, 8, 9, 1], "NCHW"),
        ([1, 8, 9, 2], "NHWC"),
        ([1, 8, 9, 3], "NCHW"),
        ([1, 8, 9, 4], "NCHW"),
        ([1, 8, 9, 5], "NHWC"),
        ([1, 3, 8], None),
        ([1, 3, 8, 9, 3], None),
    ],
)
def test_the_other_layout_is_offered_for_images(shape, layout):
    nodes = [node("Relu", ["x"], ["r"], "first"), node("Neg", ["r"], ["y"], "second")]
    network = model(nodes, {"x": shape}, {"y": shape})
    for place, there in (([], True), (["first"], True), (["second"], False)):
        offers = [edit.layout for edit in applicable(network, place) if edit.do == "set_input_layout"]
        assert offers == ([layout] if layout and there else [])


def test_layouts_are_offered_for_the_inputs_that_the_picked_nodes_read():
    nodes = [
        node("Relu", ["a"], ["r"], "one"),
        node("Resize", ["b", "", "s"], ["q"], "two", mode="nearest"),
        node("Neg", ["c"], ["n"], "three"),
    ]
    image, twice = [1, 3, 8, 8], [1, 3, 16, 16]
    scales = constant("s", [1, 1, 2, 2], "float32")
    inputs = {"a": image, "b": image, "c": image, "flat": [1, 3]}
    network = model(nodes, inputs, {"r": image, "q": twice, "n": image}, [scales])
    offers = {
        place: [edit.input for edit in applicable(network, [place] if place else []) if edit.do == "set_input_layout"]
        for place in ("", "one", "two", "three")
    }
    assert offers == {"": ["a", "c"], "one": ["a"], "two": [], "three": ["c"]}


@pytest.mark.parametrize("shape", [[2, 3, 5], [2, 3, 5, 7], [2, 3, 5, 7, 4]])
def test_channels_go_last_and_come_first_again(shape):
    nodes = [node("Relu", ["x"], ["r"], "relu"), node("Mul", ["r", "w"], ["y"], "mul")]
    network = model(nodes, {"x": shape}, {"y": shape}, [weight("w", *shape)])
    to_last = edit_by_name("set_input_layout", input="x", layout="NHWC")
    last = to_last(network)
    assert last.notes == ("x is fed as NHWC",)
    assert last.model.inputs[0].shape == (shape[0], *shape[2:], shape[1])
    assert list(last.model.nodes) == ["x_Transpose", "relu", "mul"]
    x = random_feeds(network)["x"]
    np.testing.assert_array_equal(run(last.model, {"x": np.moveaxis(x, 1, -1)})[0], run(network, {"x": x})[0])
    np.testing.assert_array_equal(to_last.fed("x", x), np.moveaxis(x, 1, -1))
    np.testing.assert_array_equal(to_last.unfed("x", to_last.fed("x", x)), x)
    to_first = edit_by_name("set_input_layout", input="x", layout="NCHW")
    first = to_first(last.model).model
    assert first.inputs[0].shape == tuple(shape)
    assert_same(network, first)
    np.testing.assert_array_equal(to_first.fed("x", np.moveaxis(x, 1, -1)), x)
    np.testing.assert_array_equal(to_first.unfed("x", x), np.moveaxis(x, 1, -1))


def test_what_has_no_space_has_no_layout():
    flat = model([node("Relu", ["x"], ["y"], "r")], {"x": [2, 3]}, {"y": [2, 3]})
    with pytest.raises(EditError, match=r"x: it has no batch, channel and space axes\. Name an image input"):
        edit_by_name("set_input_layout", input="x", layout="NHWC")(flat)
    with pytest.raises(EditError, match=r"z: it is no input of the model\. The inputs are x"):
        edit_by_name("set_input_layout", input="z", layout="NHWC")(flat)


def test_an_input_of_another_type_is_cast_for_all_that_reads_it():
    nodes = [node("Relu", ["x"], ["r"], "relu"), node("Sub", ["x", "r"], ["y"], "sub")]
    network = model(nodes, {"x": [2, 3]}, {"y": [2, 3]})
    done = edit_by_name("set_input_type", input="x", dtype="INT32")(network)
    assert done.notes == ("x is fed as INT32",)
    assert shapes(done.model.inputs) == ["x int32[2x3]"]
    assert list(done.model.nodes) == ["x_Cast", "relu", "sub"]
    assert shapes([done.model.tensor("x_Cast")]) == ["x_Cast float[2x3]"]
    whole = np.int32([[1, -2, 3], [-4, 5, 6]])
    np.testing.assert_array_equal(run(done.model, {"x": whole})[0], np.minimum(whole, 0))
    assert not edit_by_name("set_input_type", input="x", dtype="FLOAT")(network).changed


def test_an_input_of_no_known_type_cannot_be_cast_back():
    stated = proto([node("Relu", ["x"], ["y"], "r")], {"x": [2]}, {"y": [2]})
    stated.graph.input[0].ClearField("type")
    with pytest.raises(EditError, match=r"x: its element type is unknown\. Export the model again"):
        edit_by_name("set_input_type", input="x", dtype="FLOAT16")(from_proto(stated))
