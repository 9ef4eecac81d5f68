"""What is known of a node by its name: in a local function, what the call gives is not."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from workbench.graph import costs
from workbench.graph.cost.macs import macs_of
from workbench.graph.domains import is_filled_in, onnx_op, qdq_op
from workbench.graph.edits.registry import applicable, edit_by_name
from workbench.graph.load import from_proto

node = helper.make_node


@pytest.mark.parametrize(
    ("op", "domain", "own", "pair"),
    [
        ("Conv", "", "Conv", ""),
        ("Conv", "ai.onnx", "Conv", ""),
        ("Conv", "own", "", ""),
        ("QuantizeLinear", "", "QuantizeLinear", "QuantizeLinear"),
        ("QuantizeLinear", "com.microsoft", "", "QuantizeLinear"),
        ("QuantizeLinear", "own", "", ""),
    ],
)
def test_a_node_is_what_its_domain_says_unless_a_call_fills_it_in(op, domain, own, pair):
    plain = ir.Node(domain, op, [], attributes=[ir.AttrInt64("axis", 1)], num_outputs=1)
    filled = ir.Node(domain, op, [], attributes=[ir.RefAttr("axis", "a", ir.AttributeType.INT)], num_outputs=1)
    assert (is_filled_in(plain), onnx_op(plain), qdq_op(plain)) == (False, own, pair)
    assert (is_filled_in(filled), onnx_op(filled), qdq_op(filled)) == (True, "", "")


def called(nodes, given, weights, shape, *, opset=21):
    """A model that calls a function of such nodes; ``@name`` as an attribute is what the call gives it."""
    constants = [
        node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(array), name))
        for name, array in weights.items()
    ]
    body = []
    for op, inputs, outputs, attributes in nodes:
        one = node(op, inputs, outputs, **{k: v for k, v in attributes.items() if not str(v).startswith("@")})
        for name, value in attributes.items():
            if str(value).startswith("@"):
                kind = onnx.helper.make_attribute(name, given[value[1:]]).type
                one.attribute.append(onnx.AttributeProto(name=name, ref_attr_name=value[1:], type=kind))
        body.append(one)
    opsets = [helper.make_opsetid("", opset)]
    function = helper.make_function("own", "F", ["x"], ["y"], [*constants, *body], opsets, list(given))
    graph = helper.make_graph(
        [node("F", ["x"], ["y"], "call", domain="own", **given)],
        "g",
        [helper.make_tensor_value_info("x", 1, shape)],
        [helper.make_tensor_value_info("y", 1, None)],
    )
    opsets = [*opsets, helper.make_opsetid("own", 1)]
    return from_proto(helper.make_model(graph, functions=[function], opset_imports=opsets, ir_version=10))


NORM = {name: np.float32([1, 2, 3, 4, 5, 6]) for name in ("s", "b", "m", "v")}
KERNEL = np.ones((3, 2, 3, 3), np.float32)
FUNCTIONS = {
    "epsilon of a BatchNormalization": (
        [
            ("Conv", ["x", "k"], ["t"], {}),
            ("BatchNormalization", ["t", "s", "b", "m", "v"], ["y"], {"epsilon": "@e"}),
        ],
        {"e": 0.5},
        NORM | {"k": np.ones((6, 3, 3, 3), np.float32)},
    ),
    "groups before a BatchNormalization": (
        [
            ("ConvTranspose", ["x", "k"], ["t"], {"group": "@g"}),
            ("BatchNormalization", ["t", "s", "b", "m", "v"], ["y"], {}),
        ],
        {"g": 3},
        NORM | {"k": KERNEL},
    ),
    "groups before an Add": (
        [("ConvTranspose", ["x", "k"], ["t"], {"group": "@g"}), ("Add", ["t", "c"], ["y"], {})],
        {"g": 3},
        {"k": KERNEL, "c": np.ones((6, 1, 1), np.float32)},
    ),
    "axes of a constant": (
        [("Concat", ["k", "k"], ["t"], {"axis": "@a"}), ("ConvTranspose", ["x", "t"], ["y"], {})],
        {"a": 1},
        {"k": KERNEL},
    ),
    "axis of a dequantization": (
        [("DequantizeLinear", ["q", "s"], ["d"], {"axis": "@a"}), ("Add", ["x", "d"], ["y"], {})],
        {"a": 1},
        {"q": np.ones((1, 3, 8, 8), np.int8), "s": np.float32([1, 2, 3])},
    ),
}


@pytest.mark.parametrize("what", FUNCTIONS)
def test_no_edit_is_offered_for_what_a_call_gives(what):
    model = called(*FUNCTIONS[what], [1, 3, 8, 8])
    offered = {edit.do for edit in applicable(model, [])}
    assert not offered & {"fold_batch_norm", "merge_bias", "remove_qdq", "dequantize_constants", "symmetric_qdq"}
    for name in ("fold_batch_norm", "merge_bias", "fold_constants", "remove_qdq", "dequantize_constants"):
        assert not any(value.name == "t" for value in edit_by_name(name)(model).model.initializers.values())
        changed = edit_by_name(name)(model).model
        kept = [one.op_type for one in changed.nodes.values() if is_filled_in(one)]
        assert kept == [one.op_type for one in model.nodes.values() if is_filled_in(one)]


def test_a_part_that_a_call_fills_in_is_not_offered_to_be_extracted():
    leaky = [("LeakyRelu", ["x"], ["t"], {"alpha": "@a"}), ("Neg", ["t"], ["y"], {})]
    model = called(leaky, {"a": 0.3}, {}, [2])
    inner = {one.op_type: address for address, one in model.nodes.items() if address.startswith("function")}
    offered = {op: {edit.do for edit in applicable(model, [address])} for op, address in inner.items()}
    assert ("extract" in offered["LeakyRelu"], "extract" in offered["Neg"]) == (False, True)


@pytest.mark.parametrize(
    ("op", "given", "attributes"),
    [("Einsum", {"e": "ij,jk->ik"}, {"equation": "@e"}), ("Gemm", {"t": 1}, {"transB": "@t"})],
)
def test_the_work_of_what_a_call_gives_is_counted_at_the_call(op, given, attributes):
    weights = {"k": np.ones((4, 5) if op == "Einsum" else (5, 4), np.float32)}
    model = called([(op, ["x", "k"], ["y"], attributes)], given, weights, [2, 4])
    (product,) = [one for one in model.nodes.values() if is_filled_in(one)]
    assert macs_of(product, lambda value: (5, 4) if value.name == "k" else (2, 4)) is None
    assert [cost.macs for address, cost in costs(model).items() if address.endswith("/y")] == [2 * 4 * 5]
