"""What a gate can be on: one line of the table each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from workbench.evaluate import Accuracy, OutputDifference
    from workbench.recipe.gates.evidence import Evidence

    Measure = Callable[[Evidence, "Asked"], float | None]

__all__ = ["METRICS", "Metric"]

_MIB = 2**20
_NARROW = ("int8", "fp8", "fp16", "bf16")


class Asked(Protocol):
    """What of a gate a measure needs."""

    @property
    def output(self) -> str | None:
        """The output that it is about."""

    @property
    def confidence(self) -> float | None:
        """The level of the interval whose end counts."""


@dataclass(frozen=True)
class Metric:
    """One thing that a gate can be on.

    Parameters
    ----------
    about
        What it is, with the direction that is better.
    unit
        As it stands behind a value.
    source
        What measures it: ``comparison``, ``engine``, ``timing``, ``model`` or ``field``.
    of
        Returns the value; `None` where it was not measured.
    numbers
        Whether it is about results, so that it fails wherever one became NaN or infinite.
    of_output
        Whether a gate can be on one output.
    """

    about: str
    unit: str
    source: Literal["comparison", "timing", "engine", "model", "field"]
    of: Measure
    numbers: bool = False
    of_output: bool = False

    def reason(self, evidence: Evidence) -> str:
        """Say why there is no value."""
        needs = {
            "comparison": "nothing was compared",
            "timing": "no engine was timed: give a backend, or times of whole inferences",
            "engine": "no engine was looked at: give a backend, or an inspector's file",
            "model": "the model does not tell",
            "field": "nothing of the field was given: see workbench drift",
        }
        return evidence.lacking.get(self.source, needs[self.source])


def _drop(evidence: Evidence, asked: Asked) -> float | None:
    accuracy = _accuracy(evidence)
    if accuracy is None or asked.confidence is None:
        return None if accuracy is None else accuracy.drop
    ends = accuracy.interval(asked.confidence)
    return None if ends is None else ends[1]


def _relative_drop(evidence: Evidence, asked: Asked) -> float | None:
    accuracy = _accuracy(evidence)
    if accuracy is None or not accuracy.original or (drop := _drop(evidence, asked)) is None:
        return None
    return round(drop / accuracy.original, 9)


def _accuracy(evidence: Evidence) -> Accuracy | None:
    return None if evidence.comparison is None else evidence.comparison.accuracy


def _worst(what: Callable[[OutputDifference], float]) -> Measure:
    def measure(evidence: Evidence, asked: Asked) -> float | None:
        outputs = () if evidence.comparison is None else evidence.comparison.outputs
        values = [what(one) for one in outputs if asked.output in (None, one.name)]
        return min((value for value in values if not math.isnan(value)), default=None)

    return measure


def _nonfinite(evidence: Evidence, asked: Asked) -> float | None:
    if evidence.comparison is None:
        return None
    return sum(one.nonfinite for one in evidence.comparison.outputs if asked.output in (None, one.name))


def _latency_ratio(evidence: Evidence, _: Asked) -> float | None:
    before, after = (getattr(evidence.comparison, name, None) for name in ("original_latency", "tuned_latency"))
    return None if before is None or after is None else float(after.median_ms / before.median_ms)


def _speedup(evidence: Evidence, _: Asked) -> float | None:
    return None if evidence.pays is None else evidence.pays.speedup


def _percentile(name: str) -> Measure:
    return lambda evidence, _: evidence.latency_ms.get(name)


def _mib(count: int | None) -> float | None:
    return None if count is None else count / _MIB


def _layers(evidence: Evidence, _: Asked) -> float | None:
    return None if evidence.engine is None else len(evidence.engine.report.layers)


def _reformats(evidence: Evidence, _: Asked) -> float | None:
    return None if evidence.engine is None else len(evidence.engine.report.reformat_layers)


def _silent_fp32(evidence: Evidence, _: Asked) -> float | None:
    """Count the nodes of which less was asked and that run in FP32 or TF32."""
    asked = [] if evidence.engine is None else [one for one in evidence.engine.verdicts if one.requested in _NARROW]
    realized = [one.realized.precision for one in asked if one.realized.precision is not None]
    return sum("fp32" in one or "tf32" in one for one in realized) if realized else None


def _field_clipped(evidence: Evidence, _: Asked) -> float | None:
    return max((100 * one.outside for one in evidence.drifts), default=None)


def _field_drift(evidence: Evidence, _: Asked) -> float | None:
    return max((one.score for one in evidence.drifts), default=None)


METRICS: Mapping[str, Metric] = {
    "top1_drop": Metric("top-1 that was lost, absolute", "points", "comparison", _drop, numbers=True),
    "top1_drop_relative": Metric(
        "top-1 that was lost, relative to the original's", "%", "comparison", _relative_drop, numbers=True
    ),
    "sqnr_db": Metric(
        "SQNR of the worst output, or of one", "dB", "comparison", _worst(lambda o: o.sqnr_db), True, True
    ),
    "cosine": Metric(
        "cosine similarity of the worst output, or of one", "", "comparison", _worst(lambda o: o.cosine), True, True
    ),
    "nonfinite": Metric("values that became NaN or infinite", "values", "comparison", _nonfinite, of_output=True),
    "latency_ratio": Metric("median latency on this processor, tuned / original", "", "comparison", _latency_ratio),
    "speedup": Metric("latency of the fastest engine in floating point over this one's", "", "timing", _speedup),
    "p50_ms": Metric("median latency of the engine", "ms", "timing", _percentile("p50")),
    "p90_ms": Metric("90th percentile of the engine's latency", "ms", "timing", _percentile("p90")),
    "p95_ms": Metric("95th percentile of the engine's latency", "ms", "timing", _percentile("p95")),
    "p99_ms": Metric("99th percentile of the engine's latency", "ms", "timing", _percentile("p99")),
    "throughput": Metric("inferences of the engine a second", "/s", "timing", lambda e, _: e.throughput),
    "engine_mib": Metric("size of the engine's file", "MiB", "engine", lambda e, _: _mib(e.engine_bytes)),
    "device_mib": Metric(
        "device memory of the engine beside inputs and outputs", "MiB", "timing", lambda e, _: _mib(e.device_bytes)
    ),
    "file_mib": Metric("size of tuned.onnx with its weights", "MiB", "model", lambda e, _: _mib(e.file_bytes)),
    "int8_macs": Metric("multiply-accumulates in INT8, 0 to 1", "", "model", lambda e, _: e.int8_share),
    "silent_fp32": Metric(
        "nodes asked for in fewer bits that the engine runs in FP32", "nodes", "engine", _silent_fp32
    ),
    "layers": Metric("layers of the engine", "layers", "engine", _layers),
    "reformats": Metric("layers of the engine that only change a format", "layers", "engine", _reformats),
    "field_clipped": Metric("values in the field that the worst tensor's range clips", "%", "field", _field_clipped),
    "field_drift": Metric("drift score of the worst tensor in the field, 0 to 1", "", "field", _field_drift),
}
"""Name to what it is. A new metric is a line here."""
