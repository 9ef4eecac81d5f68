"""What CI systems read: whatever names hold, documents stay well formed and say what was found."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
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
    missed = GateResult("layers <= 3", 5.0, passed=False, unit="layers", missed_by=2.0)
    met = GateResult("layers <= 3", 3.0, passed=True, unit="layers", conditions="on a GPU")
    assert gate_cases("m", [missed, met]) == [
        Case("m", "layers <= 3", False, "5 layers, FAILED by 2 layers", str(missed), 0.0),
        Case("m", "layers <= 3", True, "3 layers, passed", "on a GPU", 0.0),
    ]


def test_a_summary_is_a_heading_the_counts_a_table_and_a_sentence_a_note():
    passed = [Case("a|b", f"gate {n}", True, f"{n}\nlines") for n in (1, 2)]
    assert cases_table("All *good*", passed, ["note"]).splitlines() == [
        "## All \\*good\\*",
        "",
        "2 passed",
        "",
        "|  | of | what | result |",
        "| --- | --- | --- | --- |",
        "| ✅ | a\\|b | gate 1 | 1 lines |",
        "| ✅ | a\\|b | gate 2 | 2 lines |",
        "",
        "- note",
    ]
    assert cases_table("None", []) == "## None\n\n0 passed\n"
    assert cases_table("Both", [CASES[1]] * 2).splitlines()[2] == "**2 failed**, 0 passed"


def test_a_document_of_junit_has_each_case_with_its_time_and_what_was_said():
    cases = [*CASES, Case("site a", "quiet\x00", True, seconds=0.25), Case("site c", "undone", False, "no\x1b", "all")]
    assert junit("fleet \x0b", cases).splitlines() == [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<testsuites name="fleet \\x0b" tests="5" failures="2" errors="0" time="1.750">',
        '  <testsuite name="site a" tests="2" failures="0" errors="0" skipped="0" time="0.250">',
        '    <testcase name="sqnr_db &gt;= 20" classname="site a" time="0.000">',
        "      <system-out>31 dB, passed</system-out>",
        "    </testcase>",
        '    <testcase name="quiet\\x00" classname="site a" time="0.250" />',
        "  </testsuite>",
        '  <testsuite name="site b" tests="2" failures="1" errors="0" skipped="1" time="1.500">',
        '    <testcase name="sqnr_db &gt;= 20" classname="site b" time="1.500">',
        '      <failure message="12 dB, FAILED by 8 dB">worst output: boxes</failure>',
        "    </testcase>",
        '    <testcase name="p95_ms &lt;= 9" classname="site b" time="0.000">',
        '      <skipped message="no GPU" />',
        "    </testcase>",
        "  </testsuite>",
        '  <testsuite name="site c" tests="1" failures="1" errors="0" skipped="0" time="0.000">',
        '    <testcase name="undone" classname="site c" time="0.000">',
        '      <failure message="no\\x1b">all</failure>',
        "    </testcase>",
        "  </testsuite>",
        "</testsuites>",
    ]


def finding(kind, cost_ms, *nodes):
    return SimpleNamespace(
        kind=kind,
        title=f"{kind} {cost_ms}",
        bound="at most",
        cost_ms=cost_ms,
        nodes=nodes,
        layers=("l1", "l2"),
        where="l1",
        evidence="seen",
        fix="Mend it.",
    )


def test_a_finding_of_sarif_says_all_that_is_known_of_it():
    log = sarif([finding("b", 0.12345, "n"), finding("b", 2.0, "n"), finding("a", None)], "e.json")
    assert log.endswith("}\n")
    (run,) = json.loads(log)["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [(rule["id"], rule["shortDescription"]["text"]) for rule in rules] == [("a", "a None"), ("b", "b 0.12345")]
    first, _, last = run["results"]
    place = {"artifactLocation": {"uri": "e.json"}, "region": {"startLine": 1}}
    assert first == {
        "ruleId": "b",
        "ruleIndex": 1,
        "level": "warning",
        "message": {"text": "b 0.12345 (at most of 0.1235 ms): l1. seen. Mend it."},
        "locations": [{"physicalLocation": place, "logicalLocations": [{"name": "n", "kind": "member"}]}],
        "partialFingerprints": {"layers/v1": "b:l1,l2"},
        "properties": {"cost_ms": 0.12345, "layers": ["l1", "l2"], "nodes": ["n"]},
    }
    assert (last["level"], last["message"]["text"]) == ("note", "a None: l1. seen. Mend it.")
    assert [one["name"] for one in last["locations"][0]["logicalLocations"]] == ["l1", "l2"]


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
