"""Charts become the same SVG and PNG bytes each time, in both themes, and never over-tall."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from workbench.views.kit.chart import Chart
from workbench.views.kit.picture import PNG_MAX_HEIGHT, png_size
from workbench.views.kit.themes import DARK, LIGHT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from workbench.views.kit.themes import Theme


@dataclass(frozen=True)
class Line(Chart):
    height: float = 2.0

    @property
    def size(self) -> tuple[float, float]:
        return 4.0, self.height

    def draw(self, figure: Figure, colours: Theme) -> None:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=colours.accent)
        axes.set_xlabel("time [ms]")


@dataclass(frozen=True)
class Decades(Line):
    low: float = 1e-3

    def draw(self, figure: Figure, colours: Theme) -> None:
        axes = figure.subplots()
        axes.plot([self.low, 1], [self.low, 1], color=colours.accent)
        axes.loglog()
        axes.set_xlabel("a name with $dollars$")


def test_powers_of_ten_are_written_and_names_are_not_read_as_mathematics():
    many, few = Decades().svg(), Decades(low=0.4).svg()
    assert ">10⁻²<" in many
    assert ">4×10⁻¹<" in few
    for svg in (many, few):
        assert "mathdefault" not in svg
        assert "$dollars$" in svg


def test_svg_is_a_document_in_the_theme_asked_for():
    light, dark = Line().svg("light"), Line().svg("dark")
    assert ET.fromstring(light).tag.endswith("svg")  # noqa: S314 - our own text
    assert LIGHT.accent in light
    assert DARK.accent in dark
    assert "time [ms]" in dark


def test_same_picture_same_bytes():
    assert Line().svg() == Line().svg()
    assert Line().png() == Line().png()


def test_png_height_is_capped():
    assert png_size(Line(2.0).png())[1] == 2 * 96 * 2
    assert png_size(Line(60.0).png())[1] <= PNG_MAX_HEIGHT


def test_spaces_of_a_legend_are_kept():
    class Spaced(Line):
        def draw(self, figure: Figure, colours: Theme) -> None:
            figure.text(0, 0, "step    SQNR", color=colours.ink)

    texts = [node for node in ET.fromstring(Spaced().svg()).iter() if node.tag.endswith("}text")]  # noqa: S314 - ours
    assert [(node.text, node.get("{http://www.w3.org/XML/1998/namespace}space")) for node in texts] == [
        ("step    SQNR", "preserve")
    ]
