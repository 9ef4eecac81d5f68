"""Rings of time: every ring is whole, inner pieces hold outer ones, and no text leaves the picture."""

from __future__ import annotations

from itertools import pairwise

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from tests.kit.places import RECORDED
from workbench.engine.fusion import fusion_map
from workbench.engine.load import load_report
from workbench.views.engines.sunburst import Sunburst, sunburst_arcs

NAMES = ("resnet50.qdq", "mobilenet_v2.fp16", "vit_small.fp16")


def load(name):
    return load_report(RECORDED / f"{name}.graph.json", profile=RECORDED / f"{name}.profile.json")


@pytest.mark.parametrize("by", ["type", "scope"])
@pytest.mark.parametrize("name", NAMES)
def test_rings_add_up(name, by):
    report = load(name)
    arcs = sunburst_arcs(report, by, fusion_map(report))
    outer = [arc for arc in arcs if arc.precision is not None]
    assert len(outer) == sum(bool(layer.ms) for layer in report.layers)
    assert sum(arc.ms for arc in outer) == pytest.approx(report.layers_ms)
    assert (outer[0].start, outer[-1].stop) == (0, pytest.approx(1))
    for before, after in pairwise(outer):
        assert before.stop == pytest.approx(after.start)
    inner = [arc for arc in arcs if arc.ring == 0]
    assert sum(arc.ms for arc in inner) == pytest.approx(report.layers_ms)
    for arc in (arc for arc in arcs if arc.ring > 0):
        assert any(a.start <= arc.start + 1e-9 and arc.stop <= a.stop + 1e-9 for a in inner)


def test_scopes_are_those_of_the_model():
    report = load("resnet50.qdq")
    inner = {arc.label for arc in sunburst_arcs(report, "scope", fusion_map(report)) if arc.ring == 0}
    assert {"stem", "layer1", "layer2", "layer3", "layer4"} <= inner
    assert load("vit_small.fp16").layers[-1].name.startswith("{ForeignNode")
    assert "Myelin graph" in {arc.label for arc in sunburst_arcs(load("vit_small.fp16"), "scope")}


@pytest.mark.parametrize("name", NAMES)
def test_words_stay_within_their_pieces(name):
    report = load(name)
    for by in ("type", "scope"):
        figure = Sunburst(sunburst_arcs(report, by), "Time").figure("dark")
        FigureCanvasAgg(figure).draw()
        renderer = figure.canvas.get_renderer()
        (axes,) = figure.axes
        shown = [text for text in axes.texts if text.get_text()]
        assert len(shown) > 3
        for text in shown:
            box = text.get_window_extent(renderer).transformed(axes.transData.inverted())
            corners = [(x, y) for x in (box.x0, box.x1) for y in (box.y0, box.y1)]
            assert max(abs(x) for x, _ in corners) <= 1.02
            assert max(abs(y) for _, y in corners) <= 1.02


def test_without_a_profile_there_is_nothing_to_ring():
    report = load_report(RECORDED / "resnet50.qdq.graph.json")
    assert sunburst_arcs(report) == []
    assert "no profile" in Sunburst([], "Time").svg("light")
