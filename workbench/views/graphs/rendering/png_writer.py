"""A drawing as PNG, with no browser: for untrusted notebooks, reports and terminals."""

from __future__ import annotations

import contextlib
import io
from functools import lru_cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.views.graphs.rendering.marks import Box, Curve, Drawing, Shape, Text, Triangle, area, rounded
from workbench.views.graphs.rendering.sheet import WIDEST, sheet
from workbench.views.kit import CJK_FILES, PNG_MAX_HEIGHT, PNG_SCALE, shown, theme

if TYPE_CHECKING:
    from workbench.views.graphs.layout import Point
    from workbench.views.graphs.rendering.sheet import Sheet
    from workbench.views.kit import Theme, ThemeName

__all__ = ["png"]

_STEPS = 12


def png(drawing: Drawing, theme_name: ThemeName = "light") -> bytes:
    """Return a drawing as PNG, `PNG_SCALE` pixels a CSS pixel, and less where it would pass the largest size.

    One so high that it could not be read at that size is cut into columns beside each other.

    Parameters
    ----------
    drawing
        What to draw.
    theme_name
        "auto" is "light" here: a PNG has no CSS.
    """
    from PIL import Image, ImageDraw

    paper = sheet(drawing)
    scale = min(PNG_SCALE, PNG_MAX_HEIGHT / paper.height, WIDEST / paper.width)
    # Pillow's lines and boxes are not smoothed: draw twice as fine and halve it; text is smooth, and drawn at the end.
    fine = 2 * scale
    colours = theme(theme_name)
    size = (max(int(drawing.width * scale), 1), max(int(drawing.height * scale), 1))
    image = Image.new("RGB", (2 * size[0], 2 * size[1]), colours.paper)
    shapes = _Shapes(ImageDraw.Draw(image), fine, colours)
    marks = [mark for group in drawing.groups for mark in group.marks]
    for mark in marks:
        if not isinstance(mark, Text):
            shapes.put(mark)
    image = image.reduce(2)
    pen = ImageDraw.Draw(image)
    for mark in marks:
        if isinstance(mark, Text):
            _write(pen, mark, scale, colours)
    if len(paper.columns) > 1:
        image = _beside(image, paper, scale, colours)
    out = io.BytesIO()
    image.save(out, "png", optimize=False)
    return out.getvalue()


def _beside(image: Any, paper: Sheet, scale: float, colours: Theme) -> Any:
    """Return an image with its columns beside each other, with words where it goes on."""
    from PIL import Image, ImageDraw

    def pixels(length: float) -> int:
        return int(length * scale)

    whole = Image.new("RGB", (pixels(paper.width), pixels(paper.height)), colours.paper)
    pen = ImageDraw.Draw(whole)
    for at, (top, foot) in enumerate(paper.columns):
        whole.paste(
            image.crop((0, pixels(top), image.width, pixels(foot))), (pixels(paper.left(at)), pixels(paper.top))
        )
    for rule in paper.rules():
        ends = [(pixels(rule), pixels(paper.top)), (pixels(rule), pixels(paper.height - paper.top))]
        pen.line(ends, fill=colours.line, width=max(round(scale), 1))
    for note in paper.notes():
        _write(pen, note, scale, colours)
    return whole


FIRST_CJK = 0x2E80
"""Where Unicode's radicals, kana and ideographs begin."""


class _Shapes:
    def __init__(self, pen: Any, scale: float, colours: Theme) -> None:
        self.pen, self.scale, self.theme = pen, scale, colours

    def put(self, mark: Box | Curve | Triangle | Shape) -> None:
        if isinstance(mark, Box):
            self.box(mark)
        elif isinstance(mark, Shape):
            self.shape(mark)
        elif isinstance(mark, Triangle):
            self.pen.polygon(self.scaled(mark.points), fill=_colour(mark.fill, self.theme))
        else:
            points = _sampled(mark.points)
            for piece in _dashes(points, 4, 3) if mark.dashed else [points]:
                self.line(piece, mark.stroke, mark.line)

    def scaled(self, points: list[Point]) -> list[Point]:
        return [(x * self.scale, y * self.scale) for x, y in points]

    def line(self, points: list[Point], stroke: str, width: float) -> None:
        fine = max(round(width * self.scale), 1)
        self.pen.line(self.scaled(points), fill=_colour(stroke, self.theme), width=fine, joint="curve")

    def shape(self, shape: Shape) -> None:
        # Holes are painted over: what is within one are other cards, which are drawn later.
        loops = [_corners(loop, shape.radius) for loop in shape.loops]
        for loop, raw in zip(loops, shape.loops, strict=True):
            if shape.fill is not None:
                hole = area(raw) < 0
                fill = _mixed(_colour(shape.fill, self.theme), self.theme.paper, 0.0 if hole else shape.opacity)
                self.pen.polygon(self.scaled(loop), fill=fill)
        for loop in loops:
            closed = [*loop, loop[0], loop[1]]
            for piece in _dashes(closed, 3, 2) if shape.dashed else [closed]:
                self.line(piece, shape.stroke or "edge", shape.line)

    def box(self, box: Box) -> None:
        place = [box.x * self.scale, box.y * self.scale, (box.x + box.width) * self.scale, 0.0]
        place[3] = (box.y + box.height) * self.scale
        if place[2] - place[0] < 1 or place[3] - place[1] < 1:
            return
        fill = None if box.fill is None else _mixed(_colour(box.fill, self.theme), self.theme.paper, box.opacity)
        solid = None if box.dashed or box.stroke is None else _colour(box.stroke, self.theme)
        width = max(round(box.line * self.scale), 1)
        self.pen.rounded_rectangle(place, box.radius * self.scale, fill, solid, width)
        if box.dashed and box.stroke:
            for piece in _dashes(_outline(box), 3, 2):
                self.line(piece, box.stroke, box.line)


def _write(pen: Any, text: Text, scale: float, colours: Theme) -> None:
    wide = any(ord(character) >= FIRST_CJK for character in text.text)
    font = (_cjk_font(text.size * scale) if wide else None) or _font(text.size * scale, text.bold)
    anchor = {"start": "ls", "middle": "ms", "end": "rs"}[text.anchor]
    halo = {"stroke_width": round(2 * scale), "stroke_fill": _colour(text.halo, colours)} if text.halo else {}
    place = (text.x * scale, text.y * scale)
    pen.text(place, shown(text.text), fill=_colour(text.fill, colours), font=font, anchor=anchor, **halo)


@lru_cache(maxsize=64)
def _font(size: float, bold: bool) -> Any:
    """Return DejaVu Sans, which comes with matplotlib; nothing of matplotlib is imported for it."""
    from PIL import ImageFont

    spec = find_spec("matplotlib")
    if spec is not None and spec.origin:
        file = Path(spec.origin).parent / "mpl-data/fonts/ttf" / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")
        if file.is_file():
            # The bold cut is a good deal wider than the text was measured for.
            return ImageFont.truetype(str(file), size * (0.93 if bold else 1))
    return ImageFont.load_default(size)


@lru_cache(maxsize=64)
def _cjk_font(size: float) -> Any:
    """Return a font of the system with Chinese characters, which DejaVu Sans has not; ``None`` where there is none."""
    from PIL import ImageFont

    for file in CJK_FILES:
        with contextlib.suppress(OSError):  # it is not installed
            return ImageFont.truetype(file, size)
    return None


def _colour(name: str, colours: Theme) -> str:
    return name if name.startswith("#") else str(getattr(colours, name))


def _mixed(colour: str, paper: str, opacity: float) -> str:
    if opacity >= 1:
        return colour
    pairs = ((int(colour[i : i + 2], 16), int(paper[i : i + 2], 16)) for i in (1, 3, 5))
    return "#" + "".join(f"{round(a * opacity + b * (1 - opacity)):02x}" for a, b in pairs)


def _sampled(points: list[Point]) -> list[Point]:
    """Return points along a curve: a cubic with vertical ends between each two."""
    line = [points[0]]
    for (x0, y0), (x1, y1) in pairwise(points):
        steps = 1 if abs(x0 - x1) < 0.05 else _STEPS
        for step in range(1, steps + 1):
            t = step / steps
            swing = t * t * (3 - 2 * t)
            ease = 1.5 * t * (1 - t) * (1 - t) + 1.5 * t * t * (1 - t) + t**3
            line.append((x0 + (x1 - x0) * swing, y0 + (y1 - y0) * (ease if steps > 1 else 1)))
    return line


def _corners(loop: list[Point], radius: float) -> list[Point]:
    """Return points along a loop with rounded corners: a parabola at each."""
    points = []
    for (x0, y0), (x, y), (x1, y1) in rounded(loop, radius):
        for t in (0.0, 0.25, 0.5, 0.75, 1.0):
            a, b, c = (1 - t) ** 2, 2 * t * (1 - t), t * t
            points.append((a * x0 + b * x + c * x1, a * y0 + b * y + c * y1))
    return points


def _outline(box: Box) -> list[Point]:
    r = min(box.radius, box.width / 2, box.height / 2) * 0.3
    left, top, right, foot = box.x, box.y, box.x + box.width, box.y + box.height
    return [
        (left + r, top), (right - r, top), (right, top + r), (right, foot - r),
        (right - r, foot), (left + r, foot), (left, foot - r), (left, top + r), (left + r, top),
    ]  # fmt: skip


def _dashes(points: list[Point], on: float, off: float) -> list[list[Point]]:
    """Cut a line into dashes."""
    pieces: list[list[Point]] = []
    drawing, left = True, on
    piece = [points[0]]
    for (x0, y0), (x1, y1) in pairwise(points):
        length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
        gone = 0.0
        while length - gone > left:
            gone += left
            place = (x0 + (x1 - x0) * gone / length, y0 + (y1 - y0) * gone / length)
            if drawing:
                pieces.append([*piece, place])
            piece, drawing = [place], not drawing
            left = on if drawing else off
        left -= length - gone
        piece.append((x1, y1))
    return [*pieces, piece] if drawing and len(piece) > 1 else pieces
