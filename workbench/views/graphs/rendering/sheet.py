"""A drawing too high to be read is cut into columns beside each other, like the text of a newspaper."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from workbench.views.graphs.rendering.marks import Box, Shape, Text
from workbench.views.graphs.scene import SMALL
from workbench.views.kit import PNG_MAX_HEIGHT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.views.graphs.rendering.marks import Drawing, Group, Mark

__all__ = ["HIGHEST", "Sheet", "sheet", "within"]

HIGHEST = float(PNG_MAX_HEIGHT)
"""CSS pixels; a higher drawing gets columns."""
WIDEST = 4800.0
"""CSS pixels of all columns together; where they would pass it, they are drawn smaller."""
_MOST_COLUMNS = 8
_BETWEEN, _MARK = 24.0, 20.0


@dataclass(frozen=True)
class Sheet:
    """Columns beside each other, in CSS pixels.

    Attributes
    ----------
    columns
        Top and foot in the drawing of what each column shows; a single one is the drawing as it is.
    width, height
        Of the whole sheet.
    column_width
        Of the drawing.
    """

    columns: Sequence[tuple[float, float]]
    width: float
    height: float
    column_width: float

    @property
    def top(self) -> float:
        """Where the columns begin on the sheet."""
        return _MARK if len(self.columns) > 1 else 0.0

    def left(self, at: int) -> float:
        """Return where a column begins on the sheet."""
        return at * (self.column_width + _BETWEEN)

    def rules(self) -> list[float]:
        """Return x of the lines between the columns."""
        return [self.left(at) - _BETWEEN / 2 for at in range(1, len(self.columns))]

    def notes(self) -> list[Text]:
        """Return the words that say where it goes on."""
        notes = []
        for at, (top, foot) in enumerate(self.columns):
            middle = self.left(at) + self.column_width / 2
            if at:
                words = f"{at + 1} of {len(self.columns)}, goes on from the left"
                notes.append(Text(middle, 14, words, SMALL, "muted"))
            if at + 1 < len(self.columns):
                words = "goes on at the top of the next column"
                notes.append(Text(middle, self.top + foot - top + 14, words, SMALL, "muted"))
        return notes


def sheet(drawing: Drawing, highest: float = HIGHEST) -> Sheet:
    """Return how to put a drawing on a sheet: with as few columns as are at most so high, and at most eight.

    A cut goes through no card. Columns that would make the sheet wider than `WIDEST` are only added while everything
    gets larger by it when the sheet is shrunk to that size.

    Parameters
    ----------
    drawing
        What to draw.
    highest
        CSS pixels.
    """
    best: Sheet | None = None
    largest = 0.0
    for count in range(1, _MOST_COLUMNS + 1):
        cuts = _cuts(drawing, count)
        columns = list(pairwise([0.0, *cuts, drawing.height]))
        high = max(foot - top for top, foot in columns) + (2 * _MARK if cuts else 0)
        wide = drawing.width * len(columns) + _BETWEEN * len(cuts)
        scale = min(1.0, highest / high, WIDEST / wide)
        if best is None or scale > largest:
            best, largest = Sheet(columns, wide, high, drawing.width), scale
        if scale >= 1:
            break
    return best or Sheet([(0.0, drawing.height)], drawing.width, drawing.height, drawing.width)


def _cuts(drawing: Drawing, count: int) -> list[float]:
    boxes = [mark for group in drawing.groups if group.kind == "card" for mark in group.marks if isinstance(mark, Box)]
    taken = sorted((box.y - 4, box.y + box.height + 4) for box in boxes)
    cuts = []
    for part in range(1, count):
        cut = drawing.height * part / count
        for top, foot in taken:
            cut = foot if top < cut < foot else cut
        cuts.append(cut)
    return sorted({cut for cut in cuts if cut < drawing.height - _MARK})


def within(group: Group, top: float, foot: float) -> bool:
    """Say whether any of a group is between two heights."""
    spans = [_span(mark) for mark in group.marks]
    return any(low < foot and high > top for low, high in spans)


def _span(mark: Mark) -> tuple[float, float]:
    if isinstance(mark, Box):
        return mark.y - mark.line, mark.y + mark.height + mark.line
    if isinstance(mark, Text):
        return mark.y - mark.size, mark.y + mark.size / 2
    points = [point for loop in mark.loops for point in loop] if isinstance(mark, Shape) else mark.points
    heights = [y for _, y in points]
    return min(heights) - 2, max(heights) + 2
