"""Regions of FP16 and BF16: few casts, islands where they are needed, the model's own types kept."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, assume, given, settings

from tests.kit.networks import Net, feed, network, networks, ranges_of
from workbench.graph import WEIGHTED
from workbench.graph.edits.remove_qdq import RemoveQDQ
from workbench.precision.lowering.lowering import activation_tensors, lower, needed_opset
from workbench.precision.plan.plan import PrecisionPlan
from workbench.precision.plan.presets import PRESETS
from workbench.runtime.session import Session

everywhere = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
FP16 = PRESETS["fp16"]
MIXED = PRESETS["int8+fp16"]


def lowered(model, plan=FP16, *, storage="int8", overflow=None):
    conversion = needed_opset(model, plan.resolve(model))
    model = model if conversion is None else conversion(model).model
    resolution = plan.resolve(model, overflow=overflow)
    ranges = ranges_of(model, activation_tensors(model, resolution))
    return lower(model, resolution, ranges, weight_storage=storage).model


def nodes(model, op_type):
    return [node for node in model.nodes.values() if node.op_type == op_type]


def casts(model):
    return [(node.inputs[0].name, node.attributes["to"].as_int()) for node in nodes(model, "Cast")]


@pytest.mark.parametrize("plan", [FP16, PRESETS["bf16"], MIXED, PRESETS["fp8+fp16"]], ids=lambda p: str(p.rules[0]))
@everywhere
@given(model=networks())
def test_a_lowered_graph_is_valid_in_all_its_types(plan, model):
    lowering = lowered(model, plan)
    onnx.checker.check_model(lowering.proto, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(lowering.proto, strict_mode=True, check_type=True, data_prop=True)
    assert [i.type.tensor_type.elem_type for i in inferred.graph.input] == [onnx.TensorProto.FLOAT]
    assert [o.type.tensor_type.elem_type for o in inferred.graph.output] == [onnx.TensorProto.FLOAT]
    assert [o.name for o in lowering.proto.graph.output] == [o.name for o in model.proto.graph.output]


@pytest.mark.parametrize("plan", [FP16, MIXED], ids=["fp16", "int8+fp16"])
@everywhere
@given(model=networks())
def test_casts_are_shared_and_never_undone(plan, model):
    lowering = lowered(model, plan)
    findings = casts(lowering)
    assert len(findings) == len(set(findings))
    for cast in nodes(lowering, "Cast"):
        before = cast.inputs[0].producer()
        assert before is None or before.op_type != "Cast"
    for node in lowering.nodes.values():
        light = node.op_type not in (*WEIGHTED, "Cast", "QuantizeLinear", "DequantizeLinear")
        if not light or not node.inputs or node.outputs[0].dtype != ir.DataType.FLOAT16:
            continue
        read = [v.producer() for v in node.inputs if v is not None and not v.is_initializer()]
        readers = [use.node for output in node.outputs for use in output.uses()]
        surrounded = (
            bool(readers)
            and all(p is not None and p.op_type == "Cast" for p in read)
            and all(reader.op_type == "Cast" for reader in readers)
            and not any(output.is_graph_output() for output in node.outputs)
        )
        assert not surrounded, f"{node.name} is cast to and back"


@everywhere
@given(networks())
def test_what_is_left_in_no_precision_but_fp32_is_untouched(model):
    plan = PRESETS["fp32"]
    assert lower(model, plan.resolve(model), {}).model is model


@everywhere
@given(networks())
def test_fp16_computes_nearly_the_same(model):
    entries = [str(value.name) for node in model.nodes.values() for value in node.outputs]
    assume(all(np.abs(array).max() < 65504 / 2 for array in Session(model, outputs=entries).run(feed(model)).values()))
    theirs, ours = (next(iter(Session(m).run(feed(model)).values())) for m in (model, lowered(model)))
    noise = float(((ours.astype(np.float64) - theirs) ** 2).sum())
    assert noise <= 1e-4 * float((theirs.astype(np.float64) ** 2).sum())  # at least 40 dB


@everywhere
@given(networks())
def test_both_ways_to_store_weights_compute_the_same_over_fp16(model):
    stored, floating = (
        next(iter(Session(lowered(model, MIXED, storage=storage)).run(feed(model)).values()))
        for storage in ("int8", "float")
    )
    np.testing.assert_array_equal(stored, floating)


@everywhere
@given(networks())
def test_the_bytes_are_the_same_each_time(model):
    assert lowered(model, MIXED).to_bytes() == lowered(model, MIXED).to_bytes()


@everywhere
@given(networks())
def test_weights_are_stored_in_the_type_of_who_reads_them(model):
    lowering = lowered(model)
    for node in lowering.nodes.values():
        if node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization"):
            assert {value.dtype for value in node.inputs} == {ir.DataType.FLOAT16}
    assert not any(value.is_initializer() and not value.uses() for value in lowering.initializers.values())


def test_a_pair_is_itself_the_cast_between_two_types():
    lowering = lowered(network("conv_bn_relu", "conv"), MIXED)
    assert casts(lowering) == [(f"{lowering.outputs[0].name}/float16", onnx.TensorProto.FLOAT)]
    first = nodes(lowering, "QuantizeLinear")[0]
    assert first.inputs[0].name == "x"
    assert first.inputs[1].dtype == ir.DataType.FLOAT
    assert first.outputs[0].uses()[0].node.inputs[1].dtype == ir.DataType.FLOAT16
    numbers = {float(v.const_value.numpy()) for v in (first.inputs[1], first.outputs[0].uses()[0].node.inputs[1])}
    assert len(numbers) == 1


def test_below_operator_set_19_pairs_are_fp32_with_casts_around():
    model = network("conv_bn_relu", "conv", opset=13)
    resolution = MIXED.resolve(model)
    outcome = lower(model, resolution, ranges_of(model, activation_tensors(model, resolution))).model
    onnx.checker.check_model(outcome.proto, full_check=True)
    assert outcome.opset == 13
    for node in (*nodes(outcome, "QuantizeLinear"), *nodes(outcome, "DequantizeLinear")):
        assert node.inputs[1].dtype == ir.DataType.FLOAT
    assert {v.dtype for node in nodes(outcome, "Conv") for v in node.inputs if v.dtype} == {ir.DataType.FLOAT16}
    ours, theirs = (next(iter(Session(m).run(feed(model)).values())) for m in (outcome, model))
    assert ((ours - theirs) ** 2).sum() < 1e-2 * (theirs**2).sum()


def test_a_scale_that_fp16_cannot_hold_stays_in_fp32():
    model = network("conv_bn_relu", "conv", opset=19)
    resolution = MIXED.resolve(model)
    outcome = lower(model, resolution, dict.fromkeys(activation_tensors(model, resolution), 1e-4)).model
    assert {node.inputs[1].dtype for node in nodes(outcome, "QuantizeLinear")} == {ir.DataType.FLOAT}
    onnx.checker.check_model(outcome.proto, full_check=True)


def test_a_scale_that_fp16_cannot_divide_by_is_divided_by_in_fp32():
    model = network("conv_bn_relu", "conv", opset=19)
    resolution = MIXED.resolve(model)
    outcome = lower(model, resolution, dict.fromkeys(activation_tensors(model, resolution), 1e-3)).model
    assert {node.inputs[1].dtype for node in nodes(outcome, "QuantizeLinear")} == {ir.DataType.FLOAT}
    assert {node.inputs[1].dtype for node in nodes(outcome, "DequantizeLinear")} == {ir.DataType.FLOAT16}
    assert [node.inputs[0].producer().op_type for node in nodes(outcome, "Conv")] == ["DequantizeLinear"] * 2
    onnx.checker.check_model(outcome.proto, full_check=True)


def test_inputs_and_outputs_change_type_only_on_demand():
    model = network("conv", "residual")
    plan = PrecisionPlan().with_rule("*", "fp16", keep_inputs=False, keep_outputs=False)
    lowering = lowered(model, plan)
    onnx.checker.check_model(lowering.proto, full_check=True)
    assert casts(lowering) == []
    assert (lowering.inputs[0].dtype, lowering.outputs[0].dtype) == ("FLOAT16", "FLOAT16")
    one = plan.with_rule("name:Conv_0", "fp16")  # the last rule keeps it
    assert lowered(model, one).inputs[0].dtype == "FLOAT"


def test_attention_keeps_softmax_and_normalization_in_fp32_and_the_rest_in_fp16():
    model = network("conv", head="attention")
    resolution = FP16.resolve(model)
    left = {resolution[node].op_type for node in resolution.nodes("fp32")}
    assert {"Softmax", "Pow", "Sqrt"} <= left
    assert not left & {"Conv", "MatMul", "Reshape"}
    softmax = next(node for node in resolution.decisions if node.startswith("Softmax"))
    assert "Softmax needs the range and precision of fp32" in resolution.explain(softmax)


def test_a_normalization_that_is_written_out_stays_together():
    resolution = FP16.resolve(network("conv", head="attention"))
    sub = next(node for node in resolution.decisions if node.startswith("Sub"))
    divide = next(node for node in resolution.decisions if node.startswith("Div"))
    assert f"it is part of the normalization around {divide!r}" in resolution.explain(sub)
    whole = [d.op_type for d in resolution.decisions.values() if any(divide in reason for reason in d.reasons)]
    assert sorted(whole) == ["Add", "Add", "Div", "Mul", "Pow", "ReduceMean", "ReduceMean", "Sqrt", "Sub"]


@pytest.mark.parametrize("length", [1, 3])
def test_light_nodes_between_two_islands_are_absorbed_and_say_why(length):
    net = Net()
    x = net.op("Exp", net.conv("x"))
    for _ in range(length):
        x = net.op("Relu", x)
    model = net.model(net.conv(net.op("Log", x)))
    resolution = FP16.resolve(model)
    assert [resolution[f"Relu_{2 + i}"].precision for i in range(length)] == ["fp32"] * length
    assert "its neighbours are fp32, and casting to fp16 and back would cost more than it gains" in (
        resolution.explain("Relu_2")
    )
    assert len(casts(lowered(model))) == 4  # in, to Exp, from Log, out


def test_a_rule_may_be_taken_literally():
    model = network("conv", head="attention")
    resolution = FP16.with_rule("op:Softmax", "fp16", islands=False).resolve(model)
    softmax = next(node for node in resolution.decisions if node.startswith("Softmax"))
    assert resolution[softmax].precision == "fp16"


def test_values_beyond_fp16_make_an_island():
    model = network("conv", "conv", "conv")
    resolution = FP16.resolve(model, overflow={"t0": 1e6})
    assert resolution.nodes("fp16") == ["Conv_2"]
    assert "tensor 't0' reaches 1e+06 in calibration, and fp16 ends at 65504" in resolution.explain("Conv_1")
    lowering = lowered(model, overflow={"t0": 1e6})
    assert casts(lowering) == [("t1", onnx.TensorProto.FLOAT16), ("t2/float16", onnx.TensorProto.FLOAT)]
    assert PRESETS["bf16"].resolve(model, overflow={"t0": 1e6}).nodes("bf16") == ["Conv_0", "Conv_1", "Conv_2"]


def test_a_resize_keeps_its_scales_in_fp32():
    net = Net()
    scales = net.constant(np.array([1, 1, 2, 2], np.float32))
    model = net.model(net.conv(net.op("Resize", net.conv("x"), "", scales)))
    lowering = lowered(model)
    onnx.checker.check_model(lowering.proto, full_check=True)
    resize = nodes(lowering, "Resize")[0]
    assert resize.inputs[2].dtype == ir.DataType.FLOAT
    assert resize.outputs[0].dtype == ir.DataType.FLOAT16


def test_a_node_that_reads_any_type_needs_no_cast():
    net = Net()
    y = net.conv("x")
    shape = net.op("Shape", y)
    model = net.model(net.op("Reshape", net.conv(y), shape))
    lowering = lowered(model)
    assert nodes(lowering, "Shape")[0].inputs[0].dtype == ir.DataType.FLOAT16
    assert len(casts(lowering)) == 2


def test_a_weight_of_two_regions_is_stored_for_both():
    net = Net()
    weight = net.weight(4, 4, 3, 3)
    model = net.model(net.conv(net.conv("x", weight=weight), weight=weight))
    lowering = lowered(model, FP16.with_rule("name:Conv_0", "fp32"))
    assert {lowering.initializers[name].dtype for name in lowering.initializers if name.startswith(weight)} == {
        ir.DataType.FLOAT,
        ir.DataType.FLOAT16,
    }


def test_bf16_raises_the_operator_set_where_an_operator_learnt_it_later():
    model = network("conv")
    plan = PRESETS["bf16"]
    conversion = needed_opset(model, plan.resolve(model))
    assert conversion is not None
    assert conversion.version == 22
    lowering = lowered(model, plan)
    assert nodes(lowering, "Conv")[0].outputs[0].dtype == ir.DataType.BFLOAT16


def test_one_tensor_read_by_regions_of_two_types_gets_a_pair_for_each():
    model = network("two_readers", opset=19)
    plan = MIXED.with_rule("name:Conv_1", "fp32").with_rule("name:Conv_1", "int8")
    lowering = lowered(model, plan)
    onnx.checker.check_model(lowering.proto, full_check=True)
    assert [conv.inputs[0].dtype or conv.inputs[0].producer().inputs[1].dtype for conv in nodes(lowering, "Conv")] == [
        ir.DataType.FLOAT16,
        ir.DataType.FLOAT,
    ]
    assert len(nodes(lowering, "QuantizeLinear")) == 2


@pytest.mark.parametrize("name", ["int8+fp16", "fp8+fp16"])
@pytest.mark.parametrize("storage", ["int8", "float"])
def test_pairs_that_cast_can_be_removed_again(name, storage):
    model = network("conv_bn_relu", "residual", head="gemm")
    outcome = RemoveQDQ()(lowered(model, PRESETS[name], storage=storage)).model
    onnx.checker.check_model(outcome.proto, full_check=True)
    assert not nodes(outcome, "QuantizeLinear")
    theirs, ours = (next(iter(Session(m).run(feed(model)).values())) for m in (model, outcome))
    # Weights stored in 8 bits come back rounded: INT8 to 1/254 of a channel's largest, E4M3 to 1/16 of each.
    least = 1e-4 if storage == "float" else 3e-4 if name.startswith("int8") else 1e-2
    assert ((ours - theirs) ** 2).sum() < least * (theirs**2).sum()


def test_fp8_weights_come_back_with_their_fractions():
    net = Net(opset=19)
    model = net.model(net.op("Conv", "x", net.constant(np.array([448, 1.75, 0.5, 0], np.float32).reshape(1, 4, 1, 1))))
    resolution = PrecisionPlan().with_rule("op:Conv", "fp8").resolve(model)
    plain = RemoveQDQ()(lower(model, resolution, {"x": 1.0}).model).model
    weight = plain.nodes["Conv_0"].inputs[1].const_value.numpy()
    np.testing.assert_array_equal(weight.ravel(), np.array([448, 1.75, 0.5, 0], np.float32))


def test_it_says_when_nobody_looked_for_values_beyond_fp16():
    model = network("conv", opset=19)
    assert "calibrate with overflow=True" in lower(model, FP16.resolve(model), {}).notes[0]
    assert lower(model, FP16.resolve(model, overflow={}), {}).notes == ()
    assert lower(model, PRESETS["int8"].resolve(model), {"x": 1.0}).notes == ()
