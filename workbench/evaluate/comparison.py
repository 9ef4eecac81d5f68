"""Run two versions of a model on the same samples and say how far apart they are."""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.calibration import feeds
from workbench.display import Card, Shown
from workbench.errors import SamplesError
from workbench.evaluate.metrics import Difference, top1_hits
from workbench.evaluate.reference import Reference, as_type_of
from workbench.graph import file_bytes
from workbench.progress import progress
from workbench.runtime import Session

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from workbench.calibration import Feed, Samples
    from workbench.graph import Model

__all__ = [
    "Accuracy",
    "Agreement",
    "Comparison",
    "Latency",
    "OutputDifference",
    "Tally",
    "Top1",
    "compare",
]


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
    """

    name: str
    sqnr_db: float
    cosine: float
    max_error: float
    differing: float
    nonfinite: int
    values: int = 0
    reshaped: int = 0

    def __str__(self) -> str:
        if not self.values:
            return "nothing to compare: it has no values"
        if self.nonfinite:
            text = f"{self.nonfinite} of {self.values} values became NaN or infinite"
        elif math.isnan(self.sqnr_db):
            text = f"{self.differing:.2%} of values differ"
        else:
            text = f"SQNR {self.sqnr_db:.1f} dB, cosine {self.cosine:.5f}, max error {self.max_error:.3g}"
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
        return 100.0 * (self.original - self.tuned)

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


@dataclass(frozen=True, repr=False)
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


@dataclass(frozen=True, repr=False)
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


def compare(
    original: Model | Reference,
    tuned: Model,
    samples: Samples,
    *,
    labels: npt.NDArray[np.int64] | None = None,
    batch: int = 1,
    runs: int = 30,
) -> Comparison:
    """Compare two versions of a model on ONNX Runtime.

    Outputs are computed with Q/DQ as written; latency with all of ONNX Runtime's optimizations.

    Parameters
    ----------
    original, tuned
        With the same inputs and outputs, but for what a `Reference` knows.
    samples
        What both are fed.
    labels
        One class index a sample: top-1 is measured on the first floating-point output.
    batch
        Samples a run for models of dynamic batch.
    runs
        Timed runs of each model, in turns; 0 measures no latency.

    Raises
    ------
    SamplesError
        Samples do not fit, or labels are given and no output holds one row of scores a sample.
    BackendError
        ONNX Runtime refuses or fails one of the models.
    """
    reference = Reference.of(original)
    began = time.perf_counter()
    agreement, first = _agreement(reference, tuned, samples, labels, batch)
    seconds = time.perf_counter() - began
    times = _times(reference, tuned, first, runs) if runs else ([], [])
    return Comparison(
        outputs=agreement.outputs,
        accuracy=agreement.accuracy,
        samples=agreement.samples,
        original_latency=Latency.of(times[0], first.count) if runs else None,
        tuned_latency=Latency.of(times[1], first.count) if runs else None,
        original_bytes=file_bytes(reference.model),
        tuned_bytes=file_bytes(tuned),
        note=reference.note,
        seconds=seconds,
    )


def _agreement(
    original: Reference, tuned: Model, samples: Samples, labels: npt.NDArray[np.int64] | None, batch: int
) -> tuple[Agreement, Feed]:
    """Run both on all samples; return how far they agree, and the first of what they were fed.

    The sessions end with it: those that are timed next need the memory where a model is large.
    """
    batches = feeds(samples, original.form, batch=batch)
    first = next(batches, None)
    if first is None:
        raise SamplesError("no samples to compare on", fix="Give at least one.")
    session = Session(tuned, untried=as_type_of(tuned, first.arrays))
    before = original.session()
    tally = Tally(original, labels)
    every = itertools.chain([first], batches)
    for feed in progress(every, total=len(samples), doing="comparing", amount=lambda feed: feed.count, partial=True):
        reference, test = original.run(before, feed.arrays), session.run(as_type_of(tuned, feed.arrays))
        tally.add(feed, reference, test)
    return tally.result(), first


class Tally:
    """Sums up, run by run, how far results are from the original's.

    Parameters
    ----------
    original
        Whose outputs are compared.
    labels
        One class index a sample: top-1 is measured on the first floating-point output.
    """

    def __init__(self, original: Model | Reference, labels: npt.NDArray[np.int64] | None = None) -> None:
        reference = Reference.of(original)
        self._top1 = None if labels is None else (Top1(reference.form, labels), Top1(reference.form, labels))
        self._differences = {name: Difference() for name in reference.outputs}
        self._samples = self._lost = self._won = 0

    def add(self, feed: Feed, reference: Mapping[str, npt.NDArray[Any]], test: Mapping[str, npt.NDArray[Any]]) -> None:
        """Add one run: what the original made of a feed, and what is compared with it, output name to array.

        Raises
        ------
        SamplesError
            Labels are given, and no output holds one row of scores a sample.
        """
        for name, difference in self._differences.items():
            real = feed.real(reference[name])
            difference.update(reference[name][real], test[name][real])
        if self._top1 is not None:
            before, after = (one.add(feed, result) for one, result in zip(self._top1, (reference, test), strict=True))
            self._lost += int((before & ~after).sum())
            self._won += int((after & ~before).sum())
        self._samples += feed.count

    def result(self) -> Agreement:
        """Return what was found so far."""
        accuracy = None
        if self._top1 is not None:
            original, test = self._top1
            accuracy = Accuracy(original.share, test.share, original.seen, self._lost, self._won)
        outputs = tuple(_summary(name, difference) for name, difference in self._differences.items())
        return Agreement(outputs, accuracy, self._samples)


def _times(original: Reference, tuned: Model, feed: Feed, runs: int) -> tuple[list[float], list[float]]:
    fed = original.fed(feed.arrays), as_type_of(tuned, feed.arrays)
    fast = original.session("speed"), Session(tuned, mode="speed", untried=fed[1])
    times: tuple[list[float], list[float]] = ([], [])
    for which in (0, 1):
        fast[which].time(fed[which], runs=1, warmup=4)
    for _ in range(runs):
        for which in (0, 1):
            times[which].extend(fast[which].time(fed[which], runs=1, warmup=0))
    return times


class Top1:
    """Counts, run by run, where the largest score is that of the label.

    Parameters
    ----------
    model
        Whose outputs they are, for messages.
    labels
        One class index a sample, or one a row where samples are whole inputs of several rows.
    """

    def __init__(self, model: Model, labels: npt.NDArray[np.int64]) -> None:
        self._model = model
        self.labels = labels
        self._hits = 0
        self.seen = 0

    def add(self, feed: Feed, result: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.bool_]:
        """Add what one run gave, and return which of its samples are hits.

        Raises
        ------
        SamplesError
            No output holds one row of scores a sample, or there are fewer labels than rows.
        """
        scores = self._scores(feed, result)
        labels = self.labels[self.seen : self.seen + len(scores)]
        if len(labels) < len(scores):
            raise SamplesError(
                f"{len(self.labels)} labels, and more rows of scores than that",
                where=self._model.name,
                fix="Give one label a row: each of these samples is a whole input of several rows.",
            )
        hits = top1_hits(scores, labels)
        self._hits += int(hits.sum())
        self.seen += len(scores)
        return hits

    @property
    def share(self) -> float:
        """The share of hits, 0 to 1; NaN before any run."""
        return self._hits / self.seen if self.seen else math.nan

    def _scores(self, feed: Feed, result: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """Return the first output that holds one row of scores a sample or, of a whole input, a row."""
        for count in dict.fromkeys((feed.count, feed.rows)):
            for array in result.values():
                if array.dtype.kind == "f" and array.ndim and len(array) == count + feed.padding:
                    return array[:count]
        raise SamplesError(
            "labels are given, and no output holds one row of scores a sample",
            where=self._model.name,
            fix=f"Leave the labels out. The outputs are {', '.join(str(tensor) for tensor in self._model.outputs)}.",
        )


def _summary(name: str, difference: Difference) -> OutputDifference:
    return OutputDifference(
        name,
        difference.sqnr,
        difference.cosine,
        difference.max_error,
        difference.differing / max(difference.elements, 1),
        difference.nonfinite,
        difference.elements,
        difference.reshaped,
    )
