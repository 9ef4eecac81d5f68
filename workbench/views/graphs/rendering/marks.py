"""From a scene to marks: boxes, curves and words, which any renderer can put on its own kind of paper."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import log2
from typing import TYPE_CHECKING, TypeAlias

from workbench.views.graphs.scene import LABEL, NOTE, SMALL, clip, text_width
from workbench.views.kit import ink_on

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from workbench.views.graphs.layout import Point
    from workbench.views.graphs.overlay import Paint
    from workbench.views.graphs.scene import Frame, Hull, NodeCard, Scene, Wire

__all__ = [
    "MARGIN",
    "Box",
    "Curve",
    "Drawing",
    "Group",
    "Mark",
    "Shape",
    "Text",
    "Triangle",
    "area",
    "draw",
    "legend",
    "moved",
    "rounded",
]

MARGIN = 16.0
_TITLE = 14.0
_NARROWEST = 430.0
_TAG = 9.5


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle; colours are fields of a theme (`ink`) or `#rrggbb`, and None paints nothing."""

    x: float
    y: float
    width: float
    height: float
    fill: str | None = None
    stroke: str | None = None
    line: float = 1.0
    radius: float = 0.0
    opacity: float = 1.0
    dashed: bool = False
    face: bool = False


@dataclass(frozen=True, slots=True)
class Curve:
    """A smooth line through points, vertical at each of them."""

    points: list[Point]
    stroke: str
    line: float = 1.2
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Triangle:
    """An arrow's head."""

    points: list[Point]
    fill: str


@dataclass(frozen=True, slots=True)
class Text:
    """One line of text on a baseline; `halo` is the colour around it that keeps it readable on lines."""

    x: float
    y: float
    text: str
    size: float
    fill: str = "ink"
    bold: bool = False
    anchor: str = "middle"
    halo: str | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """An area within closed loops, rounded at their corners; a loop within another is a hole."""

    loops: list[list[Point]]
    fill: str | None
    stroke: str | None
    line: float = 1.6
    radius: float = 7.0
    opacity: float = 1.0
    dashed: bool = False


Mark: TypeAlias = "Box | Curve | Triangle | Text | Shape"


@dataclass(slots=True)
class Group:
    """Marks that belong together: `kind` and `data` are for a page's script, `title` for the pointer resting on it."""

    marks: list[Mark]
    kind: str = ""
    data: Mapping[str, str] = field(default_factory=dict)
    title: str = ""


@dataclass(slots=True)
class Drawing:
    """A finished drawing, in CSS pixels."""

    width: float
    height: float
    groups: list[Group]
    label: str


def draw(
    scene: Scene,
    paint: Paint,
    *,
    title: str = "",
    subtitle: str = "",
    selected: Collection[str] = (),
    bare: bool = False,
) -> Drawing:
    """Draw a scene.

    Parameters
    ----------
    scene, paint
        Where things are, and their colours.
    title, subtitle
        Two lines above the drawing.
    selected
        Items to mark.
    bare
        Leave out titles and legend, for a page that has its own. `scene` is not to be used afterwards: it is shifted.
    """
    if bare:
        scene.moved(MARGIN, MARGIN)
        return Drawing(scene.width + 2 * MARGIN, scene.height + 2 * MARGIN, _body(scene, paint, selected), title)
    room = max(scene.width, _NARROWEST, text_width(title, _TITLE) * 1.06, text_width(subtitle, NOTE))
    top = MARGIN + (22 if title else 0) + (16 if subtitle else 0) + (8 if title or subtitle else 0)
    scene.moved(MARGIN + (room - scene.width) / 2, top)
    groups = _body(scene, paint, selected)
    head = []
    if title:
        head.append(Text(MARGIN, MARGIN + 14, title, _TITLE, bold=True, anchor="start"))
    if subtitle:
        head.append(Text(MARGIN, MARGIN + (32 if title else 12), subtitle, NOTE, "muted", anchor="start"))
    groups.append(Group(list(head)))
    keys = legend(paint, room)
    for group in keys.groups:
        groups.append(Group([moved(mark, MARGIN, top + scene.height + 18) for mark in group.marks], "legend"))
    return Drawing(room + 2 * MARGIN, top + scene.height + 18 + keys.height + MARGIN, groups, title)


def legend(paint: Paint, width: float) -> Drawing:
    """Draw what the colours mean, in as many rows as fit a width."""
    marks: list[Mark] = [Text(0, 11, paint.title, SMALL, "muted", anchor="start")]
    x, y = text_width(paint.title, SMALL) + 14, 0.0
    for key in paint.legend:
        wide = 17 + text_width(key.text, SMALL) + 12
        if x + wide > width and x > 0:
            x, y = 0.0, y + 18
        marks.append(Box(x, y + 1, 12, 12, "paper", None, radius=2))
        marks.append(_tint(x, y + 1, 12, 12, key.colour, solid=paint.solid, radius=2))
        marks.append(Text(x + 17, y + 11, key.text, SMALL, "ink", anchor="start"))
        x += wide
    return Drawing(width, y + 16 if paint.legend else 0, [Group(marks, "legend")] if paint.legend else [], paint.title)


def moved(mark: Mark, dx: float, dy: float) -> Mark:
    """Return a mark somewhere else."""
    if isinstance(mark, (Box, Text)):
        return replace(mark, x=mark.x + dx, y=mark.y + dy)
    if isinstance(mark, Shape):
        return replace(mark, loops=[[(x + dx, y + dy) for x, y in loop] for loop in mark.loops])
    return replace(mark, points=[(x + dx, y + dy) for x, y in mark.points])


def _body(scene: Scene, paint: Paint, selected: Collection[str]) -> list[Group]:
    groups = [_frame(frame) for frame in scene.frames]
    groups += [_hull(hull, paint, hull.id in selected) for hull in scene.hulls]
    groups += [_wire(wire) for wire in scene.wires]
    groups += [_frame_title(frame) for frame in scene.frames]
    groups += [_card(card, paint, card.item.id in selected) for card in scene.cards]
    # Last, so that the ring around a selected card does not strike them through.
    return groups + [_hull_tags(hull) for hull in scene.hulls if hull.tag]


def _frame(frame: Frame) -> Group:
    box = Box(frame.x, frame.y, frame.width, frame.height, "panel", "line", radius=8, face=True)
    data = {"id": frame.item.id, "kind": frame.item.kind, "open": "1"}
    return Group([box], "frame", data, f"{frame.item.label}\n{frame.item.note}")


def _frame_title(frame: Frame) -> Group:
    text = Text(frame.x + 10, frame.y + 17, frame.label, LABEL, "muted", bold=True, anchor="start", halo="panel")
    return Group([text], "frame-title", {"id": frame.item.id})


def _hull(hull: Hull, paint: Paint, selected: bool) -> Group:
    colour = paint.fill.get(hull.id, "edge")
    painted = colour not in {None, "edge"}
    shape = Shape(
        hull.loops,
        "unknown" if colour is None else colour if painted else None,
        "accent" if selected else "edge" if colour is None or paint.solid else colour,
        line=3.0 if selected else 1.6,
        opacity=(0.9 if paint.solid else 0.22) if painted else 0.25,
        dashed=colour is None,
    )
    about = [hull.label] + ([f"{paint.title}: {paint.text[hull.id]}"] if hull.id in paint.text else [])
    return Group([shape], "hull", {"id": hull.id, "kind": "hull"}, "\n".join(about))


def _hull_tags(hull: Hull) -> Group:
    """Write on each piece of an outline; the first says it in full."""
    outer = [loop for loop in hull.loops if area(loop) > 0]
    words = [f"part · {hull.tag}" if at else hull.tag for at in range(len(outer))]
    return Group([mark for loop, text in zip(outer, words, strict=True) for mark in _tag(loop, text)], "hull-tag")


def _tag(loop: list[Point], words: str) -> list[Mark]:
    """Write on an outline, where its topmost side begins."""
    sides = (sorted(side) for side in zip(loop, [*loop[1:], loop[0]], strict=True) if side[0][1] == side[1][1])
    (x, y), (right, _) = min(sides, key=lambda side: (side[0][1], side[0][0]))
    text = clip(words, _TAG, right - x - 18)
    back = Box(x + 6, y - 6, text_width(text, _TAG) + 5, 12, "paper", radius=3)
    return [back, Text(x + 8, y + 3.4, text, _TAG, "ink", anchor="start")]


def area(loop: list[Point]) -> float:
    """Return the area within a loop; that of a hole, which runs the other way, is negative."""
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairwise([*loop, loop[0]])) / 2


def rounded(loop: list[Point], radius: float) -> list[tuple[Point, Point, Point]]:
    """Return for each corner of a loop where its curve begins, the corner itself, and where the curve ends."""
    corners = []
    for at, corner in enumerate(loop):
        ends = []
        for near in (loop[at - 1], loop[(at + 1) % len(loop)]):
            length = abs(near[0] - corner[0]) + abs(near[1] - corner[1])
            part = min(radius, length / 2) / length if length else 0.0
            ends.append((corner[0] + (near[0] - corner[0]) * part, corner[1] + (near[1] - corner[1]) * part))
        corners.append((ends[0], corner, ends[1]))
    return corners


def _wire(wire: Wire) -> Group:
    line = 1.2 + min(log2(wire.tensors) * 0.35, 1.8) if wire.tensors > 1 else 1.2
    points = wire.points
    up = points[-1][1] < points[0][1]
    marks: list[Mark] = []
    if wire.arrow:
        x, y = points[-1]
        back = y + 6 if up else y - 6
        points = [*points[:-1], (x, back)]
        marks.append(Triangle([(x, y), (x - 3.5, back), (x + 3.5, back)], "edge"))
    marks.insert(0, Curve(points, "edge", round(line, 2), dashed=up or wire.stub))
    many = f" and {wire.tensors - 1} more" if wire.tensors > 1 else ""
    note = f"\n{wire.note}" if wire.note else ""
    return Group(marks, "wire", {"tail": wire.tail, "head": wire.head}, f"{wire.name}{many}{note}")


def _tint(x: float, y: float, w: float, h: float, colour: str | None, *, solid: bool, radius: float) -> Box:
    """Return a box in a legend's colour: in full, or as a tint with an outline that stays readable under text."""
    if colour is None:
        return Box(x, y, w, h, "unknown", "edge", radius=radius, opacity=0.45, dashed=True, face=True)
    return Box(x, y, w, h, colour, colour, line=1.3, radius=radius, opacity=1.0 if solid else 0.2, face=True)


def _card(card: NodeCard, paint: Paint, selected: bool) -> Group:
    item = card.item
    x, y, w, h = card.x, card.y, card.width, card.height
    marks: list[Mark] = []
    many = item.kind in {"scope", "block", "fold"}
    if many:
        steps = (6, 3) if item.kind == "fold" else (3,)
        marks += [Box(x + step, y + step, w, h, "paper", "edge", radius=6) for step in steps]
    if selected:
        marks.append(Box(x - 4, y - 4, w + 8, h + 8, None, "accent", line=2.5, radius=9))
    ends = item.kind in {"input", "output", "stub"}
    radius = h / 2 if ends else 6.0
    ink, soft = "ink", "muted"
    marks.append(Box(x, y, w, h, "paper", None, radius=radius))
    if item.id in paint.fill:
        colour = paint.fill[item.id]
        marks.append(_tint(x, y, w, h, colour, solid=paint.solid, radius=radius))
        if paint.solid and colour is not None:
            ink = soft = ink_on(colour)
    else:
        marks.append(Box(x, y, w, h, "paper", "edge", radius=radius, dashed=item.kind == "stub", face=True))
    marks += _strip(card, paint) if many else []
    middle = y + h / 2 - (4 if many else 0)
    line = middle + 4.2 if not card.note else middle - 2.5
    badge = f"×{item.copies}" if item.copies > 1 else ""
    shift = (text_width(badge, LABEL) + 6) / 2 if badge else 0
    size = SMALL if item.kind == "stub" else LABEL
    marks.append(Text(x + w / 2 - shift, line, card.label, size, soft if ends else ink, bold=not ends))
    if badge:
        place = x + w / 2 - shift + text_width(card.label, LABEL) * 1.06 / 2 + 6
        marks.append(Text(place, line, badge, LABEL, ink if paint.solid else "accent", bold=True, anchor="start"))
    if card.note:
        marks.append(Text(x + w / 2, line + 14.5, card.note, NOTE, soft))
    source = f"{'from' if item.ops else 'not shown, beside'} {item.note}"
    lines = [item.label, item.note, item.id if item.kind != "stub" else source]
    if item.id in paint.text:
        lines.append(f"{paint.title}: {paint.text[item.id]}")
    data = {"id": item.id, "kind": item.kind}
    return Group(marks, "card", data, "\n".join(dict.fromkeys(line for line in lines if line)))


def _strip(card: NodeCard, paint: Paint) -> list[Box]:
    """Return the bar at a scope's foot that shows what it is made of."""
    shares = paint.strip.get(card.item.id, [])
    x, width = card.x + 10, card.width - 20
    bars = []
    for colour, share in shares:
        bars.append(Box(round(x, 2), card.y + card.height - 10, round(width * share, 2), 4, colour or "unknown"))
        x += width * share
    return bars
