"""BF16 on a processor without BF16 kernels."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from workbench.graph.load import from_proto
from workbench.precision.lowering.lowering import lower, needed_opset
from workbench.precision.plan.presets import PRESETS
from workbench.runtime.narrow import has_narrow, in_float32
from workbench.runtime.session import Session


def rounded(array):
    return np.asarray(array, np.float32).astype(ml_dtypes.bfloat16).astype(np.float32)


def network(weight):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["t"], name="m"), helper.make_node("Relu", ["t"], ["y"], name="r")]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 4])],
        [numpy_helper.from_array(weight, "w")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    proto.ir_version = 10
    return from_proto(proto)


def test_every_result_is_rounded_to_bf16():
    rng = np.random.default_rng(0)
    weight, x = rng.normal(size=(8, 4)).astype(np.float32), rng.normal(size=(3, 8)).astype(np.float32)
    model = network(weight)
    plan = PRESETS["bf16"]
    assert needed_opset(model, plan.resolve(model)) is None
    outcome = lower(model, plan.resolve(model), {}).model
    assert has_narrow(outcome)
    assert not has_narrow(model)
    onnx.checker.check_model(in_float32(outcome).proto, full_check=True)
    result = Session(outcome).run({"x": x})["y"]
    np.testing.assert_array_equal(result, rounded(np.maximum(rounded(rounded(x) @ rounded(weight)), 0)))
    assert (result != np.maximum(x @ weight, 0)).any()
