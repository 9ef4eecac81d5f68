"""The report card is one page that needs nothing else."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from workbench.engine.compare import compare_engines
from workbench.engine.load import load_report
from workbench.engine.summary import load_engine
from workbench.engine.work import GPU_LIMITS
from workbench.views.engines.card import report_card
from workbench.views.kit.themes import LIGHT


class Page(HTMLParser):
    """Collects identifiers, references and outgoing addresses, and checks that tags close."""

    void = frozenset({"meta", "br"})

    def __init__(self, text):
        super().__init__()
        self.stack, self.ids, self.refs, self.out, self.words = [], [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        if tag not in self.void:
            self.stack.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in {"href", "xlink:href", "src"}:
                (self.refs if value.startswith("#") else self.out).append(value)
            self.refs.extend(re.findall(r"url\((#[^)]*)\)", value or ""))

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.void:
            self.stack.pop()

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def folder(shared):
    return shared / "engines" / "trt-8.6.0-h200"


@pytest.fixture(scope="module")
def card(folder):
    stems = [f"resnet50-b32.{name}" for name in ("fp16", "modelopt_int8_fp16")]
    summary = load_engine(
        folder / f"{stems[1]}.graph.json", profile=folder / f"{stems[1]}.profile.json", requested={"fc": "int8"}
    )
    reports = [load_report(folder / f"{s}.graph.json", profile=folder / f"{s}.profile.json") for s in stems]
    comparison = compare_engines(reports)
    return report_card(summary, limits=GPU_LIMITS["H200 SXM"], comparison=comparison, others=reports)


def test_page_is_whole_and_needs_nothing(card):
    page = Page(card)
    assert page.stack == []
    assert page.out == []
    assert len(set(page.ids)) == len(page.ids)
    assert {ref[1:] for ref in page.refs} <= set(page.ids)
    assert "<script" not in card
    assert "@import" not in card
    assert card.count("<svg") == 16
    text = " ".join(page.words)
    for words in ("Findings", "Latency", "Precision", "Memory", "Roofline", "Comparison", "Source nodes", "All layers"):
        assert words in text
    for words in ("Convolutions and tactics", "54 convolutions and matrix products", "Memory of each layer", "Graphs"):
        assert words in text
    for words in ("Time by kind and type", "Time by name scope", "Time by kind", "Time by precision", "ops per byte"):
        assert words in text
    assert "these 2 layers became one: stem + Relu_3 | MaxPool_4" in text
    assert "NVIDIA H200 data sheet" in text
    assert "0 of 1 nodes are as requested" in text


def test_pictures_follow_the_page_s_theme(card):
    body = card.split("</style>", 1)[1]
    assert "var(--wb-ink)" in body
    for colour in (LIGHT.ink, LIGHT.paper, LIGHT.panel):
        assert colour not in body
    assert "prefers-color-scheme: dark" in card


@pytest.mark.parametrize(
    "file",
    [
        "dynamic/resnet50.int8.graph.json",
        "../trt-10-logs/engine_inspector_text.log",
        "../trt-11-documented/io_tensors.json",
    ],
)
def test_poor_engines_have_a_page_too(folder, file):
    page = Page(report_card(load_engine(folder / file), theme="dark"))
    assert page.stack == []
    text = " ".join(page.words)
    assert "no profile" in text
    assert "0.00 MiB" not in text


def test_names_are_escaped():
    evil = {"Layers": [{"Name": "<script>alert(1)</script>", "LayerType": "kgen"}], "Bindings": ["<b>"]}
    card = report_card(load_engine(evil))
    assert "<script" not in card
    assert "<b>" not in card
    assert "&lt;script&gt;" in card
