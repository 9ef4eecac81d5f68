"""Which constants are a node's parameters: weights and biases, not shapes, bounds or quantization scales."""

from __future__ import annotations

import struct
import sys
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from workbench.graph.domains import onnx_op, qdq_op

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["bytes_of", "constant_in", "constant_of", "is_stripped", "node_weights"]

RANDOM = frozenset({"Bernoulli", "Multinomial", "RandomNormalLike", "RandomUniformLike"})

# Constants at these inputs steer an operator; they are not learnt.
SETTINGS: Mapping[str, frozenset[int]] = {
    "Clip": frozenset({1, 2}),
    "DequantizeLinear": frozenset({1, 2}),
    "Dropout": frozenset({1, 2}),
    "OneHot": frozenset({1, 2}),
    "Pad": frozenset({1, 2, 3}),
    "QLinearConv": frozenset({1, 2, 4, 5, 6, 7}),
    "QLinearMatMul": frozenset({1, 2, 4, 5, 6, 7}),
    "QuantizeLinear": frozenset({1, 2}),
    "Range": frozenset({0, 1, 2}),
    "Resize": frozenset({1, 2, 3}),
    "Upsample": frozenset({1}),
}

NUMBERS = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}

NEVER_LEARNT = frozenset({ir.DataType.INT64, ir.DataType.BOOL, ir.DataType.STRING})


def constant_of(value: ir.Value) -> ir.TensorProtocol | None:
    """Return the content of an initializer or of a ``Constant`` node's result, else ``None``."""
    if value.is_initializer():
        return value.const_value
    node = value.producer()
    if node is None or onnx_op(node) != "Constant" or "value" not in node.attributes:
        return None
    held = node.attributes["value"]
    return None if held.is_ref() else held.as_tensor()  # in a function, the call may give it


def constant_in(value: ir.Value) -> ir.TensorProtocol | None:
    """Return what `constant_of` does, and numbers that a ``Constant`` node has in attributes of their own.

    Nothing is changed by looking: onnx_ir's own way to ask (1.1.0) writes a name into the tensor that it finds.
    """
    content, node = constant_of(value), value.producer()
    if content is not None or node is None or onnx_op(node) != "Constant":
        return content
    for name, kind in NUMBERS.items():
        if name in node.attributes and not node.attributes[name].is_ref():
            return ir.Tensor(np.asarray(node.attributes[name].value, dtype=kind))
    return None


def bytes_of(content: ir.TensorProtocol) -> bytes | memoryview:
    """Return the little-endian bytes of a weight, in place where it has them; of text, each entry after its length.

    A length takes 8 bytes.
    """
    if isinstance(content, ir.StringTensor):
        return b"".join(struct.pack("<q", len(text)) + text for text in content.string_data())
    array = content.raw if isinstance(content, ir.Tensor) and content.dtype.bitwidth >= 8 else None
    if isinstance(array, np.ndarray) and array.flags.c_contiguous and sys.byteorder == "little":
        return array.reshape(-1).view(np.uint8).data
    return content.tobytes()


def is_stripped(content: ir.TensorProtocol) -> bool:
    """Say whether a weight states its shape and element type but holds no numbers."""
    if isinstance(content, ir.StringTensor):
        return content.size > len(content.string_data())
    if not isinstance(content, ir.serde.TensorProtoTensor):
        return False
    return content.size > 0 and not any(
        len(data) for field, data in content.raw.ListFields() if field.name[-5:] == "_data"
    )


def node_weights(nodes: Mapping[str, ir.Node]) -> dict[str, tuple[ir.Value, ...]]:
    """Find the parameters that each node reads; reached as `Model.weights`.

    A constant counts for the first node that also depends on an input of the model: the Conv behind a DequantizeLinear,
    a Cast or a Reshape of its weight has that weight, the node in between has none. Integers of 64 bits, booleans and
    strings are shapes, axes and masks; INT32 counts where it is dequantized (a bias).

    Returns
    -------
    dict
        Address to the initializers or ``Constant`` results, each once; a node without parameters is not in it.
    """
    roots: dict[ir.Value, tuple[ir.Value, ...]] = {}
    weights: dict[str, tuple[ir.Value, ...]] = {}
    for address, node in nodes.items():
        read = [value for value in node.inputs if value is not None]
        for value in read:
            if value.is_initializer():
                roots[value] = (value,)
        if onnx_op(node) == "Constant":
            roots[node.outputs[0]] = (node.outputs[0],)
            continue
        learnt = tuple(
            dict.fromkeys(
                root
                for place, value in enumerate(node.inputs)
                if value is not None and place not in SETTINGS.get(qdq_op(node) or onnx_op(node), ())
                for root in roots.get(value, ())
                if _can_be_learnt(root, node)
            )
        )
        pure = node.op_type not in RANDOM and not any(a.type.name.startswith("GRAPH") for a in node.attributes.values())
        if pure and read and all(value in roots for value in read):
            roots.update(dict.fromkeys(node.outputs, learnt))
        elif learnt:
            weights[address] = learnt
    return weights


def _can_be_learnt(root: ir.Value, node: ir.Node) -> bool:
    content = constant_of(root)
    if content is None or content.dtype in NEVER_LEARNT:
        return False
    return (
        content.dtype != ir.DataType.INT32
        or node.op_type in ("DequantizeLinear", "QLinearConv")
        or (
            # Already seen through a DequantizeLinear: the root is passed on, its own reader decided.
            not any(value is root for value in node.inputs)
        )
    )
