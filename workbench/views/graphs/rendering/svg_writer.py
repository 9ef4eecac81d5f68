"""A drawing as SVG, by itself in a file or inside a page."""

from __future__ import annotations

from itertools import pairwise
from math import inf
from typing import TYPE_CHECKING

from workbench.views.graphs.rendering.marks import Box, Drawing, Group, Mark, Shape, Text, Triangle, rounded
from workbench.views.graphs.rendering.sheet import HIGHEST, sheet, within
from workbench.views.kit import FONT, css_variables, escape, escape_lines, escape_value, theme

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workbench.views.graphs.layout import Point
    from workbench.views.graphs.rendering.sheet import Sheet
    from workbench.views.kit import ThemeName

__all__ = ["svg"]


def svg(drawing: Drawing, theme_name: ThemeName = "auto", *, inside: bool = False) -> str:
    """Return a drawing as an SVG document.

    By itself, one that is higher than `HIGHEST` is cut into columns; inside a page it is
    one piece, for the page to scroll.

    Parameters
    ----------
    drawing
        What to draw.
    theme_name
        "light" and "dark" write plain colours; "auto" follows the reader's `prefers-color-scheme` by CSS variables.
    inside
        Use the CSS variables of the page around it, and no background.
    """
    pen = _Pen(theme_name, inside=inside)
    paper = sheet(drawing, inf if inside else HIGHEST)
    width, height = _n(paper.width), _n(paper.height)
    label = escape(drawing.label or "graph")
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="wb-graph" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}" role="img" aria-label="{label}" font-family="{escape(FONT)}">'
        )
    ]
    if not inside:
        if theme_name == "auto":
            parts.append(f"<style>{css_variables('auto', 'svg.wb-graph')}</style>")
        parts.append(f'<rect width="{width}" height="{height}" style="fill:{pen.colour("paper")}"/>')
    parts += _columns(pen, drawing, paper) if len(paper.columns) > 1 else map(pen.group, drawing.groups)
    return "\n".join([*parts, "</svg>"])


def _columns(pen: _Pen, drawing: Drawing, paper: Sheet) -> Iterator[str]:
    """Yield the columns, each a window onto the whole drawing that holds what is seen in it."""
    wide = _n(drawing.width)
    for at, (top, foot) in enumerate(paper.columns):
        high = _n(foot - top)
        place = f'x="{_n(paper.left(at))}" y="{_n(paper.top)}" width="{wide}" height="{high}"'
        yield f'<svg class="wb-column" {place} viewBox="0 {_n(top)} {wide} {high}" overflow="hidden">'
        yield from (pen.group(group) for group in drawing.groups if within(group, top, foot))
        yield "</svg>"
    foot = paper.height - paper.top
    for x in paper.rules():
        stroke = f"stroke:{pen.colour('line')}"
        yield f'<line x1="{_n(x)}" y1="{_n(paper.top)}" x2="{_n(x)}" y2="{_n(foot)}" style="{stroke}"/>'
    yield from (pen.text(note) for note in paper.notes())


class _Pen:
    def __init__(self, name: ThemeName, *, inside: bool) -> None:
        self.variables = inside or name == "auto"
        self.theme = theme(name)

    def colour(self, name: str | None) -> str:
        if name is None:
            return "none"
        if name.startswith("#"):
            return name
        return f"var(--wb-{name})" if self.variables else str(getattr(self.theme, name))

    def group(self, group: Group) -> str:
        data = "".join(f' data-{key}="{escape_value(value)}"' for key, value in group.data.items())
        kind = f' class="wb-{group.kind}"' if group.kind else ""
        title = f"<title>{escape_lines(group.title)}</title>" if group.title else ""
        return f"<g{kind}{data}>{title}{''.join(map(self.mark, group.marks))}</g>"

    def mark(self, mark: Mark) -> str:
        if isinstance(mark, Box):
            return self.box(mark)
        if isinstance(mark, Text):
            return self.text(mark)
        if isinstance(mark, Triangle):
            corners = " ".join(f"{_n(x)},{_n(y)}" for x, y in mark.points)
            return f'<polygon points="{corners}" style="fill:{self.colour(mark.fill)}"/>'
        if isinstance(mark, Shape):
            return self.shape(mark)
        dash = ";stroke-dasharray:4 3" if mark.dashed else ""
        style = f"fill:none;stroke:{self.colour(mark.stroke)};stroke-width:{_n(mark.line)}{dash}"
        return f'<path d="{path(mark.points)}" style="{style}"/>'

    def box(self, box: Box) -> str:
        style = f"fill:{self.colour(box.fill)}"
        if box.opacity < 1:
            style += f";fill-opacity:{box.opacity:g}"
        if box.stroke:
            style += f";stroke:{self.colour(box.stroke)};stroke-width:{_n(box.line)}"
        if box.dashed:
            style += ";stroke-dasharray:3 2"
        face = ' class="wb-face"' if box.face else ""
        place = f'x="{_n(box.x)}" y="{_n(box.y)}" width="{_n(box.width)}" height="{_n(box.height)}"'
        return f'<rect{face} {place} rx="{_n(box.radius)}" style="{style}"/>'

    def shape(self, shape: Shape) -> str:
        style = f"fill:{self.colour(shape.fill)};fill-rule:evenodd;stroke:{self.colour(shape.stroke)}"
        style += f";stroke-width:{_n(shape.line)}"
        if shape.opacity < 1:
            style += f";fill-opacity:{shape.opacity:g}"
        if shape.dashed:
            style += ";stroke-dasharray:3 2"
        # Without a fill the inside would let the pointer through to what lies beneath.
        catch = "" if shape.fill else ' pointer-events="all"'
        way = "".join(_closed(loop, shape.radius) for loop in shape.loops)
        return f'<path class="wb-face" d="{way}" style="{style}"{catch}/>'

    def text(self, text: Text) -> str:
        style = f"fill:{self.colour(text.fill)}"
        if text.halo:
            style += f";stroke:{self.colour(text.halo)};stroke-width:4px;paint-order:stroke;stroke-linejoin:round"
        weight = ' font-weight="600"' if text.bold else ""
        place = f'x="{_n(text.x)}" y="{_n(text.y)}" font-size="{_n(text.size)}" text-anchor="{text.anchor}"'
        return f'<text {place}{weight} style="{style}">{escape(text.text)}</text>'


def path(points: list[Point]) -> str:
    """Return the commands of a curve through points, vertical at each of them."""
    steps = [f"M{_n(points[0][0])} {_n(points[0][1])}"]
    for (x0, y0), (x1, y1) in pairwise(points):
        if abs(x0 - x1) < 0.05:
            steps.append(f"V{_n(y1)}")
        else:
            half = _n((y0 + y1) / 2)
            steps.append(f"C{_n(x0)} {half} {_n(x1)} {half} {_n(x1)} {_n(y1)}")
    return "".join(steps)


def _closed(loop: list[Point], radius: float) -> str:
    steps: list[str] = []
    for (x0, y0), (x, y), (x1, y1) in rounded(loop, radius):
        steps.append(f"{'L' if steps else 'M'}{_n(x0)} {_n(y0)}Q{_n(x)} {_n(y)} {_n(x1)} {_n(y1)}")
    return "".join([*steps, "Z"])


def _n(value: float) -> str:
    """Return a number with at most one decimal: a tenth of a pixel is finer than anybody sees."""
    return f"{value:.1f}".removesuffix(".0")
