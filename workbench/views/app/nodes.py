"""The table of the screen: a row a node, what hurts most first; sorted and filtered in Python, a window of it sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.display import counted
from workbench.errors import SelectorError, WorkbenchError
from workbench.views.app.rows import COLUMNS, NodeRows
from workbench.views.kit import PART, Table, request, table_state

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from workbench.precision import PrecisionRow
    from workbench.session import Workbench
    from workbench.views.app.node_facts import NodeFacts

__all__ = ["NodeTable"]

WINDOW = 400
"""Rows that a page has at once; a page of thousands is slow in any browser."""

FIRST_DOWN = frozenset({"macs", "latency", "range"})
"""Columns of which the largest comes first at the first click."""


class NodeTable(Table):
    """A row a node.

    Parameters
    ----------
    wb
        The workbench.
    node_facts
        What there is to show.
    """

    _esm, _css = PART, ""

    def __init__(self, wb: Workbench, node_facts: NodeFacts) -> None:
        super().__init__(wb, order=("sqnr_db", False))
        self.workbench, self.rows = wb, NodeRows(wb, node_facts)
        self.filter = ""
        self._first = 0
        self._problem = ""
        self._listed: list[PrecisionRow] | None = None

    @property
    def selected(self) -> list[str]:
        """Addresses of the selected nodes, in graph order."""
        return list(self._chosen)

    def ids(self) -> Collection[str]:
        """Return the addresses of the nodes."""
        return self.workbench.model.nodes

    def sortable(self) -> Sequence[str]:
        """Return the keys of the columns."""
        return [column.key for column in COLUMNS]

    def downwards(self, column: str) -> bool:
        """Say whether the largest comes first at the first click."""
        return column in FIRST_DOWN

    def choose(self, ids: Iterable[str]) -> None:
        """Select nodes, in graph order; the window moves to the first that is listed."""
        chosen = set(ids)
        self._chosen = tuple(node for node in self.workbench.model.nodes if node in chosen)
        places = [at for at, row in enumerate(self.listed()) if row.node in chosen]
        if places and not any(self._first <= at < self._first + WINDOW for at in places):
            self._first = max(0, places[0] - WINDOW // 2)
            self.draw()
        self.mark()
        self.selects()

    def narrow(self, selector: str) -> None:
        """List what a selector names alone; an empty one lists all."""
        self.filter, self._first, self._listed, self._problem = selector.strip(), 0, None, ""
        self.draw()

    def arrange(self) -> None:
        """Show the rows in their order."""
        self._first, self._listed = 0, None
        self.draw()

    def renew(self) -> None:
        """Read everything anew."""
        self._listed = None
        self._chosen = tuple(node for node in self._chosen if node in self.workbench.model.nodes)

    def listed(self) -> list[PrecisionRow]:
        """Return the rows that pass the filter, sorted."""
        if self._listed is None:
            column, down = self.order
            self._listed = self.rows.ordered(column, down=down, kept=self._kept())
        return self._listed

    def _kept(self) -> set[str] | None:
        from workbench.graph.select import select

        if not self.filter:
            return None
        try:
            return set(select(self.workbench.model, self.filter))
        except SelectorError as error:
            self._problem = str(error)
            return set()

    def scene_state(self) -> dict[str, Any]:
        """Return the window of the table."""
        rows = self.listed()
        window = [self.rows.row(row) for row in rows[self._first : self._first + WINDOW]]
        return table_state(
            COLUMNS,
            window,
            sorted=True,
            count=_counted(len(rows), len(self.rows.node_facts.rows())),
            filter=self.filter,
            problem=self._problem,
            first=self._first,
            total=len(rows),
            window=WINDOW,
        )

    def still(self) -> Any:
        """Fail: this table is part of a screen, which has the picture."""
        raise WorkbenchError("this table is a part of the screen", fix="Show the workbench itself.")

    @request
    def _on_filter(self, selector: str) -> None:
        self.narrow(selector)

    @request
    def _on_filtered(self) -> None:
        """Select all that is listed."""
        self.choose([row.node for row in self.listed()])

    @request
    def _on_window(self, first: int) -> None:
        self._first = max(0, min(first, len(self.listed()) - 1))
        self.draw()


def _counted(shown: int, count: int) -> str:
    return counted(count, "node") if shown == count else f"{shown:,} of {count:,}"
