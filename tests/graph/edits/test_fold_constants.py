"""What folding computes, what it leaves, and how much it may make."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.kit.models import assert_same, constant, model, proto, weight
from workbench.graph.edits import fold_constants
from workbench.graph.edits.registry import applicable, edit_by_name
from workbench.graph.load import from_proto

node = helper.make_node


def folded(network):
    return edit_by_name("fold_constants")(network)


def offered(network, *addresses):
    return "fold_constants" in {edit.do for edit in applicable(network, addresses)}


def of_stored(op, arrays, *, outputs=1, opset=21, **attributes):
    """A model that makes ``k0``, ``k1``, ... of stored arrays, and hands them on."""
    stored = {name: numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()}
    made = [f"k{place}" for place in range(outputs)]
    readers = [node("Identity", [name], [f"y{name}"], f"read{name}") for name in made]
    nodes = [node(op, list(arrays), made, "it", **attributes), *readers]
    return model(nodes, {"x": [1]}, {f"y{name}": None for name in made}, stored.values(), opset=opset, ir_version=10)


def test_how_much_may_be_made():
    assert fold_constants.LARGEST_GROWTH == 1 << 20
    assert (fold_constants.LARGEST_SUM, fold_constants.LARGEST_TIMES) == (1 << 28, 8)


@pytest.mark.parametrize(("beyond", "folds"), [(0, True), (1, False)])
def test_a_result_is_at_most_a_mebibyte_larger_than_what_it_is_made_of(beyond, folds):
    # Of eight bytes, which say how long it is.
    length = (1 << 20) + 8 + beyond
    byte = numpy_helper.from_array(np.int8([7]))
    network = of_stored("ConstantOfShape", {"n": np.int64([length])}, value=byte)
    assert folded(network).changed is folds
    assert offered(network, "it") is folds
    assert offered(network) is folds


@pytest.mark.parametrize(("most", "count"), [(35, 2), (36, 3), (11, 0), (12, 1)])
def test_all_results_together_are_at_most_so_many_bytes(most, count, monkeypatch):
    monkeypatch.setattr(fold_constants, "LARGEST_SUM", most)
    monkeypatch.setattr(fold_constants, "LARGEST_TIMES", 0)
    nodes = [node("Neg", [f"t{n}"], [f"t{n + 1}"], f"neg{n}") for n in range(4)]
    network = model(
        [*nodes, node("Add", ["x", "t4"], ["y"], "add")], {"x": [3]}, {"y": [3]}, [constant("t0", [1, 2, 3], "float32")]
    )
    done = folded(network)
    assert [name for name in done.model.nodes if name != "add"] == [f"neg{n}" for n in range(count, 4)]
    assert done.notes == ((f"folded {count} nodes into constants",) if count else ())


@pytest.mark.parametrize(("times", "count"), [(1, 1), (2, 2)])
def test_the_more_weights_there_are_the_more_may_be_made(times, count, monkeypatch):
    monkeypatch.setattr(fold_constants, "LARGEST_SUM", 0)
    monkeypatch.setattr(fold_constants, "LARGEST_TIMES", times)
    nodes = [node("Neg", ["w"], ["a"], "neg0"), node("Abs", ["w"], ["b"], "neg1"), node("Ceil", ["w"], ["c"], "neg2")]
    nodes.append(node("Sum", ["x", "w", "a", "b", "c"], ["y"], "add"))
    network = model(nodes, {"x": [3]}, {"y": [3]}, [constant("w", [1, 2, 3], "float32")])
    assert folded(network).notes == (f"folded {count} nodes into constants",)


@pytest.mark.parametrize(
    ("start", "end"), [(None, None), (1, None), (None, 2), (1, 3), (-2, None), (None, -1), (0, 0), (-3, -1)]
)
def test_a_known_shape_is_its_lengths(start, end):
    stated = {name: value for name, value in (("start", start), ("end", end)) if value is not None}
    nodes = [node("Shape", ["x"], ["s"], "shape", **stated), node("Identity", ["s"], ["y"], "i")]
    network = model(nodes, {"x": [2, 3, 4, 5]}, {"y": (TensorProto.INT64, [None])})
    stored = folded(network).model.initializers["s"].const_value.numpy()
    assert (stored.dtype, stored.tolist()) == (np.int64, [2, 3, 4, 5][start:end])


@pytest.mark.parametrize("shape", [["N", 3], None])
def test_a_shape_that_is_not_known_is_left(shape):
    nodes = [node("Shape", ["x"], ["s"], "shape"), node("Identity", ["s"], ["y"], "i")]
    assert not folded(model(nodes, {"x": shape}, {"y": (TensorProto.INT64, [None])})).changed


def test_a_shape_in_a_branch_is_left():
    result = helper.make_tensor_value_info("s", TensorProto.INT64, [2])
    nodes = [node("Shape", ["x"], ["z"], "shape"), node("Abs", ["z"], ["s"], "abs")]
    branch = helper.make_graph(nodes, "b", [], [result])
    choice = node("If", ["c"], ["y"], "if", then_branch=branch, else_branch=branch)
    inputs = {"x": [2, 3], "c": (TensorProto.BOOL, [])}
    assert not folded(model([choice], inputs, {"y": (TensorProto.INT64, [2])})).changed


def test_shapes_that_folding_makes_known_are_folded_as_well():
    nodes = [
        node("Constant", [], ["six"], "six", value_ints=[6]),
        node("Mul", ["six", "two"], ["n"], "mul"),
        node("Reshape", ["x", "n"], ["r"], "reshape"),
        node("Shape", ["r"], ["s"], "shape"),
        node("ConstantOfShape", ["s"], ["zeros"], "zeros"),
        node("Add", ["r", "zeros"], ["y"], "add"),
    ]
    network = model(nodes, {"x": [3, 4]}, {"y": [12]}, [constant("two", [2])])
    done = folded(network)
    assert done.notes == ("folded 4 nodes into constants",)
    assert list(done.model.nodes) == ["reshape", "add"]
    assert_same(network, done.model)


FOLDED = {
    "sums of integers": ("CumSum", {"a": np.int32([1, 2, 3]), "axis": np.int32(0)}, {}, [[1, 3, 6]]),
    "powers of bytes": ("Pow", {"a": np.int32([2, 3]), "b": np.uint8([3, 2])}, {}, [[8, 9]]),
    "the largest of truths": (
        "ReduceMax",
        {"a": np.array([[True, False], [False, False]]), "axes": np.int64([1])},
        {"keepdims": 0},
        [[True, False]],
    ),
    "floats rounded once": ("Sqrt", {"a": np.float32([4, 9])}, {}, [[2, 3]]),
    "places of a list": ("NonZero", {"a": np.float32([0, 3, 0, 5])}, {}, [[[1, 3]]]),
    "a choice": (
        "Where",
        {"c": np.array([True, False]), "a": np.float32([1, 2]), "b": np.float32([3, 4])},
        {},
        [[1, 4]],
    ),
    "places marked": (
        "OneHot",
        {"a": np.int64([1, 0]), "depth": np.int64(3), "values": np.float32([0, 1])},
        {},
        [[[0, 1, 0], [1, 0, 0]]],
    ),
    "a part": ("Slice", {"a": np.float32([1, 2, 3]), "s": np.int64([1]), "e": np.int64([3])}, {}, [[2, 3]]),
}


@pytest.mark.parametrize("name", FOLDED)
def test_what_is_the_same_everywhere_is_folded(name):
    op, arrays, attributes, expected = FOLDED[name]
    network = of_stored(op, arrays, **attributes)
    assert offered(network, "it")
    done = folded(network)
    assert "it" not in done.model.nodes
    assert [done.model.initializers["k0"].const_value.numpy().tolist()] == expected


LEFT = {
    "sums of floats": ("CumSum", {"a": np.float32([1, 2, 3]), "axis": np.int32(0)}, {}),
    "the place of a number": ("NonZero", {"a": np.float32(3)}, {}),
    "what the processor rounds": ("Exp", {"a": np.float32([1])}, {}),
    "text": ("Identity", {"a": np.array(["a"], dtype=object)}, {}),
}


@pytest.mark.parametrize("name", LEFT)
def test_what_may_differ_is_left(name):
    op, arrays, attributes = LEFT[name]
    network = of_stored(op, arrays, **attributes)
    assert not offered(network, "it")
    assert "it" in folded(network).model.nodes


@pytest.mark.parametrize(
    ("values", "dtype", "to", "folds"),
    [
        ([-128, 127], "float32", "INT8", True),
        ([-128, 128], "float32", "INT8", False),
        ([-129, 0], "float32", "INT8", False),
        ([0, 255], "float64", "UINT8", True),
        ([0, 256], "float64", "UINT8", False),
        ([-1, 0], "float64", "UINT8", False),
        ([np.inf], "float32", "INT32", False),
        ([np.inf], "float32", "DOUBLE", True),
        ([np.nan], "float32", "BOOL", True),
        ([], "float32", "INT8", True),
        ([300], "int32", "INT8", True),
        ([1.5], "float16", "BFLOAT16", True),
    ],
)
def test_floats_are_cast_to_integers_that_hold_them(values, dtype, to, folds):
    network = of_stored("Cast", {"a": np.array(values, dtype)}, to=getattr(TensorProto, to))
    assert ("it" not in folded(network).model.nodes) is folds


def test_what_is_made_alike_of_one_weight_is_stored_once_and_what_is_not_is_not():
    nodes = [
        node("Split", ["w"], ["a", "b"], "two", axis=0, num_outputs=2),
        node("Split", ["w"], ["c", "d"], "again", num_outputs=2, axis=0),
        node("Split", ["w"], ["e", "f", "g"], "three", axis=0, num_outputs=3),
        node("Split", ["w"], ["h", "i"], "columns", axis=1, num_outputs=2),
        node("Split", ["v"], ["j", "k"], "other", axis=0, num_outputs=2),
    ]
    made = [name for one in nodes for name in one.output]
    readers = [node("Add", ["x", name], [f"y{name}"], f"read{name}") for name in made]
    weights = [weight("w", 6, 4), weight("v", 6, 4, seed=3)]
    network = model([*nodes, *readers], {"x": [1]}, {f"y{name}": None for name in made}, weights, opset=18)
    done = folded(network)
    assert done.notes == ("folded 5 nodes into constants",)
    assert sorted(done.model.initializers) == [*"abefghijk"]
    assert_same(network, done.model)


def test_a_node_without_inputs_is_left():
    nodes = [node("Cast", [], ["a"], "it", to=1), node("Add", ["x", "a"], ["y"], "add")]
    network = from_proto(proto(nodes, {"x": [1]}, {"y": [1]}))
    assert not folded(network).changed
    assert not offered(network, "it")


def test_constants_of_a_function_stay_nodes():
    body = [
        node("Constant", [], ["two"], "two", value_float=2.0),
        node("Neg", ["two"], ["minus"], "neg"),
        node("Mul", ["a", "minus"], ["b"], "mul"),
    ]
    function = helper.make_function("own", "Does", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    call = node("Does", ["x"], ["y"], "call", domain="own")
    network = model([call], {"x": [3]}, {"y": [3]}, domains=["own"], functions=[function])
    assert not offered(network, "function(own:Does)/two")
    done = folded(network)
    assert done.notes == ("folded 1 nodes into constants",)
    assert [one.op_type for one in done.model.nodes.values()] == ["Does", "Constant", "Mul"]
    assert_same(network, done.model)


@pytest.mark.parametrize(
    ("kind", "folds"), [(np.int32, True), (np.int64, True), (np.float32, False), (np.float64, False)]
)
def test_a_range_is_folded_where_its_step_is_whole(kind, folds):
    # From 0.1 to 2.3 by 0.1 it has 22 numbers in one library and 23 in another.
    bounds = {"a": kind(1), "b": kind(8), "c": kind(3)} if folds else {"a": kind(0.1), "b": kind(2.3), "c": kind(0.1)}
    network = of_stored("Range", bounds)
    done = folded(network)
    assert (done.changed, offered(network, "it")) == (folds, folds)
    if folds:
        assert done.model.initializers["k0"].const_value.numpy().tolist() == [1, 4, 7]
