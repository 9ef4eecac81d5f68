"""The vision transformer has the nodes that transformers are made of."""

from __future__ import annotations

from collections import Counter

import onnx


def test_ops_of_a_transformer(folder):
    graph = onnx.load(folder / "small_vit.onnx").graph
    ops = Counter(node.op_type for node in graph.node)
    blocks = ops["Softmax"]
    assert blocks == 3
    assert ops["LayerNormalization"] == 2 * blocks + 1
    assert ops["Erf"] == blocks + 1  # the stem has one too
    assert ops["MatMul"] == 6 * blocks
    assert {"/blocks.0/attn/qkv/MatMul", "/blocks.2/mlp/gelu/Erf"} <= {node.name for node in graph.node}
