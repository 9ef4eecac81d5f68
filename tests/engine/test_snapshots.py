"""All that is said of the recorded engines: a change of any of it is seen in the snapshots beside this file."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace

import pytest

from tests.kit.places import RECORDED
from tests.kit.portrait import of_table, text_of
from workbench.engine.breakdown import precision_share, roofline_dots, top_layers, transitions
from workbench.engine.compare import compare_engines
from workbench.engine.load import load_report
from workbench.engine.summary import load_engine
from workbench.engine.tables import convolutions_table, kinds_table, memory_table, precisions_table, tactics_table
from workbench.engine.work import GPU_LIMITS, memory_timeline
from workbench.engine.worse import judge_against

NAMES = sorted(path.name.removesuffix(".graph.json") for path in RECORDED.glob("*.graph.json"))
TABLES = (convolutions_table, kinds_table, memory_table, precisions_table, tactics_table)
WHOLE = ["mobilenet_v2.implicit-int8", "resnet50.fp32", "vit_small.qdq"]
PAIRS = [
    ("resnet50.fp16", "resnet50.qdq"),
    ("resnet50.implicit-int8", "resnet50.modelopt"),
    ("mobilenet_v2.qdq", "mobilenet_v2.implicit-int8"),
    ("vit_small.fp16", "vit_small.qdq"),
]


def report_of(name):
    profile, timing = (RECORDED / f"{name}.{kind}.json" for kind in ("profile", "timing"))
    return load_report(
        RECORDED / f"{name}.graph.json",
        profile=profile if profile.exists() else None,
        timing=timing if timing.exists() else None,
    )


@pytest.mark.parametrize("name", NAMES)
def test_what_is_said_of_an_engine(name, snapshot):
    profile = RECORDED / f"{name}.profile.json"
    summary = load_engine(RECORDED / f"{name}.graph.json", profile=profile if profile.exists() else None)
    assert summary.text(top=6) == snapshot(name="text")
    data = json.loads(summary.json())
    layers = [text_of(list(layer.values())) for layer in data.pop("layers")]
    findings = [text_of(list(finding.values())) for finding in data.pop("findings")]
    if name in WHOLE:
        assert "\n".join(layers) == snapshot(name="layers")
        assert text_of(data) == snapshot(name="the rest")
    assert "\n".join(findings[:20]) == snapshot(name="findings")


@pytest.mark.parametrize("name", ["mobilenet_v2.qdq", "vit_small.qdq"])
def test_tables_and_charts_of_an_engine(name, snapshot):
    report = report_of(name)
    for table in TABLES:
        assert of_table(table(report)) == snapshot(name=table.__name__)
    charts = {
        "share": precision_share(report),
        "dots": roofline_dots(report),
        "transitions": transitions(report),
        "memory": memory_timeline(report),
    }
    assert of_table(top_layers(report, top=3)) == snapshot(name="top")
    for chart, actual in charts.items():
        assert repr_of(actual) == snapshot(name=chart)


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_what_is_said_of_two_engines(pair, snapshot):
    comparison = compare_engines([report_of(name) for name in pair])
    assert comparison.summary(top=4) == snapshot(name="summary")
    assert of_table(comparison.table()) == snapshot(name="table")


def test_what_gpus_can_do_is_what_their_datasheets_say(snapshot):
    assert "\n".join(repr_of(limits) for limits in GPU_LIMITS.values()) == snapshot


def repr_of(result):
    """Plain data of dataclasses, rounded."""
    if dataclasses.is_dataclass(result):
        result = dataclasses.asdict(result)
    elif isinstance(result, (list, tuple)):
        return "\n".join(map(repr_of, result))
    return text_of(result)


@pytest.mark.parametrize("tolerance", [0.0, 50.0])
@pytest.mark.parametrize("pair", [*PAIRS, ("resnet50.qdq", "resnet50.fp32"), ("yolox_nano.qdq",) * 2], ids="-".join)
def test_whether_an_engine_got_worse(pair, tolerance, snapshot):
    before, after = (report_of(name) for name in pair)
    judged = judge_against(before, after, compare_engines([before, after]), tolerance=tolerance)
    lines = [f"{one.what}: {one.passed} {one.message} {list(one.details[:4])}" for one in judged]
    assert "\n".join(lines) == snapshot
    bare = [replace(report, timing=None) for report in (before, after)]
    assert str(judge_against(*bare, compare_engines(bare))[-1].message) == snapshot(name="sum of layers")
