"""Plans that models come with."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.kit.networks import Net, network, ranges_of
from workbench.errors import PrecisionError
from workbench.graph.edits.remove_qdq import RemoveQDQ
from workbench.graph.load import load_model
from workbench.graph.select.selectors import pick
from workbench.precision.lowering.lowering import activation_tensors, lower
from workbench.precision.plan.existing import literal, plan_of
from workbench.precision.plan.plan import BEST_PRACTICE, PrecisionPlan
from workbench.precision.plan.presets import PRESETS, preset


def quantized(model, plan=BEST_PRACTICE):
    resolution = plan.resolve(model)
    return lower(model, resolution, ranges_of(model, activation_tensors(model, resolution))).model


@pytest.mark.parametrize("head", ["gemm", "attention"])
def test_what_was_lowered_is_read_back(head):
    model = network("conv_bn_relu", "residual", "upsample", head=head)
    plan = BEST_PRACTICE.with_rule("name:Conv_0", "fp32")
    source = quantized(model, plan)
    assert plan_of(source).resolve(model).nodes("int8") == plan.resolve(model).nodes("int8")


def test_fp8_is_read_back_as_fp8():
    model = network("conv", head="gemm", opset=19)
    source = quantized(model, PrecisionPlan().with_rule("op:Conv", "fp8"))
    assert [str(rule) for rule in plan_of(source).rules] == ["op:Conv -> fp8"]


def test_a_quantized_model_shows_its_plan_without_a_rule():
    model = quantized(network("conv", "sigmoid"))
    resolution = PrecisionPlan().resolve(model)
    assert resolution.nodes("int8") == ["Conv_0"]
    assert resolution.to_quantize() == []
    assert resolution.explain("Conv_0") == "Conv_0 (Conv): no rule selects it; the model itself has it in int8."


def test_what_is_quantized_stays_so_and_says_how_to_take_it_out():
    model = quantized(network("conv"))
    resolution = PRESETS["fp32"].resolve(model)
    assert resolution["Conv_0"].precision == "int8"
    assert "the model is quantized here itself; edit remove_qdq takes it out" in resolution.explain("Conv_0")


def test_the_original_plan_places_pairs_anew_after_they_were_removed():
    model = network("conv", "residual", head="gemm")
    source = quantized(model)
    plan = preset("original", source)
    plain = RemoveQDQ()(source).model
    assert quantized(plain, plan).top_nodes.keys() == source.top_nodes.keys()


def test_a_model_without_quantization_has_no_original_plan():
    with pytest.raises(PrecisionError, match="no quantization of its own"):
        preset("original", network("conv"))


@pytest.mark.parametrize("name", ["a*b", "a?", "c\\d", "plain/name:0"])
def test_names_with_wildcards_are_meant_literally(name):
    net = Net()
    x = net.op("Relu", "x")
    net.nodes[-1].name = name
    x = net.op("Relu", x)
    net.nodes[-1].name = "axxb"
    model = net.model(x)
    assert pick("name", literal(name)).match(model) == [name]


@pytest.mark.parametrize(
    ("name", "convolutions", "nodes"),
    [
        ("yolox_nano_qdq", 113, 361),
        ("ultraface_rfb320_qdq", 52, 127),
        # Integers in float32 tensors and operators of QuantLib's own: no Q/DQ that could be read.
        ("mlperf_ic_int", 0, 0),
        ("mlperf_kws_int", 0, 0),
    ],
)
def test_real_quantized_models_show_theirs(shared, name, convolutions, nodes):
    model = load_model(shared / "models" / name / "model.onnx")
    resolution = PrecisionPlan().resolve(model)
    counts = Counter(resolution[node].op_type for node in resolution.nodes("int8"))
    assert (counts["Conv"], counts.total()) == (convolutions, nodes)
    same = plan_of(model).resolve(model)
    assert same.nodes("int8") == resolution.nodes("int8")
    assert same.to_quantize() == []


def test_pairs_that_tensorrt_refuses_are_placed_anew(shared):
    """The file's biases are dequantized INT32, which TensorRT's parser refuses."""
    model = load_model(shared / "models" / "ultraface_rfb320_qdq" / "model.onnx")
    plan = preset("original", model)
    plain = RemoveQDQ()(model).model
    resolution = plan.resolve(plain)
    outcome = lower(plain, resolution, dict.fromkeys(activation_tensors(plain, resolution), 4.0)).model
    convolutions = [node for node in outcome.nodes.values() if node.op_type == "Conv"]
    assert len(convolutions) == 52
    for node in convolutions:
        kinds = [None if value.producer() is None else value.producer().op_type for value in node.inputs]
        assert kinds == ["DequantizeLinear", "DequantizeLinear", None]
