"""Reports at the edges of what files say: percentiles, incomplete devices, braces in names, words for precisions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.kit.places import RECORDED
from workbench.engine.compare import compare_engines
from workbench.engine.dialects.manifest import read_manifest
from workbench.engine.dialects.profile import read_profile, read_profile_log
from workbench.engine.dialects.source import source_name
from workbench.engine.dialects.text import read_inspector_text
from workbench.engine.dialects.timing import timing_of
from workbench.engine.dialects.trex import read_device
from workbench.engine.formats import MOST_ELEMENTS
from workbench.engine.fusion import fusion_map
from workbench.engine.load import load_report
from workbench.engine.precision import compare_precision
from workbench.engine.report import LayerTime
from workbench.engine.source import SourceGraph, SourceNode, source_graph
from workbench.engine.summary import load_engine
from workbench.engine.tables import convolutions_table
from workbench.engine.traits import layer_precision
from workbench.engine.vanished import why_vanished
from workbench.engine.worse import judge_against
from workbench.errors import ReportError


def test_percentiles_are_those_of_their_names():
    ms = timing_of(np.arange(1001.0)).ms
    assert ms == {"min": 0, "max": 1000, "mean": 500, "median": 500, "p90": 900, "p95": 950, "p99": 990}


@pytest.mark.parametrize("capability", [[8], [], None, "8.6", ["8", "six"]])
def test_an_unreadable_compute_capability_is_left_out(capability):
    assert "Compute Capability" not in read_device([{"Name": "GPU", "ComputeCapability": capability}])


def test_a_compute_capability_is_worded_as_in_other_files():
    assert read_device([{"ComputeCapability": [8, 6], "Name": "A"}])["Compute Capability"] == 8.6
    assert read_device([{"ComputeCapability": ["9", "0", "a"]}])["Compute Capability"] == 9.0


def test_names_may_hold_letters_that_sort_behind_braces():
    line = (
        "Name: a~b, LayerType: Convolution, "
        "Inputs: [ { Name: x~é, Dimensions: [1,3], Format/Datatype: Row major linear FP32 }], "
        "Outputs: [ { Name: y|z, Dimensions: [1,3], Format/Datatype: Row major linear FP32 }]"
    )
    (layer,) = read_inspector_text(line, "log").layers
    assert [tensor.name for tensor in (*layer.inputs, *layer.outputs)] == ["x~é", "y|z"]


def test_sources_are_named_by_what_they_are():
    assert source_name(Path("folder/engine.json")) == "folder/engine.json"
    assert source_name("engine.json") == "engine.json"
    assert source_name({"Layers": []}) == "a dict in memory"
    assert source_name('{"Layers": []}') == "JSON text"


def test_a_row_without_anything_is_passed_over_and_one_without_a_name_is_not():
    times = [{"count": 2}, {}, {"name": "a", "timeMs": 4}]
    assert [(time.name, time.mean_ms) for time in read_profile(times, "p")[1]] == [("a", 2)]
    with pytest.raises(ReportError, match="entry 1 has no layer name"):
        read_profile([{"count": 2}, {"averageMs": 1}], "p")


@pytest.mark.parametrize("word", ["uint9", "zzz", "a"])
def test_what_is_no_precision_is_none(word):
    report = load_report(RECORDED / "vit_small.fp16.graph.json")
    with pytest.raises(ReportError, match="is no precision"):
        compare_precision(report, fusion_map(report), {"node": word})


def test_no_tensor_has_more_elements_than_a_machine():
    assert MOST_ELEMENTS == 2**48


def test_two_engines_are_compared_without_models():
    report = load_report(RECORDED / "vit_small.fp16.graph.json", name="one")
    other = load_report(RECORDED / "vit_small.qdq.graph.json", name="two")
    alone = compare_engines([report, other])
    assert alone.table().equals(compare_engines([report, other], models=[]).table())
    with pytest.raises(ReportError, match="there is nothing to compare"):
        compare_engines([])


def test_the_text_shows_ten_layers_and_ten_findings_and_json_all():
    name = "yolox_nano.qdq"
    summary = load_engine(RECORDED / f"{name}.graph.json")
    assert summary.text() == summary.text(top=10)
    assert summary.text() != summary.text(top=11)
    data = json.loads(summary.json())
    assert len(data["layers"]) == len(summary.report.layers)
    assert len(data["findings"]) == len(summary.findings)


def test_the_slowest_layers_come_first():
    summary = load_engine(RECORDED / "resnet50.fp16.graph.json", profile=RECORDED / "resnet50.fp16.profile.json")
    text = summary.text()
    times = [float(line.split(" ms")[0]) for line in text.splitlines() if line.startswith("    0.") and " ms " in line]
    assert times[:10] == sorted(times[:10], reverse=True)
    assert times[0] == pytest.approx(max(layer.ms for layer in summary.report.layers if layer.ms), abs=1e-4)
    first = next(line for line in text.splitlines() if line.startswith(f"    {times[0]:.4f}"))
    assert f"{times[0] / summary.report.layers_ms:.1%}" in first


def test_a_node_done_by_two_layers_is_known_from_the_first_that_computes():
    int8, fp16 = "Four wide channel vectorized row major Int8 format", "Row major linear FP16 format"

    def layer(name, kind, source, target, form):
        tensors = {"Dimensions": [1, 8, 4, 4], "Format/Datatype": form}
        sides = {"Inputs": [{"Name": source, **tensors}], "Outputs": [{"Name": target, **tensors}]}
        return {"Name": name, "LayerType": kind, "Metadata": "[ONNX Layer: conv]", **sides}

    layers = [layer("one", "CaskConvolution", "x", "t", int8), layer("two", "PointWiseV2", "t", "y", fp16)]
    report = load_report({"Layers": layers, "Bindings": ["x", "y"]})
    (verdict,) = compare_precision(report, fusion_map(report), {"conv": "int8"})
    first, second = (layer_precision(one) for one in report.layers)
    assert verdict.realized.precision == "fp16+int8"
    assert verdict.realized.layers == ("one", "two")
    assert verdict.realized.evidence == first.evidence != second.evidence


def test_without_a_profile_rates_are_missing_and_sizes_are_not():
    table = convolutions_table(load_report(RECORDED / "resnet50.fp16.graph.json"))
    assert table["bytes"].notna().all()
    for rate in ("ms", "tops", "gb_per_s"):
        assert table[rate].isna().all()


def test_a_profilers_log_is_in_microseconds_or_milliseconds():
    text = "Timing: 500us -> a\n0.25 ms -> b\n1.5ms -> a\n"
    count, times = read_profile_log(text, "log")
    assert count is None
    assert {time.name: time.mean_ms for time in times} == {"a": 1.0, "b": 0.25}


@pytest.mark.parametrize("device", [None, 7, [], "GPU", {}, {"name": ""}])
def test_a_manifest_without_a_device_names_none(device):
    assert read_manifest({"device": device}) == ({}, {}, None)
    assert read_manifest({"device": {"name": "A"}, "version": "10"}) == ({"Selected Device": "A"}, {}, "10")


def test_a_card_shows_the_slowest_layers_and_without_times_the_facts():
    stem = RECORDED / "vit_small.qdq.graph.json"
    timed = load_engine(stem, profile=RECORDED / "vit_small.qdq.profile.json")._card()
    assert timed.header == ("slowest layers", "precision", "ms")
    assert [row[2] for row in timed.rows] == sorted((row[2] for row in timed.rows), reverse=True)
    untimed = load_engine(stem)
    assert dict(untimed._card().rows) == untimed.facts()


def test_without_a_tolerance_no_slower_engine_passes():
    report = load_report(RECORDED / "resnet50.fp16.graph.json", profile=RECORDED / "resnet50.fp16.profile.json")
    layers = [replace(one, time=one.time and LayerTime(one.name, 1.005 * one.time.mean_ms)) for one in report.layers]
    slower = replace(report, layers=tuple(layers))
    comparison = compare_engines([report, slower])
    (*_, judged) = judge_against(report, slower, comparison)
    assert not judged.passed
    assert "+0.5%, sum of layers; allowed +0%" in judged.message
    assert len(judged.details) == sum(bool(group.ms[0]) for group in comparison.groups) > 50


def test_ways_between_nodes_need_both_of_them():
    value = helper.make_tensor_value_info
    nodes = [helper.make_node("Relu", ["x"], ["t"], "a"), helper.make_node("Relu", ["t"], ["y"], "b")]
    ends = [value("x", TensorProto.FLOAT, [1])], [value("y", TensorProto.FLOAT, [1])]
    graph = source_graph(helper.make_model(helper.make_graph(nodes, "g", *ends)))
    assert [node.name for node in graph.between("a", "b")] == ["a", "b"]
    for first, last in (("b", "a"), ("a", "gone"), ("gone", "b"), ("gone", "gone")):
        assert graph.between(first, last) == []
    assert graph.tensors == {"x", "t", "y"}


def test_a_bias_is_folded_only_into_what_a_layer_computes():
    def node(name, kind, inputs, output):
        return SourceNode(name, kind, inputs, (output,))

    conv, relu = node("conv", "Conv", ("x", "w"), "c"), node("relu", "Relu", ("x",), "r")
    added, other = node("add", "Add", ("c", "b"), "y"), node("other", "Add", ("r", "b"), "z")
    graph = SourceGraph((conv, relu, added, other), frozenset("wb"), frozenset("x"), frozenset("yz"))
    assert why_vanished(graph, ["conv", "relu"]) == {"add": "folded into the bias of conv"}
    assert graph.tensors == {"x", "w", "c", "r", "b", "y", "z"}
    # A nested graph reads what a graph around it makes; a constant that nobody reads is a tensor all the same.
    inner = SourceGraph((node("one", "Add", ("outer", "w"), "y"),), frozenset("wb"), frozenset(), frozenset("y"))
    assert inner.tensors == {"outer", "w", "y", "b"}


@pytest.mark.parametrize(("count", "more"), [(1, ""), (2, ""), (5, " (and 3 more)")])
def test_two_reasons_of_a_change_are_told_and_the_others_counted(count, more):
    names = [f"n{at}" for at in range(count + 1)]
    forms = {"Dimensions": [1, 8, 4, 4], "Format/Datatype": "Row major linear FP16 format"}

    def layer(name, nodes, source, target):
        metadata = "\u001e".join(f"[ONNX Layer: {one}]" for one in nodes)
        sides = {"Inputs": [{"Name": source, **forms}], "Outputs": [{"Name": target, **forms}]}
        return {"Name": name, "LayerType": "CaskConvolution", "Metadata": metadata, **sides}

    def model(converted):
        nodes, last = [], "x"
        for at, name in enumerate(names):
            if converted and at:
                nodes.append(helper.make_node("Cast", [last], [f"c{at}"], f"cast{at}", to=TensorProto.FLOAT))
                last = f"c{at}"
            nodes.append(helper.make_node("Relu", [last], [f"t{at}"], name))
            last = f"t{at}"
        ends = [[helper.make_tensor_value_info(end, TensorProto.FLOAT, [1])] for end in ("x", last)]
        return helper.make_model(helper.make_graph(nodes, "g", *ends))

    last = f"t{count}"
    joined = {"Layers": [layer("all", names, "x", last)], "Bindings": ["x", last]}
    apart = [layer(f"layer {name}", [name], f"t{at - 1}" if at else "x", f"t{at}") for at, name in enumerate(names)]
    reports = [load_report(joined, name="A"), load_report({"Layers": apart, "Bindings": ["x", last]}, name="B")]
    (group,) = compare_engines(reports, models=[model(converted=False), model(converted=True)]).groups
    assert group.change[1].endswith(more or "in B and not in A")
    assert group.change[1].count("stands between") == min(count, 2)
