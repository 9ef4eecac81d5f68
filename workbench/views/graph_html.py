"""A drawing as a page of its own: nothing to fetch, no script."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from workbench.views.graph_svg import svg
from workbench.views.theme import FONT, css_variables

if TYPE_CHECKING:
    from workbench.views.graph_draw import Drawing
    from workbench.views.theme import ThemeName

__all__ = ["html"]

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{variables}
body {{ margin: 0; background: var(--wb-paper); color: var(--wb-ink); font-family: {font}; }}
main {{ overflow: auto; }}
svg {{ display: block; margin: 0 auto; max-width: none; }}
.wb-card:hover .wb-face, .wb-frame:hover > .wb-face {{ stroke: var(--wb-accent) !important; }}
</style>
</head>
<body>
<main>
{svg}
</main>
</body>
</html>
"""


def html(drawing: Drawing, theme_name: ThemeName = "auto") -> str:
    """Return a page with a drawing in it; resting the pointer on a thing says what it is."""
    picture = svg(drawing, theme_name)
    variables = css_variables(theme_name)
    return _PAGE.format(title=escape(drawing.label or "graph"), variables=variables, font=FONT, svg=picture)
