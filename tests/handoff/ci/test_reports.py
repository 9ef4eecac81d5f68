"""What CI systems read: whatever names hold, documents stay well formed and say what was found."""

from __future__ import annotations

import json
from dataclasses import replace
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from tests.kit.places import ROOT
from workbench.engine import load_engine
from workbench.handoff.ci import Case, cases_table, gate_cases, junit, sarif
from workbench.recipe import GateResult

CASES = [
    Case("site a", "sqnr_db >= 20", True, "31 dB, passed"),
    Case("site b", "sqnr_db >= 20", False, "12 dB, FAILED by 8 dB", "worst output: boxes", 1.5),
    Case("site b", "p95_ms <= 9", None, "no GPU"),
]


def parsed(text):
    return ET.fromstring(text.encode())  # noqa: S314 - our own


def test_junit_counts_and_groups_cases():
    root = parsed(junit("fleet", CASES))
    assert {**root.attrib} == {"name": "fleet", "tests": "3", "failures": "1", "errors": "0", "time": "1.500"}
    first, second = root.findall("testsuite")
    assert (second.get("skipped"), second.get("errors")) == ("1", "0")
    assert (first.get("tests"), second.get("tests"), second.get("failures")) == ("1", "2", "1")
    failure = second.find("testcase/failure")
    assert (failure.get("message"), failure.text) == ("12 dB, FAILED by 8 dB", "worst output: boxes")
    assert second.findall("testcase")[1].find("skipped").get("message") == "no GPU"


@given(st.text(), st.text(), st.text())
def test_any_name_makes_a_document_that_parses(group, name, told):
    case = Case(group, name, passed=False, message=told, details=told)
    assert parsed(junit(name, [case])).get("failures") == "1"
    table = cases_table(name, [case]).splitlines()
    rows = [line for line in table if line.startswith("|")]
    assert len(rows) == 3
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1


def test_a_summary_has_what_failed_first():
    text = cases_table("Fleet", CASES, ["onnx 1 -> 2"])
    assert text.startswith("## Fleet\n\n**1 failed**, 1 passed, 1 not checked\n")
    order = [line.split("|")[2].strip() for line in text.splitlines() if line.startswith(("| ✅", "| ❌", "| ⏭"))]
    assert order == ["site b", "site a", "site b"]
    assert "- onnx 1 -\\> 2" in text


def test_gates_become_cases():
    (case,) = gate_cases("m", [GateResult("layers <= 3", 5.0, passed=False, unit="layers", missed_by=2.0)])
    assert (case.passed, case.message) == (False, "5 layers, FAILED by 2 layers")


def test_sarif_has_a_rule_a_kind_and_a_result_a_finding():
    data = ROOT / "tests/data/engines"
    findings = load_engine(data / "resnet50.qdq.graph.json", profile=data / "resnet50.qdq.profile.json").findings
    unknown = replace(findings[0], cost_ms=None)
    log = json.loads(sarif([*findings, unknown], "engines/a b.json"))
    (run,) = log["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert log["version"] == "2.1.0"
    assert rules == sorted({one.kind for one in findings})
    assert len(run["results"]) == len(findings) + 1
    for result, finding in zip(run["results"], [*findings, unknown], strict=True):
        assert rules[result["ruleIndex"]] == result["ruleId"] == finding.kind
        place = result["locations"][0]["physicalLocation"]
        assert place == {"artifactLocation": {"uri": "engines/a%20b.json"}, "region": {"startLine": 1}}
    assert [run["results"][at]["level"] for at in (0, -1)] == ["warning", "note"]
