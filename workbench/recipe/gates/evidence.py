"""What gates are checked against: everything that was measured of a result, and what was not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from workbench.backends import Timing
    from workbench.calibration import Drift
    from workbench.engine import EngineSummary
    from workbench.evaluate import Agreement
    from workbench.precision.placement import Pays

__all__ = ["Evidence"]


@dataclass(frozen=True)
class Evidence:
    """What was measured; ``None`` and absent keys are what was not.

    Parameters
    ----------
    comparison
        Results of the tuned model against the original's.
    latency_ms
        ``p50``, ``p90``, ``p95``, ``p99`` of whole inferences of an engine, in milliseconds.
    throughput
        Inferences a second.
    engine
        What the engine is made of.
    engine_bytes, device_bytes, file_bytes
        The engine's file, the memory that it needs beside inputs and outputs, and ``tuned.onnx``.
    int8_share
        Share of multiply-accumulates in INT8, 0 to 1.
    drifts
        What was seen in the field, tensor by tensor, against calibration.
    conditions
        On what the engine was measured.
    pays
        What an engine took beside the fastest in floating point.
    lacking
        Why something is missing, for what is missing: ``comparison``, ``engine`` or ``field`` to a sentence.
    """

    comparison: Agreement | None = None
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    throughput: float | None = None
    engine: EngineSummary | None = None
    engine_bytes: int | None = None
    device_bytes: int | None = None
    file_bytes: int | None = None
    int8_share: float | None = None
    drifts: Sequence[Drift] = ()
    conditions: str = ""
    pays: Pays | None = None
    lacking: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def percentiles(timing: Timing) -> dict[str, float]:
        """Return the percentiles of a backend's timing as `latency_ms` has them."""
        return {"p50": timing.median_ms, "p90": timing.p90_ms, "p95": timing.p95_ms, "p99": timing.p99_ms}
