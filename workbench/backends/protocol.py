"""What every backend can be asked, and the plain data that goes in and comes out.

Precision is not here: it lives in the graph. A build option may choose how an engine is made, never in which data type
a node runs; two exceptions that TensorRT itself imposes (TF32, and the weakly typed builder of 8.x) are named below.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from workbench.display import Card, Shown
from workbench.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from contextlib import AbstractContextManager

    import numpy as np

    from workbench.child import Child
    from workbench.engine import LayerTime
    from workbench.graph import Model

    Array = np.ndarray[Any, Any]
    Run = Callable[[Mapping[str, Array]], dict[str, Array]]

__all__ = ["Backend", "BuildOptions", "Capabilities", "Engine", "Measured", "ShapeRange", "Timing", "TimingOptions"]

Shape = tuple[int, ...]
TensorRTType = Literal["fp16", "bf16", "int8", "fp8"]
LayerType = Literal["fp32", "fp16", "int8"]
TacticSource = Literal["CUBLAS", "CUBLAS_LT", "CUDNN", "EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"]


@dataclass(frozen=True)
class ShapeRange:
    """The shapes one input may take in one optimization profile; the engine is tuned for `opt`.

    For an input that holds a shape (TensorRT calls it a shape tensor) the three hold its values instead.
    """

    min: Shape
    opt: Shape
    max: Shape

    def __post_init__(self) -> None:
        if not len(self.min) == len(self.opt) == len(self.max):
            raise BackendError(
                f"the shapes min {self.min}, opt {self.opt}, max {self.max} differ in rank",
                fix="Give all three the rank of the input.",
            )
        if not all(a <= b <= c for a, b, c in zip(self.min, self.opt, self.max, strict=True)):
            what = f"min <= opt <= max does not hold on every axis: {self.min}, {self.opt}, {self.max}"
            raise BackendError(what, fix="Order the three shapes.")

    @classmethod
    def fixed(cls, shape: Shape) -> ShapeRange:
        """Return the range that holds one shape."""
        return cls(tuple(shape), tuple(shape), tuple(shape))


@dataclass(frozen=True)
class BuildOptions:
    """How an engine is built.

    Parameters
    ----------
    profiles
        Optimization profiles for dynamic shapes: input name to its range, several where wanted. None lets the backend
        take its documented default.
    workspace_bytes
        Upper limit on scratch memory during the build and in the engine. ``"suggested"`` is 1.5 times the peak memory
        of the graph, see `workbench.graph.cost.memory.suggested_workspace`; None leaves the GPU's whole memory.
    optimization_level
        Builder optimization level, 0 (fastest build) to 5; None is the builder's own default, 3.
    timing_cache
        Path of a timing cache, read where it exists and written after the build.
    timing_iterations
        How often the builder times a tactic before it takes the fastest; None is its own default.
    aux_streams
        Streams besides its own that an engine may run branches on; None leaves it to the builder.
    build_route
        Of TensorRT 11.1 and later: the way of building, by its name in ``IBuilderConfig.all_build_routes``.
    version_compatible
        The engine also loads in newer versions of TensorRT; see `workbench.backends.needs`. It may be slower.
    exclude_lean_runtime
        A version-compatible engine is written without the lean runtime of its version, which then has to be where it
        runs. TensorRT 8.6.0 from PyPI, and TensorRT-RTX, can only build it so: they do not bring that runtime.
    hardware_compatible
        The engine also runs on other GPUs of the Ampere architecture and newer. It may be slower.
    tactic_sources
        Libraries that tactics may come from; None leaves the default.
    refit
        The weights can be changed in the engine.
    strip
        The engine is written without its weights, which have to be put back before it runs. Where `refit` is not asked
        for, they can only be put back as they were, which costs no speed.
    tf32
        FP32 convolutions and matrix products may use the tensor cores' TF32 (10-bit mantissa, 8-bit exponent), as
        TensorRT does by default on the Ampere architecture and newer. ONNX has no name for TF32, so it is asked here.
    weak_types
        For the weakly typed builder of TensorRT 8.x only, for comparison: types it may choose by itself besides those
        the graph names. None: only those the graph names.
    layer_precisions
        For TensorRT 8.x only, for comparison: layer name, ``*`` for any text, to the type it must run in, as trtexec's
        ``--layerPrecisions`` with obeyed constraints; the last that matches a layer counts.
    calibration_cache
        For TensorRT 8.x only, for comparison: implicit INT8 with the ranges of this TensorRT calibration cache.
    dynamic_range
        For TensorRT 8.x only, for comparison: implicit INT8 with this one range, plus and minus, for every tensor.
        The engine is as fast as one that was calibrated, and what it computes means nothing.
    """

    profiles: tuple[Mapping[str, ShapeRange], ...] | None = None
    workspace_bytes: int | Literal["suggested"] | None = "suggested"
    optimization_level: int | None = None
    timing_cache: str | None = None
    timing_iterations: int | None = None
    aux_streams: int | None = None
    build_route: str | None = None
    version_compatible: bool = False
    exclude_lean_runtime: bool = False
    hardware_compatible: bool = False
    tactic_sources: tuple[TacticSource, ...] | None = None
    refit: bool = False
    strip: bool = False
    tf32: bool = True
    weak_types: tuple[TensorRTType, ...] | None = None
    layer_precisions: Mapping[str, LayerType] | None = None
    calibration_cache: str | None = None
    dynamic_range: float | None = None

    def __post_init__(self) -> None:
        if self.optimization_level is not None and not 0 <= self.optimization_level <= 5:
            raise BackendError(f"builder optimization level {self.optimization_level}", fix="Choose 0 to 5.")
        if self.exclude_lean_runtime and not self.version_compatible:
            raise BackendError(
                "only a version-compatible engine has a lean runtime to leave out",
                fix="Ask for version_compatible too, or leave exclude_lean_runtime out.",
            )
        never = self.timing_iterations is not None and self.timing_iterations < 1
        if never or (self.aux_streams is not None and self.aux_streams < 0):
            values = f"timing_iterations={self.timing_iterations}, aux_streams={self.aux_streams}"
            raise BackendError(values, fix="Give at least one iteration, and no negative number of streams.")
        if isinstance(self.workspace_bytes, int) and self.workspace_bytes <= 0:
            raise BackendError(f"a workspace limit of {self.workspace_bytes} bytes", fix="Give a positive number.")
        if self.dynamic_range is not None and (self.dynamic_range <= 0 or self.calibration_cache is not None):
            raise BackendError(
                f"a dynamic range of {self.dynamic_range}",
                fix="Give a positive number, and no calibration cache with it.",
            )

    @property
    def weak(self) -> tuple[str, ...]:
        """Names of the options in use that only the weakly typed builder has."""
        names = ("weak_types", "layer_precisions", "calibration_cache", "dynamic_range")
        return tuple(name for name in names if getattr(self, name) is not None)


@dataclass(frozen=True)
class TimingOptions:
    """How an engine is timed.

    Parameters
    ----------
    warm_up_s
        Seconds of running before anything is measured.
    runs
        Measured runs.
    shapes
        Input shapes; None takes the model's own, or the optimum of the engine's first profile.
    profile_index
        The optimization profile to run in.
    cuda_graph
        Record one inference as a CUDA graph and replay it, which removes the launch cost of small layers.
    streams
        Execution contexts that run side by side, each on its own stream.
    """

    warm_up_s: float = 0.5
    runs: int = 200
    shapes: Mapping[str, Shape] | None = None
    profile_index: int = 0
    cuda_graph: bool = False
    streams: int = 1

    def __post_init__(self) -> None:
        if self.runs < 1 or self.streams < 1 or self.warm_up_s < 0:
            raise BackendError(
                f"runs={self.runs}, streams={self.streams}, warm_up_s={self.warm_up_s}",
                fix="Give at least one run and one stream, and no negative warm-up.",
            )


@dataclass(frozen=True)
class Timing:
    """What was measured, and under which conditions.

    Attributes
    ----------
    median_ms, p90_ms, p95_ms, p99_ms, mean_ms
        Latency of one inference in milliseconds: median, percentiles (linear interpolation) and mean.
    throughput
        Inferences a second over the whole measured span, all streams together.
    runs, warm_up_runs
        How many inferences were measured, and how many ran before.
    conditions
        Device, versions, shapes, clock source: what a reader needs to judge or repeat it.
    latencies_ms
        Each of them, for their distribution; empty where they were not kept.
    """

    median_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    mean_ms: float
    throughput: float
    runs: int
    warm_up_runs: int
    conditions: Mapping[str, Any] = field(default_factory=dict)
    latencies_ms: tuple[float, ...] = field(default=(), repr=False, compare=False)

    @classmethod
    def of(
        cls,
        samples_ms: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
        *,
        span_s: float,
        warm_up_runs: int,
        conditions: Mapping[str, Any],
    ) -> Timing:
        """Summarize latencies.

        Parameters
        ----------
        samples_ms
            One latency a run, in milliseconds; any shape, at least one.
        span_s
            Wall time of the measured part in seconds, for the throughput.
        warm_up_runs, conditions
            Kept as they are.
        """
        import numpy as np

        if samples_ms.size == 0 or span_s <= 0:
            raise BackendError("nothing was measured", fix="Time at least one run.")
        median, p90, p95, p99 = np.percentile(samples_ms, [50, 90, 95, 99])
        return cls(
            median_ms=float(median),
            p90_ms=float(p90),
            p95_ms=float(p95),
            p99_ms=float(p99),
            mean_ms=float(samples_ms.mean()),
            throughput=samples_ms.size / span_s,
            runs=int(samples_ms.size),
            warm_up_runs=warm_up_runs,
            conditions=dict(conditions),
            latencies_ms=tuple(float(one) for one in samples_ms.ravel()),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, without the single latencies."""
        return {name: value for name, value in asdict(self).items() if name != "latencies_ms"}


@dataclass(frozen=True)
class Measured:
    """What was measured of one engine, or why it was not.

    Attributes
    ----------
    timing
        Latency and the conditions it was measured under.
    latencies_ms
        Every measured run, in order.
    layers
        Time of each layer, from profiled runs after the timed ones; none where its profiler tells of none.
    inspector
        What the backend says of the engine, as JSON.
    error
        Why there is nothing, where there is nothing.
    """

    timing: Timing | None = None
    latencies_ms: tuple[float, ...] = ()
    layers: tuple[LayerTime, ...] = ()
    inspector: str | None = None
    error: str | None = None

    def exports(self) -> dict[str, str]:
        """Return the text of the files that trtexec would export of it, by their endings: graph, profile, timing."""
        runs = 1 if self.timing is None else int(self.timing.conditions.get("profiled_runs", 1))
        profile = [
            {"name": time.name, "timeMs": time.mean_ms * runs, "averageMs": time.mean_ms, "medianMs": time.median_ms}
            for time in self.layers
        ]
        times = [{"computeMs": ms} for ms in self.latencies_ms]
        texts = {"profile.json": json.dumps([{"count": runs}, *profile], indent=1)} if profile else {}
        return {"graph.json": self.inspector or "", **texts, "timing.json": json.dumps(times, indent=1)}


@dataclass(frozen=True)
class Capabilities:
    """What a backend can do here.

    Attributes
    ----------
    backend, version
        Its name and the version of its library.
    build, run
        Whether it can build and run on this machine.
    targets
        What it can build for: ``("sm86", ...)``, or the processor's name.
    typing
        ``"strong"``: types follow from the graph. ``"weak"``: the builder may choose within the flags.
    reason
        Why it cannot build or run, where it cannot; what to install or change.
    device
        The GPU that it runs on, in words: chips of one target may be of very different speed. None where it runs on the
        processor that `targets` names, or on nothing.
    """

    backend: str
    version: str | None
    build: bool
    run: bool
    targets: tuple[str, ...] = ()
    typing: Literal["strong", "weak"] = "strong"
    reason: str | None = None
    device: str | None = None


@dataclass(frozen=True)
class Engine(Shown):
    """A built engine: its bytes, who made it, and the manifest that says what from and for which machine."""

    backend: str
    data: bytes
    manifest: Mapping[str, Any]

    def _card(self) -> Card:
        rows = tuple((name, value) for name, value in self.manifest.items() if not isinstance(value, dict | list))
        return Card(f"an engine of {self.backend}, {len(self.data) / 1e6:.2f} MB", ("manifest", ""), rows)


@runtime_checkable
class Backend(Protocol):
    """What compiles, runs, times and inspects a model."""

    @property
    def name(self) -> str:
        """The backend's name, as manifests and recipes have it."""

    def capabilities(self) -> Capabilities:
        """Say what can be done here; never raises for something missing, but says what."""

    def build(self, model: Model, options: BuildOptions, *, child: Child) -> Engine:
        """Compile a model in a child process; a failure names the layer and what to try."""

    def load(self, data: bytes, manifest: Mapping[str, Any]) -> Engine:
        """Take a stored engine, refused where it does not fit this machine."""

    def refit(self, engine: Engine, model: Model) -> Engine:
        """Put a model's weights into an engine that was written without its own, or that takes others."""

    def inputs(self, engine: Engine) -> list[dict[str, Any]]:
        """Return name, element type and shape of each input, as manifests have them."""

    def run(self, engine: Engine, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run once: input name to array, output name to array."""

    def run_each(self, engine: Engine, feeds: Sequence[Mapping[str, Array]]) -> list[dict[str, Array]]:
        """Run once for each of `feeds`, loading the engine once."""

    def opened(self, engine: Engine) -> AbstractContextManager[Run]:
        """Keep an engine loaded in this process: what the block is given runs it, in one thread at a time."""

    def time(self, engine: Engine, options: TimingOptions) -> Timing:
        """Measure latency."""

    def profile(self, engine: Engine, options: TimingOptions) -> tuple[LayerTime, ...]:
        """Measure each layer."""

    def inspect(self, engine: Engine) -> str:
        """Return what the backend itself says of the engine; JSON for TensorRT."""

    def measure(
        self,
        engines: Mapping[str, Engine],
        options: TimingOptions,
        *,
        loadings: int,
        kept: Collection[str] | None = None,
    ) -> dict[str, Measured]:
        """Time engines in turns, then profile and inspect each; see `workbench.backends.turns.take_turns`."""
