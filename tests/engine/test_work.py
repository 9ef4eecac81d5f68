"""Operations, bytes, and memory over time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from workbench.engine.formats import parse_format
from workbench.engine.load import load_report
from workbench.engine.report import Binding, EngineReport, EngineTensor, Layer
from workbench.engine.work import GPU_LIMITS, layer_bytes, layer_ops, memory_timeline

INT8 = parse_format("Row major Int8 format")


def tensor(name, *dims, form=INT8):
    return EngineTensor(name, dims, form)


def test_operations_of_resnet_50(recorded):
    # 4.09 G multiply-adds an image of 224x224: ResNet-50 with stride 2 in its 3x3 convolutions, as published.
    total = sum(layer_ops(layer) or 0 for layer in recorded("tf32").layers)
    assert total / 2 / 32 == pytest.approx(4.09e9, rel=0.005)
    fused = sum(layer_ops(layer) or 0 for layer in recorded("implicit_int8_fp16").layers)
    assert fused == total


def test_operations_of_a_separable_pair(recorded):
    report = recorded("ultraface_rfb320.int8_entropy2")
    layer = report.layer("node_of_266 + node_of_267 + node_of_268 + node_of_269 + node_of_270 + node_of_271")
    assert layer_ops(layer) == 2 * 30 * 40 * (32 * 9 + 32 * 64)


def test_operations_of_a_gemm_and_unknown_ones(engines):
    report = load_report(engines / "trt-10-logs" / "engine_inspector_text.log")
    ops = {layer.name: layer_ops(layer) for layer in report.layers}
    assert ops["node_conv2d + node_relu"] == 2 * 28 * 28 * 32 * 25
    assert ops["node_linear_myl5_2"] is None  # its batch is dynamic
    gemm = Layer(name="g", type="gemm", inputs=(tensor("a", 4, 16),), outputs=(tensor("b", 4, 8),))
    assert layer_ops(gemm) == 2 * 4 * 8 * 16
    assert layer_ops(replace(gemm, inputs=(tensor("a", -1, 16),))) is None
    assert layer_ops(replace(gemm, outputs=(tensor("b", -1, 8),))) is None
    assert layer_ops(Layer(name="bare", detailed=False)) is None


def test_bytes_moved(recorded):
    layer = recorded("modelopt_int8_fp16").layer("l1.0.conv1.weight_QuantizeLinear_Output + l1.0.conv1 + Relu_7")
    assert layer_bytes(layer) == 2 * 32 * 64 * 56 * 56 + 4096 + 64 * 4
    assert layer_bytes(Layer(name="bare", detailed=False)) is None


def test_memory_of_a_small_engine():
    a, b, c, d, e = tensor("a", 10), tensor("b", 20), tensor("c", 40), tensor("d", 40), tensor("e", 5)
    layers = (
        Layer(name="1", type="Reformat", inputs=(a,), outputs=(b,)),
        Layer(name="2", type="CaskConvolution", inputs=(b,), outputs=(c,)),
        Layer(name="3", type="NoOp", inputs=(c,), outputs=(d,)),
        Layer(name="4", type="CaskConvolution", inputs=(d, b), outputs=(e,)),
    )
    ends = (Binding("a", "input"), Binding("e", "output"))
    use = memory_timeline(EngineReport(name="r", layers=layers, dialect="", bindings=ends))
    assert use.live == (20, 60, 60, 60)
    assert use.ends == (10, 0, 0, 5)
    assert use.peak == 60
    assert use.unknown == ()


def test_unknown_sizes_are_named_not_counted(engines):
    use = memory_timeline(load_report(engines / "trt-8.6.0-h200" / "dynamic" / "resnet50.int8.graph.json"))
    assert use.peak == 0
    assert len(use.unknown) > 50


def test_no_layer_is_above_the_gpu_it_ran_on(recorded):
    limits = GPU_LIMITS["H200 SXM"]
    for name, precision in (("fp16", "fp16"), ("implicit_int8_fp16", "int8"), ("tf32", "tf32")):
        report = recorded(name)
        rates = [ops / (layer.ms / 1e3) for layer in report.layers if (ops := layer_ops(layer)) and layer.ms]
        assert len(rates) == 54
        assert 0.1 < max(rates) / limits.peak[precision] < 1


def test_an_empty_matrix_product_has_no_operations():
    gemm = Layer(name="g", type="gemm", inputs=(tensor("a", 0, 16),), outputs=(tensor("b", 0, 8),))
    assert layer_ops(gemm) == 0
    assert layer_ops(Layer(name="g", type="gemm", inputs=(tensor("a", -1, 16),), outputs=(tensor("b", -1, 8),))) is None


def test_strides_of_other_axes_than_the_kernels_are_not_taken():
    attributes = {"Kernel": [3, 3], "OutMaps": 4, "Stride": [2, 2]}
    ends = {"inputs": (tensor("x", 1, 4, 9, 9),), "outputs": (tensor("y", 1, 4, 4, 4),)}

    def ops(**more):
        return layer_ops(Layer(name="c", type="CaskConvolution", attributes=attributes | more, **ends))

    assert ops() == 2 * 4 * 4 * 4 * 4 * 9
    for odd in ([2, 2, 0], [2], [2, 0], 2, ["2", 2]):
        assert ops(Stride=odd) == 2 * 7 * 7 * 4 * 4 * 9
