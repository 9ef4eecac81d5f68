"""Names in a file may hold anything; a picture and a page show them and stay valid."""

from __future__ import annotations

import html
import re

__all__ = ["escape", "escape_lines", "escape_value", "shown", "without_forbidden"]

_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
"""What XML 1.0 (section 2.2) forbids, or discourages."""
_BREAKS = re.compile("[\t\n\r\x0b\x0c\x85\u2028\u2029]")


def shown(text: str) -> str:
    """Return a text as one line of characters that any font and any format has: a line break is drawn as ``␊``."""
    return without_forbidden(_BREAKS.sub(lambda match: _picture(match[0]), text))


def escape(text: str) -> str:
    """Return a text as one line for HTML and SVG, between tags or between quotes."""
    return html.escape(shown(text))


def escape_lines(text: str) -> str:
    """Return a text of several lines for HTML and SVG."""
    return html.escape(without_forbidden(text))


def escape_value(text: str) -> str:
    """Return a text for an attribute that a program reads: what XML can hold stays what it is."""
    return escape_lines(text).replace("\n", "&#10;").replace("\r", "&#13;").replace("\t", "&#9;")


def without_forbidden(document: str) -> str:
    """Return a document with every character that XML forbids replaced by a picture of it."""
    return _FORBIDDEN.sub(lambda match: _picture(match[0]), document)


def _picture(character: str) -> str:
    # U+2400 to U+2420 are pictures of the control characters.
    return chr(0x2400 + ord(character)) if ord(character) < 0x20 else "\ufffd"
