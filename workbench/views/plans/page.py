"""What the page of a precision view draws, as plain values."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from workbench.names import PRECISIONS
from workbench.views.kit import Column, Row, css_colour, table_state

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.precision import FrontPoint, PrecisionRow

__all__ = ["COLUMNS", "scene_of"]

COLUMNS = (
    Column("place", "#", "number", "position in the order they run"),
    Column("node", "node", title="address"),
    Column("op", "op", title="operator"),
    Column("shape", "shape", title="of its first output"),
    Column("macs", "MACs", "number", "share of the multiply-accumulates"),
    Column("latency", "time", "number", "share of the measured time"),
    Column("sqnr_db", "SQNR", "number", "of the outputs with this node alone in INT8: low hurts most"),
    Column("requested", "requested", title="what the deciding rule asks for"),
    Column("gets", "current", "colour", "what the plan gives it, after all constraints"),
    Column("realized", "engine", title="what the compiler of the engine made of it"),
    Column("rule", "rule", "number", "the deciding rule's number"),
)
_MAYBE = frozenset({"latency", "sqnr_db", "realized"})
"""Columns that are there only where something is known."""


def scene_of(
    rows: Sequence[PrecisionRow], front: Sequence[FrontPoint], metric: str, *, everything: bool, **more: Any
) -> dict[str, Any]:
    """Return the table of the layers, or of `everything`, their strip and the search's front; `more` goes along."""
    filled = {key for key in _MAYBE for row in rows if getattr(row, key) is not None}
    columns = [column for column in COLUMNS if column.key not in _MAYBE or column.key in filled]
    return table_state(
        columns,
        [_row(row, columns) for row in rows if row.layer or everything],
        all=everything,
        precisions=list(PRECISIONS),
        strip=[_bar(row) for row in rows if row.layer],
        front=[_plain(asdict(point)) | {"text": point.text(metric)} for point in front],
        metric=metric,
        **more,
    )


def _row(row: PrecisionRow, columns: list[Column]) -> Row:
    values = _plain(row._asdict())
    shown = Row(row.node, title=row.why)
    for column in columns:
        shown.put(column.key, values[column.key], _text(row, column.key))
    shown.looks["gets"] = {"colour": css_colour(row.gets)}
    shown.kind = " ".join(["refused"] * (row.requested != row.gets) + ["differs"] * row.differs)
    return shown


def _bar(row: PrecisionRow) -> dict[str, Any]:
    work = "MACs unknown" if row.macs is None else f"{_text(row, 'macs')} of the MACs"
    tip = f"{row.node} ({row.op}): {_text(row, 'gets')}, {work}"
    kept = row.requested == row.gets
    return {
        "id": row.node,
        "precision": row.gets,
        "colour": css_colour(row.gets),
        "share": row.macs,
        "kept": kept,
        "tip": tip,
    }


def _text(row: PrecisionRow, key: str) -> str:
    value = getattr(row, key)
    if value is None:
        return ""
    if key in {"macs", "latency"}:
        return f"{100 * value:.3g} %" if value else "0"
    if key == "sqnr_db":
        return f"{value:.1f} dB"
    if key == "realized" and row.differs:
        return f"{value} ≠"
    if key == "gets" and value not in {row.floating, "fp32"} and row.floating != "fp32":
        return f"{value} over {row.floating}"
    return str(value)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: what makes no error, or has no figure, is said as None."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in values.items()
    }
