"""Every real model lowers to a graph that ONNX finds valid in all its types and ONNX Runtime takes."""

from __future__ import annotations

import onnx
import pytest

from workbench.precision.lowering.lowering import activation_tensors, lower, needed_opset
from workbench.precision.plan.presets import preset
from workbench.runtime.session import Session
from workbench.session import open_model

MODELS = """
    agllnet_256 cct_fp32_op20 dnsmos_model_v8 dtln_1 gtcrn_simple hand_keypoint_mlp iris_mlp magika_fast_v2_1 mnist_cntk
    ppocr_cls ppocr_det_en_v3 silero_vad_16k_op15 silero_vad_op18_ifless tbefn_180x320 tinyvit_demo
    transformer_deepquant ultraface_rfb320 ultraface_rfb320_qdq ultraface_rfb640_masked vit_mnist_selftrained
    xfeat_interp_bicubic yolox_nano yolox_nano_qdq yunet_120x160
""".split()


@pytest.fixture(scope="module", params=MODELS)
def prepared(shared, request):
    wb = open_model(shared / "models" / request.param / "model.onnx")
    wb.prepare()
    return wb.model


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8", "int8+fp16", "fp8+fp16"])
def test_it_stays_valid(prepared, precision):
    model, plan = prepared, preset(precision, prepared)
    conversion = needed_opset(model, plan.resolve(model))
    model = model if conversion is None else conversion(model).model
    resolution = plan.resolve(model)
    outcome = lower(model, resolution, dict.fromkeys(activation_tensors(model, resolution), 4.0)).model
    onnx.checker.check_model(outcome.proto, full_check=True)
    assert outcome.inputs == model.inputs
    assert [(t.name, t.dtype) for t in outcome.outputs] == [(t.name, t.dtype) for t in model.outputs]
    if precision != "bf16":  # ONNX Runtime has no bf16 kernels on a CPU
        Session(outcome)
