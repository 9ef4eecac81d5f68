"""The screen where it cannot be live: steps with their figures, the nodes that matter most, and the recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.views.app.rows import COLUMNS, NodeRows
from workbench.views.app.steps import step_states
from workbench.views.app.timeline import line_of
from workbench.views.graphs import Box, Drawing, Drawn, Group, Text, text_width
from workbench.views.kit import precision_colour, theme

if TYPE_CHECKING:
    from workbench.session import Workbench
    from workbench.views.app.node_facts import NodeFacts
    from workbench.views.graphs import Mark

__all__ = ["Still"]

WIDTH, MARGIN, LINE = 1000.0, 16.0, 20.0
MOST_ROWS, MOST_STEPS = 14, 12
SIZE = 12.0
COLOURED = frozenset({"requested", "gets", "realized"})


class Still(Drawn):
    """A picture of a workbench.

    Parameters
    ----------
    wb
        The workbench.
    node_facts
        What is known of its nodes.
    """

    def __init__(self, wb: Workbench, node_facts: NodeFacts) -> None:
        self.workbench, self.node_facts = wb, node_facts

    def drawing(self) -> Drawing:
        """Return the drawing that all forms share."""
        wb = self.workbench
        marks: list[Mark] = [Text(MARGIN, 30, wb.source.name, 16, bold=True, anchor="start")]
        marks += self._steps(44)
        top = 110.0
        table = NodeRows(wb, self.node_facts)
        ordered = table.ordered()
        rows = min(MOST_ROWS, len(ordered))
        marks += self._table(top, [table.row(row).texts for row in ordered[:MOST_ROWS]], len(ordered) - rows)
        top += LINE * (rows + 3) + 8
        steps = wb.recipe.steps
        marks.append(Text(MARGIN, top, "recipe", SIZE, "muted", bold=True, anchor="start"))
        for at, step in enumerate(steps[:MOST_STEPS]):
            words = _fitting(f"{at}. {line_of(step)}", WIDTH - 2 * MARGIN)
            marks.append(Text(MARGIN, top + LINE * (at + 1), words, SIZE, anchor="start"))
        more = max(0, len(steps) - MOST_STEPS)
        last = f"and {more} steps more" if more else "" if steps else "no steps yet"
        count = min(MOST_STEPS, len(steps)) + bool(last)
        if last:
            marks.append(Text(MARGIN, top + LINE * count, last, SIZE, "muted", anchor="start"))
        label = f"{wb.source.name}: {len(steps)} steps"
        return Drawing(WIDTH, top + LINE * (count + 1), [Group(marks)], label)

    def _steps(self, top: float) -> list[Mark]:
        stages = step_states(self.workbench, self.node_facts)
        wide = (WIDTH - 2 * MARGIN) / len(stages)
        marks: list[Mark] = []
        for at, stage in enumerate(stages):
            left = MARGIN + at * wide
            stroke = "good" if stage["done"] else "line"
            marks.append(Box(left, top, wide - 6, 42, "panel", stroke, radius=5))
            name = f"✓ {stage['name']}" if stage["done"] else stage["name"]
            marks.append(Text(left + 8, top + 17, name, SIZE, bold=True, anchor="start"))
            figure = _fitting(stage["figure"], wide - 20, 10)
            marks.append(Text(left + 8, top + 34, figure, 10, "muted", anchor="start"))
        return marks

    def _table(self, top: float, rows: list[dict[str, str]], more: int) -> list[Mark]:
        wides = {"node": 220.0, "op": 100.0, "shape": 140.0, "sqnr_db": 100.0}
        left = MARGIN
        marks: list[Mark] = []
        for column in COLUMNS:
            wide = wides.get(column.key, (WIDTH - 2 * MARGIN - sum(wides.values())) / (len(COLUMNS) - len(wides)))
            marks.append(Text(left, top + 14, column.label, SIZE - 1, "muted", bold=True, anchor="start"))
            for at, row in enumerate(rows):
                words, y = _fitting(row[column.key], wide - 18), top + LINE * (at + 2) - 6
                offset = 0.0
                if column.key in COLOURED and words != "—":
                    colour = precision_colour(words.split()[0], theme("light"))
                    marks.append(Box(left, y - 9, 9, 9, colour, None, radius=2))
                    offset = 13.0
                marks.append(Text(left + offset, y, words, SIZE - 1, anchor="start"))
            left += wide
        if more > 0:
            y = top + LINE * (MOST_ROWS + 2) - 6
            marks.append(Text(MARGIN, y, f"and {more:,} nodes more", SIZE - 1, "muted", anchor="start"))
        return marks


def _fitting(words: str, wide: float, size: float = SIZE) -> str:
    if text_width(words, size) <= wide:
        return words
    while words and text_width(f"{words}…", size) > wide:
        words = words[:-1]
    return f"{words}…"
