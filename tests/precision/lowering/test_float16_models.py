"""Models that are stored in float16 themselves: Q/DQ in the type of what they read, INT8 kernels all the same."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from tests.kit.networks import feed, network
from workbench.backends.compiler import rtx as tensorrt_rtx
from workbench.backends.verdict.checking import check
from workbench.errors import PrecisionError
from workbench.graph.load import from_proto
from workbench.precision.lowering.lowering import lower, needed_opset
from workbench.precision.plan.plan import BEST_PRACTICE, PrecisionPlan
from workbench.precision.sensitivity.estimated import quick
from workbench.precision.sensitivity.measured import exact
from workbench.precision.targets import parse_target
from workbench.session import Workbench, history_of, samples_for


def halved(model):
    """The model stored in float16, inputs and outputs too: everything FP16, taken literally."""
    plan = PrecisionPlan().with_rule("*", "fp16", islands=False, keep_inputs=False, keep_outputs=False)
    source = from_proto(lower(model, plan.resolve(model), {}).model.proto)
    assert {tensor.dtype for tensor in (*source.inputs, *source.outputs)} == {"FLOAT16"}
    assert not any(node.op_type == "Cast" for node in source.nodes.values())
    return source


def calibrated(*blocks, head="gemm", opset=13, target=None):
    wb = Workbench(halved(network(*blocks, head=head, opset=opset)))
    wb.plan.set_target(target)
    wb.prepare()
    # Calibration turns samples into the type that the model reads.
    wb.calibrate({"x": np.stack([feed(network("conv"), seed)["x"][0] for seed in range(4)]).astype(np.float16)})
    return wb


def dtypes(model, op_type, position):
    kinds = set()
    for node in model.nodes.values():
        if node.op_type == op_type:
            value = node.inputs[position]
            kinds.add(value.const_value.dtype.name if value.const_value is not None else value.dtype.name)
    return kinds


@pytest.mark.parametrize("storage", ["int8", "float"])
def test_it_is_quantized_in_its_own_type(storage):
    wb = calibrated("conv_bn_relu", "residual", "upsample")
    history_of(wb).amend(weight_storage=storage)
    result = wb.tune()
    assert wb.model.opset == 19  # FP16 scales
    assert result.activations
    assert result.weights
    onnx.checker.check_model(result.model.proto, full_check=True)
    assert dtypes(result.model, "DequantizeLinear", 1) == {"FLOAT16"}
    assert not any(node.op_type == "Cast" for node in result.model.nodes.values())
    assert 25 < wb.compare(runs=0).worst_sqnr_db < 60
    assert result.notes == ()


def test_decisions_tell_its_type():
    model = halved(network("conv", "sigmoid"))
    decisions = BEST_PRACTICE.resolve(model).decisions
    assert (decisions["Conv_0"].precision, decisions["Conv_0"].floating) == ("int8", "fp16")
    assert (decisions["Sigmoid_1"].precision, decisions["Sigmoid_1"].requested) == ("fp16", "fp16")
    asked = BEST_PRACTICE.with_rule("*", "fp32").resolve(model)
    assert asked["Sigmoid_1"].precision == "fp16"
    assert "it is float16 in the model itself" in asked.explain("Sigmoid_1")


def test_without_a_plan_nothing_is_written():
    model = halved(network("conv"))
    assert lower(model, PrecisionPlan().resolve(model), {}).model is model


def test_below_operator_set_19_there_are_casts_around_a_pair():
    model = halved(network("conv", opset=13))
    resolution = BEST_PRACTICE.resolve(model, target=parse_target("tensorrt-8.6"))
    assert needed_opset(model, resolution) is None  # 8.6 reads 17 at most, and sees through Casts
    outcome = lower(model, resolution, {"x": 3.0}).model
    onnx.checker.check_model(outcome.proto, full_check=True)
    assert dtypes(outcome, "DequantizeLinear", 1) == {"FLOAT"}
    assert dtypes(outcome, "Conv", 0) == {"FLOAT16"}


def test_sensitivity_search_and_bias_correction_work_on_it():
    wb = calibrated("conv_bn_relu", "residual")
    nodes = wb.plan.resolve().nodes("int8") or BEST_PRACTICE.resolve(wb.model).nodes("int8")
    samples, _ = samples_for(history_of(wb), None)
    alone = exact(wb.model, nodes, wb.ranges, samples)
    estimate = quick(wb.model, nodes, wb.ranges, samples)
    assert all(abs(estimate[node].sqnr_db - alone[node].sqnr_db) < 6 for node in nodes)
    goal = min(error.sqnr_db for error in alone.errors) + 1
    result = wb.plan.search("sqnr_db", at_least=goal, correct_bias=True, equalize=True)
    assert result.chosen.passed
    assert wb.compare(runs=0).worst_sqnr_db == pytest.approx(result.chosen.measured.sqnr_db, abs=1e-3)


def test_bfloat16_is_refused_with_its_reason():
    net = network("conv")
    plan = PrecisionPlan().with_rule("*", "bf16", keep_inputs=False, keep_outputs=False)
    conversion = needed_opset(net, plan.resolve(net))
    net = conversion(net).model
    model = from_proto(lower(net, plan.resolve(net), {}).model.proto)
    assert "bfloat16, and Q/DQ is written for float32 and float16" in BEST_PRACTICE.resolve(model).explain("Conv_0")
    with pytest.raises(PrecisionError, match="cannot be INT8"):
        exact(model, ["Conv_0"], {}, None)


@pytest.mark.slow
@pytest.mark.skipif(not tensorrt_rtx.rtx_capabilities().build, reason="pip install trt-workbench[rtx]")
@pytest.mark.parametrize(("head", "preset"), [("gemm", "int8"), ("matmul", "int8"), ("gemm", "fp8+fp16")])
def test_a_compiler_sees_int8_in_it(head, preset):
    wb = calibrated("conv_bn_relu", "residual", head=head)
    wb.plan.use(preset)
    wb.tune()
    verdict = check(wb.tuned, "sm89")
    assert verdict.accepted, str(verdict)
    values = {"int8": "INT8", "fp8": "FP8"}
    resolution = wb.plan.resolve()
    seen = {node.node: node.arithmetic for node in verdict.nodes}
    quantized = [node for node in resolution.nodes("int8", "fp8") if resolution[node].op_type in ("Conv", "Gemm")]
    assert quantized
    assert {seen[node] for node in quantized} == {values[resolution[node].precision] for node in quantized}
