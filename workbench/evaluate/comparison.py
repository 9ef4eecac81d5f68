"""Run two versions of a model on the same samples and say how far apart they are."""

from __future__ import annotations

import itertools
import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.calibration import feeds
from workbench.errors import SamplesError
from workbench.evaluate.agreement import Accuracy, Agreement, Comparison, Latency, OutputDifference
from workbench.evaluate.metrics import Difference, top1_hits
from workbench.evaluate.reference import Reference, as_type_of
from workbench.graph import file_bytes, is_floating
from workbench.progress import progress
from workbench.runtime import Session

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from workbench.calibration import Feed, Samples
    from workbench.graph import Model

__all__ = [
    "Tally",
    "Top1",
    "compare",
]


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
    if runs < 0:
        raise SamplesError(f"{runs} timed runs", fix="Give a number from 0, which times nothing.")
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
    before = original.session()  # first, while nothing else is there: making it takes its weights once more
    session = Session(tuned, untried=as_type_of(tuned, first.arrays))
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
            self._lost += int((before > after).sum())  # of hits: only the one has it
            self._won += int((after > before).sum())
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
    first = original.session("speed")
    if first.thrifty:  # memory does not hold both: one after the other
        before = first.time(fed[0], runs=runs, warmup=4)
        del first
        return before, Session(tuned, mode="speed", untried=fed[1]).time(fed[1], runs=runs, warmup=4)
    fast = first, Session(tuned, mode="speed", untried=fed[1])
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
            No output holds one row of scores a sample, there are fewer labels than rows, or a label is no class.
        """
        scores = self._scores(feed, result)
        labels = self.labels[self.seen : self.seen + len(scores)]
        if len(labels) < len(scores):
            raise SamplesError(
                f"{len(self.labels)} labels, and more rows of scores than that",
                where=self._model.name,
                fix="Give one label a row: each of these samples is a whole input of several rows.",
            )
        classes = math.prod(scores.shape[1:])
        beyond = np.flatnonzero((labels < 0) | (labels >= classes))
        if beyond.size:
            raise SamplesError(
                f"label {self.seen + beyond[0]} is {labels[beyond[0]]}, and there are scores of {classes} classes",
                where=self._model.name,
                fix=f"Give the index of each sample's class, 0 to {classes - 1}.",
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
                if is_floating(array.dtype) and array.ndim and len(array) == count + feed.padding:
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
        difference.became_finite,
    )
