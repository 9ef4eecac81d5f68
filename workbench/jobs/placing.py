"""How a job has engines built and timed, by its options."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from workbench.backends import BuildOptions, TimingOptions
from workbench.jobs.options import SearchOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workbench.jobs.options import TuneOptions
    from workbench.precision.measuring import MeasureOptions

__all__ = ["measuring"]

RUNS = {"onnxruntime": 200}
GPU_RUNS = 1000
"""Timed runs of each engine: on a GPU they cost nothing beside loading it."""


@contextlib.contextmanager
def measuring(options: TuneOptions) -> Iterator[MeasureOptions | None]:
    """Give how engines are to be measured; None where they are not.

    Raises
    ------
    BackendError
        Nobody answers at the scheduler's address.
    """
    if options.measure is None:
        yield None
        return
    from workbench.precision.measuring import MeasureOptions, executor_of

    with executor_of(options.scheduler) as executor:
        how = MeasureOptions(
            options.measure,
            batch=options.measure_batch,
            build=BuildOptions(tactic_sources=options.tactic_sources, optimization_level=options.optimization_level),
            timing=TimingOptions(
                runs=RUNS.get(options.measure, GPU_RUNS), warm_up_s=0.3, cuda_graph=options.cuda_graph
            ),
            folder=options.engines or options.out.with_name(f"{options.out.name}.engines"),
            executor=None if options.scheduler is None else executor,
            say=options.say,
        )
        if isinstance(options, SearchOptions):
            how = replace(how, builds=options.builds, budget_s=options.budget_s, implicit=options.implicit)
        yield how
