"""What a plan has to reach, and the real evaluation that says whether it does."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from workbench.calibration import feeds
from workbench.errors import PrecisionError
from workbench.evaluate import Reference, Top1
from workbench.precision.sensitivity import ActivationStore, ErrorSum
from workbench.progress import stoppable
from workbench.runtime import Session

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np
    import numpy.typing as npt
    from typing_extensions import Self

    from workbench.calibration import Feed, Samples
    from workbench.graph import Model
    from workbench.precision.sensitivity import Outputs, TaskMetric

__all__ = ["Evaluator", "Goal", "Score"]

METRICS = ("sqnr_db", "top1_drop")

FEW = 4
"""Runs on which plans race each other."""
_MANY = 3 * FEW  # fewer runs than these are not worth a race


@dataclass(frozen=True)
class Score:
    """What one evaluation gave.

    Parameters
    ----------
    sqnr_db
        Of the worst output.
    kl
        Mean divergence of the outputs' rows in nats; NaN where they have none, and of few samples, where nobody asks.
    figure
        What the goal is about: SQNR, top-1 drop in percentage points, or the callback's value. NaN, which meets no
        goal, where values became NaN or infinite.
    samples
        How many samples it is of.
    """

    sqnr_db: float
    kl: float
    figure: float
    samples: int = 0


@dataclass(frozen=True)
class Goal:
    """A condition on the tuned model; exactly one bound.

    Parameters
    ----------
    metric
        ``sqnr_db`` (of the worst output), ``top1_drop`` (percentage points; needs `labels`), or a function of the
        outputs of all runs in the order of the samples.
    at_least, at_most
        The bound.
    labels
        One class index a sample.

    Raises
    ------
    PrecisionError
        There is no such metric, not one bound, or labels are missing.
    """

    metric: Literal["sqnr_db", "top1_drop"] | TaskMetric
    at_least: float | None = None
    at_most: float | None = None
    labels: npt.NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if not callable(self.metric) and self.metric not in METRICS:
            raise PrecisionError(
                f"there is no metric {self.metric!r}", fix=f"Give {', '.join(METRICS)} or a function of the outputs."
            )
        if (self.at_least is None) == (self.at_most is None):
            raise PrecisionError("a goal has one bound", where=self.name, fix="Give at_least or at_most.")
        if self.metric == "top1_drop" and self.labels is None:
            raise PrecisionError("top-1 needs labels", where=self.name, fix="Give one class index a sample.")

    def __str__(self) -> str:
        return f"{self.name} <= {self.at_most:g}" if self.at_most is not None else f"{self.name} >= {self.at_least:g}"

    @property
    def name(self) -> str:
        """The metric's name."""
        return self.metric if isinstance(self.metric, str) else getattr(self.metric, "__name__", "task")

    def with_unit(self, figure: float) -> str:
        """Return a figure with the unit of the metric, four digits of it."""
        unit = {"sqnr_db": " dB", "top1_drop": " points"}.get(self.metric, "") if isinstance(self.metric, str) else ""
        return f"{figure:.4g}{unit}"

    def holds(self, figure: float) -> bool:
        """Say whether a figure meets the bound; NaN never does."""
        return figure <= self.at_most if self.at_most is not None else figure >= (self.at_least or 0.0)

    def merit(self, measured: Score) -> tuple[float, float]:
        """Return what is more for the better of two evaluations: the figure first, SQNR where they tie."""
        figure = -measured.figure if self.at_most is not None else measured.figure
        return (-math.inf if math.isnan(figure) else figure, measured.sqnr_db)


class Evaluator:
    """Runs models on all samples, or on few of them, and measures them against one reference.

    Attributes
    ----------
    count
        How many samples there are.

    Parameters
    ----------
    reference
        The floating-point model, or what stands for it; it runs once.
    samples, batch
        What to run.
    goal
        What is asked for.
    memory
        Bytes of the reference's outputs to keep in memory; the rest lies in temporary files.
    """

    def __init__(self, reference: Model | Reference, samples: Samples, goal: Goal, *, batch: int, memory: int) -> None:
        self._samples, self._batch, self._goal = samples, batch, goal
        against = Reference.of(reference)
        self._outputs = list(against.outputs)
        self._model = against.form
        self._store = ActivationStore(memory)
        self._top1 = self._count()
        self._first: Mapping[str, npt.NDArray[Any]] = {}
        self._runs = 0
        self.count = len(samples)
        session = against.session()
        for run, feed in enumerate(stoppable(feeds(samples, against.form, batch=batch))):
            self._first = self._first or feed.arrays
            self._runs = run + 1
            result = against.run(session, feed.arrays)
            self._store.put(run, result)
            if self._top1 is not None:
                self._top1.add(feed, result)
        if self._top1 is not None and self._top1.seen != len(self._top1.labels):
            raise PrecisionError(
                f"{len(self._top1.labels)} labels for {self._top1.seen} rows of scores",
                fix="Give one class index a sample, or one a row.",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._store.close()

    @property
    def races(self) -> bool:
        """Whether few samples say where a plan stands: of SQNR they do, of a task's figure nobody knows."""
        goal = self._goal
        return goal.metric == "sqnr_db" and goal.at_least is not None and self._runs >= _MANY

    def __call__(self, model: Model) -> Score:
        """Run a model on all samples."""
        session = Session(model, untried=self._first)
        every = enumerate(stoppable(feeds(self._samples, self._model, batch=self._batch)))
        return self._scored(((run, feed, session.run(feed.arrays)) for run, feed in every), ErrorSum())

    def race(self, model: Model) -> Score:
        """Run a model on few samples, the same for every model, which lie evenly among all."""
        few = self._few
        session = Session(model, apart=len(few))
        results = session.run_each(feed.arrays for feed in few.values())
        runs = ((run, feed, result) for (run, feed), result in zip(few.items(), results, strict=True))
        return self._scored(runs, ErrorSum(diverging=False))

    @cached_property
    def _few(self) -> dict[int, Feed]:
        chosen = {(2 * place + 1) * self._runs // (2 * FEW) for place in range(FEW)}
        every = enumerate(stoppable(feeds(self._samples, self._model, batch=self._batch)))
        return {run: feed for run, feed in every if run in chosen}

    def _scored(self, runs: Iterable[tuple[int, Feed, Outputs]], total: ErrorSum) -> Score:
        top1 = self._count()
        outcomes: list[Outputs] = []
        samples = 0
        for run, feed, result in runs:
            samples += feed.count
            before = self._store.get(run, self._outputs)
            real = {name: feed.real(array) for name, array in before.items()}
            after = {name: result[name][rows] for name, rows in real.items()}
            total.update({name: before[name][rows] for name, rows in real.items()}, after)
            if top1 is not None:
                top1.add(feed, result)
            elif not isinstance(self._goal.metric, str):
                outcomes.append(after)
        figure = total.sqnr_db
        if self._top1 is not None and top1 is not None:
            figure = 100.0 * (self._top1.share - top1.share)
        elif not isinstance(self._goal.metric, str):
            figure = float(self._goal.metric(outcomes))
        return Score(total.sqnr_db, total.mean_kl, math.nan if total.nonfinite else figure, samples)

    def _count(self) -> Top1 | None:
        labels = self._goal.labels if self._goal.metric == "top1_drop" else None
        return None if labels is None else Top1(self._model, labels)
