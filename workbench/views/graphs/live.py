"""The live side of a graph view: small typed requests come in, a new scene goes out. All state is here, in Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import WorkbenchError
from workbench.views.graphs.overlay import Overlay
from workbench.views.graphs.rendering import Drawn, legend, svg
from workbench.views.kit import DARK, LIGHT, answered

if TYPE_CHECKING:
    from workbench.views.graphs.picture import GraphPicture

__all__ = ["EQUAL", "PLAIN", "Column", "LiveGraph"]

PLAIN = "operators"
"""The column that colours by the operators' families."""
EQUAL = "equal sizes"
"""The column that sizes no node by anything."""
_HERE = Path(__file__).parent
_SCRIPTS = ("pane", "surgery", "graph")
_MOST_ROWS = 50
_FIELDS: dict[str, set[str]] = {
    "toggle": {"id"},
    "select": {"pane", "id", "add"},
    "search": {"pattern", "next"},
    "focus": {"on", "hops"},
    "colour": {"column"},
    "size": {"column"},
    "row": {"name", "add"},
    "details": {"pane", "id"},
    "preview": {"index"},
    "apply": set(),
    "form": {"edit"},
    "try": {"edit", "arguments"},
    "pick": {"selector"},
    "between": set(),
    "undo": set(),
    "redo": set(),
}
Request = Mapping[str, Any]
Column = Overlay | Callable[[], Overlay]


@cache
def _widget_class() -> Any:
    """Return the widget's class; the library for it is only needed once something is shown."""
    import anywidget
    import traitlets

    class GraphWidget(anywidget.AnyWidget):
        # Three files, one module: a notebook loads a widget's script as a single file.
        _esm = "".join((_HERE / f"{name}.js").read_text(encoding="utf-8") for name in _SCRIPTS)
        _css = _HERE / "graph.css"
        scene = traitlets.Dict().tag(sync=True)
        marks = traitlets.Dict().tag(sync=True)

    return GraphWidget


class LiveGraph(Drawn):
    """One or more pictures in one widget.

    Parameters
    ----------
    panes
        The pictures, from left to right; they open, colour and select together.
    columns
        Columns to colour by, by name; a function is called when its column is first asked for.
    height
        Of the drawing area, in CSS pixels.
    """

    def __init__(
        self, panes: Sequence[GraphPicture], columns: Mapping[str, Column] | None = None, *, height: int = 520
    ) -> None:
        self.panes = list(panes)
        self.columns: dict[str, Column] = dict(columns or {})
        self.height = height
        self.found: list[str] = []
        self.listed: list[str] = []
        """Names of the nodes in the table: those found, or those selected anywhere but in the table itself."""
        self._pattern = ""
        self._at = -1
        self._widget: Any = None
        self._watchers: list[Callable[[list[str]], object]] = []
        self._requests: dict[str, Callable[[Request], object]] = {
            "toggle": self._toggle,
            "select": self._select,
            "search": lambda request: self.search(str(request["pattern"]), step=bool(request["next"])),
            "focus": lambda request: self.focus(self.selected if request["on"] else [], int(request["hops"]) or 2),
            "colour": lambda request: self.colour(str(request["column"])),
            "size": lambda request: self.size(str(request["column"])),
            "row": self._row,
            "details": self._details,
        }

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
        for watcher in self._watchers:
            watcher(self.selected)

    def on_select(self, watcher: Callable[[list[str]], object]) -> None:
        """Call a function with the names whenever the selection has changed, whoever changed it."""
        self._watchers.append(watcher)

    def search(self, pattern: str, *, step: bool = False) -> list[str]:
        """Find nodes by a regular expression, mark and list them, and go to the first; `step` goes on to the next."""
        again = step and pattern == self._pattern and self.found
        if not again:
            hits = [pane.scopes.search(pattern) for pane in self.panes] if pattern else []
            self.found = list(dict.fromkeys(name for names in hits for name in names))
            self._at = -1
            self.listed = list(self.found) or self.selected
        self._pattern = pattern
        if self.found:
            self._at = (self._at + 1) % len(self.found)
            self.reveal(self.found[self._at])
        else:
            self.mark()
        return list(self.found)

    def reveal(self, name: str) -> None:
        """Open the scopes around a node and go there."""
        where = None
        for at, pane in enumerate(self.panes):
            if name in pane.scopes.network.index:
                pane.shown = pane.scopes.reveal(pane.shown, name)
                network = pane.scopes.network
                host = network.ops[network.host[network.index[name]]].name
                where = where or {"pane": at, "id": host}
        self.refresh()
        self.mark(reveal=where)

    def focus(self, names: Sequence[str], hops: int = 2) -> None:
        """Show only some nodes and what is at most `hops` tensors away; no names shows the whole model."""
        for pane in self.panes:
            here = [name for name in names if name in pane.scopes.network.index]
            pane.shown = pane.scopes.focus(pane.shown, here, hops)
        self.refresh(fit=True)

    def toggle(self, path: str) -> None:
        """Open a closed scope, close an open one, in every pane that has it."""
        known = [pane for pane in self.panes if path in pane.scopes.tree.scopes]
        shut = any(path in pane.shown.expanded for pane in known)
        for pane in known or self.panes[:1]:
            pane.shown = (pane.scopes.collapse if shut else pane.scopes.expand)(pane.shown, path)
        self.refresh()

    def colour(self, column: str) -> None:
        """Colour by a column of `columns`, or by `PLAIN`."""
        overlay = None if column == PLAIN else self.column(column)
        for pane in self.panes:
            pane.overlay = overlay
        self.refresh()

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
        self.refresh()

    def column(self, name: str) -> Overlay:
        """Return a column by its name.

        Raises
        ------
        WorkbenchError
            There is none.
        """
        if name not in self.columns:
            known = ", ".join([PLAIN, *self.columns])
            raise WorkbenchError("there is no such column", where=repr(name), fix=f"There are {known}.")
        found = self.columns[name]
        if not isinstance(found, Overlay):
            found = self.columns[name] = found()
        return found

    @answered
    def handle(self, request: Request) -> None:
        """Do what the page asks for; what is wrong with it is said there, not raised."""
        try:
            self._checked(request)(request)
        except WorkbenchError as error:
            self.said(error)

    def said(self, error: WorkbenchError) -> None:
        """Show on the page what was wrong with a request."""
        self.tell({"type": "error", "text": str(error)})

    def _checked(self, request: Request) -> Callable[[Request], object]:
        kind = str(request.get("type"))
        if kind not in self._requests or not _FIELDS[kind] <= set(request):
            raise WorkbenchError("the page asked for something unknown", where=repr(dict(request)))
        if not 0 <= int(request.get("pane", 0)) < len(self.panes):
            raise WorkbenchError("there is no such pane", where=repr(request["pane"]))
        return self._requests[kind]

    def tell(self, message: Mapping[str, Any]) -> None:
        """Send the page a message."""
        if self._widget is not None:
            self._widget.send(dict(message))

    def widget(self) -> Any:
        """Return the Jupyter widget; it is made when it is first asked for."""
        if self._widget is None:
            self._widget = _widget_class()(scene=self.scene_state(), marks=self.mark_state())
            self._widget.on_msg(lambda _widget, content, _buffers: self.handle(content))
        return self._widget

    def refresh(self, *, fit: bool = False) -> None:
        """Draw again."""
        if self._widget is not None:
            self._widget.scene = self.scene_state(fit=fit)
            self.mark()

    def mark(self, *, reveal: Mapping[str, Any] | None = None) -> None:
        """Show again what is selected and found; nothing is drawn anew for it."""
        if self._widget is not None:
            self._widget.marks = self.mark_state(reveal=reveal)

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
            "legend": svg(legend(first.paint(first.panel()), 900), inside=True),
            "columns": [PLAIN, *self.columns],
            "column": column,
            "sizes": [EQUAL, *(name for name in self.columns if name not in words)],
            "size": sized,
            "focused": bool(first.shown.focus),
            "hops": first.shown.hops,
            "height": self.height,
            "fit": fit,
            "themes": {colours.name: asdict(colours) for colours in (LIGHT, DARK)},
        }

    def mark_state(self, *, reveal: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return what is marked in the drawing, and the rows of the table."""
        panes = []
        for pane in self.panes:
            panel = pane.panel()
            found = replace(pane.shown, selected=tuple(name for name in self.found if name in pane.seen.index))
            selected = sorted(pane.selected_items(panel))
            panes.append({"selected": selected, "found": sorted(pane.selected_items(panel, found))})
        rows = [[name, op.op_type, *values] for name, op, values in self._rows()]
        chosen, total = set(self.selected), len(self.listed)
        about = f"{len(chosen)} selected" if chosen or not total else ""
        if self.listed != self.selected:
            about = ", ".join(filter(None, [f"{total} listed", about]))
        count = f"{self._at + 1} of {len(self.found)}" if self.found else ("nothing found" if self._pattern else "")
        return {
            "panes": panes,
            "count": count,
            "head": ["name", "type", *self._loaded()],
            "rows": rows,
            "chosen": [name in chosen for name, *_ in rows],
            "about": about + (f", the first {_MOST_ROWS} of {total} are" if total > _MOST_ROWS else ""),
            "reveal": reveal,
        }

    def _loaded(self) -> dict[str, Overlay]:
        """Return the columns that are there already; a table alone makes none."""
        return {name: column for name, column in self.columns.items() if isinstance(column, Overlay)}

    def _rows(self) -> list[tuple[str, Any, list[str]]]:
        rows = []
        known = (name for name in self.listed if any(name in pane.scopes.network.index for pane in self.panes))
        for name in islice(known, _MOST_ROWS):
            network = next(pane.scopes.network for pane in self.panes if name in pane.scopes.network.index)
            values = [overlay.of([name]) for overlay in self._loaded().values()]
            texts = ["" if v is None else v if isinstance(v, str) else f"{v:.6g}" for v in values]
            rows.append((name, network.ops[network.index[name]], texts))
        return rows

    def _toggle(self, request: Request) -> None:
        self.toggle(str(request["id"]))

    def _select(self, request: Request) -> None:
        if request["id"] is None:
            self.choose([])
            return
        pane = self.panes[int(request["pane"])]
        names = pane.scopes.members(pane.shown, str(request["id"]))
        if request["add"]:
            old = self.selected
            names = [n for n in old if n not in names] if set(names) <= set(old) else [*old, *names]
        self.choose(names)

    def _row(self, request: Request) -> None:
        """Select what a row of the table names, and go there; the table stays as it is."""
        name, rows, old = str(request["name"]), self.listed, self.selected
        names = [name]
        if request["add"]:
            names = [other for other in old if other != name] if name in old else [*old, name]
        self.choose(names)
        self.listed = rows
        self.reveal(name)

    def _details(self, request: Request) -> None:
        pane = self.panes[int(request["pane"])]
        rows = [[key, value] for key, value in pane.scopes.network.describe(str(request["id"])).items()]
        self.tell({"type": "details", "id": request["id"], "rows": rows})
