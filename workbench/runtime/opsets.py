"""Which operator sets ONNX Runtime runs, found by asking it."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["OLDEST_OPSET", "newest_opset"]

OLDEST_OPSET = 7
"""Of what was another operator before, ONNX Runtime has few kernels."""


@cache
def newest_opset() -> int:
    """Return the newest operator set in which ONNX Runtime runs what a lowered model is made of.

    ONNX brings new operator sets before ONNX Runtime has kernels for them, and writes them by default. A model of such
    a set may run as it is, as long as none of its operators changed, and stops to once Casts and Q/DQ pairs are added.
    """
    newest: int = onnx.defs.onnx_opset_version()
    return next((version for version in range(newest, 0, -1) if _runs(version)), newest)


def _runs(version: int) -> bool:
    import onnxruntime

    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
        # One kernel serves all types; sessions of FP16 graphs are made in `workbench.runtime.session` alone.
        helper.make_node("Cast", ["d"], ["h"], to=TensorProto.DOUBLE),
        helper.make_node("Cast", ["h"], ["y"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "pair",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        [numpy_helper.from_array(np.float32(1), "scale"), numpy_helper.from_array(np.int8(0), "zero")],
    )
    ir_version = helper.OP_SET_ID_VERSION_MAP["ai.onnx", version]
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=ir_version)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception:  # noqa: BLE001 - ONNX Runtime raises many kinds, none of them public
        return False
    return True
