"""Whatever names hold, pictures and pages stay valid."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from workbench.views.kit import escape, escape_lines, escape_value, shown


@pytest.mark.parametrize("code", [*range(0x20), 0x7F, 0x85, 0x9F, 0x2028, 0xD800, 0xFDD0, 0xFFFE, 0x1F600])
def test_any_character_is_shown_on_one_line_and_is_valid(code):
    text = f"a{chr(code)}b"
    assert len(shown(text).splitlines()) == 1
    for outcome in (escape(text), escape_lines(text), escape_value(text)):
        ET.fromstring(f'<svg title="{outcome}">{outcome}</svg>')  # noqa: S314 - made a line above
        outcome.encode()


def test_what_is_shown_of_control_characters():
    assert shown("a\nb\tc\x1b[31m\ud800") == "a␊b␉c␛[31m\ufffd"
    assert escape('<b>&"') == "&lt;b&gt;&amp;&quot;"
    value = escape_value("x\ny")
    assert ET.fromstring(f'<a b="{value}"/>').get("b") == "x\ny"  # noqa: S314 - our own text
