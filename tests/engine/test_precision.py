"""Realized precision beside the requested one."""

from __future__ import annotations

import pytest

from workbench.engine.fusion import fusion_map
from workbench.engine.load import load_report
from workbench.engine.precision import Realized, _status, compare_precision, realized_precision, realized_table
from workbench.errors import ReportError


def test_quantized_resnet_50(recorded, resnet_onnx):
    report = recorded("modelopt_int8_fp16")
    fusion = fusion_map(report, resnet_onnx)
    realized = realized_precision(report, fusion)
    convs = [node.name for node in fusion.graph.nodes if node.op_type == "Conv"]
    assert {realized[name].precision for name in convs} == {"int8"}
    assert realized["fc"].precision == "fp16"
    assert realized["fc"].layers == ("fc",)  # not the free reshape after it
    assert realized["GlobalAveragePool_173"].precision == "fp16"
    assert realized["Flatten_174"].precision is None
    assert realized["Flatten_174"].evidence == "a view: Flatten moves no data"
    assert "Relu_10_out_DequantizeLinear" not in realized
    assert len(realized_table(report, fusion)) == len(realized)


def test_tf32_is_not_fp32(recorded):
    report = recorded("tf32")
    realized = realized_precision(report, fusion_map(report))
    assert realized["l1.0.conv2"].precision == "tf32"
    assert "tf32" in realized["l1.0.conv2"].evidence


def test_dynamic_shapes_are_told_by_tactic_and_weights(engines):
    report = load_report(engines / "trt-8.6.0-h200" / "dynamic" / "resnet50.int8.graph.json")
    realized = realized_precision(report, fusion_map(report))
    assert realized["/stem/Conv"].precision == "int8"
    assert realized["/gap"].precision is None


def test_verdicts(recorded, resnet_onnx):
    report = recorded("modelopt_int8_fp16")
    requested = {
        "l1.0.conv1": "INT8",
        "fc": "int8",
        "l2.0.conv1": "fp16",
        "l2.0.conv2": "FP8",
        "Flatten_174": "fp16",
        "nowhere": "fp32",
        "stem": "tf32",
    }
    verdicts = {v.node: v.status for v in compare_precision(report, fusion_map(report, resnet_onnx), requested)}
    assert verdicts == {
        "l1.0.conv1": "as requested",
        "fc": "wider",
        "l2.0.conv1": "narrower",
        "l2.0.conv2": "different",
        "Flatten_174": "vanished",
        "nowhere": "vanished",
        "stem": "narrower",
    }


def test_unknown_is_no_verdict(engines):
    report = load_report(engines / "trt-8.6.0-h200" / "dynamic" / "resnet50.int8.graph.json")
    fusion = fusion_map(report)
    assert compare_precision(report, fusion, {"/gap": "int8"})[0].status == "unknown"


def test_a_precision_that_is_none(recorded):
    report = recorded("fp16")
    with pytest.raises(ReportError, match=r"stem: 'int7' is no precision\. Use one of"):
        compare_precision(report, fusion_map(report), {"stem": "int7"})


BITS = {"fp4": 4, "int4": 4, "fp8": 8, "int8": 8, "fp16": 16, "bf16": 16, "tf32": 19, "fp32": 32}


@pytest.mark.parametrize("asked", BITS)
def test_wider_has_more_bits_and_narrower_fewer(asked):
    for got, bits in BITS.items():
        expected = "wider" if bits > BITS[asked] else "narrower" if bits < BITS[asked] else "different"
        status = _status(asked, Realized("n", got, ("l",), ""))
        assert status == ("as requested" if got == asked else expected)
