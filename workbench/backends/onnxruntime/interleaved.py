"""Engines of ONNX Runtime side by side; see `workbench.backends.turns`."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from workbench.backends.onnxruntime.inputs import conditions_of, feeds_of, warm_up

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.backends.protocol import Backend, Engine, TimingOptions
    from workbench.backends.turns import Schedule
    from workbench.engine import LayerTime

__all__ = ["InMemory"]

PROFILED = 20


class InMemory:
    """A session of an engine; see `workbench.backends.turns.LoadedEngine`."""

    def __init__(
        self, backend: Backend, session: Any, engine: Engine, options: TimingOptions, warm_up_s: float
    ) -> None:
        self._backend, self._engine, self._options = backend, engine, options
        self._session, self._feeds = session, feeds_of(engine, options)
        warm_up(self._session, self._feeds, warm_up_s)

    def turn(self, runs: int) -> tuple[Sequence[float], float]:
        """Measure some runs behind one that is not measured."""
        self._session.run(None, self._feeds)
        ticks = [time.perf_counter()]
        for _ in range(runs):
            self._session.run(None, self._feeds)
            ticks.append(time.perf_counter())
        return [1e3 * (after - before) for before, after in pairwise(ticks)], ticks[-1] - ticks[0]

    def finish(self, schedule: Schedule, beside: Sequence[str]) -> tuple[dict[str, Any], tuple[LayerTime, ...], str]:
        """Profile and inspect it, in sessions of their own."""
        conditions = conditions_of(self._engine, self._feeds)
        conditions |= {"beside": list(beside), "clock": f"{conditions['clock']}; {schedule}", "profiled_runs": PROFILED}
        profiled = replace(self._options, runs=PROFILED, warm_up_s=0.0)
        return conditions, self._backend.profile(self._engine, profiled), self._backend.inspect(self._engine)

    def close(self) -> None:
        """Let the session go."""
        self._session = None
