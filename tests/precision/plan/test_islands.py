"""Each reason for which a node is left in FP32."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kit.networks import Net
from workbench.precision.plan import islands
from workbench.precision.plan.islands import (
    NarrowNode,
    helps_normalize,
    loses_weights,
    normalizes,
    not_built,
    overflows,
    steep,
    sums_many,
)
from workbench.precision.plan.patterns import written_out_normalizations


def site(net, output, *, floating="fp16", overflow=None, shape=None):
    model = net.model(output, shape=shape)
    node = next(node for node in model.top_nodes.values() if output in [v.name for v in node.outputs])
    return NarrowNode(model, node, floating, overflow or {}, written_out_normalizations(model))


@pytest.mark.parametrize("op_type", ["Exp", "Log", "Sqrt", "Reciprocal", "Softmax", "Softplus"])
def test_steep_functions(op_type):
    net = Net()
    assert steep(site(net, net.op(op_type, "x"))) == f"{op_type} needs the range and precision of fp32"


def test_a_gentle_function_is_no_island():
    net = Net()
    assert steep(site(net, net.op("Relu", "x"))) is None


def test_what_the_compiler_builds_in_no_bf16():
    net = Net()
    y = net.op("ConvTranspose", "x", net.weight(4, 4, 2, 2))
    assert not_built(site(net, y, floating="bf16")) == "TensorRT-RTX 1.7 builds no bf16 ConvTranspose"
    net = Net()
    assert not_built(site(net, net.op("ConvTranspose", "x", net.weight(4, 4, 2, 2)))) is None


def test_normalizations():
    net = Net()
    y = net.op("LayerNormalization", "x", net.weight(8), net.weight(8))
    assert "sums squares" in normalizes(site(net, y))


@pytest.mark.parametrize(("height", "width", "kept"), [(8, 8, False), (32, 32, False), (25, 41, True), (33, 33, True)])
def test_sums_over_many_values(height, width, kept):
    net = Net()
    y = net.op("GlobalAveragePool", "x")
    actual = sums_many(site(net, y, shape=[1, 4, height, width]))
    sentence = f"GlobalAveragePool sums {height * width} values, more than 1024"
    assert actual == (sentence if kept else None)
    net = Net()
    assert sums_many(site(net, net.op("Relu", "x"), shape=[1, 4, 99, 99])) is None


def test_sums_over_an_unknown_number_of_values():
    net = Net()
    assert "not known" in sums_many(site(net, net.op("GlobalAveragePool", "x"), shape=[1, 4, "h", "w"]))


def test_values_beyond_the_range_of_fp16_but_not_of_bf16():
    net = Net()
    y = net.op("Relu", "x")
    assert "tensor 'x' reaches 7e+04" in overflows(site(net, y, overflow={"x": 7e4}))
    net = Net()
    y = net.op("Relu", "x")
    assert overflows(site(net, y, floating="bf16", overflow={"x": 7e4})) is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1e-12], "so small"),
        ([1e-6, 3e-7, 2e-6], "so small"),
        ([1e5], "fp16 ends at 65504"),
        ([-3.4e38], "fp16 ends at 65504"),
        ([-np.inf, 0.0], None),
        ([1.0, 1e-7], None),
        ([65504.0], None),
        ([65505.0], "holds 6.55e+04, and fp16 ends at 65504"),
        # Half a step of 2^-24 lost of 255.5 and of 256.5 of them: more than a 512th, and less.
        ([255.5 * 2.0**-24], "is so small (1.52e-05 at most) that fp16 has too few bits for it"),
        ([256.5 * 2.0**-24], None),
        ([0.0], None),
        ([1e-4, 0.3], None),
    ],
)
@pytest.mark.parametrize("part", [3, 2**20])
def test_constants_that_fp16_cannot_hold(values, message, part, monkeypatch):
    monkeypatch.setattr(islands, "PART", part)
    net = Net()
    y = net.op("Add", "x", net.constant(np.resize(np.array(values, np.float32), 8)))
    actual = loses_weights(site(net, y))
    assert (actual is None) if message is None else (message in actual)


def test_a_constant_is_looked_at_once_whoever_reads_it(monkeypatch):
    looked = []
    monkeypatch.setattr(islands, "_lost_of", lambda values: looked.append(values.size))
    net = Net()
    shared, y = net.constant(np.ones(8, np.float32)), "x"
    for _ in range(4):
        y = net.op("Add", y, shared)
    model = net.model(y)
    for node in model.top_nodes.values():
        assert loses_weights(NarrowNode(model, node, "fp16", {}, {})) is None
    assert looked == [8]


def test_a_written_out_normalization_is_found_with_gain_and_shift():
    net = Net()
    model = net.model(net.layer_norm("x", 8))
    assert len(written_out_normalizations(model)) == len(model.nodes) == 9
    net = Net()
    last = net.layer_norm("x", 8)
    assert "part of the normalization around 'Div_6'" in helps_normalize(site(net, last))


def test_a_division_by_a_root_alone_is_no_normalization():
    net = Net()
    model = net.model(net.op("Div", "x", net.op("Sqrt", net.op("Add", "x", net.constant(np.float32(1))))))
    assert written_out_normalizations(model) == {}
