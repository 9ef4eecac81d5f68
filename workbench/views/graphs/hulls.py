"""Outlines around cards that belong together, which take in no card that does not."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from workbench.views.graphs.layout import Point
    from workbench.views.graphs.scene import NodeCard, Scene

__all__ = ["PAD", "outlines", "union"]

PAD = 6.0
"""Pixels between a card and the outline around it: less than half of the least gap between cards."""
_STACK = 6.0
_HALF_CORRIDOR = 5.0
_MOST_LOOSE = 12

Loop = list["Point"]


class Rect(NamedTuple):
    """A rectangle by its sides."""

    left: float
    top: float
    right: float
    foot: float

    def meets(self, other: Rect) -> bool:
        """Whether the two have a point in common that is not on their borders."""
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.foot and other.top < self.foot

    def around(self, other: Rect) -> Rect:
        """Return the smallest rectangle that holds both."""
        return Rect(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.foot, other.foot),
        )

    def grown(self, by: float) -> Rect:
        """Return the rectangle with every side moved outwards."""
        return Rect(self.left - by, self.top - by, self.right + by, self.foot + by)


def outlines(
    scene: Scene, groups: Mapping[str, Collection[str]], links: Iterable[tuple[str, str]] = ()
) -> dict[str, list[Loop]]:
    """Return the outline of each group of cards, as closed loops of points with horizontal and vertical sides.

    Cards of a group that are joined, or stand beside each other, are in one loop where there is room for it; others get
    loops of their own. No loop holds a card of another group or of none, and no two groups' loops overlap.

    Parameters
    ----------
    scene
        Where the cards are.
    groups
        Group to the ids of its cards; a card may be in one group only.
    links
        Pairs of cards that are joined by an edge.
    """
    cards = {card.item.id: _rect(card) for card in scene.cards}
    taken = {card: rect.grown(1) for card, rect in cards.items()}
    owner = {card: group for group, members in groups.items() for card in members}
    joined: dict[str, list[tuple[str, str]]] = {}
    for tail, head in links:
        if tail in owner and owner[tail] == owner.get(head) and tail != head:
            joined.setdefault(owner[tail], []).append((tail, head))
    ways = {(wire.tail, wire.head): wire.points for wire in scene.wires}
    # A group's own cards are kept free for it, with the outline around them, before any bridge is built.
    walls = [(rect.grown(PAD - 1) if card in owner else rect, owner.get(card)) for card, rect in taken.items()]
    loops: dict[str, list[Loop]] = {}
    for group, members in groups.items():
        mine = [card for card in members if card in cards]
        foreign = [wall for wall, whose in walls if whose != group or whose is None]
        group_pieces = _Pieces(mine, cards, foreign)
        for tail, head in joined.get(group, []):
            group_pieces.join(tail, head, ways.get((tail, head), ()))
        if len(mine) <= _MOST_LOOSE:
            for a, b in combinations(mine, 2):
                if group_pieces.piece[a] is not group_pieces.piece[b]:
                    group_pieces.join(a, b)
        pieces = group_pieces.rectangles()
        walls += [(rect, group) for piece in pieces for rect in piece]
        loops[group] = [loop for piece in pieces for loop in union(piece)]
    return loops


def _rect(card: NodeCard) -> Rect:
    more = _STACK if card.item.kind in {"scope", "block", "fold"} else 0.0
    return Rect(card.x, card.y, card.x + card.width + more, card.y + card.height + more)


class _Pieces:
    """The cards of one group, joined into pieces as far as there is room between them."""

    def __init__(self, members: Sequence[str], cards: Mapping[str, Rect], foreign: Sequence[Rect]) -> None:
        self.members, self.cards, self.foreign = members, cards, foreign
        self.piece = {card: {card} for card in members}
        self.bridges: list[tuple[str, Rect]] = []

    def free(self, rects: Iterable[Rect]) -> bool:
        """Whether some rectangles are clear of all that is not of the group."""
        return not any(rect.meets(wall) for rect in rects for wall in self.foreign)

    def join(self, a: str, b: str, way: Sequence[Point] = ()) -> None:
        """Join two cards: within one rectangle, else along the edge between them, else not at all."""
        for rects in ([self.cards[a].around(self.cards[b]).grown(PAD)], list(_corridor(way))):
            if rects and self.free(rects):
                self.bridges += [(a, rect) for rect in rects]
                whole = self.piece[a] | self.piece[b]
                self.piece |= dict.fromkeys(whole, whole)
                return

    def rectangles(self) -> list[list[Rect]]:
        """Return the rectangles of each piece: one around all of it where there is room for it."""
        result = []
        for inside in {id(cards): cards for cards in self.piece.values()}.values():
            ordered = [card for card in self.members if card in inside]
            box = self.cards[ordered[0]]
            for card in ordered[1:]:
                box = box.around(self.cards[card])
            rects = [self.cards[card].grown(PAD) for card in ordered]
            rects += [rect for card, rect in self.bridges if card in inside]
            result.append([box.grown(PAD)] if self.free([box.grown(PAD)]) else rects)
        return result


def _corridor(points: Sequence[Point]) -> Iterator[Rect]:
    """Yield rectangles along an edge, with a turn half way between two points."""
    for (x0, y0), (x1, y1) in pairwise(points):
        half = (y0 + y1) / 2
        for (ax, ay), (bx, by) in (((x0, y0), (x0, half)), ((x0, half), (x1, half)), ((x1, half), (x1, y1))):
            flat = Rect(min(ax, bx), min(ay, by), max(ax, bx), max(ay, by))
            yield flat.grown(_HALF_CORRIDOR)


def union(rects: Sequence[Rect]) -> list[Loop]:
    """Return the border of the union of rectangles: outer loops clockwise on the screen, holes the other way."""
    xs = sorted({x for rect in rects for x in (rect.left, rect.right)})
    ys = sorted({y for rect in rects for y in (rect.top, rect.foot)})
    column, row = {x: at for at, x in enumerate(xs)}, {y: at for at, y in enumerate(ys)}
    filled = {
        (i, j)
        for rect in rects
        for i in range(column[rect.left], column[rect.right])
        for j in range(row[rect.top], row[rect.foot])
    }
    steps: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for i, j in filled:
        corners = ((i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1))
        for side, beyond in enumerate(((i, j - 1), (i + 1, j), (i, j + 1), (i - 1, j))):
            if beyond not in filled:
                steps.setdefault(corners[side], []).append(corners[(side + 1) % 4])
    loops = []
    while steps:
        start = min(steps)
        at, way, came = start, [], (0, 0)
        while at in steps:
            options = steps[at]
            # Where two corners touch, the turn to the right stays on this loop's side.
            chosen = min(options, key=lambda to: _turn(came, (to[0] - at[0], to[1] - at[1])))
            options.remove(chosen)
            if not options:
                del steps[at]
            now = (chosen[0] - at[0], chosen[1] - at[1])
            if _unit(now) != _unit(came):
                way.append(at)
            at, came = chosen, now
            if at == start:
                break
        loops.append([(xs[i], ys[j]) for i, j in way])
    return loops


def _turn(came: tuple[int, int], to: tuple[int, int]) -> int:
    """Return 0 for a turn to the right (on a screen), 1 for straight on, 2 for a turn to the left."""
    cross = came[0] * to[1] - came[1] * to[0]
    return 1 - (cross > 0) + (cross < 0)


def _unit(step: tuple[int, int]) -> tuple[int, int]:
    return ((step[0] > 0) - (step[0] < 0), (step[1] > 0) - (step[1] < 0))
