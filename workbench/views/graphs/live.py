"""The live side of a graph view: small typed requests come in, a new scene goes out. All state is here, in Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import WorkbenchError
from workbench.views.graphs.overlay import Overlay, Value, short
from workbench.views.graphs.rendering import Drawn, legend, svg
from workbench.views.kit import Column as TableColumn
from workbench.views.kit import Row, View, page, request, table_state

if TYPE_CHECKING:
    from workbench.session import Workbench
    from workbench.views.graphs.picture import GraphPicture

__all__ = ["EQUAL", "PLAIN", "Column", "LiveGraph"]

PLAIN = "operators"
"""The column that colours by the operators' families."""
EQUAL = "equal sizes"
"""The column that sizes no node by anything."""
_HERE = Path(__file__).parent
_MOST_ROWS = 50
Column = Overlay | Callable[[], Overlay]


class LiveGraph(Drawn, View):  # type: ignore[misc]
    """One or more pictures in one widget.

    Parameters
    ----------
    panes
        The pictures, from left to right; they open, colour and select together.
    columns
        Columns to colour by, by name; a function is called when its column is first asked for.
    height
        Of the drawing area, in CSS pixels.
    sessions
        The workbenches whose models are shown, if they are to be followed.
    """

    _esm, _css = page(*(_HERE / name for name in ("pane.js", "surgery.js", "graph.js", "graph.css")))
    legend_width = 900.0
    """In CSS pixels; a legend that needs more has several lines."""

    def __init__(
        self,
        panes: Sequence[GraphPicture],
        columns: Mapping[str, Column] | None = None,
        *,
        height: int = 520,
        sessions: Sequence[Workbench | None] = (),
    ) -> None:
        super().__init__(*sessions)
        self.panes = list(panes)
        self.columns: dict[str, Column] = dict(columns or {})
        self.height = height
        self.matches: list[str] = []
        self.listed: list[str] = []
        """Names of the nodes in the table: those found, or those selected anywhere but in the table itself."""
        self._pattern = ""
        self._at = -1

    @property
    def selected(self) -> list[str]:
        """Names of the selected nodes, in the order they were selected."""
        return list(dict.fromkeys(name for pane in self.panes for name in pane.shown.selected))

    def choose(self, names: Sequence[str]) -> None:
        """Select nodes by name, in each pane those that it has."""
        for pane in self.panes:
            index = pane.scopes.network.index
            here = [name for name in names if name in index or len(self.panes) == 1]
            pane.shown = pane.scopes.select(pane.shown, here)
        self.listed = self.selected
        self.mark()
        self.selects()

    def search(self, pattern: str, *, step: bool = False) -> list[str]:
        """Find nodes by a regular expression, mark and list them, and go to the first; `step` goes on to the next."""
        again = step and pattern == self._pattern and self.matches
        if not again:
            hits = [pane.scopes.search(pattern) for pane in self.panes] if pattern else []
            self.matches = list(dict.fromkeys(name for names in hits for name in names))
            self._at = -1
            self.listed = list(self.matches) or self.selected
        self._pattern = pattern
        if self.matches:
            self._at = (self._at + 1) % len(self.matches)
            self.reveal(self.matches[self._at])
        else:
            self.mark()
        return list(self.matches)

    def reveal(self, name: str) -> None:
        """Open the scopes around a node and go there."""
        where = None
        for at, pane in enumerate(self.panes):
            if name in pane.scopes.network.index:
                pane.shown = pane.scopes.reveal(pane.shown, name)
                network = pane.scopes.network
                host = network.ops[network.host[network.index[name]]].name
                where = where or {"pane": at, "id": host}
        self.draw()
        self.mark(reveal=where)

    def focus(self, names: Sequence[str], hops: int = 2) -> None:
        """Show only some nodes and what is at most `hops` tensors away; no names shows the whole model."""
        for pane in self.panes:
            here = [name for name in names if name in pane.scopes.network.index]
            pane.shown = pane.scopes.focus(pane.shown, here, hops)
        self.draw(fit=True)

    def toggle(self, path: str) -> None:
        """Open a closed scope, close an open one, in every pane that has it."""
        holders = [pane for pane in self.panes if path in pane.scopes.tree.scopes]
        shut = any(path in pane.shown.expanded for pane in holders)
        for pane in holders or self.panes[:1]:
            pane.shown = (pane.scopes.collapse if shut else pane.scopes.expand)(pane.shown, path)
        self.draw()

    def colour(self, column: str) -> None:
        """Colour by a column of `columns`, or by `PLAIN`."""
        overlay = None if column == PLAIN else self.column(column)
        for pane in self.panes:
            pane.overlay = overlay
        self.draw()

    def size(self, column: str) -> None:
        """Size the nodes by a column of `columns`, or none of them by `EQUAL`.

        Raises
        ------
        WorkbenchError
            There is no such column, or it holds words.
        """
        overlay = None if column == EQUAL else self.column(column)
        if overlay is not None and overlay.words:
            raise WorkbenchError("words have no size", where=column, fix="Size by a column of numbers.")
        for pane in self.panes:
            pane.size_by = overlay
        self.draw()

    def column(self, name: str) -> Overlay:
        """Return a column by its name.

        Raises
        ------
        WorkbenchError
            There is none.
        """
        if name not in self.columns:
            names = ", ".join([PLAIN, *self.columns])
            raise WorkbenchError("there is no such column", where=repr(name), fix=f"There are {names}.")
        overlay = self.columns[name]
        if not isinstance(overlay, Overlay):
            overlay = self.columns[name] = overlay()
        return overlay

    def scene_state(self, *, fit: bool = False) -> dict[str, Any]:
        """Return the drawing as the page gets it."""
        panes = []
        for pane in self.panes:
            drawing = pane.drawing(bare=True)
            caption = f"{pane.title} · {pane.about()}" if pane.title else pane.about()
            size = {"width": drawing.width, "height": drawing.height}
            panes.append({"svg": svg(drawing, inside=True), "caption": caption, **size})
        first = self.panes[0]
        column = next((name for name, overlay in self.columns.items() if overlay is first.overlay), PLAIN)
        sized = next((name for name, overlay in self.columns.items() if overlay is first.size_by), EQUAL)
        words = {name for name, overlay in self._loaded().items() if overlay.words}
        return {
            "panes": panes,
            "legend": svg(legend(first.paint(first.panel()), self.legend_width), inside=True),
            "columns": [PLAIN, *self.columns],
            "column": column,
            "sizes": [EQUAL, *(name for name in self.columns if name not in words)],
            "size": sized,
            "focused": bool(first.shown.focus),
            "hops": first.shown.hops,
            "height": self.height,
            "fit": fit,
        }

    def mark_state(self, *, reveal: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return what is marked in the drawing, and the rows of the table."""
        panes = []
        for pane in self.panes:
            panel = pane.panel()
            marked = replace(pane.shown, selected=tuple(name for name in self.matches if name in pane.seen.index))
            selected = sorted(pane.selected_items(panel))
            panes.append({"selected": selected, "matches": sorted(pane.selected_items(panel, marked))})
        chosen, total = self.selected, len(self.listed)
        about = f"{len(chosen)} selected" if chosen or not total else ""
        if self.listed != self.selected:
            about = ", ".join(filter(None, [f"{total} listed", about]))
        count = f"{self._at + 1} of {len(self.matches)}" if self.matches else ("nothing found" if self._pattern else "")
        return {
            "panes": panes,
            "count": count,
            "selected": list(chosen),
            "table": self._table(),
            "about": about + (f", the first {_MOST_ROWS} of {total} are" if total > _MOST_ROWS else ""),
            "reveal": reveal,
        }

    def _loaded(self) -> dict[str, Overlay]:
        """Return the columns that are there already; a table alone makes none."""
        return {name: column for name, column in self.columns.items() if isinstance(column, Overlay)}

    def _table(self) -> dict[str, Any]:
        loaded = self._loaded()
        rows = []
        names = (name for name in self.listed if any(name in pane.scopes.network.index for pane in self.panes))
        for name in islice(names, _MOST_ROWS):
            network = next(pane.scopes.network for pane in self.panes if name in pane.scopes.network.index)
            values = {title: overlay.of([name]) for title, overlay in loaded.items()}
            texts = {key: _text(value, loaded[key].unit) for key, value in values.items()}
            rows.append(Row(name, texts={"name": name, "type": network.ops[network.index[name]].op_type} | texts))
        return table_state([TableColumn(title, title) for title in ("name", "type", *loaded)], rows)

    def _pane(self, at: int) -> GraphPicture:
        if not 0 <= at < len(self.panes):
            raise WorkbenchError("there is no such pane", where=at)
        return self.panes[at]

    # What the page may ask

    @request
    def _on_toggle(self, id: str, pane: int = 0) -> None:  # noqa: A002, ARG002 - all panes open together
        self.toggle(id)

    @request
    def _on_select(self, id: str | None, pane: int, add: bool) -> None:  # noqa: A002
        self.choose([] if id is None else self.members(id, pane, add=add))

    def members(self, item: str, pane: int = 0, *, add: bool = False) -> list[str]:
        """Return the nodes that a click on a thing selects; to `add` some takes away those that are."""
        picture, old = self._pane(pane), self.selected if add else []
        names = picture.scopes.members(picture.shown, item)
        return [n for n in old if n not in names] if set(names) <= set(old) else [*old, *names]

    @request
    def _on_search(self, pattern: str, next: bool) -> None:  # noqa: A002
        self.search(pattern, step=next)

    @request
    def _on_focus(self, on: bool, hops: int) -> None:
        self.focus(self.selected if on else [], hops or 2)

    @request
    def _on_colour(self, column: str) -> None:
        self.colour(column)

    @request
    def _on_size(self, column: str) -> None:
        self.size(column)

    @request
    def _on_row(self, rows: list[str], add: bool) -> None:
        """Select what a row of the table names, and go there; the table stays as it is."""
        listed, old = self.listed, self.selected
        kept = [name for name in old if name not in rows]
        self.choose([*kept, *(name for name in rows if name not in old)] if add else rows)
        self.listed = listed
        if rows:
            self.reveal(rows[-1])

    @request
    def _on_details(self, id: str, pane: int) -> None:  # noqa: A002
        rows = [[key, value] for key, value in self._pane(pane).scopes.network.describe(id).items()]
        self.tell("details", id=id, rows=rows)


def _text(value: Value, unit: str) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return f"{short(float(value))} {unit}".strip()
