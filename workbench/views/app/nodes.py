"""The table of the screen: a row a node, what hurts most first; sorted and filtered in Python, a window of it sent."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

from workbench.errors import SelectorError, WorkbenchError
from workbench.views.kit import PART, Column, Row, Table, css_colour, request, table_state

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from workbench.precision import PrecisionRow
    from workbench.session import Workbench
    from workbench.views.app.known import Known

__all__ = ["COLUMNS", "NodeTable"]

WINDOW = 400
"""Rows that a page has at once; a page of thousands is slow in any browser."""

COLUMNS = (
    Column("node", "node", title="address"),
    Column("op", "op", title="operator"),
    Column("shape", "shape", title="of its first output"),
    Column("macs", "MACs", "number", "share of the multiply-accumulates"),
    Column("requested", "asked", "colour", "what the deciding rule asks for"),
    Column("gets", "gets", "colour", "what the plan gives it, after all constraints"),
    Column("realized", "realized", "colour", "what the compiler of the engine made of it"),
    Column("sqnr_db", "SQNR alone", "number", "of the outputs with this node alone in INT8: low hurts most"),
    Column("range", "range", "number", "threshold of the tensor that it reads through a Q/DQ pair"),
    Column("latency", "time", "number", "share of the measured time"),
)
FIRST_DOWN = frozenset({"macs", "latency", "range"})
"""Columns of which the largest comes first at the first click."""
POOR_DB, BAD_DB = 25.0, 15.0


class NodeTable(Table):
    """A row a node.

    Parameters
    ----------
    wb
        The workbench.
    known
        What there is to show.
    """

    _esm, _css = PART, ""

    def __init__(self, wb: Workbench, known: Known) -> None:
        super().__init__(wb, order=("sqnr_db", False))
        self.workbench, self.known = wb, known
        self.filter = ""
        self._first = 0
        self._problem = ""
        self._listed: tuple[list[Row], int] | None = None

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
        places = [at for at, row in enumerate(self.listed()) if row.id in chosen]
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

    def listed(self) -> list[Row]:
        """Return the rows that pass the filter, sorted."""
        if self._listed is None:
            rows = self.known.rows()
            kept = self._kept()
            shown = [row for row in rows if kept is None or row.node in kept]
            self._listed = self._sorted([self._row(row) for row in shown]), len(rows)
        return self._listed[0]

    def _kept(self) -> set[str] | None:
        from workbench.graph.select import select

        if not self.filter:
            return None
        try:
            return set(select(self.workbench.model, self.filter))
        except SelectorError as error:
            self._problem = str(error)
            return set()

    def _sorted(self, rows: list[Row]) -> list[Row]:
        key, down = self.order
        # Of equals the one that computes most comes first.
        rows.sort(key=lambda row: -(row.values.get("macs") or 0.0))  # type: ignore[operator]
        filled = [row for row in rows if row.values.get(key) is not None]
        unknown = [row for row in rows if row.values.get(key) is None]
        filled.sort(key=partial(_value, key), reverse=down)
        return [*filled, *unknown]

    def _row(self, row: PrecisionRow) -> Row:
        tensor = self.known.reads().get(row.node)
        amax = None if tensor is None else self.workbench.ranges.get(tensor)
        shown = Row(row.node, title=row.why)
        shown.put("node", row.node)
        shown.put("op", row.op)
        shown.put("shape", row.shape or None, row.shape.replace("x", "×") or "—")
        shown.put("macs", row.macs, _share(row.macs))
        shown.put("requested", row.requested, row.requested, colour=css_colour(row.requested))
        gets = row.gets if row.floating in {row.gets, "fp32"} else f"{row.gets} over {row.floating}"
        shown.put("gets", gets, gets, colour=css_colour(row.gets))
        realized = {} if row.realized is None else {"colour": css_colour(row.realized)}
        text = "—" if row.realized is None else f"{row.realized} ≠" if row.differs else row.realized
        shown.put("realized", row.realized, text, **realized)
        finite = row.sqnr_db is not None and math.isfinite(row.sqnr_db)
        shown.put("sqnr_db", row.sqnr_db if finite else None, f"{row.sqnr_db:.1f} dB" if finite else "—")
        shown.put("range", amax, "—" if amax is None else f"{amax:.4g}")
        shown.put("latency", row.latency, _share(row.latency))
        low = row.sqnr_db is not None and row.sqnr_db < POOR_DB
        bad = row.sqnr_db is not None and row.sqnr_db < BAD_DB
        kinds = ["bad" if bad else "poor"] * low + ["differs"] * row.differs + ["plain"] * (not row.layer)
        shown.kind = " wb-".join(kinds)
        return shown

    def scene_state(self) -> dict[str, Any]:
        """Return the window of the table."""
        rows = self.listed()
        count = self._listed[1] if self._listed else len(rows)
        window = rows[self._first : self._first + WINDOW]
        return table_state(
            COLUMNS,
            window,
            sorted=True,
            count=_counted(len(rows), count),
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
        self.choose([row.id for row in self.listed()])

    @request
    def _on_window(self, first: int) -> None:
        self._first = max(0, min(first, len(self.listed()) - 1))
        self.draw()


def _value(key: str, row: Row) -> Any:
    return row.values[key]


def _share(share: float | None) -> str:
    return "—" if share is None else f"{100 * share:.3g} %" if share else "0"


def _counted(shown: int, count: int) -> str:
    return f"{count:,} nodes" if shown == count else f"{shown:,} of {count:,}"
