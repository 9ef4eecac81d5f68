"""The table of all observed tensors: sorted by a click, linked with a graph, and as a picture everywhere else."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.errors import SelectorError
from workbench.views.kit import Chart, Pictured, answered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import pandas as pd
    from matplotlib.figure import Figure

    from workbench.graph import Model
    from workbench.views.graphs import LiveGraph
    from workbench.views.kit import Theme, ThemeName

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
"""What is shown of `workbench.views.calibration.overview.calibration_table`: heading and format of each column."""


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


class TensorTable(Pictured):
    """One row a tensor.

    Parameters
    ----------
    frame
        As `calibration_table` returns it; columns that are not in `COLUMNS` are not shown.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame
        self._selected: list[str] = []
        self._watchers: list[Callable[[list[str]], object]] = []
        self._order: tuple[str, bool] = ("", False)
        self._widget: Any = None
        if len(frame):
            self.sort("sqnr_db", descending=False)

    def __repr__(self) -> str:
        return f"<TensorTable: {len(self.frame)} tensors, {len(self._selected)} selected>"

    @property
    def selected(self) -> list[str]:
        """Names of the selected tensors; assign to select."""
        return list(self._selected)

    @selected.setter
    def selected(self, names: Iterable[str]) -> None:
        self.choose(names)

    def choose(self, names: Iterable[str]) -> None:
        """Select tensors by name; those that are not in the table are passed over."""
        known = set(self.frame.index)
        self._selected = [name for name in dict.fromkeys(names) if name in known]
        if self._widget is not None:
            self._widget.selected = self._selected
        for watcher in self._watchers:
            watcher(self.selected)

    def on_select(self, watcher: Callable[[list[str]], object]) -> None:
        """Call a function with the names whenever the selection has changed, whoever changed it."""
        self._watchers.append(watcher)

    def sort(self, column: str, *, descending: bool = True) -> None:
        """Sort by a column of `frame`, or by ``tensor``; what is missing comes last.

        Raises
        ------
        SelectorError
            There is no such column.
        """
        if column == "tensor":
            self.frame = self.frame.sort_index(ascending=not descending, kind="stable")
        elif column in self.frame.columns:
            self.frame = self.frame.sort_values(column, ascending=not descending, kind="stable")
        else:
            raise SelectorError(
                "there is no such column", where=column, fix=f"There are tensor, {', '.join(self.frame.columns)}."
            )
        self._order = (column, descending)
        if self._widget is not None:
            self._widget.data = self.data()

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
        busy = False

        def once(change: Callable[[list[str]], None]) -> Callable[[list[str]], None]:
            def changed(names: list[str]) -> None:
                nonlocal busy
                if busy:
                    return  # this side was changed by the other
                busy = True
                try:
                    change(names)
                finally:
                    busy = False

            return changed

        def to_graph(tensors: list[str]) -> None:
            nodes = list(dict.fromkeys(made_by[name] for name in tensors if name in made_by))
            graph.choose(nodes)
            if len(nodes) == 1:
                graph.reveal(nodes[0])

        self.on_select(once(to_graph))
        graph.on_select(once(lambda nodes: self.choose(t for n in nodes for t in makes.get(n, ()))))

    def svg(self, theme: ThemeName = "auto") -> str:
        """Return the first rows as an SVG document."""
        return self.chart().svg(theme)

    def png(self, theme: ThemeName = "light") -> bytes:
        """Return the first rows as a PNG."""
        return self.chart().png(theme)

    def chart(self) -> TableChart:
        """Return the picture of the first rows."""
        data = self.data()
        rows = tuple(tuple(row) for row in data["rows"][:_ROWS_OF_PICTURE])
        heading = dict(data["columns"]).get(self._order[0], self._order[0])
        note = f"sorted by {heading}" if heading else ""
        if len(self.frame) > len(rows):
            note += f"; {len(self.frame) - len(rows)} tensors more"
        head = ("tensor", *(heading for _, heading in data["columns"][1:]))
        return TableChart(head, rows, tuple(self._selected), note)

    def data(self) -> dict[str, Any]:
        """Return what the widget shows: columns (key and heading), rows as texts, the order, and a note."""
        shown = [(key, *COLUMNS[key]) for key in COLUMNS if key in self.frame.columns]
        rows = []
        for name, row in self.frame.head(_MOST_ROWS).iterrows():
            rows.append([str(name), *(_text(row[key], form) for key, _, form in shown)])
        left = len(self.frame) - len(rows)
        return {
            "columns": [["tensor", "tensor"], *([key, heading] for key, heading, _ in shown)],
            "rows": rows,
            "order": list(self._order),
            "note": f"{left} tensors more; sort to see others" if left else "",
        }

    def widget(self) -> Any:
        """Return the live widget; it is made when it is first asked for."""
        if self._widget is None:
            self._widget = _widget_class()(data=self.data(), selected=self._selected)
            self._widget.on_msg(lambda _widget, content, _buffers: self.handle(content))
        return self._widget

    def tell(self, message: Mapping[str, Any]) -> None:
        """Send the page a message."""
        if self._widget is not None:
            self._widget.send(dict(message))

    @answered
    def handle(self, request: Mapping[str, Any]) -> None:
        """Do what the page asks for: sort by a column, or select a row, alone or one more."""
        if request.get("type") == "sort":
            column = str(request["column"])
            again = self._order == (column, True)
            self.sort(column, descending=not again)
        elif request.get("type") == "select":
            name, old = str(request["name"]), self._selected
            if not request.get("add"):
                self.choose([] if old == [name] else [name])
            else:
                self.choose([n for n in old if n != name] if name in old else [*old, name])


def _cut(text: str) -> str:
    return text if len(text) <= _NAME_LENGTH else f"…{text[1 - _NAME_LENGTH :]}"


def _text(value: Any, form: str) -> str:
    import pandas as pd

    return "" if pd.isna(value) else format(value, form)


@cache
def _widget_class() -> Any:
    import anywidget
    import traitlets

    class TensorTableWidget(anywidget.AnyWidget):  # type: ignore[misc, unused-ignore]
        _esm = Path(__file__).with_name("table.js")
        _css = Path(__file__).with_name("table.css")
        data = traitlets.Dict().tag(sync=True)
        selected = traitlets.List(traitlets.Unicode()).tag(sync=True)

    return TensorTableWidget
