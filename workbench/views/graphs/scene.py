"""Where everything is: the panels measured, laid out and put into each other; pixels, but no drawing yet."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from workbench.views.graphs.layout import Layout, layered

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.views.graphs.layout import Point
    from workbench.views.graphs.panel import Item, Panel

__all__ = ["Frame", "Hull", "NodeCard", "Scene", "Wire", "clip", "scene", "text_width"]

# Advance widths of DejaVu Sans, hundredths of an em, from the blank to the tilde. The system fonts of all platforms are
# narrower, so text that fits by this measure fits everywhere.
_ADVANCE = (
    32, 40, 46, 84, 64, 95, 78, 27, 39, 39, 50, 84, 32, 36, 32, 34, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 34, 34, 84,
    84, 84, 53, 100, 68, 69, 70, 77, 63, 58, 77, 75, 29, 29, 66, 56, 86, 75, 79, 60, 79, 69, 63, 61, 73, 68, 99, 69,
    61, 69, 39, 34, 39, 84, 50, 50, 61, 63, 55, 63, 62, 35, 63, 63, 28, 28, 58, 28, 97, 63, 61, 63, 63, 41, 52, 39, 63,
    59, 82, 59, 59, 52, 64, 34, 64, 84,
)  # fmt: skip
_OTHER_ADVANCE = 100
LABEL, NOTE, SMALL = 12.0, 10.5, 10.0
_WIDEST = 210.0
_PAD, _HEAD = 14.0, 26.0


def text_width(text: str, size: float) -> float:
    """Return the most that a line of text is wide, in pixels, at a font size in pixels."""
    steps = (_ADVANCE[ord(c) - 32] if 32 <= ord(c) < 127 else _OTHER_ADVANCE for c in text)
    return sum(steps) * size / 100


def clip(text: str, size: float, width: float) -> str:
    """Return a text that fits, its middle left out where it is too long: names differ most at their ends."""
    if text_width(text, size) <= width:
        return text
    keep = len(text) - 1
    while keep > 2:
        head = keep // 3
        short = f"{text[:head]}…{text[len(text) - (keep - head) :]}"
        if text_width(short, size) <= width:
            return short
        keep -= 1
    return "…"


@dataclass(slots=True)
class NodeCard:
    """A box: its item, top left corner and size, and the lines of text that fit it."""

    item: Item
    x: float
    y: float
    width: float
    height: float
    label: str
    note: str


@dataclass(slots=True)
class Frame:
    """An open scope: the box around its panel."""

    item: Item
    x: float
    y: float
    width: float
    height: float
    label: str


@dataclass(slots=True)
class Wire:
    """An edge: points with vertical tangents, from tail to head; `arrow` where it ends at a card."""

    points: list[Point]
    tail: str
    head: str
    name: str
    tensors: int
    arrow: bool
    stub: bool
    note: str = ""


@dataclass(slots=True)
class Hull:
    """An outline around cards that belong together: closed loops with horizontal and vertical sides.

    `label` is told where the pointer rests, `tag` is written on the border.
    """

    id: str
    loops: list[list[Point]]
    label: str
    tag: str = ""


@dataclass(slots=True)
class Scene:
    """The whole drawing, in CSS pixels from its top left corner; frames come outermost first."""

    width: float = 0.0
    height: float = 0.0
    cards: list[NodeCard] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    wires: list[Wire] = field(default_factory=list)
    hulls: list[Hull] = field(default_factory=list)
    crossings: int = 0

    def moved(self, dx: float, dy: float) -> None:
        """Shift everything."""
        boxes: list[NodeCard | Frame] = [*self.cards, *self.frames]
        for box in boxes:
            box.x += dx
            box.y += dy
        for wire in self.wires:
            wire.points = [(x + dx, y + dy) for x, y in wire.points]
        for hull in self.hulls:
            hull.loops = [[(x + dx, y + dy) for x, y in loop] for loop in hull.loops]


def scene(panel: Panel, weight: Mapping[str, float] | None = None) -> Scene:
    """Lay a picture out.

    Parameters
    ----------
    panel
        The outermost panel.
    weight
        Item to a value in 0 to 1 that makes its card up to twice as large each way; for sizing by a column.
    """
    return _draw(panel, weight or {})[0]


@lru_cache(maxsize=256)
def _layout(
    sizes: tuple[tuple[float, float], ...],
    edges: tuple[tuple[int, int], ...],
    first: tuple[int, ...],
    last: tuple[int, ...],
    docks: tuple[tuple[float | None, float | None], ...],
    weak: tuple[int, ...],
) -> Layout:
    """Return the layout of one panel; opening a scope leaves all panels but those around it as they are."""
    widths, heights = [width for width, _ in sizes], [height for _, height in sizes]
    return layered(widths, heights, edges, first=first, last=last, docks=docks, weak=weak)


def _draw(panel: Panel, weight: Mapping[str, float]) -> tuple[Scene, dict[int, float]]:
    """Return the scene of a panel and x of its ports."""
    inner = {at: _draw(item.panel, weight) for at, item in enumerate(panel.items) if item.panel is not None}
    cards = {at: _card(item, weight.get(item.id, 0.0)) for at, item in enumerate(panel.items) if at not in inner}
    sizes: list[tuple[float, float]] = []
    for at, item in enumerate(panel.items):
        if at in inner:
            title = text_width(item.label, LABEL) * 1.06 + 10
            sizes.append((max(inner[at][0].width, title) + 2 * _PAD, inner[at][0].height + _HEAD + _PAD))
        else:
            sizes.append((cards[at].width, cards[at].height))
    ports = {at: item.label for at, item in enumerate(panel.items) if item.kind == "port"}
    docks = tuple(
        (_dock(inner, link.tail, link.tail_port), _dock(inner, link.head, link.head_port)) for link in panel.links
    )
    laid = _layout(
        tuple(sizes),
        tuple((link.tail, link.head) for link in panel.links),
        tuple(at for at, way in ports.items() if way == "in"),
        tuple(at for at, way in ports.items() if way == "out"),
        docks,
        tuple(at for at, item in enumerate(panel.items) if item.kind == "stub"),
    )
    result = Scene(laid.width, laid.height, crossings=laid.crossings)
    for at, item in enumerate(panel.items):
        x, y = laid.x[at] - sizes[at][0] / 2, laid.y[at] - sizes[at][1] / 2
        if at in inner:
            _insert(result, inner[at][0], Frame(item, x, y, *sizes[at], item.label))
        elif at not in ports:
            card = cards[at]
            card.x, card.y = x, y
            result.cards.append(card)
    for link, points in zip(panel.links, laid.paths, strict=True):
        source, target = panel.items[link.tail], panel.items[link.head]
        arrow = target.kind != "port" and link.head not in inner
        # In a frame the line goes on from the port to the frame's edge, past the title.
        before = [(points[0][0], points[0][1] - _HEAD)] if link.tail in ports else []
        after = [(points[-1][0], points[-1][1] + _PAD)] if link.head in ports else []
        way = [*before, *points, *after]
        stub = "stub" in {source.kind, target.kind}
        result.wires.append(Wire(way, source.id, target.id, link.name, link.tensors, arrow, stub))
    return result, {at: laid.x[at] - laid.width / 2 for at in ports}


def _dock(inner: Mapping[int, tuple[Scene, dict[int, float]]], at: int, port: int | None) -> float | None:
    return None if port is None else inner[at][1][port]


def _insert(result: Scene, inner: Scene, frame: Frame) -> None:
    inner.moved(frame.x + (frame.width - inner.width) / 2, frame.y + _HEAD)
    result.frames += [frame, *inner.frames]
    result.cards += inner.cards
    result.wires += inner.wires
    result.crossings += inner.crossings


def _card(item: Item, weight: float) -> NodeCard:
    if item.kind == "port":
        return NodeCard(item, 0, 0, 0, 0, "", "")
    if item.kind == "stub":
        label = clip(item.label, SMALL, 110)
        return NodeCard(item, 0, 0, text_width(label, SMALL) + 16, 18, label, "")
    badge = text_width(f"×{item.copies}", LABEL) + 8 if item.copies > 1 else 0
    label, note = clip(item.label, LABEL, _WIDEST - badge), clip(item.note, NOTE, _WIDEST)
    width = max(text_width(label, LABEL) * 1.06 + badge, text_width(note, NOTE)) + 24
    height = 27.0 + (14 if note else 0) + (8 if item.kind in {"scope", "block", "fold"} else 0)
    # The area is what the eye compares, so the side grows with the square root.
    grow = 1 + weight**0.5
    return NodeCard(item, 0, 0, round(max(width, 64) * grow, 1), round(height * grow, 1), label, note)
