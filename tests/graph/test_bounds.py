"""What is followed, folded, suggested and made dense up to a bound, and not beyond it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.kit.models import assert_same, constant, model, proto, weight
from workbench.errors import EditError, ModelError
from workbench.graph import memory_use
from workbench.graph.cost.cost import NEVER, Cost, _least, _sum, _times, _together, costs, mac_shares, total
from workbench.graph.cost.memory import SMALLEST_WORKSPACE, MemoryUse
from workbench.graph.edits.registry import edit_by_name
from workbench.graph.load import from_proto
from workbench.graph.message import LARGEST_DENSE
from workbench.graph.select.keys import similar
from workbench.graph.shapes.inference import (
    FARTHEST,
    LONGEST,
    MOST_LENGTHS,
    _is_extreme,
    _is_long,
    _may_be_long,
    infer_shapes,
)

node = helper.make_node


# Names that were meant


@pytest.mark.parametrize(
    ("value", "near"),
    [
        ("conv", ["conv", "conv_10", "my/conv_100"]),
        ("*conv?", ["conv", "conv_10", "my/conv_100"]),
        ("relo", ["relu"]),
        ("RELU", ["relu"]),
        ("my/relu/0", ["relu"]),
        ("gemm_in_me", ["gemm"]),
        ("it_is", []),
        ("", []),
        ("zzz", []),
    ],
)
def test_three_names_at_most_that_hold_it_are_like_it_or_are_in_it(value, near):
    words = ["my/conv_1000", "my/conv_100", "relu", "conv_10", "conv", "gemm", "is"]
    assert similar(value, words) == near


# Lengths that are followed


def stated(*lengths):
    return helper.make_tensor_value_info("t", TensorProto.FLOAT, lengths)


@pytest.mark.parametrize(
    ("lengths", "long"),
    [
        ((LONGEST,), False),
        ((LONGEST + 1,), True),
        ((LONGEST + 1, 1), False),
        ((FARTHEST, 1), False),
        ((FARTHEST + 1, 1), True),
        ((0,), False),
        ((-1,), True),
        (("n", -1), True),
        (("n",), False),
        ((), False),
    ],
)
def test_an_axis_is_long_from_a_bound_on(lengths, long):
    assert _is_long(stated(*lengths)) == long


@pytest.mark.parametrize(
    ("values", "dtype", "extreme"),
    [
        ([-MOST_LENGTHS], np.int64, False),
        ([1, -MOST_LENGTHS - 1], np.int64, True),
        ([LONGEST], np.int64, False),
        ([LONGEST + 1, 1], np.int64, True),
        ([LONGEST + 1], np.int32, False),
        ([LONGEST + 1] * MOST_LENGTHS, np.int64, True),
        ([LONGEST + 1] * (MOST_LENGTHS + 1), np.int64, False),
        ([], np.int64, False),
    ],
)
def test_numbers_are_extreme_as_lengths(values, dtype, extreme):
    assert _is_extreme(numpy_helper.from_array(np.array(values, dtype), "n")) == extreme


@pytest.mark.parametrize(("length", "shape"), [(LONGEST, [2, 3]), (LONGEST + 1, [None, None])])
def test_a_shape_that_is_computed_is_known_where_numbers_are_followed(length, shape):
    nodes = [node("Shape", ["x"], ["s"]), node("Reshape", ["x", "s"], ["y"])]
    made = proto(nodes, {"x": [2, 3], "long": [length]}, {"y": [None, None]})
    dims = infer_shapes(made).graph.output[0].type.tensor_type.shape.dim
    assert [dim.dim_value if dim.HasField("dim_value") else None for dim in dims] == shape


def test_these_are_the_lengths_that_are_followed():
    """Four million numbers of one axis, two thousand million of any, and what is said in 64 numbers at most."""
    assert [_is_long(stated(length)) for length in (4_194_304, 4_194_305)] == [False, True]
    assert [_is_long(stated(length, 1)) for length in (2_147_483_648, 2_147_483_649)] == [False, True]
    long = 2**40
    for lengths, extreme in (([long] * 64, True), ([long] * 65, False), ([-64], False), ([-65], True)):
        assert _is_extreme(numpy_helper.from_array(np.array(lengths), "n")) == extreme


def test_a_damaged_tensor_has_no_extreme_numbers():
    assert not _is_extreme(TensorProto(data_type=TensorProto.INT64, dims=[1], raw_data=b"123"))
    beside = TensorProto(data_type=TensorProto.INT64, dims=[1], int64_data=[LONGEST + 1])
    assert _is_extreme(beside)
    beside.external_data.add(key="location", value="m.data")
    assert not _is_extreme(beside)


def test_a_graph_may_be_long_where_it_states_or_reads_such_a_length():
    far = constant("far", [LONGEST + 1])

    def graph(*nodes, x=(4,), weights=()):
        return proto(nodes, {"x": list(x)}, {"y": None}, weights).graph

    relu = node("Relu", ["x"], ["y"])
    assert not _may_be_long(graph(relu))
    assert _may_be_long(graph(relu, x=(LONGEST + 1,)))
    assert _may_be_long(graph(node("Reshape", ["x", "far"], ["y"]), weights=[far]))
    assert not _may_be_long(graph(relu, weights=[far]))  # which nobody reads
    assert not _may_be_long(graph(node("Slice", ["x", "zero", "far"], ["y"]), weights=[far, constant("zero", [0])]))
    assert _may_be_long(graph(node("Range", ["a", "b", "c"], ["y"])))
    held = [node("Constant", [], ["c"], value=far), node("Reshape", ["x", "c"], ["y"])]
    assert _may_be_long(graph(*held))
    body = helper.make_graph([node("ConstantOfShape", ["x"], ["z"])], "b", [], [stated(1)])
    assert _may_be_long(graph(node("If", ["x"], ["y"], then_branch=body, else_branch=body)))
    other = helper.make_graph([node("Relu", ["x"], ["z"])], "b", [], [stated(1)])
    assert not _may_be_long(graph(node("If", ["x"], ["y"], then_branch=other, else_branch=other)))
    long = onnx.TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[LONGEST + 1])
    assert _may_be_long(graph(relu, weights=[long]))
    long.dims[:] = [LONGEST + 1, 1]
    assert not _may_be_long(graph(relu, weights=[long]))


def test_how_large_a_sparse_weight_may_be_is_said():
    network = proto([node("Add", ["x", "s"], ["y"])], {"x": [1]}, {"y": None})
    values, indices = (numpy_helper.from_array(np.zeros(1, kind), "s") for kind in (np.float32, np.int64))
    count, most = LARGEST_DENSE // 4 + 1, LARGEST_DENSE // 2**20
    network.graph.sparse_initializer.add(values=values, indices=indices, dims=[count])
    with pytest.raises(ModelError, match=rf"have the shape \({count},\), and at most {most} MiB are made dense"):
        from_proto(network)


# Constants that are folded


@pytest.mark.parametrize(("size", "folded"), [(2**18, True), (2**18 + 3, True), (2**18 + 4, False)])
def test_a_constant_may_grow_by_a_mebibyte(size, folded):
    """Of four bytes each, beyond the twelve bytes that are read: a number and a length."""
    expand = node("Expand", ["one", "shape"], ["e"], "e")
    nodes = [expand, node("Add", ["x", "e"], ["y"], "add")]
    network = model(nodes, {"x": [1]}, {"y": [size]}, [constant("one", [1.0], "float32"), constant("shape", [size])])
    after = edit_by_name("fold_constants")(network).model
    assert ("e" not in after.nodes) == folded


# Gemm without its numbers


@pytest.mark.parametrize("turned", [0, 1])
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (0.5, 1.0), (1.0, 3.0)])
def test_a_gemm_becomes_a_product_and_a_sum(turned, alpha, beta):
    gemm = node("Gemm", ["x", "w", "b"], ["y"], "g", alpha=alpha, beta=beta, transB=turned)
    weights = [weight("w", *((6, 4) if turned else (4, 6))), weight("b", 6)]
    network = model([gemm], {"x": [2, 4]}, {"y": [2, 6]}, weights)
    after = edit_by_name("expand_gemm")(of_shapes(network.proto, (1, 2, 4), None))
    assert after.notes == ("wrote 1 Gemm as MatMul and Add",)
    after = after.model
    assert [str(one.op_type) for one in after.nodes.values()] == ["MatMul", "Add"]
    assert list(after.nodes)[-1] == "g"
    # What is multiplied by one is the weight that was there.
    assert ("b" in after.initializers) == (beta == 1.0)
    assert_same(network, of_shapes(after.proto, (2, 4), (2, 6)), atol=1e-5)


def of_shapes(original, x, y):
    """The same model for other shapes; a Gemm of three axes is no valid one."""
    changed = onnx.ModelProto()
    changed.CopyFrom(original)
    for value, shape in ((changed.graph.input[0], x), (changed.graph.output[0], y)):
        value.CopyFrom(helper.make_tensor_value_info(value.name, TensorProto.FLOAT, shape))
    del changed.graph.value_info[:]
    return from_proto(changed)


# Names


@pytest.mark.parametrize(("edit", "what"), [("rename_node", "node"), ("rename_tensor", "tensor")])
def test_a_name_has_a_letter_at_least(edit, what):
    network = model([node("Relu", ["x"], ["y"], "r")], {"x": [2]}, {"y": [2]})
    with pytest.raises(EditError, match="at least 1 character"):
        edit_by_name(edit, to="", **{what: "r" if what == "node" else "y"})
    assert edit_by_name(edit, to="q", **{what: "r" if what == "node" else "y"})(network).changed


# Types of operands


@pytest.mark.parametrize(
    ("kinds", "result", "common"),
    [
        (("FLOAT16", "FLOAT"), None, "FLOAT"),
        (("FLOAT", "DOUBLE"), None, "DOUBLE"),
        (("DOUBLE", "FLOAT16"), None, "DOUBLE"),
        (("BFLOAT16", "FLOAT16"), None, "FLOAT16"),
        (("FLOAT16", "FLOAT"), "FLOAT16", "FLOAT16"),
        (("FLOAT16", "FLOAT"), "DOUBLE", "FLOAT"),
    ],
)
def test_operands_get_the_widest_type_or_that_of_the_result(kinds, result, common):
    of = TensorProto.DataType.Value
    graph = helper.make_graph(
        [node("Add", ["a", "b"], ["y"], "add")],
        "g",
        [helper.make_tensor_value_info(name, of(kind), [2]) for name, kind in zip("ab", kinds, strict=True)],
        [helper.make_tensor_value_info("y", of(result), [2]) if result else helper.make_empty_tensor_value_info("y")],
    )
    network = from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    notes = edit_by_name("cast_operands", node="add")(network).notes
    other = next(at for at, kind in enumerate(kinds) if kind != common)
    assert notes == (f"operand {other} of add: {kinds[other]} -> {common}",)


# Costs


def test_sums_and_multiples_of_what_is_unknown_are_unknown():
    cost = Cost(1, 2, 3, 4, 5, "n")
    assert _times(cost, 1, "w") is cost
    assert _times(cost, 3, "w") == Cost(1, 6, 3, 12, 5, "n")
    assert _times(cost, 0, "w") == Cost(1, 0, 3, 0, 0, NEVER)
    assert _times(cost, None, "w") == Cost(1, None, 3, None, None, "w")
    assert _times(Cost(1, None, 3, None), 3, "w") == Cost(1, None, 3, None)
    assert (_sum([1, 2]), _sum([1, None]), _sum([])) == (3, None, 0)
    assert _together(Cost(9, 9, 9, 9), [cost, Cost(1, 1, 1, 1, 1)]) == Cost(9, 3, 9, 5, 6, "n")
    assert (cost.bytes, cost.work) == (7, 7)
    assert (Cost(1, None, 3, None).bytes, Cost(1, None, 3, None).work, Cost(1, 1, 1, 1, None).work) == (None,) * 3


def test_shares_are_of_what_is_known_of_all_that_multiplies():
    nodes = [
        node("MatMul", ["x", "w"], ["a"], "a"),
        node("MatMul", ["a", "v"], ["b"], "b"),
        node("Relu", ["b"], ["y"], "r"),
    ]
    network = model(nodes, {"x": [1, 4]}, {"y": [1, 8]}, [weight("w", 4, 4), weight("v", 4, 12)])
    assert mac_shares(network, costs(network)) == {"a": 0.25, "b": 0.75, "r": 0.0}
    blind = costs(network) | {"a": Cost(1, None, 1, 1)}
    assert mac_shares(network, blind) == {"a": None, "b": None, "r": None}
    assert total(network, blind) == (48, ["a"])
    idle = model(nodes[2:], {"b": [1]}, {"y": [1]})
    assert mac_shares(idle, costs(idle)) == {"r": None}
    assert _least(network.ir_model.graph, "", costs(network), []) == 64


def looping(count, cond=True):
    body = helper.make_graph(
        [node("Identity", ["c"], ["d"], "keep"), node("MatMul", ["v", "w"], ["u"], "product")],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, [1, 4]),
        ],
        [
            helper.make_tensor_value_info("d", TensorProto.BOOL, []),
            helper.make_tensor_value_info("u", TensorProto.FLOAT, [1, 4]),
        ],
    )
    loop = node("Loop", ["m", "go" if cond is not None else "", "x"], ["y"], "loop", body=body)
    weights = [weight("w", 4, 4)]
    weights += [constant("m", count)] if count is not None else []
    weights += [constant("go", cond, "bool")] if cond is not None else []
    inputs = {"x": [1, 4]} | ({} if count is not None else {"m": (TensorProto.INT64, [])})
    return proto([loop], inputs, {"y": [1, 4]}, weights)


@pytest.mark.parametrize(
    ("network", "inside", "note"),
    [
        (looping(1), 16, "1 iteration"),
        (looping(3), 48, "3 iterations"),
        (looping(3, cond=None), 48, "3 iterations"),
        (looping(0), 0, "0 iterations"),
    ],
)
def test_what_is_inside_of_a_loop_counts_as_often_as_it_runs(network, inside, note):
    network = from_proto(network)
    table = costs(network)
    assert (table["loop"].inside, table["loop"].note) == (inside, note)
    assert table["loop/body/product"].macs == inside
    assert total(network, table) == (inside, [])


def test_how_often_a_loop_runs_may_be_unknown():
    network = from_proto(looping(None))
    table = costs(network)
    assert table["loop"].inside is None
    assert table["loop"].note
    assert total(network, table) == (0, ["loop"])


# Memory


def test_tensors_live_from_who_makes_them_to_the_last_who_reads_them():
    nodes = [
        node("Relu", ["x"], ["a"], "a"),
        node("Tile", ["a", "twice"], ["b"], "b"),
        node("Relu", ["b"], ["c"], "c"),
        node("ReduceSum", ["c", "axes"], ["y"], "y", keepdims=1),
        node("Relu", ["a"], ["z"], "z"),
    ]
    weights = [constant("twice", [1, 2]), constant("axes", [1]), weight("idle", 3)]
    network = model(nodes, {"x": [1, 10]}, {"y": [1, 1], "z": [1, 10]}, weights)
    use = memory_use(network)
    assert use.nodes == ("a", "b", "c", "y", "z")
    assert use.live == (80, 120, 200, 124, 84)
    assert use.unknown == ()
    assert use.peak == 200 + use.weight_bytes
    free = model([node("Relu", ["x"], ["y"], "r")], {"x": ["n", 10]}, {"y": ["n", 10]})
    assert memory_use(free).unknown == ("x", "y")
    assert memory_use(free, {"n": 2}).live == (160,)


def test_a_workspace_is_half_as_much_again_in_whole_mebibytes():
    def workspace(peak, unknown=()):
        return MemoryUse(("a",), (peak - 8,), 8, unknown).workspace

    assert workspace(8) == SMALLEST_WORKSPACE == 256 << 20
    assert workspace(200 << 20) == 300 << 20
    assert workspace((200 << 20) + 1) == 301 << 20
    assert workspace(200 << 20, ("t",)) is None
    assert MemoryUse((), (), 8, ()).peak == 8
