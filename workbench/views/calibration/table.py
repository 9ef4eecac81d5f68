"""The table of all observed tensors: sorted by a click, linked with a graph, and as a picture everywhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.views.kit import Chart, Column, Row, Table, linked, table_state

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    import pandas as pd
    from matplotlib.figure import Figure

    from workbench.graph import Model
    from workbench.session import Workbench
    from workbench.views.graphs import LiveGraph
    from workbench.views.kit import Pictured, Theme

__all__ = ["TableChart", "TensorTable"]

_MOST_ROWS = 1000
_ROWS_OF_PICTURE = 24
_NAME_LENGTH = 34

COLUMNS: dict[str, tuple[str, str]] = {
    "origin": ("origin", "s"),
    "range": ("range", ".4g"),
    "sqnr_db": ("SQNR, dB", ".1f"),
    "clipped": ("clipped", ".3%"),
    "disagreement": ("disagreement", ".2f"),
    "outlier_ratio": ("outliers", ".2f"),
    "minimum": ("minimum", ".4g"),
    "maximum": ("maximum", ".4g"),
    "zero_fraction": ("zero", ".1%"),
    "dead_channels": ("dead ch.", "d"),
}
"""What is shown of `workbench.calibration.calibration_table`: heading and format of each column."""


@dataclass(frozen=True)
class TableChart(Chart):
    """The first rows of the table, as a picture.

    Attributes
    ----------
    head
        Headings.
    rows
        Texts: the tensor, then one a column.
    marked
        Tensors that are selected.
    note
        A line below.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    marked: tuple[str, ...]
    note: str

    @property
    def size(self) -> tuple[float, float]:
        return 11.0, 0.21 * (len(self.rows) + 3)

    def draw(self, figure: Figure, colours: Theme) -> None:
        axes = figure.subplots()
        axes.set_axis_off()
        axes.set_xlim(0, 1)
        axes.set_ylim(len(self.rows) + 1.5, -0.8)
        # Each column is as wide as its longest text, at its right end, as numbers want.
        columns = list(zip(*[[_cut(text) for text in row] for row in (self.head, *self.rows)], strict=True))
        widths = np.array([max(map(len, column)) + 3.0 for column in columns])
        ends = np.append(0.0, widths.cumsum()[1:] / widths.sum())
        for place, row in enumerate((self.head, *self.rows)):
            heading = place == 0
            if not heading and row[0] in self.marked:
                axes.axhspan(place - 0.5, place + 0.5, color=colours.accent, alpha=0.25, linewidth=0)
            for end, text in zip(ends, row, strict=True):
                align = "left" if end == 0.0 else "right"
                color = colours.muted if heading else colours.ink
                axes.text(end, place, _cut(text), ha=align, va="center", fontsize=7.5, color=color)
        axes.axhline(0.5, color=colours.line, linewidth=0.8)
        axes.text(0, len(self.rows) + 1, self.note, va="center", fontsize=7.5, color=colours.muted)


class TensorTable(Table):
    """One row a tensor.

    Parameters
    ----------
    frame
        As `calibration_table` returns it, or what returns it now; columns that are not in `COLUMNS` are not shown.
    session
        The workbench that is shown.
    """

    def __init__(self, frame: pd.DataFrame | Callable[[], pd.DataFrame], session: Workbench | None = None) -> None:
        super().__init__(session)
        self._read: Callable[[], pd.DataFrame] = frame if callable(frame) else lambda: frame
        self.frame = self._read()
        if len(self.frame):
            self.sort("sqnr_db", descending=False)

    def __repr__(self) -> str:
        return f"<TensorTable: {len(self.frame)} tensors, {len(self._chosen)} selected>"

    @property
    def selected(self) -> list[str]:
        """Names of the selected tensors; assign to select."""
        return list(self._chosen)

    @selected.setter
    def selected(self, names: Iterable[str]) -> None:
        self.choose(names)

    @property
    def selected_nodes(self) -> list[str]:
        """Addresses of the nodes that make the selected tensors; of an input of the model, of those that read it."""
        model = None if self._session is None else self._session.model
        chosen = set(self._chosen)
        if model is None or not chosen:
            return []
        makers = {str(v.name): address for address, node in model.top_nodes.items() for v in node.outputs if v.name}
        inputs = chosen - makers.keys()
        readers = [
            address
            for address, node in model.top_nodes.items()
            if inputs and any(v is not None and v.name in inputs for v in node.inputs)
        ]
        return list(dict.fromkeys([*(makers[name] for name in self._chosen if name in makers), *readers]))

    def choose_nodes(self, nodes: list[str]) -> None:
        """Select the tensors that some nodes make, where they were observed."""
        if self._session is None:
            return
        top, present = self._session.model.top_nodes, self.ids()
        names = [str(v.name) for node in nodes if node in top for v in top[node].outputs if v.name in present]
        if names:
            self.choose(names)

    def ids(self) -> Collection[str]:
        """Return the names of the tensors."""
        return set(self.frame.index)

    def sortable(self) -> list[str]:
        """Return what the table can be sorted by."""
        return ["tensor", *self.frame.columns]

    def arrange(self) -> None:
        """Sort the frame, of which only the first rows are sent; what is missing comes last."""
        self._arrange()
        self.draw()

    def renew(self) -> None:
        """Read the frame anew; selection and order stay."""
        self.frame = self._read()
        self._chosen = tuple(name for name in self._chosen if name in self.frame.index)
        self._arrange()

    def _arrange(self) -> None:
        column, descending = self.order
        if column == "tensor":
            self.frame = self.frame.sort_index(ascending=not descending, kind="stable")
        elif column in self.frame.columns:
            self.frame = self.frame.sort_values(column, ascending=not descending, kind="stable")

    def link(self, graph: LiveGraph, model: Model) -> None:
        """Link with a graph view: rows select the nodes that make their tensors, nodes select their rows.

        Parameters
        ----------
        graph
            A view of `model`.
        model
            Whose tensors these are. Its inputs are made by no node.
        """
        made_by = {str(v.name): address for address, node in model.top_nodes.items() for v in node.outputs if v.name}
        makes: dict[str, list[str]] = {}
        for tensor, address in made_by.items():
            makes.setdefault(address, []).append(tensor)

        def to_graph(tensors: list[str]) -> None:
            nodes = list(dict.fromkeys(made_by[name] for name in tensors if name in made_by))
            graph.choose(nodes)
            if len(nodes) == 1:
                graph.reveal(nodes[0])

        linked(self, to_graph, graph, lambda nodes: self.choose(t for n in nodes for t in makes.get(n, ())))

    def still(self) -> Pictured:
        """Return the picture that stands for the view."""
        return self.chart()

    def chart(self) -> TableChart:
        """Return the picture of the first rows."""
        rows = tuple(tuple(texts) for texts in self.texts(_ROWS_OF_PICTURE))
        columns = self.columns()
        heading = next((one.label for one in columns if one.key == self.order[0]), self.order[0])
        note = f"sorted by {heading}" if heading else ""
        if len(self.frame) > len(rows):
            note += f"; {len(self.frame) - len(rows)} tensors more"
        return TableChart(tuple(one.label for one in columns), rows, self._chosen, note)

    def columns(self) -> list[Column]:
        """Return the columns that are shown."""
        shown = [Column(key, heading, "number") for key, (heading, _) in COLUMNS.items() if key in self.frame.columns]
        return [Column("tensor", "tensor"), *shown]

    def texts(self, most: int = _MOST_ROWS) -> list[list[str]]:
        """Return what the first rows say, cell by cell."""
        keys = [column.key for column in self.columns()[1:]]
        return [
            [str(name), *(_text(row[key], COLUMNS[key][1]) for key in keys)]
            for name, row in self.frame.head(most).iterrows()
        ]

    def scene_state(self) -> dict[str, Any]:
        """Return the first rows, as they are sorted."""
        columns = self.columns()
        keys = [column.key for column in columns]
        rows = [Row(texts[0], texts=dict(zip(keys, texts, strict=True)), title=texts[0]) for texts in self.texts()]
        left = len(self.frame) - len(rows)
        note = f"{left} tensors more; sort to see others" if left else ""
        return table_state(columns, rows, note=note, sorted=True)


def _cut(text: str) -> str:
    return text if len(text) <= _NAME_LENGTH else f"…{text[1 - _NAME_LENGTH :]}"


def _text(value: Any, form: str) -> str:
    import pandas as pd

    return "" if pd.isna(value) else format(value, form)
