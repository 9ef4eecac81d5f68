"""Time several engines side by side: they take turns, are loaded anew several times, and leave when they cannot win.

A clock and a temperature drift over minutes, so times that were measured one after the other cannot be compared to a
percent. Here engines take turns, a few runs each, in an order that rotates: whatever drifts, drifts for all of them.
Where weights and activations come to lie in memory makes a percent more for as long as an engine is loaded, so all are
loaded anew several times, each time in another order. What two engines differ by is then taken loading by loading.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from workbench.backends.certainty import errors_apart
from workbench.backends.protocol import Measured, Timing
from workbench.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from workbench.engine import LayerTime

__all__ = ["LOADINGS", "LoadedEngine", "Ratio", "Schedule", "median_error_ms", "ratio_of", "take_turns"]

LOADINGS = 10
ROUNDS = 2
RACED_AFTER = 4
"""Loadings before an engine may leave a race: with fewer the error of a difference is not known well enough."""
OUT_BY_CHANCE = 0.001
"""Share of engines no slower than the leader that a look at a race takes for slower."""
APART_BY_CHANCE = 0.05
"""Share of equal engines that a comparison takes for different."""


@dataclass(frozen=True)
class Ratio:
    """How long one engine takes over another, by their medians in the loadings that both had.

    Parameters
    ----------
    value
        The mean over the loadings.
    error
        Its standard error; infinite where there was one loading.
    loadings
        How many there were.
    """

    value: float
    error: float
    loadings: int

    @property
    def certain(self) -> bool:
        """Whether the two differ by more than the error explains, which is itself known the less the fewer loadings."""
        return abs(self.value - 1) > errors_apart(self.loadings, APART_BY_CHANCE) * self.error

    def __str__(self) -> str:
        return f"{self.value:.3f} ± {self.error:.3f}"


@dataclass(frozen=True)
class Schedule:
    """How often engines are loaded, take turns after each loading, and run in a turn."""

    loadings: int
    rounds: int
    each: int

    @classmethod
    def of(cls, runs: int, loadings: int = LOADINGS) -> Schedule:
        """Spread at least this many runs of an engine."""
        loadings = min(loadings, runs)
        rounds = min(ROUNDS, -(-runs // loadings))
        return cls(loadings, rounds, -(-runs // (loadings * rounds)))

    def __str__(self) -> str:
        return (
            f"engines take turns, {self.rounds} rounds of {self.each} runs each, "
            f"and are loaded anew {self.loadings} times"
        )


class LoadedEngine(Protocol):
    """An engine in memory, ready to run."""

    def turn(self, runs: int) -> tuple[Sequence[float], float]:
        """Run so often; return the milliseconds of each, and the seconds of as many back to back."""

    def finish(self, schedule: Schedule, beside: Sequence[str]) -> tuple[dict[str, Any], tuple[LayerTime, ...], str]:
        """Return the conditions, the time of each layer and the inspector's JSON; nothing is timed here after."""

    def close(self) -> None:
        """Give the memory back."""


@dataclass
class _Course:
    """The turns that one engine took."""

    latencies_ms: list[float] = field(default_factory=list)
    placed: dict[int, list[float]] = field(default_factory=dict)
    span_s: float = 0.0
    turns: int = 0

    def add(self, loading: int, latencies: Sequence[float], span_s: float) -> None:
        self.latencies_ms += latencies
        self.placed.setdefault(loading, []).extend(latencies)
        self.span_s += span_s
        self.turns += 1

    @property
    def medians(self) -> list[float]:
        return [float(np.median(each)) for each in self.placed.values()]


def take_turns(
    names: Sequence[str],
    load: Callable[[str, int, Schedule], LoadedEngine],
    schedule: Schedule,
    *,
    kept: Collection[str] | None = None,
) -> dict[str, Measured]:
    """Measure engines against each other.

    Parameters
    ----------
    names
        The engines.
    load
        Loads one: its name, which loading it is, and the schedule. BackendError where that fails, which does not keep
        the others from being measured.
    schedule
        How often.
    kept
        With these it is a race: an engine that is surely behind the leader, and none of these, is timed no further.
    """
    courses = {name: _Course() for name in names}
    results: dict[str, Measured] = {}
    for loading in range(schedule.loadings):
        left = [name for name in names if name not in results]
        start = loading % max(len(left), 1)
        loaded: dict[str, LoadedEngine] = {}
        for name in left[start:] + left[:start]:
            try:
                loaded[name] = load(name, loading, schedule)
            except BackendError as error:  # noqa: PERF203 - one engine that fails must not stop the others
                results[name] = Measured(error=str(error))
        order = list(loaded)
        for _ in range(schedule.rounds):
            for name in order:
                courses[name].add(loading, *loaded[name].turn(schedule.each))
            order = order[1:] + order[:1]
        last = loading == schedule.loadings - 1
        done = set(loaded) if last else _beaten({name: courses[name].medians for name in loaded}, kept)
        for name in [name for name in loaded if name in done]:
            beside = [other for other in loaded if other != name]
            results[name] = _measured(courses[name], *loaded[name].finish(schedule, beside))
        for one in loaded.values():
            one.close()
    return {name: results[name] for name in names}


def _beaten(medians: Mapping[str, Sequence[float]], kept: Collection[str] | None) -> set[str]:
    if kept is None or not medians or min(map(len, medians.values())) < RACED_AFTER:
        return set()
    leader = min(medians, key=lambda name: float(np.mean(medians[name])))
    lost = set()
    for name in medians.keys() - {leader, *kept}:
        behind = np.subtract(medians[name], medians[leader])
        error = float(np.std(behind, ddof=1)) / len(behind) ** 0.5
        if float(np.mean(behind)) > errors_apart(len(behind), 2 * OUT_BY_CHANCE) * error:
            lost.add(name)
    return lost


def _measured(
    course: _Course, conditions: Mapping[str, Any], layers: tuple[LayerTime, ...], inspector: str
) -> Measured:
    timing = Timing.of(
        np.array(course.latencies_ms),
        span_s=course.span_s,
        warm_up_runs=course.turns,
        conditions={**conditions, "placement_medians_ms": course.medians},
    )
    return Measured(timing, tuple(course.latencies_ms), layers, inspector)


def median_error_ms(timing: Timing) -> float | None:
    """Return the standard error of a median, in milliseconds: of the mean of the medians that each loading gave.

    None where the engine was loaded once. Two engines whose medians are closer than this cannot be told apart.
    """
    medians = timing.conditions.get("placement_medians_ms", ())
    return float(np.std(medians, ddof=1) / np.sqrt(len(medians))) if len(medians) > 1 else None


def ratio_of(timing: Timing, other: Timing) -> Ratio:
    """Return how long an engine takes over another that took turns with it, each loading compared with its own.

    Raises
    ------
    BackendError
        They were not measured side by side.
    """
    mine, its = (each.conditions.get("placement_medians_ms", ()) for each in (timing, other))
    count = min(len(mine), len(its))
    if not count:
        raise BackendError("the two engines were not timed side by side", fix="Time them in one call.")
    ratios = np.divide(mine[:count], its[:count])
    error = float(np.std(ratios, ddof=1) / np.sqrt(count)) if count > 1 else float("inf")
    return Ratio(float(np.mean(ratios)), error, count)
