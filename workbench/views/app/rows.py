"""The rows of the screen's table: in which order nodes come, and what their cells say."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from workbench.views.kit import Column, Row, css_colour

if TYPE_CHECKING:
    from collections.abc import Container

    from workbench.precision import PrecisionRow
    from workbench.session import Workbench
    from workbench.views.app.node_facts import NodeFacts

__all__ = ["COLUMNS", "NodeRows"]

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
POOR_DB, BAD_DB = 25.0, 15.0
LEAST_DB = -999.0
"""Stands for minus infinity: where nothing is left of an output comes before all else."""


class NodeRows:
    """Sorts what is known of the nodes; cells are written for those alone that are shown.

    Parameters
    ----------
    wb
        The workbench.
    node_facts
        What there is to show.
    """

    def __init__(self, wb: Workbench, node_facts: NodeFacts) -> None:
        self.workbench, self.node_facts = wb, node_facts

    def ordered(
        self, column: str = "sqnr_db", *, down: bool = False, kept: Container[str] | None = None
    ) -> list[PrecisionRow]:
        """Return the rows by a column, what is unknown last; all, or those of the nodes that are kept."""
        rows = [row for row in self.node_facts.rows() if kept is None or row.node in kept]
        # Of equals the one that computes most comes first.
        rows.sort(key=lambda row: -(row.macs or 0.0))
        values = [(self._value(column, row), row) for row in rows]
        filled = [pair for pair in values if pair[0] is not None]
        filled.sort(key=lambda pair: pair[0], reverse=down)  # type: ignore[arg-type,return-value]
        return [row for _, row in filled] + [row for value, row in values if value is None]

    def _value(self, column: str, row: PrecisionRow) -> str | float | None:
        """Return what a row is sorted by; ``None`` is unknown."""
        if column == "range":
            tensor = self.node_facts.reads().get(row.node)
            return None if tensor is None else self.workbench.ranges.get(tensor)
        if column == "gets":
            return row.gets if row.floating in {row.gets, "fp32"} else f"{row.gets} over {row.floating}"
        value: str | float | None = getattr(row, column)
        if column == "sqnr_db" and value == -math.inf:
            return LEAST_DB
        has_value = math.isfinite(value) if isinstance(value, float) else value != ""
        return value if has_value else None

    def row(self, row: PrecisionRow) -> Row:
        """Return a row as a table shows it."""
        shown = Row(row.node, title=row.why)
        values = {column.key: self._value(column.key, row) for column in COLUMNS}
        texts = {key: "—" if value is None else str(value) for key, value in values.items()}
        texts |= {key: _share(getattr(row, key)) for key in ("macs", "latency")}
        texts["shape"] = texts["shape"].replace("x", "×")
        if row.realized is not None and row.differs:
            texts["realized"] += " ≠"
        if values["sqnr_db"] is not None:
            texts["sqnr_db"] = f"{row.sqnr_db:.1f} dB"
        if values["range"] is not None:
            texts["range"] = f"{values['range']:.4g}"
        colours = {"requested": row.requested, "gets": row.gets, "realized": row.realized}
        for key, value in values.items():
            colour = colours.get(key)
            shown.put(key, value, texts[key], **({} if colour is None else {"colour": css_colour(colour)}))
        low = row.sqnr_db is not None and row.sqnr_db < POOR_DB
        bad = row.sqnr_db is not None and row.sqnr_db < BAD_DB
        kinds = ["bad" if bad else "poor"] * low + ["differs"] * row.differs + ["plain"] * (not row.layer)
        shown.kind = " wb-".join(kinds)
        return shown


def _share(share: float | None) -> str:
    return "—" if share is None else f"{100 * share:.3g} %" if share else "0"
