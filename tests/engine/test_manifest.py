"""What an engine's manifest tells of where it was built and timed, and what is said of it."""

from __future__ import annotations

import json

import pytest

from workbench.engine.compare import compare_engines
from workbench.engine.dialects.manifest import clocks_text, read_manifest
from workbench.engine.dialects.profile import read_profile_log
from workbench.engine.dialects.text import read_inspector_text
from workbench.engine.formats import parse_dtype
from workbench.engine.load import load_report
from workbench.engine.moved import MovedEdge, MovedTensor
from workbench.engine.report import LayerTime
from workbench.engine.summary import load_engine
from workbench.errors import ReportError


@pytest.mark.parametrize(
    ("clocks", "text"),
    [
        (None, None),
        (7, None),
        ("there are none", "there are none"),
        ({}, None),
        ({"slowed_by": ["power cap"]}, None),
        ({"sm_clock_mhz": [1200, 1980]}, "SM 1200 to 1980 MHz"),
        ({"sm_clock_mhz": [1980.1, 1980.4], "memory_clock_mhz": [3201, 3201]}, "SM 1980 MHz, memory 3201 MHz"),
        ({"power_w": [70, 400.4], "temperature_c": [40.6, 61]}, "power 70 to 400 W, temperature 41 to 61 °C"),
        ({"power_w": [70, 400], "slowed_by": []}, "power 70 to 400 W"),
        ({"power_w": [70, 70], "slowed_by": ["power cap", "heat"]}, "power 70 W; held back by power cap, heat"),
        ({"power_w": [70, 70], "slowed_by": "heat"}, "power 70 W"),
        ({"power_w": [70], "sm_clock_mhz": [1, "2"], "temperature_c": 40}, None),
    ],
)
def test_clocks_are_told_between_their_bounds_with_what_held_them_back(clocks, text):
    assert clocks_text(clocks) == text
    told = {"device": {"name": "H200"}, "timing": {"conditions": {"clocks": clocks}}, "options": {"tf32": True}}
    device = {"Selected Device": "H200"} | ({} if text is None else {"Clocks": text})
    assert read_manifest(told) == (device, {"tf32": True}, None)


@pytest.mark.parametrize("timing", [None, [], {"conditions": None}, {"conditions": "H200"}])
def test_a_manifest_of_an_engine_that_was_not_timed_has_no_clocks(timing):
    assert read_manifest({"timing": timing, "version": 10, "options": [1]}) == ({}, {}, None)


def test_the_facts_of_an_engine_name_device_clocks_and_what_it_was_built_with(tmp_path):
    graph = {
        "Layers": [{"Name": "a", "LayerType": "Relu"}],
        "Bindings": ["x", {"Name": "y", "Mode": "output", "Dimensions": []}],
    }
    (tmp_path / "g.json").write_text(json.dumps(graph))
    manifest = {
        "format": "workbench-engine/1",
        "backend": "tensorrt",
        "version": "10.3.0",
        "engine_sha256": "0",
        "device": {"name": "H200"},
        "options": {"Precision": "FP16"},
        "timing": {"conditions": {"clocks": {"power_w": [70, 90]}}},
    }
    (tmp_path / "g.manifest.json").write_text(json.dumps(manifest))
    facts = load_engine(tmp_path / "g.json", metadata=tmp_path / "g.manifest.json").facts()
    assert (facts["Device"], facts["Clocks while timed"], facts["Built with"]) == ("H200", "power 70 to 90 W", "FP16")
    plain = load_engine(tmp_path / "g.json").facts()
    assert not {"Device", "Clocks while timed", "Built with"} & plain.keys()


def test_a_text_without_layers_or_times_is_refused_with_what_to_give():
    with pytest.raises(ReportError, match=r"no layer line in this text.*ONELINE"):
        read_inspector_text("Layers:\n", "log")
    with pytest.raises(ReportError, match=r"no `12\.3us -> layer` line in this log"):
        read_profile_log("nothing", "log")


def test_bindings_of_a_text_end_at_an_empty_line():
    line = "Name: a, LayerType: Relu, Inputs: [ { Name: x, Dimensions: [1], Format/Datatype: Row major linear FP32 }]"
    report = read_inspector_text(f"Layers:\r\n{line}\r\nBindings:\r\nx\r\n y \r\n\r\nz\r\n", "log")
    assert [binding.name for binding in report.bindings] == ["x", "y"]
    assert read_inspector_text(line, "log").bindings == ()


@pytest.mark.parametrize(
    ("text", "dtype"),
    [
        ("FP8E4M3", "fp8"),
        ("Float4E2M1", "fp4"),
        ("kFP8", "fp8"),
        ("FP88", None),
        ("fp4", "fp4"),
        ("float8", "fp8"),
        ("nothing", None),
        (None, None),
    ],
)
def test_narrow_types_are_told_with_or_without_their_parts(text, dtype):
    assert parse_dtype(text) == dtype


def test_what_is_read_is_no_json_for_its_depth_or_its_digits():
    with pytest.raises(ReportError, match="JSON nested far too deep"):
        load_report('{"Layers": ' + "[" * 100_000 + "]" * 100_000 + "}")
    with pytest.raises(ReportError, match=r"not valid JSON \(Exceeds the limit"):
        load_report('{"Layers": [' + "1" * 5000 + "]}")


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("Q DQ", "", "a Q/DQ stands between a and b in one and not in two"),
        ("", "Q DQ", "a Q/DQ stands between a and b in two and not in one"),
        ("Cast", "Cast Q DQ", "a Cast in one is a Cast Q/DQ in two between a and b"),
    ],
)
def test_a_conversion_is_said_to_stand_where_it_stands(before, after, words):
    assert MovedEdge(MovedTensor("a", "b"), before, after).words("one", "two") == words


def test_a_layer_without_a_profile_has_no_time_and_one_with_it_its_median():
    plain = load_report({"Layers": [{"Name": "a", "LayerType": "Relu"}]})
    assert (plain.layers[0].ms, plain.layers[0].typical_ms) == (None, 0.0)
    timed = load_report(
        {"Layers": [{"Name": "a", "LayerType": "Relu"}]},
        profile=[{"count": 3}, {"name": "a", "averageMs": 3.0, "medianMs": 2.0}],
    )
    assert (timed.layers[0].ms, timed.layers[0].typical_ms) == (3.0, 2.0)
    assert LayerTime("a", 3.0, 2.0).typical_ms == 2.0


def test_two_engines_of_one_layer_each_are_compared_by_their_times():
    layer = {"Name": "a", "LayerType": "CaskConvolution", "Metadata": "[ONNX Layer: n]"}
    one, other = (load_report({"Layers": [layer]}, profile=[{"name": "a", "averageMs": ms}]) for ms in (3.0, 2.0))
    (group,) = compare_engines([one, other]).groups
    assert (group.ms, group.speedup(1), group.change) == ((3.0, 2.0), 1.5, ("", "same layers"))
