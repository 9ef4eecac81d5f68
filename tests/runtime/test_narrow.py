"""FP16 and BF16 on a processor: every result is rounded, wherever in a graph it is made."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from workbench.graph.load import from_proto
from workbench.runtime import narrow, session
from workbench.runtime.session import Session

FLOAT, HALF, BRAIN = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16
TYPES = {"fp16": (HALF, np.float16), "bf16": (BRAIN, ml_dtypes.bfloat16)}
WEIGHT = np.random.default_rng(0).normal(size=(4, 4))
X = np.random.default_rng(1).normal(size=(3, 4))


@pytest.fixture(params=TYPES)
def kind(request):
    return TYPES[request.param]


def info(name, kind, shape=None):
    return helper.make_tensor_value_info(name, kind, shape)


def model(nodes, inputs, outputs, weights=(), functions=()):
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(weights))
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("own", 1)]
    return from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=10, functions=list(functions)))


def weight(dtype):
    return numpy_helper.from_array(WEIGHT.astype(dtype), "w")


def product(x, dtype):
    """Multiply exactly, sum in FP32, round: what tensor cores do."""
    return (x.astype(np.float32) @ WEIGHT.astype(dtype).astype(np.float32)).astype(dtype)


def node(op, inputs, output, **attributes):
    return helper.make_node(op, inputs.split(), [output], f"{op}_{output}", **attributes)


@pytest.mark.parametrize("observing", [False, True])
def test_inputs_outputs_and_tensors_inside_have_their_types_and_rounded_numbers(kind, observing):
    code, dtype = kind
    network = model(
        [node("MatMul", "x w", "a"), node("Relu", "a", "b"), node("Transpose", "b", "t"), node("Exp", "t", "y")],
        [info("x", code, [3, 4])],
        [info("y", code)],
        [weight(dtype)],
    )
    x = X.astype(dtype)
    result = Session(network, outputs=["a", "t", "y"], observing=observing).run({"x": x})
    a = product(x, dtype)
    t = np.maximum(a.astype(np.float32), 0).T
    for name, expected in (("a", a), ("t", t.astype(dtype)), ("y", np.exp(t).astype(dtype))):
        assert result[name].dtype == dtype
        np.testing.assert_array_equal(result[name].astype(np.float32), expected.astype(np.float32))


def test_a_square_beyond_fp16_is_infinite():
    network = model(
        [node("Cast", "x", "h", to=TensorProto.FLOAT16), node("Mul", "h h", "s"), node("Cast", "s", "y", to=1)],
        [info("x", TensorProto.FLOAT, [2])],
        [info("y", TensorProto.FLOAT)],
    )
    x = np.array([100, 300], np.float32)
    assert Session(network).run({"x": x})["y"].tolist() == [10000, np.inf]
    assert Session(network, mode="speed").run({"x": x})["y"][0] == 10000


def test_bodies_of_if_and_loop_round_as_well(kind):
    code, dtype = kind
    branch = helper.make_graph([node("Exp", "a", "e"), node("MatMul", "e w", "p")], "then", [], [info("p", code)])
    other = helper.make_graph([node("Neg", "a", "n")], "else", [], [info("n", code)])
    body = helper.make_graph(
        [node("Identity", "c", "go"), node("MatMul", "s w", "m"), node("Tanh", "m", "next")],
        "body",
        [info("i", TensorProto.INT64, []), info("c", TensorProto.BOOL, []), info("s", code, [3, 4])],
        [info("go", TensorProto.BOOL, []), info("next", code, [3, 4])],
    )
    network = model(
        [
            node("MatMul", "x w", "a"),
            node("If", "yes", "b", then_branch=branch, else_branch=other),
            helper.make_node("Loop", ["three", "", "b"], ["l"], "loop", body=body),
            node("Cast", "l", "y", to=1),
        ],
        [info("x", code, [3, 4]), info("yes", TensorProto.BOOL, [])],
        [info("y", TensorProto.FLOAT)],
        [weight(dtype), numpy_helper.from_array(np.array(3), "three")],
    )
    x = X.astype(dtype)
    state = product(np.exp(product(x, dtype).astype(np.float32)).astype(dtype), dtype)
    for _ in range(3):
        state = np.tanh(product(state, dtype).astype(np.float32)).astype(dtype)
    value = Session(network).run({"x": x, "yes": np.array(True)})["y"]
    np.testing.assert_allclose(value, state.astype(np.float32), rtol=2.0**-7)
    assert (value == state.astype(np.float32)).mean() > 0.8  # a last bit here and there is the processor's own


def test_local_functions_round_inside():
    twice = helper.make_function(
        "own", "twice", ["q"], ["s"], [node("Exp", "q", "k"), node("Exp", "k", "s")], [helper.make_opsetid("", 21)]
    )
    call = helper.make_node("twice", ["x"], ["y"], "call", domain="own")
    x = X.astype(np.float16)
    network = model([call], [info("x", TensorProto.FLOAT16, [3, 4])], [info("y", TensorProto.FLOAT16)], (), [twice])
    once = np.exp(x.astype(np.float32)).astype(np.float16)
    np.testing.assert_allclose(
        Session(network).run({"x": x})["y"], np.exp(once.astype(np.float32)).astype(np.float16), rtol=2.0**-10
    )


def test_types_said_by_attributes_are_kept(kind):
    code, dtype = kind
    network = model(
        [
            node("Shape", "x", "shape"),
            node("ConstantOfShape", "shape", "tenth", value=helper.make_tensor("v", code, [1], [0.1])),
            node("CastLike", "i tenth", "like"),
            node("Add", "tenth like", "a"),
            node("Cast", "a", "y", to=1),
        ],
        [info("x", code, [3, 4]), info("i", TensorProto.INT64, [3, 4])],
        [info("y", TensorProto.FLOAT)],
    )
    value = Session(network).run({"x": X.astype(dtype), "i": np.full((3, 4), 7)})["y"]
    np.testing.assert_array_equal(
        value, (dtype(0.1).astype(np.float32) + np.float32(7)).astype(dtype).astype(np.float32)
    )


def test_names_that_are_taken_stay():
    network = model(
        [node("Exp", "x", "a"), node("Exp", "a", "a/widened"), node("Add", "a a/widened", "y")],
        [info("x", TensorProto.FLOAT16, [3, 4])],
        [info("y", TensorProto.FLOAT16)],
    )
    x = X.astype(np.float16)
    a = np.exp(x.astype(np.float32)).astype(np.float16)
    b = np.exp(a.astype(np.float32)).astype(np.float16)
    array = (a.astype(np.float32) + b.astype(np.float32)).astype(np.float16)
    np.testing.assert_allclose(Session(network).run({"x": x})["y"], array, rtol=2.0**-9)


def stepping(code, dtype):
    """Two products by one weight, and one by it inside of a branch."""
    branch = helper.make_graph([node("MatMul", "c w", "d")], "then", [], [info("d", code)])
    other = helper.make_graph([node("Identity", "c", "e")], "else", [], [info("e", code)])
    nodes = [
        node("MatMul", "x w", "a"),
        node("MatMul", "a v", "b"),
        node("MatMul", "b v", "c"),
        helper.make_node("If", ["yes"], ["y"], "if", then_branch=branch, else_branch=other),
    ]
    weights = [weight(dtype), numpy_helper.from_array(WEIGHT.T.astype(dtype), "v")]
    weights.append(numpy_helper.from_array(np.array(True), "yes"))
    return model(nodes, [info("x", code, [3, 4])], [info("y", code)], weights)


def test_large_weights_stay_narrow_until_they_are_read(kind, monkeypatch):
    code, dtype = kind
    network, x = stepping(code, dtype), X.astype(dtype)
    usual = Session(network, untried={"x": x}).run({"x": x})["y"]
    monkeypatch.setattr(narrow, "WIDENED", 0)
    monkeypatch.setattr(session, "HUGE_BYTES", 1)
    thrifty, seen, real = [], [], narrow.in_float32
    monkeypatch.setattr(
        session, "in_float32", lambda *a, **k: thrifty.append(k) or seen.append(real(*a, **k)) or seen[-1]
    )
    np.testing.assert_array_equal(Session(network, untried={"x": x}).run({"x": x})["y"], usual)
    assert [one["weights_stay"] for one in thrifty] == [True]
    # What a branch reads, too, is widened beforehand.
    kinds = {name: value.dtype.name for name, value in seen[0].initializers.items()}
    assert kinds == {"v": {np.float16: "FLOAT16"}.get(dtype, "BFLOAT16"), "w/widened": "FLOAT", "yes": "BOOL"}
    (cast,) = (one for one in seen[0].top_nodes.values() if one.inputs[0] is not None and one.inputs[0].name == "v")
    order = list(seen[0].top_nodes.values())
    assert [use.node.outputs[0].name for use in cast.outputs[0].uses()] == ["b/unrounded", "c/unrounded"]
    assert order[order.index(cast) + 1].outputs[0].name == "b/unrounded"
    Session(network).run({"x": x})
    assert thrifty[-1]["weights_stay"] is False  # nobody tried it elsewhere


def rewritten(nodes, code, outputs, *, keep=(), weights=()):
    """The nodes that are made of a model with an input x of a type, in order, and the types of what goes in and out."""
    values = {name: info(name, code if name != "f" else FLOAT, [3, 4]) for name in ("x", *outputs)}
    network = model(nodes, [values["x"]], [values[name] for name in outputs], weights)
    graph = narrow.in_float32(network, keep=keep).ir_model.graph
    lines = [
        f"{one.op_type} {' '.join(value.name for value in one.inputs)} -> {one.outputs[0].name}"
        + (f" {one.outputs[0].dtype.name}" if one.op_type == "Cast" else "")
        for one in graph
    ]
    stored = {value.name: value.dtype.name for value in graph.initializers.values()}
    return lines, {value.name: value.dtype.name for value in (*graph.inputs, *graph.outputs)}, stored


CHAIN = (node("Exp", "x", "a"), node("Relu", "a", "b"), node("MatMul", "b w", "y"))
READ_AS_IT_IS = (node("Relu", "x", "r"), node("Cast", "r", "f", to=1), node("Neg", "r", "z"))


@pytest.mark.parametrize("keep", [(), ("b",)])
def test_what_is_rounded_is_so_once_and_what_is_exact_only_for_those_who_look(keep):
    lines, types, stored = rewritten(CHAIN, HALF, ["y"], keep=keep, weights=[weight(np.float16)])
    assert lines == [
        "Cast x -> x/widened FLOAT",
        "Exp x/widened -> a/unrounded",
        "Cast a/unrounded -> a FLOAT16",
        "Cast a -> a/widened FLOAT",
        "Relu a/widened -> b/unrounded",
        *(["Cast b/unrounded -> b FLOAT16"] if keep else []),
        "MatMul b/unrounded w/widened -> y/unrounded",
        "Cast y/unrounded -> y FLOAT16",
    ]
    assert (types, stored) == ({"x": "FLOAT16", "y": "FLOAT16"}, {"w/widened": "FLOAT"})


@pytest.mark.parametrize("keep", [(), ("b",)])
def test_bf16_goes_in_and_out_in_fp32(keep):
    lines, types, _ = rewritten(CHAIN, BRAIN, ["y"], keep=keep, weights=[weight(ml_dtypes.bfloat16)])
    assert lines == [
        "Exp x -> a/unrounded",
        "Cast a/unrounded -> a BFLOAT16",
        "Cast a -> a/widened FLOAT",
        "Relu a/widened -> b/unrounded",
        *(["Cast b/unrounded -> b/rounded BFLOAT16", "Cast b/rounded -> b FLOAT"] if keep else []),
        "MatMul b/unrounded w/widened -> y/unrounded",
        "Cast y/unrounded -> y/rounded BFLOAT16",
        "Cast y/rounded -> y FLOAT",
    ]
    assert types == {"x": "FLOAT", "y": "FLOAT"}


def test_who_takes_a_type_as_it_is_gets_the_rounded_number():
    lines, _, _ = rewritten(READ_AS_IT_IS, HALF, ["f", "z"])
    assert lines == [
        "Cast x -> x/widened FLOAT",
        "Relu x/widened -> r/unrounded",
        "Cast r/unrounded -> r FLOAT16",
        "Cast r -> f FLOAT",
        "Neg r/unrounded -> z/unrounded",
        "Cast z/unrounded -> z FLOAT16",
    ]


def test_what_a_cast_makes_is_rounded_already():
    nodes = [node("Cast", "f", "h", to=BRAIN), node("Exp", "h", "y")]
    network = model(nodes, [info("f", FLOAT, [2])], [info("h", BRAIN, [2]), info("y", BRAIN, [2])])
    graph = narrow.in_float32(network).ir_model.graph
    assert [f"{one.op_type} {one.inputs[0].name} -> {one.outputs[0].name}" for one in graph] == [
        "Cast f -> h/rounded",
        "Cast h/rounded -> h",
        "Exp h -> y/unrounded",
        "Cast y/unrounded -> y/rounded",
        "Cast y/rounded -> y",
    ]
    assert [value.name for value in graph.outputs] == ["h", "y"]


def test_a_weight_stays_for_those_who_take_it_as_it_is():
    nodes = [node("MatMul", "x w", "m"), node("Cast", "w", "f", to=1)]
    lines, _, stored = rewritten(nodes, HALF, ["m", "f"], weights=[weight(np.float16)])
    assert stored == {"w": "FLOAT16", "w/widened": "FLOAT"}
    assert "MatMul x/widened w/widened -> m/unrounded" in lines
    assert "Cast w -> f FLOAT" in lines


@pytest.mark.parametrize(
    ("count", "stay", "kept"), [(1 << 15, True, False), ((1 << 15) + 1, True, True), (99999, False, False)]
)
def test_a_weight_of_over_64_kib_stays_narrow_where_that_is_asked_for(count, stay, kept):
    shape = [count]
    stored = numpy_helper.from_array(np.ones(count, np.float16), "w")
    nodes = [node("Neg", "x", "n"), node("Add", "n w", "y")]
    network = model(nodes, [info("x", HALF, shape)], [info("y", HALF, shape)], [stored])
    wide = narrow.in_float32(network, **({"weights_stay": True} if stay else {}))
    assert list(wide.initializers) == (["w"] if kept else ["w/widened"])


def test_a_weight_that_is_only_taken_as_it_is_has_no_other_form():
    lines, _, stored = rewritten([node("Cast", "w", "f", to=1)], HALF, ["f"], weights=[weight(np.float16)])
    assert (lines, stored) == (["Cast w -> f FLOAT"], {"w": "FLOAT16"})


def test_what_is_kept_is_of_the_main_graph_whatever_bodies_call_theirs():
    branch = helper.make_graph([node("Relu", "x", "k"), node("Exp", "k", "e")], "then", [], [info("e", BRAIN)])
    other = helper.make_graph([node("Exp", "x", "n")], "else", [], [info("n", BRAIN)])
    nodes = [
        node("Relu", "x", "a"),
        helper.make_node("If", ["yes"], ["y"], "if", then_branch=branch, else_branch=other),
    ]
    yes = numpy_helper.from_array(np.array(True), "yes")
    network = model(nodes, [info("x", BRAIN, [3])], [info("y", BRAIN, [3])], [yes])
    wide = narrow.in_float32(network, keep=["a", "k"])
    told = [f"{one.op_type} -> {one.outputs[0].name}" for one in wide.ir_model.graph]
    assert told[:3] == ["Relu -> a/unrounded", "Cast -> a/rounded", "Cast -> a"]
    inner = next(one for one in wide.ir_model.graph if one.op_type == "If").attributes["then_branch"].as_graph()
    assert [f"{one.op_type} -> {one.outputs[0].name}" for one in inner] == [
        "Relu -> k/unrounded",
        "Exp -> e/unrounded",
        "Cast -> e",
    ]
    x = np.array([1.5, -2.0, 0.3], ml_dtypes.bfloat16)
    expected = np.exp(np.maximum(x.astype(np.float32), 0)).astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(Session(network, outputs=["y"]).run({"x": x})["y"], expected)


def test_a_type_that_nobody_states_is_that_of_what_is_to_have_the_same():
    """Of an operator of one's own, inference knows nothing, nor of a sum that has its result first."""
    nodes = [helper.make_node("Own", ["x"], ["o"], "own", domain="own"), node("Add", "o x", "s")]
    lines, _, _ = rewritten([*nodes, node("Cast", "s", "f", to=1)], HALF, ["f"])
    assert "Cast s/unrounded -> s FLOAT16" in lines


def test_the_type_that_an_attribute_says_stays_where_that_type_is_not_rounded():
    nodes = [node("EyeLike", "x", "h", dtype=HALF), node("Cast", "h", "f", to=1), node("Neg", "x", "y")]
    values = [info("f", FLOAT, [3, 4]), info("y", BRAIN, [3, 4])]
    wide = narrow.in_float32(model(nodes, [info("x", BRAIN, [3, 4])], values), {narrow.BF16})
    assert next(iter(wide.ir_model.graph)).attributes["dtype"].as_int() == HALF
