"""An engine that got worse than an earlier one fails, and says where."""

from __future__ import annotations

import pytest

from tests.kit.places import ROOT
from workbench.jobs import read_engine

DATA = ROOT / "tests/data/engines"


def engine(name, **more):
    return read_engine(
        DATA / f"resnet50.{name}.graph.json",
        profile=DATA / f"resnet50.{name}.profile.json",
        timing=DATA / f"resnet50.{name}.timing.json",
        **more,
    )


def against(name):
    return {
        "against": DATA / f"resnet50.{name}.graph.json",
        "against_profile": DATA / f"resnet50.{name}.profile.json",
        "against_timing": DATA / f"resnet50.{name}.timing.json",
    }


def judged(result):
    return {case.name: case.passed for case in result.cases}


def test_the_same_engine_is_not_worse():
    result = engine("qdq", **against("qdq"), no_worse=0)
    assert judged(result) == dict.fromkeys(("layers", "reformats", "precision", "milliseconds"), True)
    assert result.exit_code == 0


def test_slower_and_wider_is_worse_and_the_comment_says_where(tmp_path):
    result = engine("fp16", **against("qdq"), no_worse=5, junit=tmp_path / "j.xml", summary=tmp_path / "s.md")
    assert judged(result)["milliseconds"] is judged(result)["precision"] is False
    assert result.exit_code == 12
    text = (tmp_path / "s.md").read_text()
    assert "milliseconds" in text
    assert "allowed +5%" in text
    assert 'failures="' in (tmp_path / "j.xml").read_text()


def test_slower_within_the_tolerance_is_not_worse():
    assert judged(engine("fp16", **against("qdq"), no_worse=1000))["milliseconds"]


def test_without_times_milliseconds_do_not_pass():
    graph = DATA / "resnet50.qdq.graph.json"
    result = read_engine(graph, against=graph, no_worse=0)
    assert judged(result) == {"layers": True, "reformats": True, "precision": True, "milliseconds": False}
    assert "not measured" in result.text()


@pytest.mark.parametrize(
    ("gate", "passes"), [("p99_ms <= 100", True), ("p99_ms <= 0.001", False), ("layers <= 1", False)]
)
def test_gates_are_on_the_engines_own_files(gate, passes):
    result = engine("qdq", gates=(gate,))
    assert (judged(result), result.exit_code) == ({gate: passes}, 0 if passes else 12)


def test_findings_are_written_as_sarif(tmp_path):
    assert tmp_path / "f.sarif" in engine("qdq", sarif=tmp_path / "f.sarif").files
