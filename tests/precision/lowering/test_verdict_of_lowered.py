"""What a real TensorRT compiler makes of lowered graphs: TensorRT-RTX's parser and builder, without a GPU."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kit.networks import Net, network, ranges_of
from workbench.backends.compiler import rtx as tensorrt_rtx
from workbench.backends.verdict.checking import check
from workbench.graph import WEIGHTED
from workbench.graph.load import load_model
from workbench.precision.lowering.lowering import activation_tensors, lower, needed_opset
from workbench.precision.plan.plan import PrecisionPlan
from workbench.precision.plan.presets import PRESETS, preset
from workbench.precision.targets import parse_target
from workbench.session import open_model

needs_rtx = pytest.mark.skipif(
    not tensorrt_rtx.rtx_capabilities().build, reason="tensorrt_rtx is not installed: pip install trt-workbench[rtx]"
)
pytestmark = [needs_rtx, pytest.mark.slow]

TARGETS = ("sm86", "sm89")
NETWORKS = {
    "residual": ("conv_bn_relu", "residual", "residual_projection", "gemm"),
    "shared": ("shared_weight", "two_readers", "depthwise", "none"),
    "attention": ("conv", "pool", "upsample", "attention"),
}
SEEN = {"int8": "INT8", "fp8": "FP8", "fp16": "HALF", "bf16": "BF16", "fp32": "FLOAT"}


def lowered(model, plan, target="rtx", *, storage="int8"):
    target = parse_target(target)
    conversion = needed_opset(model, plan.resolve(model, target=target))
    model = model if conversion is None else conversion(model).model
    resolution = plan.resolve(model, target=target)
    ranges = ranges_of(model, activation_tensors(model, resolution))
    return lower(model, resolution, ranges, weight_storage=storage).model, resolution


def accepted(model, target):
    verdict = check(model, target)
    assert verdict.accepted, str(verdict)
    return {node.node: node.arithmetic for node in verdict.nodes}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8", "int8+fp16", "fp8+fp16"])
def test_every_preset_builds(name, precision, target):
    if precision.startswith("fp8") and target == "sm86":
        pytest.skip("FP8 needs sm89")
    *blocks, head = NETWORKS[name]
    outcome, resolution = lowered(network(*blocks, head=head), PRESETS[precision], f"rtx@{target}")
    arithmetic = accepted(outcome, target)
    for node, decision in resolution.decisions.items():
        if decision.op_type in ("Conv", "ConvTranspose", "Gemm"):
            assert arithmetic[node] == SEEN[decision.precision]


@pytest.mark.parametrize("storage", ["int8", "float"])
def test_both_ways_to_store_weights_build(storage):
    outcome, _ = lowered(network("residual", head="gemm"), PRESETS["int8+fp16"], storage=storage)
    accepted(outcome, "sm86")


def test_fp8_does_not_build_for_what_has_none():
    outcome, _ = lowered(network("conv"), PRESETS["fp8+fp16"])
    assert not check(outcome, "sm86").accepted


def grouped(group, op_type):
    net = Net(opset=19, channels=8)
    outcome = net.op(op_type, "x", net.weight(8, 8 // group, 2, 2), group=group)
    return net.model(outcome)


@pytest.mark.parametrize("precision", ["int8", "int8+fp16", "fp8+fp16"])
@pytest.mark.parametrize("op_type", ["Conv", "ConvTranspose"])
@pytest.mark.parametrize("group", [1, 4, 8])
def test_channels_build_for_every_kind_of_convolution(precision, op_type, group):
    # Depthwise ones stay floating for the target rtx; what is written for TensorRT 10 builds all the same.
    target = "tensorrt-10" if (group, op_type) == (8, "Conv") else "rtx"
    outcome, _ = lowered(grouped(group, op_type), PRESETS[precision], target)
    assert accepted(outcome, "sm89")[f"{op_type}_0"] == SEEN[precision.split("+")[0]]


def test_a_depthwise_convolution_in_eight_bits_blows_an_engine_up():
    """Why the target rtx leaves it floating; where this fails, a newer TensorRT-RTX has mended it."""
    sizes = {}
    for precision in ("fp16", "int8+fp16"):
        net = Net(opset=19, channels=96)
        model = net.model(net.op("Conv", "x", net.weight(96, 1, 3, 3), group=96), shape=[8, 96, 28, 28])
        verdict = check(lowered(model, PRESETS[precision], "tensorrt-10")[0], "sm86")
        assert verdict.accepted
        sizes[precision] = verdict.engine_bytes
    assert sizes["int8+fp16"] - sizes["fp16"] > 2 * 8 * 96 * 28 * 28
    resolution = PRESETS["int8+fp16"].resolve(model, target=parse_target("rtx"))
    assert "many times as large" in " ".join(resolution["Conv_0"].reasons)


@pytest.mark.parametrize("options", [{"weight_only": True}, {"per_channel": False}])
def test_options_build(options):
    outcome, _ = lowered(
        network("conv_bn_relu", head="gemm"),
        PrecisionPlan()
        .with_rule("*", "fp16")
        .with_rule(" | ".join(f"op:{op}" for op in ("Conv", "Gemm")), "int8", **options),
    )
    accepted(outcome, "sm86")


def test_the_engine_of_a_matrix_product_over_three_axes_holds_int8_weights():
    """The parser puts a reshape between the weight's DequantizeLinear and the product; the builder sees through it."""
    sizes = {}
    for precision in ("fp16", "int8+fp16"):
        net = Net(opset=19)
        model = net.model(net.op("MatMul", "x", net.weight(1024, 1024)), shape=[4, 16, 1024])
        verdict = check(lowered(model, PRESETS[precision])[0], "sm86")
        assert verdict.accepted
        sizes[precision] = verdict.engine_bytes
    assert sizes["fp16"] - sizes["int8+fp16"] == pytest.approx(1024 * 1024, rel=0.1)


def test_below_operator_set_19_fp16_around_pairs_builds_but_loses_int8():
    """Why the operator set is raised: a Cast behind a DequantizeLinear hides it from the layer."""
    model = network("conv", opset=13)
    resolution = PRESETS["int8+fp16"].resolve(model)
    outcome = lower(model, resolution, ranges_of(model, activation_tensors(model, resolution))).model
    assert accepted(outcome, "sm86")["Conv_0"] == "HALF"
    assert accepted(lowered(model, PRESETS["int8+fp16"])[0], "sm86")["Conv_0"] == "INT8"


@pytest.mark.parametrize("name", ["vit_mnist_selftrained", "ultraface_rfb320", "yolox_nano"])
@pytest.mark.parametrize(("precision", "target"), [("int8+fp16", "sm86"), ("int8+fp16", "sm89"), ("fp8+fp16", "sm89")])
def test_real_models_build(shared, name, precision, target):
    wb = open_model(shared / "models" / name / "model.onnx")
    wb.plan.set_target(f"rtx@{target}")
    wb.prepare()
    wb.plan.use(precision)
    read = wb.model.inputs[0]
    shape = [length if isinstance(length, int) else 1 for length in read.shape]
    wb.calibrate({read.name: np.random.default_rng(0).normal(size=shape).astype(np.float32)}, method="minmax")
    wb.tune()
    arithmetic = accepted(wb.tuned, target)
    resolution = wb.plan.resolve()
    quantized = resolution.nodes("int8", "fp8")
    convolutions = [node for node in quantized if resolution[node].op_type == "Conv"]
    assert convolutions or "vit" in name
    assert {arithmetic[node] for node in convolutions} <= {SEEN[precision.split("+")[0]]}
    assert any(resolution[node].op_type in WEIGHTED for node in quantized)


def test_a_model_whose_biases_were_refused_builds_with_its_own_plan(shared):
    from workbench.graph.edits.remove_qdq import RemoveQDQ

    model = load_model(shared / "models" / "ultraface_rfb320_qdq" / "model.onnx")
    assert not check(model, "sm86").accepted
    plan = preset("original", model)
    plain = RemoveQDQ()(model).model
    resolution = plan.resolve(plain)
    outcome = lower(plain, resolution, dict.fromkeys(activation_tensors(plain, resolution), 4.0)).model
    accepted(outcome, "sm86")
