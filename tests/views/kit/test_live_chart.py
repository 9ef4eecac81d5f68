"""The live twin of a chart: both themes, what can be pointed at, one selection with the other views."""

from __future__ import annotations

import re
from dataclasses import dataclass
from xml.etree import ElementTree as ET

import pytest

from workbench import open_model
from workbench.views import graph, tuning
from workbench.views.kit import DARK, LIGHT, Chart, Spot


@dataclass(frozen=True)
class Two(Chart):
    size = (3.0, 2.0)

    def spots(self):
        return [Spot("0", "the first", ("a", "b")), Spot("1", "the second", ("c",))]

    def draw(self, figure, colours):
        axes = figure.subplots()
        for spot, bar in zip(self.spots(), axes.bar([0, 1], [1, 2], color=colours.accent), strict=True):
            spot.mark(bar)


def test_a_picture_follows_the_readers_theme_and_no_wider_place():
    svg = Two().svg()
    ET.fromstring(svg)  # noqa: S314 - our own text
    light, dark = re.search(r"<style>(.*?)@media \(prefers-color-scheme: dark\)\{(.*?)\}</style>", svg).groups()
    assert LIGHT.accent in light
    assert DARK.accent in dark
    assert LIGHT.accent not in svg.split("</style>", 1)[1]
    assert svg.index("max-width: 100%; height: auto") < svg.index(">")
    # With the variables of one theme filled in, it is the very drawing of that theme.
    for rules, theme in ((light, "light"), (dark, "dark")):
        values = dict(re.findall(r"(--c\d+):(#\w{6});", rules))
        filled = re.sub(r"var\((--c\d+)\)", lambda match, values=values: values[match[1]], svg)
        bare = re.sub(r"<style>--|<svg class=\"wb-\w{8}\"", "<svg", filled).replace(
            re.search(r"<style>svg.*?</style>", svg)[0], ""
        )
        colours = re.compile("#[0-9a-f]{6}")
        assert colours.findall(bare) == colours.findall(Two().svg(theme))


def test_spots_have_ids_in_the_live_twin_alone():
    live = Two().widget()
    scene = live.scene
    for theme, colours in (("light", LIGHT), ("dark", DARK)):
        assert re.findall(r'id="(spot-\d)"', scene[theme]) == ["spot-0", "spot-1"]
        assert colours.accent in scene[theme]
    assert scene["spots"] == [{"key": "0", "text": "the first"}, {"key": "1", "text": "the second"}]
    assert "spot-" not in live.svg()


def test_clicks_select_and_a_strange_one_is_refused(monkeypatch):
    live, messages = Two().widget(), []
    monkeypatch.setattr(live, "send", messages.append)
    heard = []
    live.on_select(heard.append)
    for key, add in (("0", False), ("1", True), ("0", True), ("1", False)):
        live.handle({"type": "select", "key": key, "add": add})
    assert heard == [["a", "b"], ["a", "b", "c"], ["c"], []]
    live.handle({"type": "select", "key": "9"})
    assert "'9': there is no such spot in the chart" in messages[0]["text"]
    live.choose(["b"])
    assert live.selected == ["a", "b"]


@pytest.fixture
def wb(small_cnn):
    return open_model(small_cnn, resume=False)


def test_a_bar_selects_its_node_in_the_graph_and_back(wb):
    chart, shown = tuning(wb).widget(), graph(wb)
    nodes = list(wb.model.nodes)
    chart.handle({"type": "select", "key": f"node-{nodes.index('block/conv')}"})
    assert chart.selected == ["block/conv"]
    assert shown.selected == ["block/conv"]
    shown.choose(["head/fc"])
    assert chart.selected == ["head/fc"]


def test_a_notebook_gets_the_live_twin_beside_the_pictures():
    data, _ = Two()._repr_mimebundle_()
    assert {"image/svg+xml", "image/png", "application/vnd.jupyter.widget-view+json"} <= data.keys()
    assert Two()._display_()._mime_() == ("image/svg+xml", Two().svg())  # marimo
