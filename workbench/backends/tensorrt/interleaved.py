"""Time several engines of one GPU side by side, then profile and inspect each. Runs inside a child process.

One ResNet-50 file, loaded three times beside itself on an H200, took 0.800, 0.808 and 0.808 ms, and between 0.793 and
0.829 ms over thirty loads. So engines are loaded anew several times, each time behind a block of another size. The
medians of those three then were 0.803, 0.805 and 0.805 ms. See `workbench.backends.turns`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from workbench.backends.clocks import Clocks
from workbench.backends.cudart import Buffer, Event, cuda
from workbench.backends.tensorrt.context import Context, EngineFile, warm_up
from workbench.backends.tensorrt.execution import layer_times
from workbench.backends.turns import LOADINGS, Schedule, take_turns
from workbench.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from workbench.backends.protocol import Measured, TimingOptions
    from workbench.engine import LayerTime

__all__ = ["measure_files"]

SPACER_BYTES = 14 << 20
PROFILED_RUNS = 50


def measure_files(
    package: str,
    paths: Mapping[str, str],
    options: TimingOptions,
    *,
    loadings: int = LOADINGS,
    kept: Collection[str] | None = None,
) -> dict[str, Measured]:
    """Measure engines against each other.

    Parameters
    ----------
    package
        What loads them: the package that built them, or its lean runtime.
    paths
        A name to the file of its engine.
    options
        Runs, warm-up and shapes, for each engine; one stream. The warm-up is for the first loading; the others have a
        share of it.
    loadings, kept
        See `workbench.backends.turns.take_turns`.

    Returns
    -------
    dict
        Name to what was measured. An engine that fails does not keep the others from being measured.
    """
    if options.streams != 1:
        raise BackendError(f"{options.streams} streams", fix="Engines are timed side by side with one stream each.")
    clocks = {name: Clocks(cuda()) for name in paths}
    spacers: list[Buffer] = []

    def load(name: str, loading: int, schedule: Schedule) -> _OnGpu:
        if len(spacers) <= loading:
            for spacer in spacers[-1:]:
                spacer.close()
            spacers.append(Buffer(cuda(), loading * SPACER_BYTES))
        warm_up_s = options.warm_up_s / (schedule.loadings if loading else 1)
        return _OnGpu(package, paths[name], options, warm_up_s, clocks[name])

    try:
        return take_turns(list(paths), load, Schedule.of(options.runs, loadings), kept=kept)
    finally:
        for spacer in spacers[-1:]:
            spacer.close()


class _OnGpu:
    """An engine in device memory; see `workbench.backends.turns.LoadedEngine`."""

    def __init__(
        self,
        package: str,
        path: str,
        options: TimingOptions,
        warm_up_s: float,
        clocks: Clocks,
    ) -> None:
        self._package, self._options, self._clocks = package, options, clocks
        self._context = Context(EngineFile(package, path), options.shapes or {}, options.profile_index)
        self._context.fill()
        warm_up([self._context], warm_up_s)
        if options.cuda_graph:
            self._context.capture()

    def turn(self, runs: int) -> tuple[Sequence[float], float]:
        """Measure some runs behind one that is not measured."""
        context = self._context
        start, end = Event(context.engine.api), Event(context.engine.api)
        context.enqueue()
        context.stream.synchronize()
        latencies = []
        for _ in range(runs):
            start.record(context.stream)
            context.enqueue()
            end.record(context.stream)
            context.stream.synchronize()
            latencies.append(end.since(start))
        before = time.perf_counter()
        for _ in range(runs):
            context.enqueue()
        context.stream.synchronize()
        span_s = time.perf_counter() - before
        self._clocks.read()
        return latencies, span_s

    def finish(self, schedule: Schedule, beside: Sequence[str]) -> tuple[dict[str, Any], tuple[LayerTime, ...], str]:
        """Profile and inspect it. The profiler slows a context down for good, so it comes last."""
        self._context.graph = None
        clock = f"CUDA events around one inference at a time; {schedule}"
        conditions = _conditions(self._package, self._context, self._options)
        conditions |= {"beside": list(beside), "clock": clock, **self._clocks.conditions()}
        return conditions, layer_times(self._context, PROFILED_RUNS), self._context.inspect()

    def close(self) -> None:
        """Give the memory back."""
        self._context.close()


def _conditions(package: str, context: Context, options: TimingOptions) -> dict[str, Any]:
    device = context.engine.api.device()
    return {
        "backend": package,
        "version": str(context.engine.trt.__version__),
        "device": device.name,
        "capability": device.target,
        "driver": device.driver,
        "shapes": {name: list(shape) for name, shape in context.shapes.items()},
        "profile_index": options.profile_index,
        "cuda_graph": options.cuda_graph,
        "streams": 1,
        "aux_streams": context.engine.aux_streams,
        "data": "uniform random, without copies to and from the host",
        "profiled_runs": PROFILED_RUNS,
        "engine_scratch_bytes": context.engine.scratch_bytes(),
    }
