"""What can be built of a plan: the graph that a backend gets, and the options that belong to it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from workbench.precision import target_of
from workbench.precision.lowering import activation_tensors, lower, needed_opset
from workbench.precision.plan import PrecisionPlan, Rule

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.backends import BuildOptions
    from workbench.graph import Model
    from workbench.precision import Target
    from workbench.precision.measuring.options import MeasureOptions
    from workbench.precision.measuring.store import Store
    from workbench.precision.search import Trial

__all__ = ["Candidate", "Maker"]

Kind = Literal["floating", "int8", "implicit", "placement", "options"]

ANY_RANGE = 4.0
"""Implicit INT8 is measured for comparison: how fast it is does not depend on its ranges."""


@dataclass(frozen=True)
class Candidate:
    """Something to build and to measure.

    Parameters
    ----------
    name
        Short, for tables and files.
    move
        What it is, in words.
    kind
        ``floating``, ``int8`` (all of it), ``implicit`` (for comparison alone), ``placement`` (some of it), ``options``
        (one of those with other build options).
    plan
        Its rules; None where no graph can ask for it.
    model, build
        What is built, and how.
    int8
        Positions of the regions in INT8.
    trial
        What its accuracy is on ONNX Runtime; None where it is floating point, or has no graph.
    expected
        What the model of regions and borders expected before it was built: its latency over floating point's.
    """

    name: str
    move: str
    kind: Kind
    plan: PrecisionPlan | None
    model: Model = field(repr=False)
    build: BuildOptions = field(repr=False)
    int8: frozenset[int] = frozenset()
    trial: Trial | None = field(default=None, repr=False)
    expected: float | None = None

    @property
    def ways(self) -> dict[str, int | str]:
        """Build options that are not the builder's own, and belong to its speed."""
        names = ("optimization_level", "timing_iterations", "aux_streams", "build_route")
        return {name: value for name in names if (value := getattr(self.build, name)) is not None}


class Maker:
    """Makes candidates of plans.

    Parameters
    ----------
    model
        In floating point, after its edits, with the batch that engines are built for.
    ranges
        Tensor name to clipping threshold.
    options
        Which backend, and how.
    store
        Where timing caches lie.
    overflow, unranged
        See `PrecisionPlan.resolve`.
    """

    def __init__(
        self,
        model: Model,
        ranges: Mapping[str, float],
        options: MeasureOptions,
        store: Store,
        *,
        target: Target | None = None,
        overflow: Mapping[str, float] | None = None,
        unranged: Mapping[str, str] | None = None,
    ) -> None:
        able = options.capabilities()
        self.model, self.weak = model, able.typing == "weak"
        self._ranges, self._options, self._store = ranges, options, store
        self.target = target or target_of(able)
        self._overflow, self._unranged = overflow, unranged or {}

    def floating(self) -> Candidate:
        """Return the model in the fastest floating-point type of the backend."""
        kind = self._options.floating
        plan = PrecisionPlan(rules=(Rule(select="*", precision=kind),))
        return self.of(plan, kind, f"{kind.upper()} everywhere", "floating")

    def implicit(self) -> Candidate:
        """Return implicit INT8, as TensorRT 8 alone has it."""
        build = replace(self._build(), weak_types=("fp16", "int8"), dynamic_range=ANY_RANGE)
        move = "implicit INT8 and FP16 as TensorRT 8 chooses, for comparison: its ranges are made up"
        return Candidate("implicit-int8", move, "implicit", None, self.model, build)

    def of(
        self, plan: PrecisionPlan, name: str, move: str, kind: Kind, *, ranges: Mapping[str, float] | None = None
    ) -> Candidate:
        """Return what a plan makes of the model."""
        build = self._build()
        if self.weak:
            build = replace(build, weak_types=("fp16",))
        if self.weak and kind == "floating":
            return Candidate(name, move, kind, plan, self.model, build)
        return Candidate(name, move, kind, plan, self._lowered(plan, ranges or self._ranges), build)

    def with_options(self, candidate: Candidate, name: str, move: str, **changed: int) -> Candidate:
        """Return a candidate with other build options, and a timing cache of its own."""
        build = replace(candidate.build, **changed)  # type: ignore[arg-type]
        build = replace(build, timing_cache=self._cache(replace(build, timing_cache=None)))
        return replace(candidate, name=name, move=f"{candidate.move}; {move}", kind="options", build=build)

    def _build(self) -> BuildOptions:
        return replace(self._options.build, timing_cache=self._cache(self._options.build))

    def _cache(self, build: BuildOptions) -> str | None:
        if self._options.backend == "onnxruntime":
            return None
        own = (build.optimization_level, build.tactic_sources, build.timing_iterations)
        return build.timing_cache or str(self._store.timing_cache(*own))

    def _lowered(self, plan: PrecisionPlan, ranges: Mapping[str, float]) -> Model:
        resolution = plan.resolve(self.model, target=self.target, overflow=self._overflow, unranged=self._unranged)
        model = self.model
        if (conversion := needed_opset(model, resolution)) is not None:
            model = conversion(model).model
            resolution = plan.resolve(model, target=self.target, overflow=self._overflow, unranged=self._unranged)
        needed = {name: ranges[name] for name in activation_tensors(model, resolution) if name in ranges}
        return lower(model, resolution, needed).model
