"""A drawing in every form it comes in; here also as a page of its own, with nothing to fetch and no script."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from workbench.views.graphs.rendering.png_writer import png
from workbench.views.graphs.rendering.svg_writer import svg
from workbench.views.kit import FONT, Pictured, css_variables, escape

if TYPE_CHECKING:
    from workbench.views.graphs.rendering.marks import Drawing
    from workbench.views.kit import ThemeName

__all__ = ["Drawn", "html"]

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
.wb-card:hover .wb-face, :is(.wb-frame, .wb-hull):hover > .wb-face {{ stroke: var(--wb-accent) !important; }}
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


class Drawn(Pictured):
    """A view that is one drawing: SVG, PNG and HTML follow from it."""

    @abstractmethod
    def drawing(self) -> Drawing:
        """Return the drawing that all forms share."""

    def svg(self, theme: ThemeName = "auto") -> str:
        """Return the picture as an SVG document."""
        return svg(self.drawing(), theme)

    def png(self, theme: ThemeName = "light") -> bytes:
        """Return the picture as a PNG, with no browser."""
        return png(self.drawing(), theme)

    def html(self, theme: ThemeName = "auto") -> str:
        """Return the picture as a page of its own."""
        return html(self.drawing(), theme)
