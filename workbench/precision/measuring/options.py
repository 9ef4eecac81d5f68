"""What a measurement is asked for: the backend, how engines are built and timed, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from workbench.backends import LOADINGS, BuildOptions, TimingOptions
from workbench.errors import BackendError
from workbench.graph.edits import edit_by_name
from workbench.precision.measuring.cluster import Here, result_of
from workbench.precision.measuring.work import able

if TYPE_CHECKING:
    import os
    import threading
    from collections.abc import Callable
    from concurrent.futures import Executor

    from workbench.backends import Capabilities
    from workbench.graph import Model
    from workbench.names import BackendName, Precision

__all__ = ["MeasureOptions"]


@dataclass(frozen=True)
class MeasureOptions:
    """How plans are measured.

    Parameters
    ----------
    backend
        What builds and runs.
    builds
        Engines to build at most, the one in floating point and the one all in INT8 among them.
    budget_s
        Seconds in all; no build is begun that would not leave the time to measure.
    batch
        The length of the inputs' first axis, written into what is built; None leaves it as it is.
    build
        What all builds have in common. The timing cache lies in `folder`.
    timing
        Runs and warm-up of each engine.
    loadings
        How often engines are loaded anew in the last comparison; half as often in the races before.
    implicit
        With TensorRT 8: measure implicit INT8 too, which no graph can ask for, so that one knows.
    tuned_builds
        How many of the builds try other build options on the fastest plan.
    folder
        Where engines, their reports and the journal are kept, for a search that is begun again; None keeps none.
    executor
        Where engines are built and timed; here, one after the other, where left out. One task at a time on each GPU.
    stop
        Set this event from another thread to end the search with what there is. Ctrl+C does too.
    say
        Is told of each step.
    """

    backend: BackendName
    builds: int = 12
    budget_s: float | None = None
    batch: int | None = None
    build: BuildOptions = field(default_factory=BuildOptions)
    timing: TimingOptions = field(default_factory=lambda: TimingOptions(runs=200, warm_up_s=0.3))
    loadings: int = LOADINGS
    implicit: bool = False
    tuned_builds: int = 2
    folder: str | os.PathLike[str] | None = None
    executor: Executor | None = None
    stop: threading.Event | None = None
    say: Callable[[str], None] | None = None

    def __post_init__(self) -> None:
        if self.builds < 2 or self.loadings < 2:
            raise BackendError(
                f"builds={self.builds}, loadings={self.loadings}",
                fix="Two builds are the least: in floating point and in INT8; and two loadings, for an error.",
            )

    def capabilities(self) -> Capabilities:
        """Say what the backend can do here; BackendError where it cannot build and run."""
        executor = self.executor or Here()
        capabilities = result_of(executor, executor.submit(able, self.backend))
        if not (capabilities.build and capabilities.run):
            raise BackendError(
                f"{self.backend} cannot measure here: {capabilities.reason}",
                fix="Measure on this processor (onnxruntime), or where there is a GPU.",
            )
        return capabilities

    @property
    def floating(self) -> Precision:
        """The fastest floating-point type of the backend."""
        return "fp32" if self.backend == "onnxruntime" else "fp16"

    def batched(self, model: Model) -> Model:
        """Return a model with the batch that engines are built for."""
        return model if self.batch is None else edit_by_name("set_batch", size=self.batch)(model).model

    def tell(self, sentence: str) -> None:
        """Say what is being done."""
        if self.say is not None:
            self.say(sentence)
