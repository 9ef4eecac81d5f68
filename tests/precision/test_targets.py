"""What each target can have."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.kit.networks import network, ranges_of
from workbench.errors import PrecisionError
from workbench.graph.load import from_proto
from workbench.precision.lowering.lowering import activation_tensors, lower, needed_opset
from workbench.precision.plan.plan import PrecisionPlan
from workbench.precision.plan.presets import PRESETS, preset
from workbench.precision.targets import TARGETS, parse_target

MIXED = PRESETS["int8+fp16"]


def test_targets_are_named_with_or_without_a_gpu():
    for name, target in TARGETS.items():
        assert parse_target(name) is target
    assert str(parse_target("rtx@sm89")) == "rtx@sm89"
    assert parse_target("rtx@sm120").capability == 120


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rtz", "Did you mean rtx"),
        ("sm75", "rtx@sm75 or tensorrt-10@sm75"),
        ("cuda", "There are"),
        ("rtx@ada", "rtx@sm89"),
        ("rtx@sm", "rtx@"),
    ],
)
def test_what_is_no_target_is_refused(text, message):
    with pytest.raises(PrecisionError, match=message):
        parse_target(text)


@pytest.mark.parametrize(
    ("target", "precision", "message"),
    [
        ("tensorrt-8.6", "fp8", "tensorrt-8.6 has no fp8"),
        ("tensorrt-8.6", "bf16", "tensorrt-8.6 has no bf16"),
        ("onnxruntime", "bf16", "onnxruntime has no bf16"),
        ("rtx@sm86", "fp8", "fp8 needs sm89 or newer, and the target is rtx@sm86"),
        ("tensorrt-10@sm75", "bf16", "bf16 needs sm80 or newer"),
    ],
)
def test_a_precision_that_the_target_cannot_have_names_target_and_node(target, precision, message):
    plan = PrecisionPlan().with_rule("op:Conv", precision)
    with pytest.raises(PrecisionError, match=rf"node 'Conv_0', by rule 0 .*{message}|{message}"):
        plan.resolve(network("conv"), target=parse_target(target))


@pytest.mark.parametrize("target", ["rtx@sm89", "rtx", "tensorrt-10@sm89", "tensorrt-11", "onnxruntime"])
def test_fp8_is_for_ada_and_newer(target):
    plan = PrecisionPlan().with_rule("op:Conv", "fp8")
    assert plan.resolve(network("conv"), target=parse_target(target)).nodes("fp8") == ["Conv_0"]


def made_for(target, plan=MIXED, opset=19):
    model = network("conv_bn_relu", "residual", head="gemm", opset=opset)
    resolution = plan.resolve(model, target=parse_target(target))
    return lower(model, resolution, ranges_of(model, activation_tensors(model, resolution)))


def test_a_weakly_typed_builder_gets_flags_and_no_casts():
    outcome = made_for("tensorrt-8.6", opset=17)
    assert outcome.flags == ("fp16", "int8")
    assert {node.op_type for node in outcome.model.nodes.values()} >= {"QuantizeLinear", "Conv"}
    assert not any(node.op_type == "Cast" for node in outcome.model.nodes.values())
    same = PRESETS["int8"]
    assert made_for("tensorrt-8.6", same, opset=17).model.to_bytes() == outcome.model.to_bytes()
    assert made_for("tensorrt-8.6", same, opset=17).flags == ("int8",)


def test_a_weakly_typed_builder_needs_no_newer_operator_set():
    model = network("conv", opset=13)
    assert needed_opset(model, MIXED.resolve(model, target=parse_target("tensorrt-8.6"))) is None
    strongly = needed_opset(model, MIXED.resolve(model, target=parse_target("rtx")))
    assert strongly is not None
    assert strongly.version == 19


def test_a_strongly_typed_builder_needs_no_flags():
    assert made_for("rtx").flags == ()


@pytest.mark.parametrize(("target", "rank"), [("rtx", 1), ("onnxruntime", 1), ("tensorrt-10", 0), ("tensorrt-11", 0)])
def test_fp8_weights_have_channels_where_that_is_known_to_hold(target, rank):
    model = made_for(target, PRESETS["fp8+fp16"]).model
    scales = [v for name, v in model.initializers.items() if name.startswith("w") and name.endswith("/scale")]
    assert scales
    assert {len(v.shape) for v in scales} == {rank}


def test_presets_are_known_by_name_and_leave_out_what_selects_nothing():
    model = network("conv")
    assert [str(rule) for rule in preset("int8+fp16", model).rules] == [
        "* -> fp16",
        "op:Conv | op:ConvTranspose | op:Gemm | op:MatMul -> int8",
    ]
    with pytest.raises(PrecisionError, match=r"Did you mean int8\+fp16"):
        preset("int8-fp16", model)


@pytest.mark.parametrize(("target", "precision"), [("rtx", "fp32"), ("tensorrt-10", "int8"), ("tensorrt-8.6", "int8")])
def test_depthwise_convolutions_stay_floating_where_they_would_blow_an_engine_up(target, precision):
    weight = numpy_helper.from_array(np.ones((8, 1, 3, 3), np.float32), "w")
    conv = helper.make_node("Conv", ["x", "w"], ["y"], "depthwise", kernel_shape=[3, 3], group=8)
    shapes = [("x", [1, 8, 9, 9]), ("y", [1, 8, 7, 7])]
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes]
    graph = helper.make_graph([conv], "depthwise", tensors[:1], tensors[1:], [weight])
    model = from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    resolution = PRESETS["int8"].resolve(model, target=parse_target(target))
    assert resolution["depthwise"].precision == precision
    assert ("many times as large" in " ".join(resolution["depthwise"].reasons)) == (target == "rtx")


@pytest.mark.parametrize(("kernel", "channels", "left_floating"), [(4, 3, True), (4, 16, False), (3, 3, False)])
def test_presets_leave_patch_embeddings_floating(kernel, channels, left_floating):
    weight = numpy_helper.from_array(np.ones((8, channels, kernel, kernel), np.float32), "w")
    strides = [kernel] * 2 if kernel == 4 else [2, 2]
    conv = helper.make_node("Conv", ["x", "w"], ["y"], "embed[0]", strides=strides, kernel_shape=[kernel] * 2)
    shapes = [("x", [1, channels, 32, 32]), ("y", [1, 8, None, None])]
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes]
    graph = helper.make_graph([conv], "patches", tensors[:1], tensors[1:], [weight])
    model = from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    for name, otherwise in (("int8+fp16", "fp16"), ("int8", "fp32")):
        decision = preset(name, model).resolve(model, target=None).decisions["embed[0]"]
        assert decision.precision == (otherwise if left_floating else "int8")
