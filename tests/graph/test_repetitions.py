"""How often the graph inside of a node runs, and what one call of a local function runs."""

from __future__ import annotations

import math

import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.kit.models import constant, model, proto, weight
from workbench.graph.bodies import called_proto, most_repeated, repetitions, subgraphs
from workbench.graph.load import from_proto

VALUE = helper.make_tensor_value_info


def node(op, inputs, outputs, name="", **attributes):
    return helper.make_node(op, inputs, outputs, name or op.lower(), **attributes)


def often(made, name="it"):
    """How often the graph inside of a node runs."""
    network = from_proto(made)
    return repetitions(network, network.nodes[name], network.tensors)


def counting(count, condition="", *, hands_on="go", parts=()):
    """A Loop of which a person says how its count and condition come about."""
    body = helper.make_graph(
        [*parts, node("Neg", ["s"], ["t"], "neg")],
        "body",
        [VALUE("i", TensorProto.INT64, []), VALUE("go", TensorProto.BOOL, []), VALUE("s", TensorProto.FLOAT, None)],
        [VALUE(hands_on, TensorProto.BOOL, []), VALUE("t", TensorProto.FLOAT, None)],
    )
    return node("Loop", [count, condition, "x"], ["y"], "it", body=body)


def counted(count, condition="", weights=(), *, inputs=None, **body):
    held = counting(count, condition, **body)
    return proto([held], {"x": [2, 4], **(inputs or {})}, {"y": None}, list(weights))


COUNT = constant("count", 5)
COMPUTED = "the condition of the Loop is computed"


@pytest.mark.parametrize(
    ("network", "times"),
    [
        (counted("count", weights=[COUNT]), 5),
        (counted("count", weights=[constant("count", [5])]), 5),
        (counted("count", weights=[constant("count", 5, "int32")]), 5),
        (counted("count", weights=[constant("count", -3)]), 0),
        (counted("count", weights=[constant("count", [5, 5])]), "the number of iterations is computed"),
        (counted("count", weights=[constant("count", 5, "float32")]), "the number of iterations is computed"),
        (
            counted("count", weights=[TensorProto(name="count", data_type=7, dims=[1])]),
            "the number of iterations is computed",
        ),
        (counted("count", "on", [COUNT, constant("on", True, "bool")]), 5),
        (counted("count", "on", [COUNT, constant("on", False, "bool")]), 0),
        (counted("count", "on", [COUNT], inputs={"on": (TensorProto.BOOL, [])}), COMPUTED),
        (counted("", "on", [constant("on", True, "bool")]), "the Loop has no end"),
        (
            counted(
                "count",
                weights=[COUNT, constant("on", True, "bool")],
                hands_on="on2",
                parts=[node("Identity", ["on"], ["on2"])],
            ),
            5,
        ),
        (
            counted(
                "count",
                weights=[COUNT, constant("on", False, "bool")],
                hands_on="on2",
                parts=[node("Identity", ["on"], ["on2"])],
            ),
            COMPUTED,
        ),
        (
            counted(
                "count",
                weights=[COUNT],
                hands_on="on2",
                parts=[node("Identity", ["go"], ["on1"], "a"), node("Identity", ["on1"], ["on2"], "b")],
            ),
            5,
        ),
        (counted("count", weights=[COUNT], hands_on="on2", parts=[node("Identity", [""], ["on2"])]), COMPUTED),
        (counted("count", weights=[COUNT], hands_on="on2", parts=[node("Identity", [], ["on2"])]), COMPUTED),
        (counted("count", weights=[COUNT], hands_on="on2", parts=[node("Not", ["go"], ["on2"])]), COMPUTED),
        (counted("count", weights=[COUNT], hands_on="on2", parts=[node("Identity", ["i"], ["on2"])]), COMPUTED),
    ],
)
def test_a_loop_runs_as_often_as_its_first_input_says_where_nothing_ends_it(network, times):
    assert often(network) == times


def scanning(*shapes, scanned=None, axes=None, opset=17, weights=()):
    """A Scan over inputs of some shapes, the last of which it goes through."""
    names = [f"x{at}" for at in range(len(shapes))]
    body = helper.make_graph(
        [node("Neg", ["a0"], ["t"])],
        "body",
        [VALUE(f"a{at}", TensorProto.FLOAT, None) for at in range(len(names) + len(weights))],
        [VALUE("t", TensorProto.FLOAT, None)],
    )
    stated = {} if axes is None else {"scan_input_axes": axes}
    reads = [*names, *(one.name for one in weights)]
    held = node("Scan", reads, ["y"], "it", body=body, num_scan_inputs=scanned or 1, **stated)
    return proto([held], dict(zip(names, shapes, strict=True)), {"y": None}, list(weights), opset=opset)


UNKNOWN = "the length of the scanned axis is not known"


@pytest.mark.parametrize(
    ("network", "times"),
    [
        (scanning([3, 5, 7]), 3),
        (scanning([2], [3, 5, 7]), 3),
        (scanning([2, 4], [3, 5], scanned=2), 2),
        (scanning([3, 5, 7], axes=[1]), 5),
        (scanning([3, 5, 7], axes=[-1]), 7),
        (scanning([3, 5, 7], axes=[-3]), 3),
        (scanning([3, 5, 7], axes=[3]), UNKNOWN),
        (scanning([3, 5, 7], axes=[5]), UNKNOWN),
        (scanning([3, 5, 7], axes=[-4]), UNKNOWN),
        (scanning([3, 5], [5, 3], scanned=2, axes=[1, 0]), 5),
        (scanning([]), UNKNOWN),
        (scanning(None), UNKNOWN),
        (scanning([None, 5]), UNKNOWN),
        (scanning(["T", 5]), f"{UNKNOWN}: T"),
        (scanning([3, 5], opset=9), 3),
        (scanning([3, 5], opset=8), "a Scan of operator set 8 runs for each element of a batch"),
        (scanning(weights=[weight("w", 6, 2)]), 6),
        (scanning([0, 5]), 0),
    ],
)
def test_a_scan_runs_for_each_element_of_its_first_scanned_axis(network, times):
    assert often(network) == times


def test_a_branch_counts_as_taken_and_of_another_node_nothing_is_known():
    body = helper.make_graph([node("Neg", ["x"], ["z"])], "b", [], [VALUE("z", TensorProto.FLOAT, None)])
    choice = node("If", ["c"], ["y"], "it", then_branch=body, else_branch=body)
    assert often(proto([choice], {"x": [2, 4], "c": (TensorProto.BOOL, [])}, {"y": None})) == 1
    for op, domain in (("SequenceMap", ""), ("Loop", "own")):
        held = node(op, ["x"], ["y"], "it", body=body, domain=domain)
        made = proto([held], {"x": [2, 4]}, {"y": None}, domains=["own"])
        assert often(made) == f"how often the graph in a {op} runs is not known"


def nested(outer, inner):
    """A Loop in a Loop, each with a count or without an end."""
    held = counting("inner" if inner is not None else "")
    held.name, held.input[2], held.output[0] = "in", "s", "u"
    body = helper.make_graph(
        [held],
        "body",
        [VALUE("j", TensorProto.INT64, []), VALUE("on", TensorProto.BOOL, []), VALUE("s", TensorProto.FLOAT, None)],
        [VALUE("on", TensorProto.BOOL, []), VALUE("u", TensorProto.FLOAT, None)],
    )
    around = node("Loop", ["outer" if outer is not None else "", "", "x"], ["y"], "out", body=body)
    beside = counting("beside")
    beside.name, beside.output[0] = "outer", "z"
    counts = {"outer": outer, "inner": inner, "beside": 4}
    weights = [constant(name, count) for name, count in counts.items() if count is not None]
    return model([around, beside], {"x": [2, 4]}, {"y": None, "z": None}, weights)


@pytest.mark.parametrize(
    ("outer", "inner", "times"), [(3, 5, 15.0), (1, 2, 4.0), (None, 5, math.inf), (3, None, math.inf), (0, 5, 4.0)]
)
def test_a_loop_in_a_loop_runs_as_often_as_both_together(outer, inner, times):
    assert most_repeated(nested(outer, inner)) == times


def test_what_is_in_no_loop_runs_once_and_so_does_what_nobody_counts():
    assert most_repeated(model([node("Relu", ["x"], ["y"])], {"x": [2]}, {"y": [2]})) == 1.0
    assert most_repeated(from_proto(counted("n", inputs={"n": (TensorProto.INT64, [])}))) == 1.0
    assert most_repeated(from_proto(scanning([3, 5]))) == 3.0


def test_the_graphs_inside_of_a_node_are_told_as_addresses_call_them():
    def graph(name):
        return ir.Graph([], [], nodes=[], name=name)

    attributes = [
        ir.AttrInt64("axis", 1),
        ir.RefAttr("body", "given", ir.AttributeType.GRAPH),
        ir.AttrGraph("then_branch", graph("a")),
        ir.AttrGraphs("parts", [graph("b"), graph("c")]),
        ir.AttrGraph("else_branch", graph("d")),
    ]
    found = [(name, one.name) for name, one in subgraphs(ir.Node("", "If", [], attributes))]
    assert found == [("then", "a"), ("parts[0]", "b"), ("parts[1]", "c"), ("else", "d")]


def test_a_call_is_a_model_of_its_own_with_what_it_is_given():
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("own", 1)]
    given = onnx.AttributeProto(name="axis", type=onnx.AttributeProto.INT, ref_attr_name="along")
    soft = node("Softmax", ["a"], ["s"], "soft")
    soft.attribute.append(given)
    inner = helper.make_graph([soft], "b", [], [VALUE("s", TensorProto.FLOAT, None)])
    lost = node("Elu", ["a"], ["e"], "elu")
    lost.attribute.append(onnx.AttributeProto(name="alpha", type=1, ref_attr_name="nowhere"))
    body = [
        node("If", ["flag"], ["r"], "if", then_branch=inner, else_branch=inner),
        lost,
        node("Reshape", ["r", "shape"], ["b"], "reshape"),
    ]
    function = helper.make_function(
        "own",
        "F",
        ["a", "shape", "big", "flag", "extra"],
        ["b"],
        body,
        opsets,
        ["along", "nowhere"],
        [helper.make_attribute("unused", 3)],
    )
    call = node("F", ["x", "shape", "big", "", "odd"], ["y"], "call", domain="own", along=1)
    weights = [constant("shape", [8]), weight("big", 1025)]
    made = node("Wobble", ["x"], ["odd"], "w", domain="own")
    network = model(
        [made, call], {"x": ["N", 4]}, {"y": None}, weights, domains=["own"], functions=[function], ir_version=7
    )
    (local,) = network.ir_model.functions.values()
    called = called_proto(network, local, network.nodes["call"], network.tensors)
    assert (called.ir_version, called.graph.name) == (8, "F")
    assert [(entry.domain, entry.version) for entry in called.opset_import] == [("", 13), ("own", 1)]
    assert [one.name for one in called.functions] == ["F"]
    assert [(one.name, numpy_helper.to_array(one).tolist()) for one in called.graph.initializer] == [("shape", [8])]
    kinds = {one.name: one.type.tensor_type for one in called.graph.input}
    assert list(kinds) == ["a", "big", "flag", "extra"]
    assert [kind.elem_type for kind in kinds.values()] == [1, 1, 0, 0]
    assert [dim.dim_param or dim.dim_value for dim in kinds["a"].shape.dim] == ["N", 4]
    assert [dim.dim_value for dim in kinds["big"].shape.dim] == [1025]
    assert [kind.HasField("shape") for kind in kinds.values()] == [True, True, False, False]
    assert [one.name for one in called.graph.output] == ["b"]
    branches = [attribute.g.node[0] for attribute in called.graph.node[0].attribute]
    assert [[(a.name, a.i, a.ref_attr_name) for a in one.attribute] for one in branches] == [[("axis", 1, "")]] * 2
    assert [list(one.attribute) for one in called.graph.node[1:]] == [[], []]
    # The function is as it was.
    assert function.node[0].attribute[0].g.node[0].attribute[0].ref_attr_name == "along"


def test_constants_of_up_to_so_many_elements_are_handed_to_a_function():
    opsets = [helper.make_opsetid("", 17)]
    function = helper.make_function("own", "F", ["a", "k"], ["b"], [node("Add", ["a", "k"], ["b"])], opsets)
    call = node("F", ["x", "k"], ["y"], "call", domain="own")
    for count, handed in ((1024, True), (1025, False)):
        network = model(
            [call], {"x": [1]}, {"y": None}, [weight("k", count)], domains=["own"], functions=[function], ir_version=9
        )
        (local,) = network.ir_model.functions.values()
        called = called_proto(network, local, network.nodes["call"], network.tensors)
        assert bool(called.graph.initializer) == handed
        assert called.ir_version == 9
