"""Real files with something changed at random: a report that says unknown, or an error of ours, and nothing else."""

from __future__ import annotations

import copy
import json
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.kit.places import RECORDED
from workbench.engine.breakdown import precision_share, roofline_dots, transitions
from workbench.engine.compare import compare_engines
from workbench.engine.load import load_report
from workbench.engine.summary import load_engine
from workbench.engine.tables import convolutions_table, kinds_table, memory_table, precisions_table, tactics_table
from workbench.errors import ReportError, WorkbenchError
from workbench.views import engine_graph
from workbench.views.engines.data import latency_bars, layer_cells
from workbench.views.engines.sunburst import sunburst_arcs
from workbench.views.engines.table import layer_rows

LIMITS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
STRANGE = st.sampled_from(
    [
        *(None, True, -1, 0, 2**70, math.inf, 1e-300, "", " ", "FP3", "Row major linear FP17", "N/A", [], {}, [[]]),
        *([None], [-1, -1], [2**40, 2**40], ["a"], {"Type": "Half", "Count": "many"}, {"Type": "Half", "Count": 2**70}),
        *("\x00\x1e[ONNX Layer: ]", "[profile 99999999999999999999]"),
    ]
).map(copy.deepcopy)
FILES = (
    "trt-8.6.0-h200/small/mnist_cntk.int8_minmax.graph.json",
    "trt-8.6.0-h200/small/ultraface_rfb320.int8_entropy2.graph.json",
    "trt-10-logs/trt10_issue4020_excerpt.json",
    "trt-11-documented/io_tensors.json",
)


def mutated(data, draw):
    """Change one to four places of a parsed file, wherever they are."""
    data = copy.deepcopy(data)
    for _ in range(draw(st.integers(1, 4))):
        place = data
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            inner = place[key]
            if isinstance(inner, (dict, list)) and inner and draw(st.integers(0, 3)):
                place = inner
                continue
            what = draw(st.sampled_from(["delete", "replace", "replace", "rename", "repeat"]))
            if what == "delete":
                del place[key]
            elif what == "replace":
                place[key] = draw(STRANGE)
            elif isinstance(place, list):
                place.append(copy.deepcopy(inner))
            else:
                place[f"{key} of the future"] = place.pop(key)
            break
    return data


def looked_at(summary):
    """Ask everything there is to ask of an engine, short of drawing it."""
    report = summary.report
    assert summary.text()
    assert len(json.loads(summary.json())["layers"]) == len(report.layers)
    for table in (convolutions_table, kinds_table, memory_table, precisions_table, tactics_table):
        table(report)
    report.layers_table(), report.tensors_table(), report.types_table()
    latency_bars(report), precision_share(report), roofline_dots(report), transitions(report)
    for by in ("type", "scope"):
        layer_cells(report, by, summary.fusion), sunburst_arcs(report, by, summary.fusion)
    layer_rows(report)
    view = engine_graph(summary)
    if report.layers:
        view.selected_layer = next(iter(view._layers), None)
        assert view.facts() or not view._layers


@LIMITS
@given(data=st.data())
@pytest.mark.parametrize("file", FILES)
def test_a_changed_graph_is_read_or_refused(engines, file, data):
    raw = json.loads((engines / file).read_text(), strict=False)
    changed = mutated(raw, data.draw)
    try:
        summary = load_engine(changed)
        looked_at(summary)
        compare_engines([load_report(raw), summary.report])
    except WorkbenchError as error:
        assert error.fix  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017


@LIMITS
@given(data=st.data())
def test_a_changed_profile_is_read_or_refused(engines, data):
    stem = engines / "trt-8.6.0-h200" / "small" / "mnist_cntk.int8_minmax"
    changed = mutated(json.loads(stem.with_name(f"{stem.name}.profile.json").read_text()), data.draw)
    try:
        summary = load_engine(stem.with_name(f"{stem.name}.graph.json"), profile=changed)
    except WorkbenchError as error:
        assert error.fix  # noqa: PT017
    else:
        looked_at(summary)
        assert all(ms is None or (math.isfinite(ms) and ms >= 0) for ms in (one.ms for one in summary.report.layers))


@LIMITS
@given(data=st.data())
@pytest.mark.parametrize("kind", ["build.metadata", "metadata", "profile.metadata", "timing"])
def test_a_changed_file_beside_the_graph_is_read_or_refused(engines, kind, data):
    stem = engines / "trt-8.x-a100" / "examples_pytorch_resnet_A100_fp16_resnet.onnx.engine"
    recorded = RECORDED / "vit_small.fp16.timing.json"
    file = recorded if kind == "timing" else stem.with_name(f"{stem.name}.{kind}.json")
    raw = json.loads(file.read_text(), strict=False)
    changed = mutated(raw[:20] if kind == "timing" else raw, data.draw)
    given_as = {"timing": changed} if kind == "timing" else {"metadata": changed}
    try:
        summary = load_engine(stem.with_name(f"{stem.name}.graph.json"), **given_as)
        assert summary.text()
        summary.json()
    except WorkbenchError as error:
        assert error.fix  # noqa: PT017


@LIMITS
@given(data=st.data())
def test_a_changed_text_log_is_read_or_refused(engines, tmp_path, data):
    lines = (engines / "trt-10-logs" / "engine_inspector_text.log").read_text().splitlines()
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(lines) - 1))
        what = data.draw(st.sampled_from(["drop", "cut", "repeat", "strange"]))
        if what == "drop" and len(lines) > 1:
            del lines[at]
        elif what == "cut":
            lines[at] = lines[at][: data.draw(st.integers(0, len(lines[at])))]
        elif what == "repeat":
            lines.insert(at, lines[at])
        else:
            lines[at] = data.draw(st.text(max_size=20))
    path = tmp_path / "changed.log"
    path.write_text("\n".join(lines), encoding="utf-8")
    try:
        looked_at(load_engine(path))
    except WorkbenchError as error:
        assert error.fix  # noqa: PT017


@LIMITS
@given(data=st.binary(max_size=60))
def test_any_bytes_are_refused_in_one_line(tmp_path, data):
    path = tmp_path / "bytes.json"
    path.write_bytes(data)
    with pytest.raises(ReportError) as caught:
        load_report(path)
    assert "\n" not in str(caught.value)
