from __future__ import annotations

import re

import pytest

from workbench.errors import WorkbenchError
from workbench.views.kit.themes import DARK, LIGHT, OKABE_ITO, Theme, css_variables, ink_on, mpl_rc, ramp, theme


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=lambda t: t.name)
@pytest.mark.parametrize("back", ["paper", "panel"])
def test_text_is_readable_on_both_backgrounds(colours: Theme, back: str) -> None:
    for ink in ("ink", "muted", "accent", "good", "warn", "bad"):
        assert contrast(getattr(colours, ink), getattr(colours, back)) >= 4.5, ink
    assert contrast(colours.edge, getattr(colours, back)) >= 2.7


@pytest.mark.parametrize("fill", [*OKABE_ITO.values(), *[ramp(i / 20) for i in range(21)]])
def test_ink_on_a_fill_takes_the_better_of_the_two(fill: str) -> None:
    other = LIGHT.ink if ink_on(fill) == "#ffffff" else "#ffffff"
    assert contrast(ink_on(fill), fill) >= contrast(other, fill)
    assert contrast(ink_on(fill), fill) >= 4


def test_ramp_is_viridis() -> None:
    colormaps = pytest.importorskip("matplotlib").colormaps
    for value in [i / 50 for i in range(51)]:
        want = [round(c * 255) for c in colormaps["viridis"](value)[:3]]
        got = [int(ramp(value)[i : i + 2], 16) for i in (1, 3, 5)]
        assert max(abs(a - b) for a, b in zip(want, got, strict=True)) <= 10  # straight lines between thirteen stops
    assert ramp(-1) == ramp(0)
    assert ramp(2) == ramp(1)


def test_auto_follows_the_reader_and_the_others_do_not() -> None:
    auto = css_variables("auto", ".wb")
    assert "prefers-color-scheme: dark" in auto
    assert LIGHT.paper in auto
    assert DARK.paper in auto
    assert "prefers-color-scheme" not in css_variables("dark")
    assert DARK.paper in css_variables("dark")
    assert re.findall(r"--wb-\w+", css_variables("light")) == re.findall(r"--wb-\w+", css_variables("dark"))


def test_an_unknown_theme_says_what_there_is() -> None:
    with pytest.raises(WorkbenchError, match="light"):
        theme("solarized")  # type: ignore[arg-type]


def test_matplotlib_takes_the_settings() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    with matplotlib.rc_context(mpl_rc("dark")):
        assert matplotlib.rcParams["figure.facecolor"] == DARK.paper
