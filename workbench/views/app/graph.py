"""The graph at the left of the screen: the surgery view with columns of what is known, and a list of what is found."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from workbench.names import PRECISIONS
from workbench.views.graphs import Overlay, Surgery
from workbench.views.kit import PART, PRECISION_COLOURS, request

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from workbench.session import Workbench
    from workbench.views.app.node_facts import NodeFacts
    from workbench.views.graphs import Gather, Offer

__all__ = ["AppGraph"]

MOST_HITS = 30
MOST_OFFERED = 60
MOST_REVEALED = 40
"""Selected nodes whose scopes are opened at once."""


class AppGraph(Surgery):
    """The graph canvas of the screen.

    Parameters
    ----------
    wb
        The workbench.
    node_facts
        What nodes can be coloured by.
    """

    _esm, _css = PART, ""
    legend_width = 306.0

    def __init__(self, wb: Workbench, node_facts: NodeFacts) -> None:
        super().__init__(wb, height=400)
        self.node_facts = node_facts
        self._opened: list[tuple[str, ...]] = []
        self._hits: list[str] = []
        self._page_has_edits = False
        """Whether the page has the edits that apply."""
        self.columns |= self._columns()

    @property
    def offers(self) -> list[Offer]:
        """The edits that apply to the selected nodes; looking for those of many takes long, and nobody reads them.

        Those of the whole model are looked for when the page is there, and not before anything is seen.
        """
        return super().offers if self.comm is not None and len(self.selected) <= MOST_OFFERED else []

    @request
    def _on_shown(self) -> None:
        super()._on_shown()
        if not self._page_has_edits:
            self.mark()

    def _columns(self) -> dict[str, Any]:
        """Return what the screen adds to the costs; each is gathered when it is first asked for."""
        return {
            "precision": partial(self._words, "gets", "precision of the plan"),
            "SQNR alone": partial(self._numbers, "sqnr_db", "SQNR alone", "dB"),
            "range origin": self._origins,
            "time": partial(self._numbers, "latency", "share of the time", ""),
            "requested against realized": self._differs,
        }

    def _words(self, field: str, title: str) -> Overlay:
        values = {row.node: getattr(row, field) for row in self.node_facts.rows()}
        return Overlay(title, values, order=PRECISIONS, colours=PRECISION_COLOURS)

    def _numbers(self, field: str, title: str, unit: str) -> Overlay:
        gather: Gather = "min" if field == "sqnr_db" else "sum"
        values = {row.node: getattr(row, field) for row in self.node_facts.rows()}
        return Overlay(title, values, gather, unit)

    def _origins(self) -> Overlay:
        origins = self.node_facts.wb.ranges.origins
        return Overlay("where its range comes from", {n: origins.get(t) for n, t in self.node_facts.reads().items()})

    def _differs(self) -> Overlay:
        def differing(row: Any) -> str | None:
            return None if row.realized is None else "another" if row.differs else "as asked"

        return Overlay("what the compiler made", {row.node: differing(row) for row in self.node_facts.rows()})

    def renew(self) -> None:
        """Take over the model and the figures as they are now."""
        super().renew()
        for name, column in self._columns().items():
            old = self.columns.get(name)
            self.columns[name] = column
            if isinstance(old, Overlay):
                fresh = self.column(name)
                self.picture.overlay = fresh if self.picture.overlay is old else self.picture.overlay
                self.picture.size_by = fresh if self.picture.size_by is old else self.picture.size_by
        self._hits = [name for name in self._hits if name in self.picture.scopes.network.index]

    def toggle(self, path: str) -> None:
        """Open a closed scope, close an open one; `back` undoes it."""
        self._opened.append(self.picture.shown.expanded)
        super().toggle(path)

    def mark_state(self, *, reveal: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return what is marked; what a search found as a list with paths."""
        state = super().mark_state(reveal=reveal)
        self._page_has_edits = self.comm is not None
        network = self.picture.scopes.network
        ops = [network.ops[network.index[name]] for name in self._hits[:MOST_HITS]]
        state["hits"] = [{"id": op.name, "op": op.op_type, "path": "/".join(op.scope)} for op in ops]
        state["more"] = max(0, len(self._hits) - MOST_HITS)
        state["table"] = {"columns": [], "rows": []}
        return state | {"log": [], "undo": "", "redo": "", "back": bool(self._opened)}

    @request
    def _on_typed(self, pattern: str) -> None:
        """List what a search finds, as it is typed; nothing moves yet."""
        self._hits = self.picture.scopes.search(pattern) if pattern else []
        self.mark()

    @request
    def _on_go(self, name: str) -> None:
        """Select a node and go there."""
        self.choose([name])
        self.reveal(name)

    @request
    def _on_reveal(self) -> None:
        """Open the scopes around what is selected, the first of it first, and let the page go there."""
        for name in self.selected[:MOST_REVEALED]:
            self.picture.shown = self.picture.scopes.reveal(self.picture.shown, name)
        self.draw()
        self.tell("revealed")

    @request
    def _on_collapse(self) -> None:
        """Close all scopes."""
        self._opened.append(self.picture.shown.expanded)
        for path in [path for path in self.picture.shown.expanded if "/" not in path.strip("/")] or [
            *self.picture.shown.expanded
        ]:
            self.picture.shown = self.picture.scopes.collapse(self.picture.shown, path)
        self.draw(fit=True)

    @request
    def _on_back(self) -> None:
        """Open and close what was open before the last change of that."""
        from dataclasses import replace

        if self._opened:
            paths = self.picture.scopes.tree.scopes
            opened = tuple(path for path in self._opened.pop() if path in paths)
            self.picture.shown = replace(self.picture.shown, expanded=opened, focus=())
            self.draw(fit=True)

    def choose(self, names: Sequence[str]) -> None:
        """Select nodes, those that the graph has."""
        index = self.picture.scopes.network.index
        super().choose([name for name in names if name in index])
