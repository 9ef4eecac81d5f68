"""Each part of a page says the figures it was given, and what is at the edge of what it shows."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from types import SimpleNamespace

import pytest

import workbench
from tests.kit.places import ROOT
from workbench.backends import Timing
from workbench.calibration import Drift
from workbench.engine import load_engine
from workbench.evaluate.agreement import Accuracy, Comparison, Latency, OutputDifference
from workbench.handoff import dossier as module
from workbench.handoff.document import html_document, html_table
from workbench.handoff.dossier import Dossier, TimedBatch, dossier_page
from workbench.handoff.overview import fleet_page
from workbench.handoff.report_page import _gates
from workbench.handoff.tuning_report import BeforeAfter, _plain, _size, before_after, macs_share, precisions, text_table
from workbench.recipe import Gate, GateResult, check_gates
from workbench.recipe.gates import Evidence
from workbench.recipe.steps import CalibrateStep

OUTPUT = OutputDifference("y", 31.534, 0.99123456, 0.012345, 0.25, 0, 8)
BEFORE, AFTER = Latency(4.0, 5.0, 10, 1), Latency(2.0, 10.0, 10, 1)
COMPARED = Comparison((OUTPUT,), Accuracy(0.75, 0.5, 98, 30, 5), 98, BEFORE, AFTER, 2_000_000, 500_000)
SLOW = Timing(4.0, 4.5, 5.0, 8.0, 4.1, 250.0, 20, 3, {"backend": "tensorrt", "device": "H200"}, (3.0, 4.0, 5.0))
FAST = Timing(2.0, 2.5, 10.0, 2.0, 2.1, 1000.0, 30, 5, {"backend": "tensorrt", "device": "H200"}, (1.0, 2.0, 3.0))


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch):
    """Leave the pictures to the tests of the views: each takes as long as all of the text."""
    monkeypatch.setattr(module, "picture", lambda _view, alt: f"<p>{alt}</p>")


@pytest.fixture(scope="module")
def wb(small_cnn, small_data):
    session = workbench.open_model(small_cnn)
    session.calibrate(small_data, batch=4)
    session.plan.set("op:Conv", "int8")
    session.tune()
    return session


@pytest.fixture(scope="module")
def engine():
    data = ROOT / "tests/data/engines"
    return load_engine(data / "resnet50.qdq.graph.json", profile=data / "resnet50.qdq.profile.json")


def text_of(page):
    """The words of a page, cells apart from each other."""
    page = re.sub(r"<(style|picture)>.*?</\1>", "", page, flags=re.DOTALL)
    words = re.sub(r"</t[dh]><t[dh][^>]*>", " | ", page).replace("<wbr>", "")
    return re.sub(r"<[^>]+>", "\n", words).replace("&lt;", "<").replace("&gt;", ">")


def judged(*gates):
    asked = [Gate.parse(gate) for gate in gates]
    evidence = Evidence(COMPARED, {"p50": 2.0, "p95": 10.0}, conditions="a GPU")
    return {"gates": asked, "verdicts": check_gates(asked, evidence)}


@pytest.mark.parametrize(
    ("gates", "words", "style"),
    [
        (["sqnr_db >= 20"], "the gate holds", "good"),
        (["sqnr_db >= 20", "p95_ms <= 10"], "all 2 gates hold", "good"),
        (["sqnr_db >= 20", "p95_ms <= 9", "p50_ms <= 1"], "2 of 3 gates failed", "bad"),
    ],
)
def test_the_head_says_how_many_gates_hold(wb, gates, words, style):
    page = dossier_page(Dossier("t", wb, **judged(*gates)))
    assert f'<b class="{style}">{words}</b>' in page
    assert "sqnr_db >= 20 | 31.5 dB | passed" in text_of(page)


def test_without_gates_nothing_is_said_of_any(wb):
    text = text_of(dossier_page(Dossier("t", wb)))
    assert "gate" not in text.split("The recipe")[0]
    assert "There is not a comparison." in text
    assert "Latency and the service level" not in text
    assert "Throughput and memory" not in text
    assert "What the compiler made" not in text
    assert "\nAccuracy\n" not in text


def test_what_was_gained_has_both_engines_and_the_ratios(wb):
    text = text_of(dossier_page(Dossier("t", wb, comparison=COMPARED, before=SLOW, after=FAST)))
    for line in (
        "top-1 | 75.00% | 50.00% | -25.00 points",
        "median latency (batch 1, this CPU) | 4.00 ms | 2.00 ms | x0.50",
        "p95 latency (batch 1, this CPU) | 5.00 ms | 10.00 ms | x2.00",
        "file size | 2.00 MB | 500.0 kB",
        "engine, median | 4.000 ms | 2.000 ms | x0.50",
        "engine, p95 | 5.000 ms | 10.000 ms | x2.00",
        "engine, p99 | 8.000 ms | 2.000 ms | x0.25",
        "engine, inferences a second | 250.0 | 1000.0 | x4.00",
        "Engines were timed under: backend tensorrt, device H200, 30 runs after 5 to warm up.",
    ):
        assert line.replace("500.0 kB", "0.50 MB") in text, line
    for lacking in ({"before": None}, {"after": None}):
        assert "engine, median" not in text_of(
            dossier_page(replace(Dossier("t", wb, before=SLOW, after=FAST), **lacking))
        )


def test_only_levels_of_latency_are_shown_beside_the_latencies(wb):
    gates = judged("p95_ms <= 10", "sqnr_db >= 20", "p50_ms <= 1.5", "p99_ms >= 1")
    text = text_of(dossier_page(Dossier("t", wb, before=SLOW, after=FAST, **gates)))
    section = text.split("Latency and the service level")[1].split("Precision of each layer")[0]
    assert [line for line in section.splitlines() if " ms" in line] == [
        *("p95 <= 10 ms: ", ", 10 ms"),
        *("p50 <= 1.5 ms: ", "FAILED by 0.5 ms", ", 2 ms"),
    ]
    silent = dossier_page(Dossier("t", wb, after=replace(FAST, latencies_ms=()), **gates))
    assert "Latency and the service level" not in silent


@pytest.mark.parametrize(
    ("known", "head", "cells"),
    [
        ((1.5, 6.25), "device memory", ("1.50", "6.25")),
        ((1.5, None), "activations, computed", ("0.50", "2.00")),
        ((None, None), "activations, computed", ("0.50", "2.00")),
    ],
)
def test_memory_is_what_the_backend_tells_of_every_batch_or_else_computed(wb, known, head, cells):
    batches = [TimedBatch(1, SLOW, known[0], 0.5), TimedBatch(4, FAST, known[1], 2.0)]
    text = text_of(dossier_page(Dossier("t", wb, batches=batches)))
    assert f"{head} [MiB]" in text
    assert f"1 | 250.0 | 4.000 | 5.000 | {cells[0]}" in text
    assert f"4 | 4000.0 | 2.000 | 10.000 | {cells[1]}" in text
    assert "| unknown" in text_of(dossier_page(Dossier("t", wb, batches=[TimedBatch(1, SLOW)])))


def test_accuracy_has_its_interval_or_says_that_there_were_no_labels(wb):
    text = text_of(dossier_page(Dossier("t", wb, comparison=COMPARED)))
    low, high = COMPARED.accuracy.interval(0.95)
    counted = f"25.00 points lost, 95% confidence interval {low:+.2f} to {high:+.2f} points."
    assert f"Top-1 75.00% before and 50.00% after, on 98 labelled samples: {counted}" in text
    assert "y | 31.53 | 0.991235 | 0.01235 | 0" in text
    uncounted = replace(COMPARED, accuracy=Accuracy(0.75, 0.5, 98))
    assert "25.00 points lost.\n" in text_of(dossier_page(Dossier("t", wb, comparison=uncounted)))
    unlabelled = text_of(dossier_page(Dossier("t", wb, comparison=replace(COMPARED, accuracy=None))))
    assert "No labels were given: outputs were compared on 98 samples." in unlabelled


def test_the_head_says_of_what_for_what_and_on_which_machine(wb):
    notes = ("no <GPU>", "no drift")
    machine = {"GPU": "H200", "driver": "580"}
    text = text_of("".join(module._head(Dossier("<t>", wb, machine=machine, notes=notes))))
    for line in (
        "\n<t>\n",
        f"model | small_cnn, sha256 {wb.source.digest}",
        f"tuned to | {precisions(wb)}",
        f"tuned.onnx | sha256 {wb.recipe.tuned.sha256}",
        "target | any",
        "GPU | H200",
        "driver | 580",
        *(f"version of {name} | {version}" for name, version in wb.recipe.environment.items()),
        *(f"Not measured: {note}" for note in notes),
    ):
        assert line in text, line
    untuned = SimpleNamespace(source=wb.source, recipe=wb.recipe.model_copy(update={"tuned": None, "target": "rtx"}))
    untuned.plan = wb.plan
    text = text_of("".join(module._head(Dossier("t", untuned))))
    assert "tuned.onnx | not tuned" in text
    assert "target | rtx" in text


def test_figures_before_and_after_are_set_right_and_words_are_not(wb):
    page = "".join(module._gained(Dossier("t", wb, before=SLOW, after=FAST)))
    rows = re.findall(r"<tr>(<td.*?)</tr>", page)
    assert [re.findall(r'<td( class="n")?>', row) for row in rows] == [["", ' class="n"', ' class="n"', ""]] * 4


@pytest.fixture
def drawn(monkeypatch):
    """The charts that a page is drawn with, instead of their pictures."""
    made = []
    monkeypatch.setattr(module, "picture", lambda view, alt: made.append((view, alt)) or "")
    return made


def test_latencies_of_both_engines_are_drawn_with_their_levels_where_there_are_some(wb, drawn):
    gates = judged("p95_ms <= 10", "sqnr_db >= 20", "p50_ms <= 1.5")
    silent = replace(SLOW, latencies_ms=())
    for before, names in ((SLOW, ["original", "tuned"]), (None, ["tuned"]), (silent, ["tuned"])):
        list(module._service(Dossier("t", wb, before=before, after=FAST, **gates)))
        chart, alt = drawn.pop()
        assert [name for name, _ in chart.latencies_ms] == names
        assert chart.latencies_ms[-1][1] == FAST.latencies_ms
        assert chart.levels == (("p95", 10.0, True), ("p50", 1.5, False))
        assert chart.title == "30 inferences each, tensorrt on H200"
        assert alt == f"Distribution of latencies: {chart.title}"


@pytest.mark.parametrize(
    ("told", "computed", "memory", "label"),
    [
        ((1.5, 6.25), (0.5, 2.0), (1.5, 6.25), "device memory"),
        ((1.5, None), (0.5, 2.0), (0.5, 2.0), "activations, computed"),
        ((None, None), (0.5, None), (), "activations, computed"),
    ],
)
def test_memory_is_drawn_where_it_is_known_of_every_batch(wb, drawn, told, computed, memory, label):
    pairs = zip((1, 4), (SLOW, FAST), told, computed, strict=True)
    list(module._scaling(Dossier("t", wb, batches=[TimedBatch(*one) for one in pairs])))
    ((chart, alt),) = drawn
    assert (chart.batches, chart.throughput) == ((1, 4), (250.0, 4000.0))
    assert (chart.memory_mib, chart.memory_label) == (memory, label)
    assert alt == chart.title == "tuned model, 20 inferences each, tensorrt on H200"


@pytest.mark.parametrize(("count", "shown", "rest"), [(80, 80, None), (83, 80, 3)])
def test_eighty_nodes_are_listed_with_why_they_have_their_precision(monkeypatch, count, shown, rest):
    from workbench.views import plans

    def decided(at, rule, *reasons):
        return SimpleNamespace(node=f"n{at}", op_type="Conv", precision="int8", rule=rule, reasons=reasons)

    kinds = [decided(0, 1), decided(1, None, "a", "b"), *(decided(at, 0) for at in range(2, count))]
    resolution = SimpleNamespace(decisions=dict(enumerate([*kinds, decided("none", None)])), rules=["rule 0", "rule 1"])
    ranges = SimpleNamespace(statistics=None)
    session = SimpleNamespace(plan=SimpleNamespace(resolve=lambda: resolution), model=None, ranges=ranges)
    monkeypatch.setattr(plans, "tuning_chart", lambda *_: SimpleNamespace(title="t"))
    text = text_of("".join(module._precision(Dossier("t", session))))
    lines = [line for line in text.splitlines() if " | Conv | INT8 | " in line]
    assert len(lines) == shown
    assert [line.split(" | ")[-1] for line in lines[:3]] == ["rule 1", "a; b", "rule 0"]
    assert ("which the recipe holds" in text) == (rest is not None)
    if rest is not None:
        assert f"and {rest} more, which the recipe holds" in text


def test_the_calibration_is_told_by_its_samples_and_method(wb):
    (step,) = wb.recipe.of_kind(CalibrateStep)
    text = text_of("".join(module._calibration(Dossier("t", wb))))
    line = f"12 samples of {step.samples.source['path']}, method {step.method}, {len(step.ranges)} ranges"
    assert f"\n{line}\n" in text
    assert f"fingerprint {step.samples.fingerprint}" in text
    bare = SimpleNamespace(recipe=SimpleNamespace(of_kind=lambda _: ()))
    text = text_of("".join(module._calibration(Dossier("t", bare))))
    assert "There is not a calibration: the ranges came from elsewhere, or there are none." in text


def test_advice_names_every_version_but_pythons_and_how_a_workspace_was_computed(wb):
    versions = {"a": "1", "python": "3", "z": "2"}
    recipe = SimpleNamespace(environment=versions, of_kind=lambda _: ())
    session = SimpleNamespace(recipe=recipe, advice=("At last.",))
    said = list(module._sentences(Dossier("t", session, suggested_workspace_mib=300.4)))
    pinned, workspace, last = said
    assert (pinned, last) == ("Pin the versions that made this: a==1, z==2.", "At last.")
    assert workspace == (
        "Give builds 300 MiB of workspace: about 1.5 times the peak of the graph's tensors, as computed from its "
        "shapes, and no less than 256."
    )
    page = "".join(module._advice(Dossier("t", session)))
    assert page.startswith("<h2>Advice that applies here</h2><ul><li>Pin ")
    assert page.endswith("<li>At last.</li></ul>")
    assert "Compare the calibration's" in " ".join(module._sentences(Dossier("t", wb)))


def test_a_recipe_is_there_to_make_it_again_with_its_commands_where_there_are_some(wb):
    page = "".join(module._again(Dossier("t", wb, replay=("a <b>", "c"))))
    assert "<pre>a &lt;b&gt;\nc</pre><details>" in page
    assert "".join(module._again(Dossier("t", wb))).startswith("<h2>How to make it again</h2><details>")


def test_as_many_nodes_are_listed_as_the_page_has_rows_for(wb, monkeypatch):
    for most, rest in ((2, None), (1, 1), (0, 2)):
        monkeypatch.setattr(module, "MOST_ROWS", most)
        text = text_of("".join(module._precision(Dossier("t", wb))))
        assert text.count(" | Conv | INT8 | op:Conv -> int8") == most
        assert (f"and {rest} more, which the recipe holds" in text) == (rest is not None)
        assert ("which the recipe holds" in text) == (rest is not None)


def test_drift_is_told_of_the_ten_worst_tensors_and_counts_all_that_warn(wb):
    drifts = [Drift(f"t{k:02}", 0.9 - k / 100, 1.5 + k, 0.0123 if k < 11 else 0.0, 0.0001) for k in range(12)]
    page = dossier_page(Dossier("t", wb, drift=drifts, field_samples=7))
    text = text_of(page)
    assert '<p class="bad">11 of 12 tensors leave their ranges on 7 samples from the field.' in page
    assert "t00 | 0.900 | 1.50 | 1.230% | 0.010%" in text
    assert "t09 | " in text
    assert "t10 | " not in text
    assert f"Calibrate on data like the field's: {drifts[0].warning}." in unescape(text)
    calm = unescape(dossier_page(Dossier("t", wb, drift=drifts[-1:], field_samples=7)))
    assert '<p class="good">0 of 1 tensors' in calm
    assert "Calibrate on data like" not in calm
    assert "Compare the calibration's data with the field's" not in calm
    unknown = unescape(dossier_page(Dossier("t", wb)))
    assert "whether calibration was like them is not known" in unknown
    assert "Compare the calibration's data with the field's (--field)" in unknown


def test_findings_of_an_engine_are_listed_up_to_fifteen(wb, engine):
    one = engine.findings[0]
    for count, rest in ((15, None), (16, 1), (0, None)):
        summary = replace(engine, findings=[replace(one, title=f"finding {k:02}.") for k in range(count)])
        text = text_of("".join(module._engine(Dossier("t", wb, engine=summary)))).split("Findings left")[1]
        assert len(re.findall(r"finding \d\d\. \| ", text)) == min(count, 15)
        assert (f"and {rest} more" in text) == (rest is not None)
        assert ("\nNone.\n" in text) == (count == 0)
    assert f" | {one.cost_ms:.4f} | " in text_of(dossier_page(Dossier("t", wb, engine=engine)))
    unknown = replace(engine, findings=[replace(one, cost_ms=None)])
    assert " | unknown | " in text_of(dossier_page(Dossier("t", wb, engine=unknown)))


@pytest.mark.parametrize(("worst", "advised"), [(24.99, True), (25.0, False)])
def test_a_sensitive_output_is_advised_to_begin_with_fp16(wb, worst, advised):
    compared = replace(COMPARED, outputs=(replace(OUTPUT, sqnr_db=worst),))
    text = text_of(dossier_page(Dossier("t", wb, comparison=compared)))
    assert ("FP16 first: the worst output is sensitive" in text) == advised


def test_a_workspace_is_advised_where_one_is_known(wb):
    told = "Give builds 96 MiB of workspace"
    assert told in text_of(dossier_page(Dossier("t", wb, suggested_workspace_mib=96.2)))
    assert "of workspace" not in text_of(dossier_page(Dossier("t", wb)))


@pytest.mark.parametrize(
    ("title", "language"), [("Plant 7", "en"), ("工厂", "zh"), ("공장", "zh"), ("\u2e80", "zh"), ("\u2e7f", "en")]
)
def test_the_language_of_a_page_is_that_of_its_title(wb, title, language):
    assert f'<html lang="{language}">' in dossier_page(Dossier(title, wb))


def test_conditions_are_said_in_words_and_empty_ones_are_not():
    told = {
        "clock": 1.23456789,
        "shapes": {"x": (1, 3, 8, 8), "y": [2]},
        "runs": 5,
        "none": None,
        "blank": "",
        "empty": {},
        "zero": 0,
    }
    words = module._conditions("Timed under", replace(FAST, conditions=told))
    assert "Timed under: clock 1.235, shapes x 1x3x8x8; y 2, runs 5, zero 0, 30 runs after 5" in words
    for device, name in (("H200", "b on H200"), ({"name": "H200"}, "b on H200"), ({}, "b"), (None, "b")):
        assert module._device(replace(FAST, conditions={"backend": "b", "device": device})) == name


def test_long_names_break_at_their_scopes_and_short_ones_nowhere():
    name = "a" * 26 + "/b"
    assert "<wbr>" not in html_table([name], [])
    assert f"{'a' * 27}/<wbr>b" in html_table(["a" * 27 + "/b"], [])
    table = html_table(("name", "count"), [("a" * 29, "1"), ("a" * 28, "22")], numeric=(1,))
    assert f'<td class="long">{"a" * 29}</td><td class="n">1</td>' in table
    assert f'<td>{"a" * 28}</td><td class="n">22</td>' in table
    assert '<th>name</th><th class="n">count</th>' in table
    assert '<html lang="en">' in html_document("t", ["b"])


def test_a_fleet_has_the_broken_first_and_gates_of_each_site():
    def site(name, state, gates=(), files=()):
        return {
            "site": name,
            "state": state,
            "worst": "31 dB",
            "gates": gates,
            "files": files,
            "seconds": 1.26,
            "worker": "w<1>",
        }

    page = fleet_page(
        "North",
        [
            site("a", "passed", [("sqnr_db >= 20: 31 dB", True)], ["a b/report.html"]),
            site("b", "failed", [("sqnr_db >= 20: 12 dB", False)]),
            site("c", "broken"),
        ],
    )
    assert "<h1>Fleet North: 1 of 3 sites passed</h1>" in page
    assert re.findall(r'<td class="name">(\w)</td>', page) == ["c", "b", "a"]
    assert '<b class="good">passed</b>' in page
    assert '<b class="bad">a gate failed</b>' in page
    assert '<b class="bad">no result</b>' in page
    assert re.findall("<h2>(.*?)</h2>", page) == ["b", "a"]
    assert '<li class="good">sqnr_db &gt;= 20: 31 dB</li>' in page
    assert '<li class="bad">sqnr_db &gt;= 20: 12 dB</li>' in page
    assert '<a href="a%20b/report.html">report.html</a>' in page
    assert '<td class="n" title="w&lt;1&gt;">1.3</td>' in page


def test_a_table_of_text_is_aligned_to_its_widest_cells():
    rows = [BeforeAfter("top-1", "75%", "50%", "-25"), BeforeAfter("a longer name", "1", "22222222", "")]
    assert text_table(rows).splitlines() == [
        "               original     tuned  change",
        "-----------------------------------------",
        "top-1               75%       50%  -25",
        "a longer name         1  22222222",
    ]


def test_sizes_and_numbers_that_json_does_not_have():
    assert [_size(count) for count in (0, 999, 99_999, 100_000, 1_500_000)] == [
        *("0.0 kB", "1.0 kB", "100.0 kB"),
        *("0.10 MB", "1.50 MB"),
    ]
    nested = {"a": [float("nan"), float("inf"), -float("inf"), 1.5], "b": ({"c": float("nan")}, "nan", None)}
    assert _plain(nested) == {"a": [None, "inf", "-inf", 1.5], "b": [{"c": None}, "nan", None]}


def test_precisions_are_named_the_most_frequent_first(wb):
    assert precisions(wb) == "FP32 + INT8"
    assert 0.5 < macs_share(wb) < 1
    assert macs_share(wb, "fp8") == 0


def test_rows_that_say_nothing_are_left_out(wb):
    names = [row.what for row in before_after(wb, replace(COMPARED, accuracy=None, tuned_latency=None))]
    assert names == ["output y", "file size", "MACs in INT8", "engine against floating point"]


def test_numbers_are_set_right_and_words_are_not(wb, engine):
    drifts = [Drift("t", 0.9, 1.5, 0.0123, 0.0001)]
    served = [TimedBatch(size, FAST, None, 3.25) for size in (1, 8)]
    full = Dossier("t", wb, comparison=COMPARED, drift=drifts, engine=engine, before=SLOW, after=FAST, batches=served)
    seen = 0
    for part in (module._scaling, module._accuracy, module._calibration):
        for style, text in re.findall(r'<td(?: class="(\w+)")?>(.*?)</td>', "".join(part(full))):
            number = re.fullmatch(r"[-+\d.]+%?|unknown", text) is not None
            assert (style == "n") == number, text
            seen += number
    assert seen == 2 * 5 + 4 + 4
    findings = "".join(module._engine(full)).partition("Findings left")[2]
    assert len(re.findall(r'<td class="n">[\d.]+</td>', findings)) == min(len(engine.findings), 15)
    assert findings.count('class="n"') == min(len(engine.findings), 15) + 1


def test_a_gate_is_told_with_its_value_and_why_it_fails():
    near = GateResult("cosine >= 0.9999", 0.99985, False, missed_by=5e-5)
    told = [GateResult("a <= 1", 0.12345, True), GateResult("b <= 1", None, False, "no <engine>"), near]
    assert _gates(told) == (
        '<p>Gate <b>a &lt;= 1</b>: 0.123, <b class="good">passed</b></p>'
        '<p>Gate <b>b &lt;= 1</b>: not measured, <b class="bad">FAILED (no &lt;engine&gt;)</b></p>'
        '<p>Gate <b>cosine &gt;= 0.9999</b>: 0.99985, <b class="bad">FAILED by 5e-05</b></p>'
    )
