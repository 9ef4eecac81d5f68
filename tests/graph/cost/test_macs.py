"""Multiply-accumulates of each operator, counted by hand from the shapes of its inputs and outputs."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from workbench.graph.cost.macs import has_rule, macs_of


def macs(op, inputs, output=None, **attributes):
    """Count those of an operator of ONNX, or of another domain where that stands before its name."""
    domain, _, op = op.rpartition(".")
    values = [ir.Value(name=f"i{at}") for at in range(len(inputs))]
    node = ir.node(op, values, attributes, domain=domain)
    shapes = dict(zip((*values, *node.outputs), (*inputs, output), strict=True))
    return macs_of(node, shapes.get)


X, SCALE, ZERO = (1, 1), (), ()
QUANTIZED = (X, SCALE, ZERO)


@pytest.mark.parametrize(
    ("op", "inputs", "output", "attributes", "count"),
    [
        ("Conv", [X, (6, 2, 3, 5)], (2, 6, 5, 7), {}, (2 * 6 * 5 * 7) * (2 * 3 * 5)),
        ("ConvInteger", [X, (6, 2, 3)], (2, 6, 5), {}, (2 * 6 * 5) * (2 * 3)),
        ("com.microsoft.FusedConv", [X, (6, 2, 3)], (2, 6, 5), {}, (2 * 6 * 5) * (2 * 3)),
        ("QLinearConv", [*QUANTIZED, (6, 2, 3)], (2, 6, 5), {}, (2 * 6 * 5) * (2 * 3)),
        ("ConvTranspose", [(2, 3, 5, 7), (3, 4, 2, 3)], X, {}, (2 * 3 * 5 * 7) * (4 * 2 * 3)),
        ("MatMul", [X, (5, 7)], (3, 7), {}, 3 * 7 * 5),
        ("MatMul", [X, (2, 5, 7)], (2, 3, 7), {}, 2 * 3 * 7 * 5),
        ("MatMul", [X, (5,)], (2, 3), {}, 2 * 3 * 5),
        ("MatMul", [(5,), (5, 7)], (7,), {}, 7 * 5),
        ("MatMulInteger", [X, (5, 7)], (3, 7), {}, 3 * 7 * 5),
        ("com.microsoft.FusedMatMul", [X, (5, 7)], (3, 7), {"transB": 0}, 3 * 7 * 5),
        ("com.microsoft.FusedMatMul", [X, (7, 5)], (3, 7), {"transB": 1}, 3 * 7 * 5),
        ("QLinearMatMul", [*QUANTIZED, (5, 7)], (3, 7), {}, 3 * 7 * 5),
        ("Gemm", [(3, 5), X], (3, 7), {}, 3 * 7 * 5),
        ("Gemm", [(5, 3), X], (3, 7), {"transA": 1}, 3 * 7 * 5),
        ("Einsum", [(2, 3, 5), (2, 5, 7)], X, {"equation": "bij, bjk -> bik"}, 2 * 3 * 5 * 7),
        ("Einsum", [(3,), (5,)], X, {"equation": "i,j"}, 3 * 5),
        ("RNN", [(9, 2, 5), (1, 3, 5), (1, 3, 3)], X, {}, 9 * 2 * (3 * 5 + 3 * 3)),
        ("GRU", [(9, 2, 5), (2, 9, 5), (2, 9, 3)], X, {}, 9 * 2 * 2 * (9 * 5 + 9 * 3)),
        ("LSTM", [(9, 2, 5), (1, 12, 5), (1, 12, 3)], X, {}, 9 * 2 * (12 * 5 + 12 * 3)),
        ("Relu", [(3, 5)], (3, 5), {}, 0),
        ("ai.onnx.Relu", [(3, 5)], (3, 5), {}, 0),
        ("ai.onnx.MatMul", [X, (5, 7)], (3, 7), {}, 3 * 7 * 5),
    ],
)
def test_an_operator_multiplies_so_often(op, inputs, output, attributes, count):
    assert macs(op, inputs, output, **attributes) == count


@pytest.mark.parametrize(
    ("op", "inputs", "output", "attributes"),
    [
        ("Conv", [X, None], (2, 6, 5), {}),
        ("Conv", [X, (6, 2, 3)], None, {}),
        ("ConvTranspose", [None, (3, 4, 2)], X, {}),
        ("ConvTranspose", [(2, 3, 5), None], X, {}),
        ("MatMul", [X, None], (3, 7), {}),
        ("MatMul", [X, ()], (3, 7), {}),
        ("MatMul", [X, (5, 7)], None, {}),
        ("Gemm", [None, X], (3, 7), {}),
        ("Gemm", [(), X], (3, 7), {}),
        ("Gemm", [(3, 5), X], None, {}),
        ("Einsum", [None, (3,)], X, {"equation": "i,j"}),
        ("Einsum", [(3,), None], X, {"equation": "i,j"}),
        ("Einsum", [(3,), (5,), (7,)], X, {"equation": "i,j,k"}),
        ("Einsum", [(3,)], X, {"equation": "i"}),
        ("Einsum", [(3, 5), (5,)], X, {"equation": "...j,j"}),
        ("RNN", [None, (1, 3, 5), (1, 3, 3)], X, {}),
        ("RNN", [(9, 2, 5), None, (1, 3, 3)], X, {}),
        ("RNN", [(9, 2, 5), (1, 3, 5), None], X, {}),
        ("RNN", [(9, 2), (1, 3, 5), (1, 3, 3)], X, {}),
        ("RNN", [(9, 2, 5), (1, 3), (1, 3, 3)], X, {}),
        ("RNN", [(9, 2, 5), (1, 3, 5), (1, 3)], X, {}),
        ("GRU", [(9, 2, 5), (1, 12, 5), (1, 12, 3)], X, {}),
    ],
)
def test_it_is_unknown_where_a_shape_is_or_is_none_that_the_operator_takes(op, inputs, output, attributes):
    assert macs(op, inputs, output, **attributes) is None


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose", "QLinearConv", "MatMul", "QLinearMatMul", "Gemm", "RNN"])
def test_a_node_without_its_inputs_is_unknown(op):
    assert macs(op, [], (2, 6, 5)) is None


def test_a_node_without_a_result_is_unknown():
    value = ir.Value(name="b")
    assert macs_of(ir.node("MatMul", [value, value], num_outputs=0), {value: (5, 7)}.get) is None


@pytest.mark.parametrize(
    ("op", "known"),
    [
        ("Conv", True),
        ("Relu", True),
        ("ai.onnx.Relu", True),
        ("ai.onnx.Gemm", True),
        ("com.microsoft.MatMulInteger", True),
        ("com.microsoft.Relu", False),
        ("my.ops.Conv", False),
        ("Wobble", False),
    ],
)
def test_what_is_counted_is_of_onnx_or_of_its_runtime(op, known):
    domain, _, op = op.rpartition(".")
    assert has_rule(ir.node(op, [], domain=domain)) == known
