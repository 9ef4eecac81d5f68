"""What a tuning came to, row by row and value by value, of figures that are given."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest

from workbench.evaluate.agreement import Accuracy, Comparison, Latency, OutputDifference
from workbench.handoff import tuning_report
from workbench.handoff.tuning_report import before_after, report
from workbench.names import percent
from workbench.recipe import GateResult
from workbench.session import open_model

OUTPUT = OutputDifference("y", 31.25, 0.99951, 0.0125, 0.9, 0, 60)


@pytest.fixture(scope="module")
def wb(small_cnn, small_data):
    wb = open_model(small_cnn)
    wb.calibrate(small_data)
    wb.plan.set("op:Conv", "int8")
    wb.plan.set("op:Gemm", "fp8")
    wb.tune()
    return wb


def compared(**changes):
    before, after = Latency(2.0, 4.0, 30, 3), Latency(0.5, 5.0, 30, 3)
    plain = Comparison((OUTPUT,), Accuracy(0.75, 0.7325, 400), 12, before, after, 4_000_000, 1_000_000)
    return replace(plain, **changes)


def test_each_figure_has_a_row_before_and_after(wb):
    rows = {row.what: (row.original, row.tuned, row.change) for row in before_after(wb, compared())}
    assert rows == {
        "top-1": ("75.00%", "73.25%", "-1.75 points"),
        "output y": ("reference", "", str(OUTPUT)),
        "median latency (batch 3, this CPU)": ("2.00 ms", "0.50 ms", "x0.25"),
        "p95 latency (batch 3, this CPU)": ("4.00 ms", "5.00 ms", "x1.25"),
        "file size": ("4.00 MB", "1.00 MB", "x0.25"),
        "MACs in INT8": ("0.0%", rows["MACs in INT8"][1], ""),
        "MACs in FP8": ("0.0%", rows["MACs in FP8"][1], ""),
        "engine against floating point": ("", "", str(wb.recipe.pays)),
    }
    eight = [float(rows[f"MACs in {kind}"][1].rstrip("%")) for kind in ("INT8", "FP8")]
    assert sum(eight) == pytest.approx(100.0, abs=0.11)
    assert eight[0] > 90
    assert 0 < eight[1] < 5


def test_a_report_has_all_that_is_known_as_plain_values(wb):
    gates = [GateResult("sqnr_db >= 40", 31.25, False, unit="dB", missed_by=8.75)]
    content = report(wb, compared(outputs=(replace(OUTPUT, sqnr_db=math.inf),)), gates)
    assert content["workbench_report"] == 1
    assert content["model"] == {"name": "small_cnn", "sha256": wb.source.digest, "nodes": len(wb.source.nodes)}
    assert content["tuned"] == {"sha256": wb.recipe.tuned.sha256}
    plan = content["plan"]
    assert (plan["rules"], plan["int8_nodes"], plan["nodes"]) == (
        [str(rule) for rule in wb.plan.resolve().rules],
        2,
        len(wb.model.nodes),
    )
    assert plan["int8_macs_share"] + plan["fp8_macs_share"] == pytest.approx(1.0)
    assert plan["refused"] == []
    assert content["comparison"]["outputs"][0]["sqnr_db"] == "inf"
    assert content["comparison"]["accuracy"]["tuned"] == 0.7325
    assert content["gates"][0]["missed_by"] == 8.75
    assert content["ranges"] == dict(wb.ranges)


def test_a_node_that_does_not_get_what_was_asked_is_in_the_report_with_the_reason(small_cnn, small_data):
    wb = open_model(small_cnn)
    wb.calibrate(small_data)
    wb.plan.set("op:Flatten", "int8")
    (refused,) = report(wb, compared(), [])["plan"]["refused"]
    assert (refused["op"], refused["requested"]) == ("Flatten", "int8")
    assert refused["reasons"]
    assert report(wb, compared(), [])["tuned"] is None


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        ({}, {}, {"INT8": ("0.0%", "0.0%")}),
        ({"fp8": 0.25}, {}, {"INT8": ("0.0%", "0.0%"), "FP8": ("25.0%", "0.0%")}),
        ({}, {"fp8": None}, {"INT8": ("0.0%", "0.0%"), "FP8": ("0.0%", percent(None))}),
        ({"int8": 0.5}, {"int8": 0.75, "fp8": 0.125}, {"INT8": ("50.0%", "75.0%"), "FP8": ("0.0%", "12.5%")}),
    ],
)
def test_the_share_of_each_precision_has_a_row_where_there_is_some(monkeypatch, before, after, shown):
    def share(model, written, precision):
        return (before if model == written else after).get(precision, 0.0)

    monkeypatch.setattr(tuning_report, "_share_in", share)
    wb = SimpleNamespace(source="source", model="model", tuned="tuned", recipe=SimpleNamespace(pays="pays"))
    rows = before_after(wb, compared(accuracy=Accuracy(0.75, 0.75, 400), original_latency=None))
    assert {row.what[8:]: (row.original, row.tuned) for row in rows if row.what.startswith("MACs in ")} == shown
    assert (rows[0].what, rows[0].change) == ("top-1", "+0.00 points")
    assert not any("latency" in row.what for row in rows)


@pytest.mark.parametrize(
    ("precision", "share"), [("int8", 0.5), ("fp8", 0.125), ("fp16", 0), ("fp32", None), ("bf16", 0.25)]
)
def test_a_share_is_of_what_was_written_in_the_precision_and_known_where_each_nodes_is(monkeypatch, precision, share):
    kinds = {"a": "int8", "b": "int8", "c": "fp8", "d": "fp32", "gone": "fp16", "e": "bf16"}
    written = SimpleNamespace(nodes={name: kind for name, kind in kinds.items() if name != "gone"})
    shares = {"a": 0.3, "b": 0.2, "c": 0.125, "d": None, "gone": 0.0, "e": 0.25}
    monkeypatch.setattr(tuning_report, "own_precision", lambda kind: kind)
    monkeypatch.setattr(tuning_report, "costs", lambda *_: "costs")
    monkeypatch.setattr(tuning_report, "batch_of_one", lambda _: "one")
    monkeypatch.setattr(tuning_report, "mac_shares", lambda *_: shares)
    model = SimpleNamespace(nodes=kinds)
    assert tuning_report._share_in(model, written, precision) == (None if share is None else pytest.approx(share))


def test_precisions_stand_by_how_many_nodes_have_them():
    decisions = [SimpleNamespace(precision=kind) for kind in ("fp16", "int8", "fp32", "int8", "fp32", "int8")]
    plan = SimpleNamespace(resolve=lambda: SimpleNamespace(decisions=dict(enumerate(decisions))))
    assert tuning_report.precisions(SimpleNamespace(plan=plan)) == "INT8 + FP32 + FP16"
