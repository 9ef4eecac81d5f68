"""The report is one page that needs nothing from anywhere else."""

from __future__ import annotations

import re
from html import escape
from html.parser import HTMLParser
from types import SimpleNamespace

import onnx
import pytest

import workbench
from workbench.handoff import report_page
from workbench.handoff.report_page import page
from workbench.handoff.tuning_report import before_after, report, text_table
from workbench.recipe import check_gates


@pytest.fixture(scope="module")
def parts(small_cnn, small_data):
    wb = workbench.open_model(small_cnn)
    wb.calibrate(small_data, batch=4)
    wb.require("sqnr_db", at_least=200)
    wb.tune()
    comparison = wb.compare(labels=small_data.with_name("labels.npy"), runs=2)
    return wb, comparison, check_gates(wb.recipe.gates, comparison)


class References(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, _tag, attrs):
        self.found += [value for name, value in attrs if name in ("src", "href", "srcset", "action")]


def test_what_is_odd_in_each_layer_alike_is_told_a_few_times(small_cnn, small_data, tmp_path):
    proto = onnx.load(small_cnn)
    for node in proto.graph.node:
        node.name = ""
    onnx.save(proto, tmp_path / "nameless.onnx")
    wb = workbench.open_model(tmp_path / "nameless.onnx")
    wb.calibrate(small_data, batch=4)
    wb.tune()
    html = page(wb, wb.compare(runs=0), [])
    names = [quirk for quirk in wb.source.quirks if "had no name" in quirk.text]
    assert html.count("had no name") == 5 < len(names)
    assert f"and {len(names) - 5} more of this kind" in html


def test_the_first_five_of_each_kind_of_oddity_are_listed_and_the_rest_counted():
    many = [SimpleNamespace(kind="names", where=f"n{at}", text="no name") for at in range(1006)]
    few = [SimpleNamespace(kind="types", where=f"t{at}", text="odd") for at in range(5)]
    rows = list(report_page._quirks(SimpleNamespace(quirks=[*many[:3], *few, *many[3:]])))
    assert rows == [
        *((f"n{at}", "no name") for at in range(5)),
        ("…", "and 1,001 more of this kind"),
        *((f"t{at}", "odd") for at in range(5)),
    ]


@pytest.mark.parametrize(("kind", "style"), [("good", "good"), ("bad", "bad"), ("unknown", "")])
def test_the_verdict_is_in_the_colour_of_its_kind(monkeypatch, kind, style):
    said = SimpleNamespace(kind=kind, headline="It <pays>", next="Build it.", notes=("a", "b"))
    monkeypatch.setattr(report_page, "verdict", lambda *_: said)
    assert report_page._verdict(None, None, ()) == (
        f'<p><b class="{style}">It &lt;pays&gt;.</b> Build it.<br><span class="muted">a</span>'
        '<br><span class="muted">b</span></p>'
    )


def test_the_subtitle_has_the_samples_the_model_and_the_versions():
    recipe = SimpleNamespace(environment={"onnx": "1", "numpy": "2"})
    wb = SimpleNamespace(recipe=recipe, source=SimpleNamespace(digest="0123456789abcdef" * 4))
    subtitle = report_page._subtitle(wb, SimpleNamespace(samples=12))
    assert subtitle == "12 samples. Model sha256 0123456789abcdef. onnx 1, numpy 2."


def test_each_section_is_there_where_there_is_something_to_say(monkeypatch, parts):
    wb, comparison, _ = parts
    monkeypatch.setattr(report_page, "picture", lambda *_: "")
    monkeypatch.setattr(report_page, "remarks", lambda *_: [])
    plain = page(wb, comparison, [])
    for heading in ("To be noted", "Asked for, and not given", "Before you build an engine"):
        assert heading not in plain
    assert ("Noticed in the model" in plain) == bool(wb.source.quirks)
    monkeypatch.setattr(report_page, "remarks", lambda *_: ["a <remark>"])
    assert "<h2>To be noted</h2><p>a &lt;remark&gt;</p>" in page(wb, comparison, [])
    rows = re.findall(r"<tr>(<td.*?)</tr>", plain)
    assert [len(re.findall(r'<td class="n">', row)) for row in rows[:3]] == [2, 2, 2]


def test_what_was_asked_for_and_not_given_is_listed_with_the_reason(monkeypatch, small_cnn, small_data, parts):
    wb = workbench.open_model(small_cnn)
    wb.calibrate(small_data, batch=4)
    wb.plan.set("op:Flatten", "int8")
    monkeypatch.setattr(report_page, "picture", lambda *_: "")
    html = page(wb, parts[1], [])
    (refused,) = [one for one in wb.plan.resolve().decisions.values() if not one.kept]
    listed = html.partition("Asked for, and not given")[2].partition("</tbody>")[0]
    assert [re.sub("<.*?>", "", cell) for cell in re.findall(r"<td.*?</td>", listed)] == [
        "head/flatten",
        "Flatten",
        escape("; ".join(refused.reasons)),
    ]


def test_the_page_refers_to_nothing_outside_itself(parts):
    html = page(*parts)
    references = References()
    references.feed(html)
    assert references.found
    assert all(value.startswith("data:") for value in references.found)
    assert not re.search(r"url\((?!data:|#)", html)
    assert "<script" not in html


def test_the_recipe_has_its_lines(parts):
    assert "<pre>workbench: 1\nmodel:\n  file: " in page(*parts)


def test_pictures_are_there_for_light_and_dark(parts):
    html = page(*parts)
    assert html.count("data:image/svg+xml;base64,") == 2
    assert "prefers-color-scheme: dark" in html


def test_gates_and_refusals_are_said(parts):
    html = page(*parts)
    assert "sqnr_db &gt;= 200" in html
    assert ": 40.8 dB, " in html
    assert ">FAILED by 159 dB<" in html


def test_names_from_the_model_cannot_inject_markup(parts, small_cnn):
    wb, comparison, verdicts = parts
    wb.source.path = small_cnn.with_name("<script>alert(1)<.onnx")
    try:
        assert "<script" not in page(wb, comparison, verdicts)
    finally:
        wb.source.path = small_cnn


def test_the_table_has_a_row_an_output_and_aligned_columns(parts):
    rows = before_after(*parts[:2])
    assert [row.what for row in rows][:2] == ["top-1", "output y"]
    lines = text_table(rows).splitlines()
    assert len(lines) == len(rows) + 2
    assert len({line.index("original") for line in lines if "original" in line}) == 1


def test_the_json_report_is_plain_and_finite(parts):
    import json

    text = json.dumps(report(*parts), allow_nan=False)
    assert json.loads(text)["gates"][0]["passed"] is False


def test_what_a_builder_must_be_told_is_told_everywhere(small_cnn, small_data):
    wb = workbench.open_model(small_cnn)
    wb.plan.set_target("tensorrt-8.6")
    wb.prepare()
    wb.plan.use("int8+fp16")
    wb.calibrate(small_data, batch=4)
    comparison = wb.compare(runs=0)
    (message,) = wb.advice
    assert message.endswith("--fp16 --int8")
    assert report(wb, comparison, [])["advice"] == [message]
    assert message in page(wb, comparison, [])
    wb.plan.set_target("rtx")
    assert wb.advice == ()
    assert "Before you build" not in page(wb, comparison, [])


def test_the_page_names_the_precisions_that_were_given(small_cnn, small_data):
    wb = workbench.open_model(small_cnn)
    wb.prepare()
    wb.plan.use("int8+fp16")
    wb.calibrate(small_data, batch=4)
    wb.tune()
    comparison = wb.compare(runs=0)
    title = re.search("<h1>(.*?)</h1>", page(wb, comparison, []))[1]
    assert title == "small_cnn: tuned to INT8 + FP16 + FP32"  # an island stays in FP32
