"""The outcome of each variant, as a table and as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from workbench.engine import clocks_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from workbench.jobs.bench.variants import Variant

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


def table(rows: Sequence[BenchRow]) -> str:
    """Return the rows as text; the ratio is the median over FP16's of the same model, so less than 1 is faster."""
    titles = ("model", "variant", "median ms", "+/-", "p95 ms", "/ FP16", "layers", "reformats", "build s", "MiB")
    where_known = ("SM MHz", "SQNR dB", "top-1 %", "drop")
    fp16 = {row.model: row.median_ms for row in rows if row.variant == "fp16"}
    grid = [(*titles, *where_known), *((*_cells(row, fp16.get(row.model)), *_results(row)) for row in rows)]
    kept = [i for i in range(len(grid[0])) if i < len(titles) or any(line[i] != "-" for line in grid[1:])]
    grid = [tuple(line[i] for i in kept) for line in grid]
    widths = [max(len(line[i]) for line in grid) for i in range(len(kept))]
    lines = [
        "  ".join(cells[i].ljust(widths[i]) if i < 2 else cells[i].rjust(widths[i]) for i in range(len(kept)))
        for cells in grid
    ]
    lines.insert(1, "-" * len(lines[0]))
    lines += [f"{row.stem}: {row.status}: {row.reason}" for row in rows if row.reason]
    lines += [f"{row.stem}: {clocks_text(row.clocks)}" for row in rows if _slowed(row)]
    return "\n".join(line.rstrip() for line in lines)


def rows_json(rows: Sequence[BenchRow], conditions: object) -> str:
    """Return the rows with the conditions of the measurement as JSON; unknown is null, an infinite SQNR ``"inf"``."""
    plain = [{key: str(value) if value == math.inf else value for key, value in asdict(row).items()} for row in rows]
    return json.dumps({"schema": SCHEMA, "conditions": conditions, "rows": plain}, indent=1, allow_nan=False)


def _cells(row: BenchRow, fp16: float | None) -> tuple[str, ...]:
    ratio = None if row.median_ms is None or not fp16 else row.median_ms / fp16
    size = None if row.engine_bytes is None else row.engine_bytes / 2**20
    return (
        row.model,
        row.variant,
        _number(row.median_ms, 4),
        _number(row.median_error_ms, 4),
        _number(row.p95_ms, 4),
        _number(ratio, 3),
        _number(row.layers, 0),
        _number(row.reformats, 0),
        _number(row.build_s, 1),
        _number(size, 1),
    )


def _sm_clock(row: BenchRow) -> str:
    span = row.clocks.get("sm_clock_mhz") if isinstance(row.clocks, dict) else None
    return "-" if span is None else "-".join(dict.fromkeys(f"{mhz:.0f}" for mhz in span))


def _slowed(row: BenchRow) -> list[str]:
    return row.clocks.get("slowed_by", []) if isinstance(row.clocks, dict) else []


def _results(row: BenchRow) -> tuple[str, ...]:
    drop = None if row.top1 is None or row.top1_original is None else 100 * (row.top1_original - row.top1)
    top1 = None if row.top1 is None else 100 * row.top1
    return _sm_clock(row), _number(row.sqnr_db, 1), _number(top1, 2), _number(drop, 2)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
