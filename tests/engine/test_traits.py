"""What layers are, and in which precision, from real tactics and small layers."""

from __future__ import annotations

import pytest

from workbench.engine.formats import parse_format
from workbench.engine.report import EngineTensor, Layer, Weights
from workbench.engine.traits import ConvShape, conv_shape, kind_of_layer, layer_precision, myelin_ops, tensor_cores


def layer(kind, tactic=None, form=None, weights=(), name="layer", **kwargs):
    inputs = (EngineTensor("x", (1, 8, 4, 4), parse_format(form)),)
    return Layer(name=name, type=kind, tactic=tactic, inputs=inputs, weights=weights, **kwargs)


@pytest.mark.parametrize(
    ("tactic", "cores"),
    [
        ("sm80_xmma_fprop_implicit_gemm_interleaved_i8i8_i8i32_f32_nchw_tilesize32x32x64_tensor16x8x32_t1r3s3", True),
        ("sm90_xmma_gemm_f16f16_f16f16_f16_tn_n_tilesize64x64x64_cgasize1x1x1_warpgroupsize1x1x1_beta0", True),
        ("ampere_h16816cudnn_128x128_ldg8_relu_exp_stages_64x3_large_nhwc_tn_v1", True),
        ("turing_fp16_i8816cudnn_int8_128x128_ldg16_relu_small_nt_v1", True),
        ("trt_turing_cutlass_image_network_first_layer_hmma_fprop_f16f16f32_nhwc", True),
        ("sm80_xmma_fprop_implicit_gemm_f32f32_f32f32_f32_nchwkcrs_nchw_warpsize1x2x1_g1_ffma_t1r5s5", False),
        ("ampere_scudnn_winograd_128x128_ldg1_ldg4_relu_tile148t_nt_v1", False),
        ("ampere_fp32_icudnn_int8x4_128x64_relu_medium_nn_v1", False),
        ("sm70_xmma_convolution_trt_depthwise_i8_conv_int8ncxhw4", None),
        ("", None),
    ],
)
def test_tensor_cores_are_told_by_the_tactic_or_not_at_all(tactic, cores):
    assert tensor_cores(layer("CaskConvolution", tactic)) is cores


@pytest.mark.parametrize(
    ("tactic", "form", "weights", "precision"),
    [
        ("sm80_xmma_f32f32_tf32f32_f32_nhwc", "Row major linear FP32", "fp32", "tf32"),
        ("sm80_xmma_f32f32_f32f32_f32_nhwc", "Row major linear FP32", "fp32", "fp32"),
        (None, "Row major Int8 format", "int8", "int8"),
        ("a_tf32_kernel", "Row major Int8 format", "int8", "int8"),
        (None, "Half", "int4", "fp16"),
        ("sm80_xmma_fprop_i8i8_i8i32_f32_nchw", "N/A due to dynamic shapes", "int8", "int8"),
        ("sm90_xmma_gemm_e4m3bf16_e4m3f32_f32_tn", "N/A due to dynamic shapes", None, "fp8"),
        ("turing_fp16_i8816cudnn_int8_128x128", "N/A due to dynamic shapes", None, "int8"),
        ("ampere_h16816cudnn_128x64", "N/A due to dynamic shapes", None, "fp16"),
        (None, "N/A due to dynamic shapes", "fp16", "fp16"),
        ("a kernel of the future", "Spiral FP17", None, None),
    ],
)
def test_precision_of_convolutions(tactic, form, weights, precision):
    constants = (Weights("Weights", weights, 8),) if weights else ()
    assert layer_precision(layer("CaskConvolution", tactic, form, constants)).name == precision


def test_precision_of_other_layers_is_that_of_their_data():
    assert layer_precision(layer("PointWiseV2", None, "BFloat16")).name == "bf16"
    assert layer_precision(layer("NewLayer", None, "N/A due to dynamic shapes")) == (None, "not told")
    assert layer_precision(Layer(name="bare", detailed=False)).name is None


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        ("kgen", "__myl_CastReshCast_myl5_6", "cast"),
        ("kgen", "__myl_MaxrSubExpSum_myl5_4", "myelin"),
        ("kgen", "__myl_AddRelu_myl0_1", "pointwise"),
        ("kgen", "__myl_CastMulAdd_myl0_1", "pointwise"),
        ("kgen", "__myl_SqrtSubTanhWhere_myl0_1", "pointwise"),
        ("kgen", "__myl_ReshTran_myl0_1", "shuffle"),
        ("kgen", "__myl_Quan_myl0_1", "qdq"),
        ("kgen", "__myl_QuanDequCast_myl0_1", "qdq"),
        ("gemm", "node_linear_myl5_2", "matmul"),
        ("shape_call", "__mye260_0_myl5_0", "control"),
        ("signal", "s", "control"),
        ("wait", "w", "control"),
        ("TrainStation", "t", "control"),
        ("Myelin", "{ForeignNode[a...b]}", "myelin"),
        ("CaskDepSepConvolution", "c", "conv"),
        ("CaskConvActPool", "c", "conv"),
        ("Padding", "p", "slice"),
        ("Quantize", "q", "qdq"),
        ("SomethingNew", "n", "unknown"),
        (None, "bare", "unknown"),
    ],
)
def test_kinds(kind, name, expected):
    assert kind_of_layer(layer(kind, name=name)) == expected


def test_every_recorded_layer_has_a_kind(recorded):
    for name in ("tf32", "modelopt_int8_fp16", "ultraface_rfb320.int8_minmax", "tests_inputs_mobilenet.qat"):
        assert all(kind_of_layer(one) != "unknown" for one in recorded(name).layers)


def test_convolution_shapes(recorded):
    report = recorded("ultraface_rfb320.int8_entropy2")
    depthwise = report.layer("node_of_254 + node_of_255 + node_of_256")
    assert conv_shape(depthwise).depthwise
    separable = report.layer("node_of_266 + node_of_267 + node_of_268 + node_of_269 + node_of_270 + node_of_271")
    assert conv_shape(separable) == (32, 64, 1)
    assert myelin_ops(depthwise) == frozenset()


@pytest.mark.parametrize(
    ("channels", "groups", "depthwise"),
    [(8, 8, True), (2, 2, True), (8, 4, False), (1, 1, False), (None, 4, False), (None, 1, False)],
)
def test_depthwise_is_a_group_for_every_channel(channels, groups, depthwise):
    assert ConvShape(channels, 8, groups).depthwise is depthwise


def shaped(*dims, **attributes):
    inputs = tuple(EngineTensor("x", one, parse_format("Half")) for one in dims)
    return conv_shape(Layer(name="c", type="CaskConvolution", inputs=inputs, attributes=attributes))


def test_channels_are_those_of_the_first_input_where_it_tells_them():
    assert shaped((2, 8, 4, 4), (2, 16, 4, 4), OutMaps=5, Groups=4) == (8, 5, 4)
    assert [shaped(dims)[0] for dims in ((2, 8), (5,), (), (2, 0, 4), (2, -1, 4), None)] == [8, *[None] * 5]
    assert shaped() == (None, None, 1)
    assert (shaped(Groups=0).groups, shaped(OutMaps=2**31 - 1).out_channels) == (1, 2**31 - 1)
    assert shaped(OutMaps="8", ConvOutMaps=6, PointWiseConvOutMaps=7).out_channels == 6


def precision(*forms, **more):
    inputs = tuple(EngineTensor(f"x{at}", (1, 4), parse_format(form)) for at, form in enumerate(forms))
    return layer_precision(Layer(name="l", inputs=inputs, **{"type": "CaskConvolution"} | more))


def test_the_first_input_of_a_convolution_decides():
    residual = "Row major linear FP16 format"
    assert precision("Row major Int8 format", residual) == ("int8", "its first input is int8 linear")
    assert precision("Row major linear FP32", residual, tactic="a_tf32_b") == ("tf32", "tactic a_tf32_b")
    assert precision("N/A", residual) == (None, "not told")
    constants = (Weights("Bias", "fp32", 8), Weights("ConvWeights", "int8", 8))
    assert precision("N/A", residual, weights=constants) == ("int8", "its weights are int8")


def test_of_other_layers_the_first_tensor_of_a_known_type_decides():
    output = (EngineTensor("y", (1, 4), parse_format("BFloat16")),)
    other = {"type": "PointWiseV2", "outputs": output}
    assert precision("N/A", "Half", "Float", **other) == ("fp16", "its input is fp16")
    assert precision("N/A", **other) == ("bf16", "its output is bf16")
