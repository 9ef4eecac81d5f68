"""What a tuning came to, as plain values and as the table that is printed."""

from __future__ import annotations

import math
import os
import platform
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from workbench.graph import batch_of_one, costs, mac_shares
from workbench.names import QUANTIZED, percent
from workbench.precision.plan import own_precision
from workbench.session import remarks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.evaluate import Comparison
    from workbench.graph import Model
    from workbench.names import Precision
    from workbench.recipe import GateResult
    from workbench.session import Workbench

__all__ = ["BeforeAfter", "before_after", "macs_share", "precisions", "report", "text_table"]

SCHEMA = 1


@dataclass(frozen=True)
class BeforeAfter:
    """One line of the before/after table, as text."""

    what: str
    original: str
    tuned: str
    change: str


def before_after(wb: Workbench, comparison: Comparison) -> list[BeforeAfter]:
    """Return the before/after table of a tuning, line by line."""
    rows: list[BeforeAfter] = []
    if (top1 := comparison.accuracy) is not None:
        rows.append(BeforeAfter("top-1", f"{top1.original:.2%}", f"{top1.tuned:.2%}", f"{0.0 - top1.drop:+.2f} points"))
    rows += [BeforeAfter(f"output {output.name}", "reference", "", str(output)) for output in comparison.outputs]
    before, after = comparison.original_latency, comparison.tuned_latency
    if before is not None and after is not None:
        where = f"(batch {before.batch}, this CPU)"
        for name, a, b in (
            (f"median latency {where}", before.median_ms, after.median_ms),
            (f"p95 latency {where}", before.p95_ms, after.p95_ms),
        ):
            rows.append(BeforeAfter(name, f"{a:.2f} ms", f"{b:.2f} ms", f"x{b / a:.2f}"))
    a_bytes, b_bytes = comparison.original_bytes, comparison.tuned_bytes
    rows.append(BeforeAfter("file size", _size(a_bytes), _size(b_bytes), f"x{b_bytes / a_bytes:.2f}"))
    for precision in QUANTIZED:
        before_share, share = _share_in(wb.source, wb.source, precision), macs_share(wb, precision)
        if precision == "int8" or share != 0.0 or before_share != 0.0:
            rows.append(BeforeAfter(f"MACs in {precision.upper()}", percent(before_share), percent(share), ""))
    rows.append(BeforeAfter("engine against floating point", "", "", str(wb.recipe.pays)))
    return rows


def text_table(rows: Sequence[BeforeAfter]) -> str:
    """Return rows as an aligned text table."""
    cells = [("", "original", "tuned", "change"), *((row.what, row.original, row.tuned, row.change) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(3)]
    lines = [
        f"{line[0]:<{widths[0]}}  {line[1]:>{widths[1]}}  {line[2]:>{widths[2]}}  {line[3]}".rstrip() for line in cells
    ]
    lines.insert(1, "-" * max(len(line) for line in lines))
    return "\n".join(lines)


def precisions(wb: Workbench) -> str:
    """Return the precisions that the nodes get, most frequent first: ``INT8 + FP16``."""
    decisions = wb.plan.resolve().decisions.values()
    counts = Counter(decision.precision for decision in decisions)
    return " + ".join(precision.upper() for precision, _ in counts.most_common())


def macs_share(wb: Workbench, precision: Precision = "int8") -> float | None:
    """Return the share of multiply-accumulates that are in a precision, 0 to 1; ``None`` where none are known.

    Read back from the tuned graph: a product counts whose operands both come out of a DequantizeLinear there. A dynamic
    axis counts as 1: a share does not depend on the batch.
    """
    return _share_in(wb.model, wb.tuned, precision)


def _share_in(model: Model, written: Model, precision: Precision) -> float | None:
    """Return the share of a model's multiply-accumulates that are in a precision in what was written of it."""
    chosen = [node for node in model.nodes if node in written.nodes]
    chosen = [node for node in chosen if own_precision(written.nodes[node]) == precision]
    shares = mac_shares(model, costs(model, batch_of_one(model)))
    counted = [share for node in chosen if (share := shares[node]) is not None]
    # Where no node is, none of the work is, however much there may be.
    return sum(counted) if len(counted) == len(chosen) else None


def report(wb: Workbench, comparison: Comparison, verdicts: Sequence[GateResult]) -> dict[str, Any]:
    """Return everything that is known of a tuning as plain values, for ``report.json``.

    Numbers that do not exist are ``null``; infinite ones (an SQNR of equal outputs) are the text ``"inf"``.
    """
    resolution = wb.plan.resolve()
    refused = [decision for decision in resolution.decisions.values() if not decision.kept]
    content = {
        "workbench_report": SCHEMA,
        "model": {"name": wb.source.name, "sha256": wb.source.digest, "nodes": len(wb.source.nodes)},
        "tuned": None if wb.recipe.tuned is None else {"sha256": wb.recipe.tuned.sha256},
        "environment": wb.recipe.environment,
        "machine": {
            "system": platform.system(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "backend": "onnxruntime, CPU; its speed says nothing about a GPU's",
        },
        "plan": {
            "rules": [str(rule) for rule in resolution.rules],
            "int8_nodes": len(resolution.nodes("int8")),
            "nodes": len(resolution.decisions),
            "int8_macs_share": macs_share(wb),
            "fp8_macs_share": macs_share(wb, "fp8"),
            "refused": [
                {"node": d.node, "op": d.op_type, "requested": d.requested, "reasons": list(d.reasons)} for d in refused
            ],
        },
        "pays": wb.recipe.pays.model_dump(),
        "advice": list(wb.advice),
        "remarks": list(remarks(wb, comparison)),
        "ranges": dict(wb.ranges),
        "comparison": comparison.to_dict(),
        "gates": [asdict(verdict) for verdict in verdicts],
        "quirks": [asdict(quirk) for quirk in wb.source.quirks],
    }
    return {key: _plain(value) for key, value in content.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def _size(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
