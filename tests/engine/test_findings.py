"""The alarm list, on recorded engines and on small ones made to show one thing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from workbench.engine.findings import find, findings_table
from workbench.engine.fusion import fusion_map
from workbench.engine.load import load_report

INT8 = "Thirty-two wide channel vectorized row major Int8 format"
FP16 = "Channel major FP16 format where channel % 8 == 0"
FP32 = "Row major linear FP32"


@pytest.fixture
def engine(written):
    """Return a builder: layers are (name, type, {input: format}, {output: format}, more keys, milliseconds)."""

    def build(*layers, dims=(16, 64, 8, 8), bindings=("x", "y")):
        raw = [
            {
                "Name": name,
                "LayerType": kind,
                "Inputs": [{"Name": t, "Dimensions": list(dims), "Format/Datatype": f} for t, f in inputs.items()],
                "Outputs": [{"Name": t, "Dimensions": list(dims), "Format/Datatype": f} for t, f in outputs.items()],
                **more,
            }
            for name, kind, inputs, outputs, more, _ in layers
        ]
        times = [{"count": 1}, *({"name": layer[0], "averageMs": layer[5]} for layer in layers)]
        return load_report(written({"Layers": raw, "Bindings": list(bindings)}), profile=written(times, "p.json"))

    return build


def only(findings, kind):
    return [finding for finding in findings if finding.kind == kind]


CONV = {"ParameterType": "Convolution", "OutMaps": 64, "Groups": 1, "Activation": "NONE"}


def test_findings_of_the_quantized_resnet_50(recorded, resnet_onnx):
    report = recorded("modelopt_int8_fp16")
    findings = find(report, fusion_map(report, resnet_onnx))
    assert [(f.kind, f.layers) for f in findings] == [
        ("lone-qdq", ("input_QuantizeLinear",)),
        ("lone-qdq", ("Relu_172_out_DequantizeLinear",)),
        ("reformat", ("Reformatting CopyNode for Input Tensor 0 to reshape_after_fc",)),
    ]
    first, second, third = findings
    assert first.cost_ms == report.layer("input_QuantizeLinear").ms
    assert first.bound == "all"
    assert first.title.endswith("at the engine's input")
    assert "18.38 MiB" in first.evidence
    assert second.title.endswith("before a layer in fp16")
    assert second.suggestion.kind == "precision"
    assert second.suggestion.selector == ("GlobalAveragePool_173",)
    assert third.title == "Reformat at the engine's output"


def test_costs_are_sorted_and_unknown_ones_last(recorded):
    for name in ("examples_pytorch_resnet_A100_qat_resnet-qat", "tests_inputs_mobilenet.qat", "tf32"):
        costs = [finding.cost_ms for finding in find(recorded(name))]
        entries = [cost for cost in costs if cost is not None]
        assert entries == sorted(entries, reverse=True)
        assert costs[: len(entries)] == entries
        assert len(entries) > 1


def test_qat_without_residual_quantization_shows_what_qat_residual_mends(recorded):
    plain = find(recorded("examples_pytorch_resnet_A100_qat_resnet-qat"))
    mended = find(recorded("examples_pytorch_resnet_A100_qat-residual-qgap_resnet-qat-residual-qgap"))
    alone = only(plain, "lone-qdq")
    assert len(alone) == 10
    assert sum("also read unquantized" in finding.title for finding in alone) >= 4
    assert len(only(mended, "lone-qdq")) == 1
    assert any("icudnn_int8x4" in finding.evidence for finding in only(plain, "no-tensor-cores"))
    residual = next(f for f in alone if f.layers == ("QuantizeLinear_40",))
    assert residual.suggestion.kind == "quantize_input"
    assert residual.suggestion.value == "inputs.4"
    assert "Add_61" in residual.suggestion.selector


def test_an_engine_without_reduced_precision_is_one_finding(recorded):
    (finding,) = only(find(recorded("tf32")), "silent-fp32")
    assert finding.title == "No layer runs below FP32/TF32"
    assert "56 of 56" in finding.evidence
    assert finding.cost_ms == pytest.approx(2.0455, abs=1e-3)


def test_silent_fp32_where_others_are_reduced(engine):
    report = engine(
        ("a", "CaskConvolution", {"x": FP16}, {"t": FP16}, CONV, 1.0),
        ("b", "CaskConvolution", {"t": FP32}, {"y": FP32}, CONV, 2.0),
    )
    (finding,) = only(find(report), "silent-fp32")
    assert (finding.layers, finding.cost_ms, finding.bound) == (("b",), 2.0, "at most")
    assert finding.suggestion.selector == ("b",)
    # Asked for as FP32, it is no finding; asked for as INT8, it is one of another kind.
    assert only(find(report, requested={"b": "fp32"}), "silent-fp32") == []
    (wider,) = only(find(report, requested={"a": "fp16", "b": "int8"}), "wider-than-asked")
    assert (wider.nodes, wider.title) == (("b",), "INT8 was asked for, FP32 was made")


def test_unfused_activation_and_what_stands_between(engine):
    relu = ("relu", "PointWiseV2", {"t2": FP16}, {"y": FP16}, {}, 0.5)
    report = engine(
        ("conv", "CaskConvolution", {"x": INT8}, {"t": INT8}, CONV, 1.0),
        ("dq", "Reformat", {"t": INT8}, {"t2": FP16}, {"Origin": "QDQ"}, 0.25),
        relu,
    )
    (finding,) = only(find(report), "unfused")
    assert finding.evidence == "relu follows conv; dq stands between them"
    assert finding.cost_ms == 0.5
    assert finding.suggestion.kind == "edit"
    fan_out = engine(
        ("conv", "CaskConvolution", {"x": FP16}, {"t2": FP16}, CONV, 1.0),
        relu,
        ("other", "CaskConvolution", {"t2": FP16}, {"z": FP16}, CONV, 1.0),
    )
    (finding,) = only(find(fan_out), "unfused")
    assert "read by 2 layers" in finding.evidence
    plain = engine(("conv", "CaskConvolution", {"x": FP16}, {"t2": FP16}, CONV, 1.0), relu)
    (finding,) = only(find(plain), "unfused")
    assert "no kernel joins the two" in finding.evidence
    fused = engine(("conv", "CaskConvolution", {"x": FP16}, {"t2": FP16}, CONV | {"Activation": "RELU"}, 1.0), relu)
    assert only(find(fused), "unfused") == []


def test_reformats_say_why_they_are_there(engine):
    report = engine(
        ("in", "Reformat", {"x": FP32}, {"a": INT8}, {"Origin": "REFORMAT"}, 0.1),
        ("conv", "CaskConvolution", {"a": INT8}, {"b": INT8}, CONV, 1.0),
        ("mid", "Reformat", {"b": INT8}, {"c": FP16}, {"Origin": "REFORMAT"}, 0.3),
        ("pool", "CaskPooling", {"c": FP16}, {"d": FP16}, {}, 1.0),
        ("lay", "Reformat", {"d": FP16}, {"e": "Row major linear FP16 format"}, {"Origin": "REFORMAT"}, 0.2),
        ("end", "CaskPooling", {"e": "Row major linear FP16 format"}, {"y": FP16}, {}, 1.0),
        ("free", "Reformat", {"y": FP16}, {"y2": FP16}, {"Origin": "REFORMAT"}, 0.0),
    )
    actual = only(find(report), "reformat")
    assert [(f.layers[0], f.title) for f in actual] == [
        ("mid", "Reformat where precision changes (int8 to fp16)"),
        ("lay", "Reformat between two layouts"),
        ("in", "Reformat at the engine's input"),
    ]
    assert actual[0].suggestion.selector == ("pool",)
    assert actual[0].suggestion.value == "int8"
    assert actual[0].evidence == "int8 CHW32 -> fp16 HWC8, 0.06 MiB, between conv and pool"


def test_alignment_costs_the_share_that_is_padding(engine):
    report = engine(
        ("first", "CaskConvolution", {"x": FP16}, {"t": FP16}, CONV, 1.0),
        ("odd", "CaskConvolution", {"t": FP16}, {"y": FP16}, CONV | {"OutMaps": 20}, 3.0),
    )
    (finding,) = only(find(report), "alignment")
    assert finding.layers == ("odd",)
    assert finding.cost_ms == pytest.approx(3.0 * (1 - 20 / 24))
    thin = engine(
        ("first", "CaskConvolution", {"x": FP16}, {"t": FP16}, CONV, 1.0), dims=(16, 3, 8, 8), bindings=("x", "t")
    )
    assert only(find(thin), "alignment") == []


def test_casts_slices_and_small_batches(engine):
    report = engine(
        ("conv", "CaskConvolution", {"x": INT8}, {"t": FP16}, CONV, 1.0),
        ("__myl_Cast_myl0_1", "kgen", {"t": "Half"}, {"u": "Float"}, {}, 0.2),
        ("cut", "Slice", {"u": FP32}, {"y": INT8}, {}, 0.1),
        dims=(1, 64, 8, 8),
    )
    findings = find(report)
    assert [f.layers for f in only(findings, "cast")] == [("__myl_Cast_myl0_1",)]
    assert [f.layers for f in only(findings, "converting-slice")] == [("cut",)]
    assert [f.layers for f in only(findings, "float-output")] == [("conv",)]
    assert only(findings, "small-batch")[0].title == "Batch of 1"
    table = findings_table(findings)
    assert list(table["kind"]) == [finding.kind for finding in findings]
    assert findings_table([]).empty


def test_myelin_engines_have_findings_without_times(engines):
    findings = find(load_report(engines / "trt-10-logs" / "engine_inspector_text.log"))
    kinds = {finding.kind for finding in findings}
    assert {"cast", "reformat", "silent-fp32", "no-tensor-cores", "small-batch"} <= kinds
    assert all(finding.cost_ms is None for finding in findings)


def test_what_is_not_told_is_not_accused(engines):
    report = load_report(engines / "trt-8.6.0-h200" / "dynamic" / "resnet50.int8.graph.json")
    findings = find(report)
    assert {finding.kind for finding in findings} == {"alignment", "reformat"}
    (reformat,) = only(findings, "reformat")
    assert reformat.title == "Reformat whose formats are not told"


def test_every_finding_is_complete(engines):
    for path in engines.rglob("*.graph.json"):
        for finding in find(load_report(path)):
            assert finding.title
            assert finding.evidence
            assert finding.fix
            assert finding.layers
            assert finding.suggestion is None or finding.suggestion.value


def test_a_processor_gets_no_advice_for_a_gpu(small_cnn):
    from workbench.backends.onnxruntime.engine import OnnxRuntime
    from workbench.engine.finding import EVERYWHERE, GPU
    from workbench.engine.findings import LINTS
    from workbench.graph.load import load_model

    backend, model = OnnxRuntime(), load_model(small_cnn)
    report = load_report(backend.inspect(backend.build(model)))
    assert report.backend == "onnxruntime"
    assert find(report) == []
    # The same layers from TensorRT would be told of precision and batch: it is the backend that decides.
    pretended = find(replace(report, backend="tensorrt"))
    assert {"silent-fp32", "small-batch"} <= {finding.kind for finding in pretended}
    assert {lint.backends for lint in LINTS} == {GPU, EVERYWHERE}
    assert find(replace(report, backend="unknown")) == []


def test_a_quantized_model_on_a_processor_keeps_what_is_about_the_graph(shared):
    from workbench.backends.onnxruntime.engine import OnnxRuntime
    from workbench.graph.load import load_model

    path = next((shared / "models" / "ultraface_rfb320_qdq").glob("*.onnx"))
    backend, model = OnnxRuntime(), load_model(path)
    report = load_report(backend.inspect(backend.build(model)))
    kinds = {finding.kind for finding in find(report, fusion_map(report, model))}
    assert "lone-qdq" in kinds
    assert not kinds & {"no-tensor-cores", "alignment", "small-batch", "silent-fp32", "float-output"}


SLOW_KERNEL = CONV | {"TacticName": "sm80_xmma_fprop_implicit_gemm_f32f32_f32f32_f32_nchw_warpsize1x2x1_g1_ffma"}


@pytest.mark.parametrize(("form", "asked"), [(FP32, "fp16"), (INT8, None)])
def test_fp16_is_suggested_for_fp32_without_tensor_cores_alone(engine, form, asked):
    report = engine(("conv", "CaskConvolution", {"x": form}, {"y": form}, SLOW_KERNEL, 1.0))
    (finding,) = only(find(report), "no-tensor-cores")
    assert finding.nodes == ("conv",)
    assert (None if finding.suggestion is None else finding.suggestion.value) == asked


@pytest.mark.parametrize(("after", "dtype"), [("Half", "FLOAT16"), ("BFloat16", "BFLOAT16"), (INT8, None)])
def test_a_cast_at_the_input_suggests_another_type_of_input(engine, after, dtype):
    report = engine(
        ("__myl_Cast_myl0_1", "kgen", {"x": "Float"}, {"t": after}, {}, 0.2),
        ("conv", "CaskConvolution", {"t": after}, {"y": after}, CONV, 1.0),
    )
    (finding,) = only(find(report), "cast")
    assert finding.evidence.endswith("between the engine's input and conv")
    value = None if finding.suggestion is None else (finding.suggestion.value, finding.suggestion.arguments)
    assert value == (None if dtype is None else ("set_input_type", (("input", "x"), ("dtype", dtype))))


def test_of_two_types_as_wide_the_first_is_the_narrower(engine):
    report = engine(
        ("one", "CaskConvolution", {"x": "Half"}, {"t": "Half"}, CONV, 1.0),
        ("__myl_Cast_myl0_1", "kgen", {"t": "Half"}, {"u": "BFloat16"}, {}, 0.2),
        ("two", "CaskConvolution", {"u": "BFloat16"}, {"y": "BFloat16"}, CONV, 1.0),
    )
    (finding,) = only(find(report), "cast")
    assert (finding.suggestion.value, finding.suggestion.selector) == ("fp16", ("two",))


@pytest.mark.parametrize(("batch", "small"), [(1, True), (7, True), (8, False), (9, False), (-1, False), (0, False)])
def test_a_batch_is_small_below_eight(engine, batch, small):
    report = engine(("conv", "CaskConvolution", {"x": FP16}, {"y": FP16}, CONV, 1.0), dims=(batch, 64, 8, 8))
    actual = only(find(report), "small-batch")
    assert bool(actual) is small
    assert all(finding.suggestion.arguments == (("size", 8),) for finding in actual)


def test_a_reformat_of_two_makers_names_the_first(engine):
    report = engine(
        ("one", "CaskConvolution", {"x": FP16}, {"a": FP16}, CONV, 1.0),
        ("two", "CaskConvolution", {"x": FP16}, {"b": FP16}, CONV, 1.0),
        ("__myl_Cast_myl0_1", "kgen", {"a": "Half", "b": "Half"}, {"c": "Float"}, {}, 0.2),
        ("end", "CaskConvolution", {"c": FP32}, {"y": FP32}, CONV, 1.0),
    )
    (finding,) = only(find(report), "cast")
    assert finding.evidence.endswith("between one and end")


def test_a_finding_shows_what_it_costs_where_why_and_what_helps(recorded, resnet_onnx):
    report = recorded("modelopt_int8_fp16")
    first, second, _ = find(report, fusion_map(report, resnet_onnx))
    title, *notes = [line.strip() for line in repr(first).splitlines()]
    assert title == f"{first.title}, {first.cost_ms:.4g} ms: input_QuantizeLinear"
    assert notes[:2] == [first.evidence, first.fix]
    assert second.suggestion.line in repr(second)
    assert "<strong>" in first._repr_html_()
