"""FP16 and BF16 on a processor: every result is rounded, wherever in a graph it is made."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from workbench.graph.load import from_proto
from workbench.runtime import narrow, session
from workbench.runtime.session import Session

TYPES = {"fp16": (TensorProto.FLOAT16, np.float16), "bf16": (TensorProto.BFLOAT16, ml_dtypes.bfloat16)}
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
