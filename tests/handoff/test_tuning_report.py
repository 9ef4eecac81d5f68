"""What a tuning came to, row by row and value by value, of figures that are given."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from workbench.evaluate.agreement import Accuracy, Comparison, Latency, OutputDifference
from workbench.handoff.tuning_report import before_after, report
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
    before, after = Latency(2.0, 4.0, 30, 1), Latency(0.5, 5.0, 30, 1)
    plain = Comparison((OUTPUT,), Accuracy(0.75, 0.7325, 400), 12, before, after, 4_000_000, 1_000_000)
    return replace(plain, **changes)


def test_each_figure_has_a_row_before_and_after(wb):
    rows = {row.what: (row.original, row.tuned, row.change) for row in before_after(wb, compared())}
    assert rows == {
        "top-1": ("75.00%", "73.25%", "-1.75 points"),
        "output y": ("reference", "", str(OUTPUT)),
        "median latency (this CPU)": ("2.00 ms", "0.50 ms", "x0.25"),
        "p95 latency (this CPU)": ("4.00 ms", "5.00 ms", "x1.25"),
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
