"""Every kind of export, and every wrong file."""

from __future__ import annotations

import json
import re

import pytest

from workbench.engine.dialects.timing import read_timing
from workbench.engine.load import load_report
from workbench.errors import ReportError


def graphs(engines):
    return sorted(engines.rglob("*.graph.json"))


def test_every_recorded_engine_adds_up_to_its_files(engines):
    paths = graphs(engines)
    assert len(paths) == 19
    for path in paths:
        raw = json.loads(path.read_text(errors="replace"), strict=False)
        profile = path.with_name(path.name.replace(".graph.", ".profile."))
        report = load_report(path, profile=profile if profile.exists() else None)
        assert [layer.name for layer in report.layers] == [layer["Name"] for layer in raw["Layers"]]
        assert [binding.name for binding in report.bindings] == raw["Bindings"]
        assert {binding.mode for binding in report.bindings} == {"input", "output"}
        assert report.notes == ()
        if profile.exists():
            rows = json.loads(profile.read_text(), strict=False)
            times = {row["name"]: row for row in rows if "name" in row}
            assert report.profile_count == rows[0]["count"]
            assert report.layers_ms == pytest.approx(sum(row["averageMs"] for row in times.values()))
            for layer in report.layers:
                assert layer.time.median_ms == times[layer.name]["medianMs"]


def test_recorded_counts_are_known_ones(engines, recorded):
    known = json.loads((engines / "trt-8.6.0-h200" / "results.json").read_text())
    for name, figures in known.items():
        report = recorded(name)
        assert len(report.layers) == figures["layers"]
        assert len(report.reformat_layers) == figures["reformats"]
        assert report.layers_ms == pytest.approx(figures["prof_sum"], abs=0.02)


def test_profile_is_joined_by_name_in_any_order(engines, written):
    graph = engines / "trt-8.6.0-h200" / "resnet50-b32.fp16.graph.json"
    rows = json.loads(graph.with_name("resnet50-b32.fp16.profile.json").read_text(), strict=False)
    straight = load_report(graph, profile=rows)
    turned = load_report(graph, profile=written([rows[0], *reversed(rows[1:])], "turned.json"))
    assert [layer.ms for layer in straight.layers] == [layer.ms for layer in turned.layers]


def test_inspector_text_has_two_profiles_and_myelin(engines):
    report = load_report(engines / "trt-10-logs" / "engine_inspector_text.log")
    assert report.dialect == "TensorRT inspector text"
    assert len(report.layers) == 26
    assert [layer.profile for layer in report.layers] == [0] * 13 + [1] * 13
    assert [(binding.name, binding.mode) for binding in report.bindings] == [
        ("x", "input"),
        ("y", "output"),
        ("z", "output"),
    ]
    conv = report.layers[3]
    assert conv.sources == ("node_conv2d_1", "node_relu_1")
    assert conv.attributes["Kernel"] == [5, 5]
    assert conv.outputs[0].format.text == "Channel major FP16 format where channel % 8 == 0"
    assert conv.outputs[0].nbytes == 64 * 14 * 14 * 2
    assert conv.weight_bytes == (51200 + 64) * 2
    shape = report.layers[5]
    assert (shape.type, shape.inputs, shape.outputs, shape.weight_bytes) == ("shape_call", (), (), None)
    assert report.layers[11].outputs[0].dtype == "int64"
    assert [layer.base_name for layer in report.layers[:5]] == [layer.base_name for layer in report.layers[13:18]]


def test_profiler_log_is_averaged(engines, written):
    log = engines / "trt-10-logs" / "profiler.log"
    times = {}
    for line in log.read_text().splitlines():
        if line.startswith("Timing:"):
            value, name = line.removeprefix("Timing:").split("us -> ")
            times.setdefault(name, []).append(float(value) / 1000)
    report = load_report(written({"Layers": list(times)}), profile=log)
    assert report.profile_count == 3
    assert report.layers_ms == pytest.approx(sum(sum(values) / 3 for values in times.values()))


def test_documented_11_shape(engines):
    report = load_report(engines / "trt-11-documented" / "io_tensors.json", tensorrt_version="11.0")
    assert report.dialect == "TensorRT 11.x inspector JSON"
    first, last = report.bindings
    assert (first.name, first.mode, first.dims, first.format.dtype) == ("input_0", "input", (1, 3, 224, 224), "fp32")
    assert (last.format.dtype, last.format.layout) == ("fp32", "unstated")
    assert report.profiles[0].shapes["input_0"] == ((1, 3, 224, 224),) * 3
    assert report.tensorrt_version == "11.0"


def test_11_layers_with_format_and_datatype_apart(written):
    layer = {
        "Name": "c",
        "LayerType": "kgen",
        "Inputs": [
            {"Name": "x", "Dimensions": [1, 8], "Format": "Row major linear format (kLINEAR)", "Datatype": "FP8"}
        ],
        "Outputs": [{"Name": "y", "Dimensions": [1, 8], "Format": "kLINEAR", "Datatype": "BFloat16"}],
        "NewIn12": {"a": 1},
    }
    report = load_report(written({"Layers": [layer], "I/O Tensors": []}))
    (read,) = report.layers
    assert (read.inputs[0].nbytes, read.outputs[0].nbytes) == (8, 16)
    assert read.attributes["NewIn12"] == {"a": 1}


def test_10_excerpt(engines):
    report = load_report(engines / "trt-10-logs" / "trt10_issue4020_excerpt.json")
    assert report.layers[0].reformats.startswith("resnetv15_conv0_fwd + ")
    assert report.layers[1].sources[-1] == "resnetv15_stage3_relu0_fwd"
    assert report.notes == ("layer 1 has no name in the file",)


def test_raw_control_characters_bare_names_and_unknown_keys(written):
    text = '{"Layers": ["a", {"Name": "b [profile 1]", "LayerType": "TrainStation", "Metadata": "[ONNX Layer: n]\x1e'
    text += '[ONNX Layer: m]", "Shiny": 1, "Inputs": [{"Name": "t", "Format/Datatype": "Half"}]}, "signal"], "X": 2}'
    report = load_report(written(text))
    bare, train, signal = report.layers
    assert (bare.detailed, bare.type, bare.weight_bytes) == (False, None, None)
    assert train.sources == ("n", "m")
    assert (train.profile, train.base_name, train.myelin, train.attributes["Shiny"]) == (1, "b", True, 1)
    assert train.inputs[0].dims is None
    assert train.inputs[0].nbytes is None
    assert report.unknown_weights == (bare, train, signal)


def test_layers_that_are_all_bare_names_say_what_to_do(written):
    report = load_report(written({"Layers": ["a", "b"], "Bindings": ["x"]}))
    assert "detailed profiling verbosity" in report.notes[0]
    assert report.bindings[0].mode is None


def test_trtexec_timing(engines):
    path = engines / "trt-8.x-a100" / "mobilenet.qat.onnx.engine.timing.json"
    graph = engines / "trt-8.x-a100" / "tests_inputs_mobilenet.qat.onnx.engine.graph.json"
    report = load_report(graph, timing=path)
    rows = json.loads(path.read_text())
    values = sorted(row["computeMs"] for row in rows)
    assert report.timing.iterations == len(rows)
    assert report.timing.ms["min"] == values[0]
    assert report.timing.ms["max"] == values[-1]
    assert report.timing.ms["mean"] == pytest.approx(sum(values) / len(values))
    middle = len(values) // 2
    assert values[middle - 1] <= report.timing.ms["median"] <= values[middle]
    assert values[0] < report.timing.ms["p90"] <= report.timing.ms["p95"] <= report.timing.ms["p99"]
    assert 1000 / report.timing.ms["mean"] * 0.8 < report.timing.throughput < 1000 / report.timing.ms["mean"] * 1.2


def test_trex_metadata(engines):
    folder = engines / "trt-8.x-a100"
    stem = "examples_pytorch_resnet_A100_fp16_resnet.onnx.engine"
    report = load_report(
        folder / f"{stem}.graph.json",
        metadata=[folder / f"{stem}.{kind}metadata.json" for kind in ("profile.", "build.", "")],
    )
    assert report.timing.ms["p99"] == 0.871338
    assert report.timing.throughput == 1155.36
    assert report.build["Precision"] == "FP32+FP16"
    assert report.device["Selected Device"] == "NVIDIA A100 80GB PCIe"
    assert report.device["Compute Capability"] == 8.0
    for path in folder.glob("*metadata.json"):
        load_report(folder / f"{stem}.graph.json", metadata=path)


def error_of(*args, **kwargs) -> str:
    with pytest.raises(ReportError) as caught:
        load_report(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.fix
    return message


def test_wrong_files_say_what_they_are(engines, written, tmp_path):
    folder = engines / "trt-8.6.0-h200"
    graph = folder / "resnet50-b32.fp16.graph.json"
    profile = folder / "resnet50-b32.fp16.profile.json"
    assert "this is a layer profile" in error_of(profile)
    assert "--profile" in error_of(profile)
    assert "this is an engine graph" in error_of(graph, profile=graph)
    assert "not a timing export" in error_of(graph, timing=profile)
    assert "not an engine graph" in error_of(written({"a": 1}))
    assert "not an engine graph" in error_of(written([1, 2]))
    assert "not an engine graph" in error_of(written("{}"))
    assert "empty" in error_of(written("  \n"))
    assert "neither JSON" in error_of(written("hello"))
    assert "neither JSON" in error_of(folder / "resnet50-b32.modelopt.zeroed.onnx.gz")
    assert "No such file" in error_of(tmp_path / "absent.json")
    assert "Is a directory" in error_of(tmp_path)
    assert "neither an object nor a name" in error_of(written({"Layers": [1]}))
    assert "not a list" in error_of(written({"Layers": {}}))
    assert "not a list" in error_of(written({"I/O Tensors": 1}))
    assert "has no time" in error_of(graph, profile=written([{"count": 1}, {"name": "a", "averageMs": None}]))
    assert "no layers" in error_of(graph, profile=written([{"count": 1}]))
    assert "no `computeMs`" in error_of(graph, timing=written([{"latencyMs": 1}]))
    assert "five or seven" in error_of(graph, timing=written({"performance_summary": {"GPU Compute Time": [1]}}))
    assert "far too deep" in error_of(written("[" * 100_000))


def test_throughput_is_from_the_first_start_to_the_last_end():
    rows = [{"computeMs": 2.0, "startComputeMs": 10 + 3 * at, "endComputeMs": 12 + 3 * at} for at in range(4)]
    assert read_timing(rows, "times").throughput == 1000 * 4 / (21 - 10)
    assert read_timing(rows[::-1], "times").throughput == 1000 * 4 / (21 - 10)
    assert read_timing([{"computeMs": 2.0}], "times").throughput is None


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_truncated(engines, written, share):
    text = (engines / "trt-8.6.0-h200" / "resnet50-b32.fp16.graph.json").read_text()
    message = error_of(written(text[: int(len(text) * share)]))
    assert re.search(r"(the JSON ends too early|not valid JSON \(.*\)) at line \d+", message)


def test_profile_of_another_engine_is_named(engines):
    folder = engines / "trt-8.6.0-h200"
    message = error_of(
        folder / "resnet50-b32.fp16.graph.json", profile=folder / "resnet50-b32.modelopt_int8_fp16.profile.json"
    )
    assert "a profile of another engine" in message
    assert "input_QuantizeLinear" in message
    assert "; this engine has 'MaxPool_4' instead" in message
    log = engines / "trt-10-logs"
    message = error_of(log / "engine_inspector_text.log", profile=log / "profiler.log")
    assert "9 of its 13 layers, with 54% of its time" in message


def test_odd_profiles_are_noted(written):
    graph = written({"Layers": ["a", "a", "b", "c"]})
    rows = [{"count": 2}, {"name": "a", "timeMs": 2}, {"name": "a", "timeMs": 4}, {"name": "b", "averageMs": 5.0}]
    report = load_report(graph, profile=written(rows, "p.json"))
    assert [layer.ms for layer in report.layers] == [1, 2, 5, None]
    assert "1 of 4 layers have no time" in report.notes[-1]
    rows.append({"name": "strange", "averageMs": 0.01})
    report = load_report(graph, profile=written(rows, "p.json"))
    assert any("1 layers of the profile are not in the engine" in note for note in report.notes)
    rows = [{"name": name, "averageMs": 1.0} for name in ("a", "b", "b", "c")]
    report = load_report(graph, profile=written(rows, "p.json"))
    assert [layer.ms for layer in report.layers] == [1, 0, 2, 1]
    assert report.layers_ms == 4
    assert any("added up" in note for note in report.notes)


def test_what_a_backend_returns_is_read_as_it_is(engines):
    graph = engines / "trt-8.6.0-h200" / "resnet50-b32.fp16.graph.json"
    from_files = load_report(graph, profile=graph.with_name("resnet50-b32.fp16.profile.json"))
    times = tuple(layer.time for layer in reversed(from_files.layers))
    from_memory = load_report(graph.read_text(), profile=times)
    assert from_memory.name == "engine"
    assert from_memory.layers == from_files.layers
    assert "JSON text: the JSON ends too early" in error_of('{"Layers": [')
