"""How far one model's results are from another's, and how fast both are."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.display import Card, Shown

if TYPE_CHECKING:
    from collections.abc import Sequence


__all__ = ["Accuracy", "Agreement", "Comparison", "Latency", "OutputDifference"]


@dataclass(frozen=True)
class OutputDifference:
    """How far one output of the tuned model is from the original's, over all samples.

    Parameters
    ----------
    name
        The output.
    sqnr_db
        Signal to quantization noise ratio in dB.
    cosine
        Cosine similarity.
    max_error
        The largest absolute difference.
    differing
        Share of values that are not equal, 0 to 1.
    nonfinite
        Values that became NaN or infinite.
    values
        How many were compared; 0 where the output was empty.
    reshaped
        Runs in which the tuned model's has another shape, as where an output lists what was found; it counts as if it
        were zero.
    became_finite
        Values that were NaN or infinite and are finite in the tuned model. They count as differing, and in no other
        figure.
    """

    name: str
    sqnr_db: float
    cosine: float
    max_error: float
    differing: float
    nonfinite: int
    values: int = 0
    reshaped: int = 0
    became_finite: int = 0

    def __str__(self) -> str:
        if not self.values:
            return "nothing to compare: it has no values"
        if self.nonfinite:
            text = f"{self.nonfinite} of {self.values} values became NaN or infinite"
        elif math.isnan(self.sqnr_db):
            text = f"{self.differing:.2%} of values differ"
        else:
            text = f"SQNR {self.sqnr_db:.1f} dB, cosine {self.cosine:.5f}, max error {self.max_error:.3g}"
        if self.became_finite:
            count = f"{self.became_finite} of {self.values} values"
            text += f"; {count} were NaN or infinite and are finite, which only counts as differing"
        return text + (f", another shape in {self.reshaped} runs" if self.reshaped else "")


@dataclass(frozen=True)
class Accuracy:
    """Top-1 of both models on labelled samples, as shares 0 to 1.

    Parameters
    ----------
    original, tuned
        Shares of hits.
    samples
        How many had a label.
    lost, won
        Samples that only the original, and only the tuned model, has right; `None` where they were not counted.
    """

    original: float
    tuned: float
    samples: int
    lost: int | None = None
    won: int | None = None

    @property
    def drop(self) -> float:
        """What was lost, in percentage points; negative where the tuned model is better."""
        # In binary 100 of 100 hits less 99 are a little more than a point.
        return round(100.0 * (self.original - self.tuned), 9)

    def interval(self, confidence: float = 0.95) -> tuple[float, float] | None:
        """Return the confidence interval of the drop, in percentage points; `None` where pairs were not counted.

        Both models see the same samples, so only those count on which they differ: the adjusted Wald interval of
        Agresti and Min, *Simple improved confidence intervals for comparing matched proportions* (2005), which has a
        width also where no sample differs.
        """
        if self.lost is None or self.won is None:
            return None
        lost, won, count = self.lost + 0.5, self.won + 0.5, self.samples + 2
        middle = (lost - won) / count
        spread = math.sqrt(lost + won - (lost - won) ** 2 / count) / count
        reach = NormalDist().inv_cdf(0.5 + confidence / 2) * spread
        return 100.0 * max(middle - reach, -1.0), 100.0 * min(middle + reach, 1.0)


@dataclass(frozen=True)
class Latency:
    """Wall time of single runs in milliseconds, on this machine's processor."""

    median_ms: float
    p95_ms: float
    runs: int
    batch: int

    @classmethod
    def of(cls, times: Sequence[float], batch: int) -> Latency:
        """Sum up the times of single runs."""
        return cls(float(np.median(times)), float(np.percentile(times, 95)), len(times), batch)


@dataclass(frozen=True)
class Agreement(Shown):
    """How far results are from the original's.

    Parameters
    ----------
    outputs
        One entry an output.
    accuracy
        Where there were labels.
    samples
        How many were compared.
    """

    outputs: tuple[OutputDifference, ...]
    accuracy: Accuracy | None
    samples: int

    @property
    def worst_sqnr_db(self) -> float:
        """The lowest SQNR of any floating-point output; NaN where there is none."""
        values = [output.sqnr_db for output in self.outputs if not math.isnan(output.sqnr_db)]
        return min(values, default=math.nan)

    @property
    def nonfinite(self) -> int:
        """Values of all outputs that became NaN or infinite."""
        return sum(output.nonfinite for output in self.outputs)

    def _card(self) -> Card:
        headline = f"SQNR {self.worst_sqnr_db:.1f} dB at the worst output" if self.outputs else "nothing to compare"
        if self.accuracy is not None:
            headline += f"; top-1 {self.accuracy.original:.2%} -> {self.accuracy.tuned:.2%}"
        rows = tuple((one.name, str(one)) for one in self.outputs)
        return Card(f"{headline}, on {self.samples} samples", ("output", "against the original"), rows, self._notes())

    def _notes(self) -> tuple[str, ...]:
        return ()


@dataclass(frozen=True)
class Comparison(Agreement):
    """Original against tuned.

    Parameters
    ----------
    original_latency, tuned_latency
        Measured in turns in one process: their ratio is worth more than either. `None` where not measured.
    original_bytes, tuned_bytes
        Size of the ONNX files.
    note
        What the comparison does not say, or that it is not with the source; empty where there is nothing to add.
    seconds
        Wall time of running both on all samples.
    calibrated
        Whether these are the samples that were calibrated on, which flatter the result.
    """

    original_latency: Latency | None
    tuned_latency: Latency | None
    original_bytes: int
    tuned_bytes: int
    note: str = ""
    seconds: float = 0.0
    calibrated: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for a report."""
        return asdict(self)

    def _notes(self) -> tuple[str, ...]:
        size = f"file {self.original_bytes / 1e6:.2f} -> {self.tuned_bytes / 1e6:.2f} MB"
        before, after = self.original_latency, self.tuned_latency
        if before is None or after is None:
            return size, *filter(None, (self.note,))
        times = f"{before.median_ms:.2f} -> {after.median_ms:.2f} ms on this processor, which says nothing of a GPU"
        return size, times, *filter(None, (self.note,))
