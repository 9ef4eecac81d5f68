"""Text and JSON of a summary."""

from __future__ import annotations

import json

import pytest

from workbench.engine.summary import load_engine
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
