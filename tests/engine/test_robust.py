"""Damaged and unheard-of files end in a report or in one line that says what is wrong."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workbench.engine.breakdown import transitions
from workbench.engine.dialects.numbers import measured
from workbench.engine.dialects.timing import read_timing
from workbench.engine.load import load_report
from workbench.engine.summary import load_engine
from workbench.engine.work import memory_timeline
from workbench.errors import ReportError

LIMITS = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
FORMATS = ("Row major linear FP32", "Half", "Row major Int8 format", "N/A due to dynamic shapes", "Brand new FP17")
TYPES = ("CaskConvolution", "gemm", "kgen", "Reformat", "NoOp", "PointWiseV2", "Slice", "CaskPooling", "Constant")
SIZES = st.lists(st.integers(-1, 5), max_size=5)
TENSOR = st.fixed_dictionaries(
    {"Name": st.sampled_from(["x", "t", "u", "y", "x [profile 1]"])},
    optional={
        "Dimensions": SIZES | VALUES,
        "Format/Datatype": st.sampled_from(FORMATS) | VALUES,
        "Datatype": st.sampled_from(["FP8", "BFloat16", "?"]) | VALUES,
    },
)
KEYS = (
    *("Name", "LayerType", "ParameterType", "Origin", "TacticName", "TacticValue", "StreamId", "Metadata", "Kernel"),
    *("OutMaps", "Groups", "Stride", "Weights", "Bias", "Activation", "ConvKernel", "Brand New Key"),
)
LIKELY = st.fixed_dictionaries(
    {
        "Name": st.sampled_from(["a", "b", "Reformatting CopyNode for Input Tensor 0 to a", "b [profile 1]"]),
        "LayerType": st.sampled_from(TYPES),
        "Inputs": st.lists(TENSOR, max_size=3),
        "Outputs": st.lists(TENSOR, max_size=2),
    },
    optional={
        "Kernel": SIZES,
        "Stride": SIZES,
        "Dilation": SIZES,
        "OutMaps": st.integers(-1, 9),
        "Groups": st.integers(-1, 9),
        "Origin": st.sampled_from(["QDQ", "REFORMAT"]),
        "Metadata": st.sampled_from(["[ONNX Layer: n]", "[ONNX Layer: n]\x1e[ONNX Layer: m]"]),
        "TacticName": st.sampled_from(["ffma", "tensor16x8x32", "_i8i8_"]),
    },
)
LAYER = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(KEYS, VALUES)
    | {"LayerType": st.sampled_from(TYPES), "Kernel": SIZES | VALUES, "Stride": SIZES | VALUES, "ParameterType": VALUES}
    | {"Inputs": st.lists(TENSOR, max_size=3) | VALUES, "Outputs": st.lists(TENSOR, max_size=3) | VALUES},
)


@LIMITS
@given(cut=st.floats(0, 1))
def test_a_file_cut_anywhere_is_refused_in_one_line(engines, tmp_path, cut):
    text = (engines / "trt-8.6.0-h200" / "small" / "mnist_cntk.int8_minmax.graph.json").read_text().rstrip()
    path = tmp_path / "cut.json"
    path.write_text(text[: int(len(text) * cut)])
    try:
        report = load_report(path)
    except ReportError as error:
        assert "\n" not in str(error)  # noqa: PT017
        assert error.fix  # noqa: PT017
    else:
        assert path.read_text() == text
        assert len(report.layers) == 10


@LIMITS
@given(
    layers=st.lists(LIKELY | LAYER | st.text(max_size=6), max_size=4),
    bindings=st.lists(st.sampled_from(["x", "y"]) | VALUES, max_size=2),
)
def test_any_values_in_a_graph_give_a_report(layers, bindings):
    summary = load_engine({"Layers": layers, "Bindings": bindings})
    assert len(summary.report.layers) == len(layers)
    assert len(summary.report.layers_table()) == len(layers)
    assert len(json.loads(summary.json())["layers"]) == len(layers)
    assert summary.text()
    transitions(summary.report)
    memory_timeline(summary.report)


@LIMITS
@given(
    rows=st.lists(st.dictionaries(st.sampled_from(["name", "averageMs", "timeMs", "count", "?"]), VALUES), max_size=4)
)
def test_any_profile_is_read_or_refused(rows):
    try:
        report = load_report({"Layers": ["a", "b"]}, profile=rows)
    except ReportError as error:
        assert error.fix  # noqa: PT017
    else:
        assert report.profiled


def test_half_a_character_in_a_name_is_none_of_what_is_written():
    layers = [{"Name": f"a{mark}", "LayerType": "gemm", "Inputs": [], "Outputs": []} for mark in "bcd"]
    text = json.dumps({"Layers": layers, "Bindings": []})
    halves = {"ab": r"a\ud800", "ac": r"a\ud83d\ude00", "ad": r"a\\ud800"}
    for name, odd in halves.items():
        text = text.replace(f'"{name}"', f'"{odd}"')
    names = [layer.name for layer in load_report(text).layers]
    assert names == ["a\N{REPLACEMENT CHARACTER}", "a\N{GRINNING FACE}", r"a\ud800"]


@pytest.mark.parametrize(
    "value", [10**400, -(10**400), -1, True, "1", None, float("nan"), float("inf")], ids=lambda value: str(value)[:9]
)
def test_a_time_is_a_number_that_can_be_measured(value):
    assert measured(value) is None
    assert (measured(0), measured(10**300)) == (0.0, 1e300)
    with pytest.raises(ReportError, match="no `computeMs` that is a time"):
        read_timing([{"computeMs": value}, {"computeMs": 2}], "times.json")
