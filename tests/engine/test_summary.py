"""Text and JSON of a summary."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from workbench.engine.finding import Finding
from workbench.engine.formats import TensorFormat
from workbench.engine.fusion import fusion_map
from workbench.engine.precision import NodePrecision, Realized
from workbench.engine.report import Binding, EngineReport, EngineTensor, Layer, LayerTime, RunTimes
from workbench.engine.summary import EngineSummary, load_engine, summarize
from workbench.errors import ReportError


@pytest.fixture(scope="module")
def summary(engines, resnet_onnx):
    stem = engines / "trt-8.6.0-h200" / "resnet50-b32.modelopt_int8_fp16"
    return load_engine(
        stem.with_name(stem.name + ".graph.json"),
        profile=stem.with_name(stem.name + ".profile.json"),
        model=resnet_onnx,
        requested={"fc": "int8", "stem": "int8"},
        tensorrt_version="8.6.0",
    )


def test_text(summary):
    text = summary.text()
    for words in (
        "TensorRT 8.6.0",
        "59, 3 of them Reformat",
        "26.38 MiB",
        "0.9188 ms (profiled, 30 inferences)",
        "Q/DQ left standing alone at the engine's input",
        "1 of 2 nodes as requested",
        "fc: int8 asked for, fp16 made",
        "285 source nodes: 284 in layers, 1 vanished",
    ):
        assert words in text
    assert "unknown" not in text


def test_json_is_complete_and_unknown_is_null(summary, engines):
    data = json.loads(summary.json())
    assert data["schema"] == 1
    assert len(data["layers"]) == 59
    assert sum(layer["ms"] for layer in data["layers"]) == pytest.approx(data["layers_ms"])
    assert data["realized_precision"]["fc"] == "fp16"
    assert data["findings"][0]["suggestion"]["kind"] == "build"
    dynamic = json.loads(load_engine(engines / "trt-8.6.0-h200" / "dynamic" / "resnet50.int8.graph.json").json())
    assert dynamic["layers_ms"] is None
    assert dynamic["bindings"][0]["dtype"] is None
    assert dynamic["coverage"] is None


def test_unknown_is_never_zero_in_words(engines):
    text = load_engine(engines / "trt-8.6.0-h200" / "dynamic" / "resnet50.int8.graph.json").text()
    assert "unknown (57 tensors) between layers" in text
    assert "0.00 MiB" not in text
    text = load_engine(engines / "trt-10-logs" / "engine_inspector_text.log").text()
    assert "at least 0.20 MiB (16 layers unknown)" in text
    assert "2 optimization profiles" in text
    text = load_engine(engines / "trt-11-documented" / "io_tensors.json").text()
    assert "Weights" not in text
    assert "no layers" in text


def test_timing_and_device(engines):
    folder = engines / "trt-8.x-a100"
    stem = "examples_pytorch_resnet_A100_fp16_resnet.onnx.engine"
    text = load_engine(
        folder / f"{stem}.graph.json",
        profile=folder / f"{stem}.profile.json",
        timing=folder / f"{stem}.profile.metadata.json",
        metadata=folder / f"{stem}.build.metadata.json",
    ).text()
    assert "median 0.8622" in text
    assert "1155.4 inferences/s" in text
    assert "NVIDIA A100 80GB PCIe" in text
    assert "FP32+FP16" in text


def test_errors_pass_through(engines, resnet_onnx):
    folder = engines / "trt-8.6.0-h200"
    with pytest.raises(ReportError, match="does not match"):
        load_engine(folder / "dynamic" / "resnet50.int8.graph.json", model=resnet_onnx)


def alike(count, title="Title", cost=None):
    return [
        Finding(kind="k", title=title, evidence="e", fix="f", layers=(f"l{at}",), cost_ms=cost) for at in range(count)
    ]


def summary_of(findings, verdicts=()):
    report = EngineReport(name="e", layers=(), dialect="d")
    return EngineSummary(report, fusion_map(report), findings, list(verdicts))


@pytest.mark.parametrize(
    ("count", "more"),
    [
        (1, []),
        (2, ["      and 1 alike: l1"]),
        (4, ["      and 3 alike: l1, l2, l3"]),
        (5, ["      and 4 alike: l1, l2, l3, ..."]),
    ],
)
def test_findings_of_one_title_without_a_cost_are_told_once(count, more):
    lines = summary_of(alike(count)).text().splitlines()
    at = lines.index(f"Findings ({count})")
    assert lines[at + 1 : -2] == ["     unknown at most Title: l0", "      e", "      f", *more, ""]


def test_findings_with_a_cost_are_told_one_by_one_as_many_as_are_asked_for():
    findings = [*alike(2, cost=1.5), *alike(2, "Other"), *alike(1, "Last")]
    text = summary_of(findings).text(top=4)
    assert text.count("   1.5000 ms at most Title: l") == 2
    assert "more" not in text
    assert summary_of(findings).text(top=2).splitlines()[-4:] == [
        "  and 3 more",
        "",
        "Source nodes",
        text.splitlines()[-1],
    ]
    assert "No findings" in summary_of([]).text()


def test_nodes_that_got_another_precision_are_told_as_many_as_are_asked_for():
    made = [Realized(f"n{at}", precision, (), "e") for at, precision in enumerate(("fp16", "int8", None, "bf16"))]
    statuses = ("wider", "as requested", "vanished", "different")
    verdicts = [NodePrecision(one.node, "int8", one, status) for one, status in zip(made, statuses, strict=True)]
    lines = summary_of([], verdicts).text(top=2).splitlines()
    at = lines.index("Precision: 1 of 4 nodes as requested")
    assert lines[at + 1 : at + 4] == ["  n0: int8 asked for, fp16 made", "  n2: int8 asked for, vanished made", ""]


def test_facts_of_a_small_engine():
    tensor = EngineTensor("t", (2**18,), TensorFormat("", "fp32", "linear"))
    conv = Layer(name="a", type="CaskConvolution", inputs=(tensor,), outputs=(tensor,), time=LayerTime("a", 1.5))
    layers = (conv, Layer(name="b", type="Reformat"), Layer(name="c", detailed=False))
    ends = (Binding("x", "input", (2, 3)), Binding("y", None, ()), Binding("z"))
    timing = RunTimes({"min": 1.0, "median": 2.0}, throughput=3.0)
    report = EngineReport(
        name="e", layers=layers, dialect="d", bindings=ends, timing=timing, profile_count=7, tensorrt_version="10.1"
    )
    facts = summarize(report).facts()
    assert facts == {
        "Read from": "d, TensorRT 10.1",
        "Layers": "3, 1 of them Reformat (with Q/DQ alone)",
        "Weights": "unknown (1 layers)",
        "Peak activations": "1.00 MiB between layers",
        "Precision": "1 fp32",
        "Sum of layers": "1.5000 ms (profiled, 7 inferences)",
        "GPU compute time": "min 1.0000, median 2.0000 ms",
        "Throughput": "3.0 inferences/s",
        "Input x": "2x3, unknown",
        "Binding y": "scalar, unknown",
        "Binding z": "unknown shape, unknown",
    }
    plain = replace(report, profile_count=None, tensorrt_version=None, timing=replace(timing, throughput=None))
    assert summarize(plain).facts()["Sum of layers"] == "1.5000 ms (profiled)"
    assert "Throughput" not in summarize(plain).facts()
    assert summarize(plain)._card().headline == "e: 3 layers, 1.5000 ms, 3 findings"
    untimed = summarize(replace(plain, layers=layers[1:]))
    assert untimed._card().headline == "e: 2 layers, 1 findings"
    assert untimed.facts()["Precision"] == "no computing layer"
