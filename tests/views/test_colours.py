"""One precision has one colour, wherever it is drawn."""

from __future__ import annotations

import itertools
import re

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from tests.kit.networks import network
from tests.kit.places import ROOT
from workbench.names import PRECISIONS
from workbench.precision.estimate import rows, sources
from workbench.views.engines.charts import LatencyBars
from workbench.views.engines.data import Bar
from workbench.views.kit.themes import DARK, LIGHT, PRECISION_COLOURS, css_variables, precision_colour
from workbench.views.plans.chart import PrecisionChart
from workbench.views.plans.network_chart import tuning_chart

VIEWS = ROOT / "workbench/views"


def test_every_precision_has_a_colour_of_its_own_and_pages_get_it_too():
    assert set(PRECISIONS) <= set(PRECISION_COLOURS)
    assert len(set(PRECISION_COLOURS.values())) == len(PRECISION_COLOURS)
    css = css_variables("light")
    for name, colour in PRECISION_COLOURS.items():
        assert f"--wb-{name}:{colour};" in css


SEEN_BY = {
    "normal": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
"""Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB."""


def lab(colour: str, sight: list[list[float]]) -> np.ndarray:
    """Return CIE L*a*b* (D65) of a colour as it is seen."""
    value = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.array(to_xyz) @ np.clip(np.array(sight) @ linear, 0, 1) / [0.95047, 1, 1.08883]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("sight", SEEN_BY)
@pytest.mark.parametrize("accent", [LIGHT.accent, DARK.accent], ids=["light", "dark"])
def test_precisions_and_the_selection_are_told_apart(sight, accent):
    places = {name: lab(colour, SEEN_BY[sight]) for name, colour in {**PRECISION_COLOURS, "selection": accent}.items()}
    close = [(a, b) for a, b in itertools.combinations(places, 2) if np.linalg.norm(places[a] - places[b]) < 16]
    assert close == []


@pytest.mark.parametrize("file", sorted([*VIEWS.rglob("*.py"), *VIEWS.rglob("*.js"), *VIEWS.rglob("*.css")]), ids=str)
def test_no_other_file_says_what_colour_a_precision_has(file):
    if file.name == "themes.py":
        return
    text = file.read_text(encoding="utf-8")
    assert not re.search(r"""(?i)["']?\b(int8|fp8|fp16|bf16|fp32)\b["']?\s*[:=]\s*(OKABE|["']#|#)""", text)
    if file.suffix in {".js", ".css"}:
        # Pages take every colour from the theme.
        assert not re.findall(r"#[0-9a-fA-F]{3,8}\b", text)


def fills(chart) -> set[str]:
    with mpl.rc_context():
        figure = Figure()
        chart.draw(figure, LIGHT)
    return {to_hex(patch.get_facecolor()) for axes in figure.axes for patch in axes.patches}


@pytest.mark.parametrize("name", ["int8", "fp16", "bf16", "fp32"])
def test_a_plan_a_tuning_and_an_engine_draw_it_alike(name):
    from workbench.precision.plan import PrecisionPlan

    model = network("conv", "conv")
    resolution = PrecisionPlan().with_rule("*", name).resolve(model)
    layers = tuple(row for row in rows(sources(model), resolution) if row.layer)
    colour = precision_colour(name, LIGHT)
    assert fills(PrecisionChart("", "", layers)) == {colour}
    assert colour in fills(tuning_chart(model, resolution, {}, None))
    bar = Bar("layer", "layer", 1.0, 0.5, name, "conv")
    assert fills(LatencyBars([bar])) == {colour}
