"""Chinese names are drawn where the system has a font for them: no empty boxes."""

from __future__ import annotations

import warnings

import pytest

from workbench.views.graphs.rendering.png_writer import _cjk_font
from workbench.views.kit.themes import CJK, _families, mpl_rc
from workbench.views.plans.service_chart import BatchChart

TITLE = "北京工厂 调优"


def chart():
    return BatchChart((1, 2), (10.0, 15.0), (1.0, 2.0), "memory", TITLE)


def test_no_character_is_missing_in_a_chart():
    if len(_families()) == 1:
        pytest.skip(f"none of {', '.join(CJK)} is installed")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of each glyph that no font has
        assert chart().png().startswith(b"\x89PNG")


def test_text_stays_text_in_svg_with_fonts_for_every_script():
    assert TITLE in chart().svg("dark")
    assert mpl_rc()["font.family"][0] == "DejaVu Sans"


def test_a_graph_picture_takes_a_font_that_has_the_characters():
    font = _cjk_font(20)
    if font is None:
        pytest.skip("no font with Chinese characters is installed")
    # What a font has not, it draws as one and the same box.
    assert bytes(font.getmask("京")) != bytes(font.getmask("厂"))
