"""What a measured search found: every engine, the front of latency against accuracy, and why one was chosen."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from workbench.display import Card, Shown, counted

if TYPE_CHECKING:
    import pandas as pd

    from workbench.backends import Engine
    from workbench.precision.measuring.candidates import Candidate
    from workbench.precision.placement import Pays
    from workbench.precision.search import Goal, Trial

__all__ = ["MeasuredResult", "Point"]

HEADER = ("engine", "of the time of {}", "expected", "latency, ms", "{}", "what it is")


@dataclass(frozen=True)
class Point:
    """One engine that was asked for.

    Parameters
    ----------
    candidate
        What it is.
    status, reason
        ``measured``, or what happened to it instead, and why.
    ratio, error
        Its latency over that of the engine in floating point, which took turns with it, and the standard error.
    latency_ms, latency_error_ms
        Median of one inference and its standard error.
    figure
        What the goal is about, on ONNX Runtime; None where that is not known.
    passed
        Whether it reaches the goal.
    compared
        Whether it was in the last comparison, with all loadings.
    build_s
        Seconds of building.
    graph_ratio
        As `ratio`, both replayed as CUDA graphs; None where that was not measured.
    pays
        Whether it is faster than floating point.
    engine
        The engine.
    """

    candidate: Candidate
    status: str
    reason: str | None = None
    ratio: float | None = None
    error: float | None = None
    latency_ms: float | None = None
    latency_error_ms: float | None = None
    figure: float | None = None
    passed: bool = True
    compared: bool = False
    build_s: float = 0.0
    graph_ratio: float | None = None
    graph_ms: float | None = None
    pays: Pays | None = None
    engine: Engine | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """The candidate's name."""
        return self.candidate.name

    @property
    def ratio_text(self) -> str:
        """The ratio with its error."""
        return f"{self.ratio or math.nan:.3f} ± {self.error or 0.0:.3f}"

    @property
    def plain_figure(self) -> float | None:
        """The figure where it is a finite number."""
        return _finite(self.figure)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values; infinite figures as ``None``."""
        figures = {
            name: value if not isinstance(value, float) or math.isfinite(value) else None
            for name, value in vars(self).items()
            if name not in {"candidate", "engine", "pays"}
        }
        one = self.candidate
        return {
            "name": one.name,
            "kind": one.kind,
            "move": one.move,
            "expected": one.expected,
            "build": one.ways,
            **figures,
        }


@dataclass(frozen=True)
class MeasuredResult(Shown):
    """What a measured search found.

    Parameters
    ----------
    goal
        What was asked for.
    points
        Every engine, in the order of building.
    chosen
        The one that was taken.
    reason
        Why, in a sentence.
    pays
        Whether it is faster than floating point.
    trials
        What was evaluated on ONNX Runtime.
    predicted
        What the first two engines made one expect to be fastest: its name, or that of a placement.
    costs
        What was learnt of borders: a sentence each.
    figure_on_engine
        What the goal is about, of the engine itself; None where it was not run.
    seconds, resumed
        Wall time, and how many tasks a journal knew.
    notes
        What else there is to know, a sentence each.
    """

    goal: Goal
    points: tuple[Point, ...]
    chosen: Point
    reason: str
    pays: Pays
    trials: tuple[Trial, ...] = field(default=(), repr=False)
    predicted: str | None = None
    costs: tuple[str, ...] = ()
    figure_on_engine: float | None = None
    seconds: float = 0.0
    resumed: int = 0
    notes: tuple[str, ...] = ()

    @property
    def front(self) -> tuple[Point, ...]:
        """The engines that no other beats in latency without being less accurate, fastest first.

        Those without a known accuracy, and those that were not measured, are left out.
        """
        measured = [point for point in self.points if point.ratio is not None and point.figure is not None]
        front: list[Point] = []
        for point in sorted(measured, key=lambda one: (one.ratio or 0.0, -self._merit(one))):
            if not front or self._merit(point) > self._merit(front[-1]):
                front.append(point)
        return tuple(front)

    @property
    def floating(self) -> Point:
        """The engine in floating point."""
        return next(point for point in self.points if point.candidate.kind == "floating")

    @property
    def predicted_right(self) -> bool | None:
        """Whether what the first two engines made one expect came out as fast as what was chosen, within the error."""
        expected = next((point for point in self.points if point.name == self.predicted), None)
        if expected is None or expected.ratio is None or self.chosen.ratio is None:
            return None
        if expected.candidate.plan == self.chosen.candidate.plan:
            return True
        error = math.hypot(expected.error or 0.0, self.chosen.error or 0.0)
        return expected.ratio - self.chosen.ratio <= 2 * error

    def _merit(self, point: Point) -> float:
        figure = point.figure if point.figure is not None else math.nan
        return -math.inf if math.isnan(figure) else -figure if self.goal.at_most is not None else figure

    def table(self) -> pd.DataFrame:
        """Return one row an engine, in the order of building."""
        import pandas as pd

        on_front = {point.name for point in self.front}
        rows = [
            {**point.to_dict(), "front": point.name in on_front, "chosen": point.name == self.chosen.name}
            for point in self.points
        ]
        table: pd.DataFrame = pd.DataFrame(rows)
        return table

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "goal": str(self.goal),
            "chosen": self.chosen.name,
            "reason": self.reason,
            "pays": {**vars(self.pays)},
            "points": [point.to_dict() for point in self.points],
            "front": [point.name for point in self.front],
            "predicted": self.predicted,
            "predicted_right": self.predicted_right,
            "costs": list(self.costs),
            "figure_on_engine": _finite(self.figure_on_engine),
            "rules": [str(rule) for rule in (self.chosen.candidate.plan.rules if self.chosen.candidate.plan else ())],
            "evaluations": len(self.trials),
            "seconds": self.seconds,
            "resumed": self.resumed,
            "notes": list(self.notes),
        }

    def text(self) -> str:
        """Say what was found, in lines."""
        card = self._card()
        rows = [card.header, *([str(cell) if cell is not None else "" for cell in row] for row in card.rows)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(card.header))]
        table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        rules = self.chosen.candidate.plan.rules if self.chosen.candidate.plan else ()
        lines = [card.headline, *table, *card.notes, *(f"{at}. {rule}" for at, rule in enumerate(rules))]
        return "\n".join(lines)

    def _card(self) -> Card:
        name = self.floating.name
        header = tuple(
            text.format(part) for text, part in zip(HEADER, ("", name, "", "", self.goal.name, ""), strict=True)
        )
        ordered = sorted(self.points, key=lambda one: (one.ratio is None, one.ratio or 0.0))
        rows = tuple(self._row(point) for point in ordered)
        builds = counted(sum(point.status != "skipped" for point in self.points), "build")
        trail = f"{builds} and {counted(len(self.trials), 'evaluation')} in {self.seconds:.0f} s"
        more = f", {self.resumed} of them from the journal" if self.resumed else ""
        engine = (
            ()
            if self.figure_on_engine is None
            else (f"{self.goal.name} of the engine itself: {self.goal.with_unit(self.figure_on_engine)}",)
        )
        return Card(
            f"{self.chosen.name}: {self.reason}",
            header,
            rows,
            (str(self.pays), *engine, *self.costs, *self.notes, trail + more),
        )

    def _row(self, point: Point) -> tuple[Any, ...]:
        expected = "" if point.candidate.expected is None else f"{point.candidate.expected:.3f}"
        if point.ratio is None:
            return (point.name, point.status, expected, "", "", point.reason or "")
        taken = "* " if point.name == self.chosen.name else ""
        figure = "" if point.figure is None else f"{point.figure:.4g}" + ("" if point.passed else " (misses the goal)")
        return (
            f"{taken}{point.name}",
            point.ratio_text,
            expected,
            _number(point.latency_ms),
            figure,
            point.candidate.move,
        )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
