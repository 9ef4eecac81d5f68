"""One precision has one colour, wherever it is drawn."""

from __future__ import annotations

import re

import matplotlib as mpl
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from tests.kit.networks import network
from tests.kit.places import ROOT
from workbench.names import PRECISIONS
from workbench.precision.estimate import rows, sources
from workbench.views.engines.charts import LatencyBars
from workbench.views.engines.data import Bar
from workbench.views.kit.themes import LIGHT, PRECISION_COLOURS, css_variables, precision_colour
from workbench.views.plans.chart import PrecisionChart
from workbench.views.plans.network_chart import tuning_chart

VIEWS = ROOT / "workbench/views"


def test_every_precision_has_a_colour_of_its_own_and_pages_get_it_too():
    assert set(PRECISIONS) <= set(PRECISION_COLOURS)
    assert len(set(PRECISION_COLOURS.values())) == len(PRECISION_COLOURS)
    css = css_variables("light")
    for name, colour in PRECISION_COLOURS.items():
        assert f"--wb-{name}:{colour};" in css


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
