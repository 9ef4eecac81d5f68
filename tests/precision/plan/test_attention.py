"""Attention whose heads no kernel takes stays in FP32 together with the 8-bit products before it."""

from __future__ import annotations

import pytest
from onnx import helper

from tests.kit.models import model
from workbench.precision.plan.attention import kept_whole

NODES = ["q", "k", "v", "moved", "attention"]


def attention(shape, heads=2):
    """What makes query, key and value (of any operator), of which the second is moved, and what reads the attention."""
    nodes = [helper.make_node("Relu", ["x"], [f"{name}p"], name) for name in ("q", "k", "v")]
    nodes += [
        helper.make_node("Identity", ["kp"], ["m"], "moved"),
        helper.make_node("Attention", ["qp", "m", "vp"], ["a"], "attention", q_num_heads=heads, kv_num_heads=heads),
        helper.make_node("Relu", ["a"], ["y"], "after"),
    ]
    return model(nodes, {"x": shape}, {"y": shape}, opset=23)


def kept(shape, *, kind="fp16", quantized=(("q", 1),)):
    network = attention(shape)
    types = dict.fromkeys(network.nodes, "fp16") | {"attention": kind}
    return kept_whole(network, types, set(quantized))


@pytest.mark.parametrize(
    ("shape", "length"),
    [
        ([1, 3, 16], 8),  # two heads in the last axis
        ([1, 3, 18], None),
        ([1, 3, 19], None),
        ([1, 3, 200], None),
        ([1, 3, 512], None),
        ([1, 3, 514], 257),
        ([1, 2, 3, 8], 8),  # a head of its own axis
        ([1, 2, 3, 9], None),
        ([1, 2, 3, 256], None),
        ([1, 2, 3, 257], 257),
        ([1, 3, "W"], None),
    ],
)
def test_heads_of_9_to_256_numbers_have_kernels(shape, length):
    sentence = (
        "TensorRT-RTX 1.7 has fp16 attention for heads of 9 to 256 numbers; 'attention' has {}, and behind 8-bit "
        "products it is built in fp32 alone"
    )
    reasons = {} if length is None else dict.fromkeys(NODES, sentence.format(length))
    assert kept(shape) == reasons


def test_only_behind_8_bit_products_and_below_fp32_it_matters():
    assert kept([1, 3, 16], quantized=[]) == kept([1, 3, 16], kind="fp32") == {}
    assert kept([1, 3, 16], quantized=[("after", 0)]) == {}
    assert set(kept([1, 3, 16], quantized=[("k", 0)])) == set(NODES)  # behind a move
    assert set(kept([1, 3, 16], quantized=[("v", 0)], kind="bf16")) == set(NODES)
    assert "bf16 attention" in kept([1, 3, 16], kind="bf16")["q"]


def test_what_is_fed_in_is_no_product():
    relu = helper.make_node("Attention", ["x", "x", "x"], ["y"], "attention", q_num_heads=2, kv_num_heads=2)
    network = model([relu], {"x": [1, 3, 16]}, {"y": [1, 3, 16]}, opset=23)
    assert kept_whole(network, {"attention": "fp16"}, {("attention", 0)}) == {}
