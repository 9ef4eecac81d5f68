"""The outcome of each variant, as a table and as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from workbench.backends import median_error_ms
from workbench.engine import clocks_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from workbench.backends import Timing
    from workbench.jobs.options import Variant

__all__ = ["BenchRow", "rows_json", "table"]

SCHEMA = "workbench-bench/1"


@dataclass(frozen=True)
class BenchRow:
    """One variant of one model.

    Attributes
    ----------
    status
        ``measured``; ``built``, but not measured; ``failed``; or ``skipped`` for want of time.
    reason
        Why it is not ``measured``.
    median_ms, p95_ms
        Latency of one inference on the GPU.
    median_error_ms
        Standard error of the median; see `workbench.backends.turns.median_error_ms`.
    layers, reformats
        Layers of the engine, and how many of them only change a format (Q/DQ that stand alone included).
    layers_ms
        Sum of the layers' average times while profiled.
    build_s
        Wall seconds in the builder, with the timing cache as the variants before left it.
    engine_bytes, sha256
        Size of the engine, and the hash of the model it was built from.
    batch
        The length of the inputs' first axis; None where the graph leaves it free.
    sqnr_db
        The lowest SQNR of any output, in dB, against the floating-point model on ONNX Runtime; infinite where they are
        equal.
    top1, top1_original
        Shares 0 to 1 of the labelled samples that the engine and that model get right.
    clocks
        The lowest and highest clocks, power and temperature while it was timed, and what held the clock back; or why
        they are not known.
    """

    model: str
    variant: Variant
    status: Literal["measured", "built", "failed", "skipped"]
    reason: str | None = None
    median_ms: float | None = None
    median_error_ms: float | None = None
    p95_ms: float | None = None
    layers: int | None = None
    reformats: int | None = None
    layers_ms: float | None = None
    build_s: float | None = None
    engine_bytes: int | None = None
    sha256: str | None = None
    batch: int | None = None
    sqnr_db: float | None = None
    top1: float | None = None
    top1_original: float | None = None
    clocks: Mapping[str, Any] | str | None = None

    @property
    def stem(self) -> str:
        """What its files are called."""
        return f"{self.model}.{self.variant}"

    def timed(self, timing: Timing) -> BenchRow:
        """Return the row with what was measured of whole inferences."""
        return replace(
            self,
            median_ms=timing.median_ms,
            median_error_ms=median_error_ms(timing),
            p95_ms=timing.p95_ms,
            clocks=timing.conditions.get("clocks"),
        )


@dataclass(frozen=True)
class TextColumn:
    """A column of the table.

    Parameters
    ----------
    title
        What stands above it.
    of
        Its value, from a row and the median of FP16 of the same model.
    digits
        Of a number, after the point.
    always
        Whether it is there where no row has a value, too.
    """

    title: str
    of: Callable[[BenchRow, float | None], float | str | None]
    digits: int = 0
    always: bool = True

    def text(self, row: BenchRow, fp16: float | None) -> str:
        """Return the value of a row as text."""
        value = self.of(row, fp16)
        return "-" if value is None else value if isinstance(value, str) else f"{value:.{self.digits}f}"


def _over(value: float | None, other: float | None) -> float | None:
    return None if value is None or not other else value / other


def _drop(row: BenchRow) -> float | None:
    return None if row.top1 is None or row.top1_original is None else 100 * (row.top1_original - row.top1)


def _sm_clock(row: BenchRow) -> str | None:
    span = row.clocks.get("sm_clock_mhz") if isinstance(row.clocks, dict) else None
    return None if span is None else "-".join(dict.fromkeys(f"{mhz:.0f}" for mhz in span))


_COLUMNS = (
    TextColumn("model", lambda row, _: row.model),
    TextColumn("variant", lambda row, _: row.variant),
    TextColumn("median ms", lambda row, _: row.median_ms, 4),
    TextColumn("+/-", lambda row, _: row.median_error_ms, 4),
    TextColumn("p95 ms", lambda row, _: row.p95_ms, 4),
    TextColumn("/ FP16", lambda row, fp16: _over(row.median_ms, fp16), 3),
    TextColumn("layers", lambda row, _: row.layers),
    TextColumn("reformats", lambda row, _: row.reformats),
    TextColumn("build s", lambda row, _: row.build_s, 1),
    TextColumn("MiB", lambda row, _: _over(row.engine_bytes, 2**20), 1),
    TextColumn("SM MHz", lambda row, _: _sm_clock(row), always=False),
    TextColumn("SQNR dB", lambda row, _: row.sqnr_db, 1, always=False),
    TextColumn("top-1 %", lambda row, _: None if row.top1 is None else 100 * row.top1, 2, always=False),
    TextColumn("drop", lambda row, _: _drop(row), 2, always=False),
)


def table(rows: Sequence[BenchRow]) -> str:
    """Return the rows as text; the ratio is the median over FP16's of the same model, so less than 1 is faster."""
    fp16 = {row.model: row.median_ms for row in rows if row.variant == "fp16"}
    columns = [
        [column.title, *(column.text(row, fp16.get(row.model)) for row in rows)]
        for column in _COLUMNS
        if column.always or any(column.of(row, None) is not None for row in rows)
    ]
    widths = [max(map(len, column)) for column in columns]
    lines = [
        "  ".join(c.ljust(w) if at < 2 else c.rjust(w) for at, (c, w) in enumerate(zip(cells, widths, strict=True)))
        for cells in zip(*columns, strict=True)
    ]
    lines.insert(1, "-" * len(lines[0]))
    lines += [f"{row.stem}: {row.status}: {row.reason}" for row in rows if row.reason]
    lines += [f"{row.stem}: {clocks_text(row.clocks)}" for row in rows if _slowed(row)]
    return "\n".join(line.rstrip() for line in lines)


def rows_json(rows: Sequence[BenchRow], conditions: object) -> str:
    """Return rows and the conditions of the measurement as JSON; unknown is null, infinite ``"inf"`` or ``"-inf"``."""
    infinite = (math.inf, -math.inf)
    plain = [{key: str(value) if value in infinite else value for key, value in asdict(row).items()} for row in rows]
    return json.dumps({"schema": SCHEMA, "conditions": conditions, "rows": plain}, indent=1, allow_nan=False)


def _slowed(row: BenchRow) -> list[str]:
    return row.clocks.get("slowed_by", []) if isinstance(row.clocks, dict) else []
