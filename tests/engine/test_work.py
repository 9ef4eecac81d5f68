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


def convolved(*dims, kind="CaskConvolution", **attributes):
    attributes = {"Kernel": [3, 2], "OutMaps": 10, "Groups": 2} | attributes
    attributes = {key: value for key, value in attributes.items() if value is not None}
    return layer_ops(Layer(name="c", type=kind, attributes=attributes, inputs=(tensor("x", *dims),)))


def test_operations_of_a_convolution_that_is_another_along_each_axis():
    """Output sizes by the formula of ONNX's Conv; PyTorch states the same."""
    along = {"PrePadding": [1, 0], "PostPadding": [2, 1], "Dilation": [2, 1], "Stride": [2, 3]}
    height, width = (5 + 1 + 2 - 2 * (3 - 1) - 1) // 2 + 1, (7 + 0 + 1 - 1 * (2 - 1) - 1) // 3 + 1
    assert (height, width) == (2, 3)
    assert convolved(2, 6, 5, 7, **along) == 2 * (2 * 10 * height * width) * (6 // 2 * 3 * 2)
    assert convolved(2, 6, 5, 7, Stride=[1, 2]) == 2 * (2 * 10 * 3 * 3) * (3 * 6)
    assert convolved(2, 6, 5, 7, PrePadding=[0, 1]) == 2 * (2 * 10 * 3 * 7) * (3 * 6)


@pytest.mark.parametrize(
    "odd",
    [
        {"OutMaps": None},
        {"OutMaps": "10"},
        {"Groups": "2"},
        {"Groups": 0},
        {"Kernel": [3]},
        {"Kernel": [3, 2, 1]},
        {"Kernel": [3, 0]},
        {"Kernel": ["3", 2]},
        {"Kernel": 3},
    ],
)
def test_operations_of_an_odd_convolution_are_unknown(odd):
    assert convolved(2, 6, 5, 7, **odd) is None


@pytest.mark.parametrize("kind", ["CaskDeconvolutionV2", "Pooling", None])
def test_operations_of_what_is_no_convolution_are_unknown(kind):
    assert convolved(2, 6, 5, 7) is not None
    assert convolved(2, 6, 5, 7, kind=kind) is None


def test_operations_of_a_convolution_without_pixels():
    assert convolved(2, 6, Kernel=[]) == 2 * 2 * 10 * 3
    assert convolved(5, Kernel=[]) is None
    assert convolved(0, 6, 5, 7) is None
    most = {"Kernel": [], "Groups": 1}
    assert convolved(2**30, 1, OutMaps=2**30, **most) == 2**61
    assert convolved(2**30, 1, OutMaps=2**31, **most) is None


def test_operations_of_products_of_several_axes_and_of_what_multiplies_nothing():
    product = Layer(name="g", type="gemm", inputs=(tensor("a", 2, 3, 5),), outputs=(tensor("b", 2, 3, 7),))
    assert layer_ops(product) == 2 * 2 * 3 * 7 * 5
    assert layer_ops(replace(product, inputs=(EngineTensor("a", (), INT8),))) is None
    assert layer_ops(replace(product, outputs=())) is None
    pool = replace(product, type="CaskPooling", attributes={"Kernel": [3], "OutMaps": 3})
    assert layer_ops(pool) is None


def test_bytes_are_unknown_where_one_tensor_is():
    known = Layer(name="p", type="CaskPooling", inputs=(tensor("a", 3),), outputs=(tensor("b", 5),))
    assert layer_bytes(known) == 8
    assert layer_bytes(replace(known, outputs=(EngineTensor("b", None, INT8),))) is None


def test_a_tensor_of_two_sizes_takes_the_larger_and_one_of_unknown_size_nothing():
    padded = parse_format("Thirty-two wide channel vectorized row major Int8 format")
    a, b, c, e = tensor("a", 1), tensor("b", 4), tensor("c", 4), tensor("e", 0)
    layers = (
        Layer(name="1", inputs=(a,), outputs=(replace(b, format=padded), c, e)),
        Layer(name="2", inputs=(b, replace(c, format=padded), e), outputs=(EngineTensor("d", None, INT8),)),
        Layer(name="other", inputs=(a,), outputs=(b,), profile=1),
        Layer(name="last", inputs=(b,), outputs=(c,), profile=2),
    )
    report = EngineReport(name="r", layers=layers, dialect="")
    use = memory_timeline(report)
    assert (use.layers, use.live, use.unknown) == (("1", "2"), (1 + 32 + 32, 32 + 32), ("d",))
    assert [memory_timeline(report, profile).live for profile in (1, 2, 3)] == [(5,), (8,), ()]


def test_an_output_that_is_made_early_lives_to_the_end():
    tensors = [tensor(f"t{at}", 10**at) for at in range(4)]
    layers = [Layer(name=str(at), inputs=(tensors[at],), outputs=(tensors[at + 1],)) for at in range(3)]
    ends = (Binding("t0", "input"), Binding("t1", "output"))
    use = memory_timeline(EngineReport(name="r", layers=tuple(layers), dialect="", bindings=ends))
    assert (use.live, use.ends) == ((0, 100, 1100), (11, 10, 10))


def test_peaks_are_in_operations_and_bytes_a_second():
    card = GPU_LIMITS["T4"]
    assert (card.bandwidth, card.peak["int8"], card.peak["fp32"]) == (320e9, 130e12, 8.1e12)
