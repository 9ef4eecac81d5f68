"""A model may have inputs and outputs in 8 and 4 bits, which ONNX Runtime's Python takes no arrays of."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.kit.models import constant, model
from workbench.calibration import open_samples
from workbench.evaluate import compare
from workbench.runtime import Session
from workbench.runtime.borders import bordered

KINDS = {
    "FLOAT8E4M3FN": ml_dtypes.float8_e4m3fn,
    "FLOAT8E5M2": ml_dtypes.float8_e5m2,
    "INT4": ml_dtypes.int4,
    "UINT4": ml_dtypes.uint4,
    "BFLOAT16": ml_dtypes.bfloat16,
}


def network(kind, factor=1.0):
    """Hands its input on, and multiplies what it stands for."""
    onnx_kind = TensorProto.DataType.Value(kind)
    nodes = [
        helper.make_node("Cast", ["q"], ["f"], "wide", to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["f", "w"], ["y"], "mm"),
        helper.make_node("Cast", ["y"], ["z"], "small", to=onnx_kind),
    ]
    outputs = {"y": ["N", 3], "z": (onnx_kind, ["N", 3])}
    return model(
        nodes,
        {"q": (onnx_kind, ["N", 4])},
        outputs,
        [constant("w", np.eye(4, 3) * factor, "float32")],
        opset=21,
        ir_version=10,
    )


@pytest.mark.parametrize("mode", ["numerics", "speed"])
@pytest.mark.parametrize("kind", KINDS)
def test_numbers_go_in_and_come_out_in_their_own_type(kind, mode):
    q = np.array([[0, 1, 2, 7], [3, 5, 4, 6]]).astype(KINDS[kind])
    got = Session(network(kind), mode=mode).run({"q": q})
    np.testing.assert_array_equal(got["y"], q[:, :3].astype(np.float32))
    assert got["z"].dtype == KINDS[kind]
    np.testing.assert_array_equal(got["z"].astype(np.float32), got["y"])


def test_a_tensor_inside_comes_out_in_its_own_type_too():
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s"], ["q"], "q", output_dtype=TensorProto.FLOAT8E4M3FN),
        helper.make_node("DequantizeLinear", ["q", "s"], ["y"], "dq"),
    ]
    pair = model(nodes, {"x": [2]}, {"y": [2]}, [constant("s", 2.0, "float32")], opset=21, ir_version=10)
    got = Session(pair, outputs=["q", "y"]).run({"x": np.array([3, -8], np.float32)})
    assert got["q"].dtype == ml_dtypes.float8_e4m3fn
    np.testing.assert_array_equal(got["q"].astype(np.float32), [1.5, -4])
    np.testing.assert_array_equal(got["y"], [3, -8])
    assert bordered(pair, ["y"]) is pair


def test_such_outputs_are_compared_by_their_numbers():
    q = np.random.default_rng(0).integers(-3, 4, (8, 1, 4)).astype(ml_dtypes.float8_e4m3fn)
    before, after = network("FLOAT8E4M3FN"), network("FLOAT8E4M3FN", 1.5)
    comparison = compare(before, after, open_samples({"q": q}, before), runs=0)
    assert [round(output.sqnr_db, 2) for output in comparison.outputs] == [6.02, 6.02]  # half of each number
