"""Where a workbench gets ranges from: samples, statistics, a calibration cache, a person."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from workbench.calibration import Statistics, load_cache, match_cache, no_range, ranges
from workbench.errors import RecipeError, ReportError
from workbench.names import DEFAULT_METHOD, Method
from workbench.precision.lowering import activation_tensors
from workbench.precision.plan import PrecisionPlan, Resolution
from workbench.recipe import FileReference, SamplesReference, ranges_hash
from workbench.recipe.steps import CacheStep, CalibrateStep, ChooseStep, RangeStep

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from workbench.calibration import CacheMatch, Samples
    from workbench.graph import Model
    from workbench.recipe import State
    from workbench.recipe.steps import Step
    from workbench.session.evaluating import PreprocessingLike

__all__ = ["Calibrating", "everything"]


class Calibrating(ABC):
    """The part of a workbench that is about ranges; see `workbench.session.Workbench`."""

    source: Model
    statistics: Statistics | None
    """What the last calibration saw, for pictures and other methods; not part of the recipe."""
    _state: State
    _samples: tuple[Samples, int] | None

    @property
    @abstractmethod
    def model(self) -> Model:
        """The model after the edits so far, in floating point."""

    @abstractmethod
    def do(self, step: Step) -> None:
        """Do one step of a recipe and append it."""

    @abstractmethod
    def open_samples(self, source: object, *, preprocessing: PreprocessingLike = None) -> Samples:
        """Open samples for this model; see `workbench.calibration.sources.open_samples`."""

    @property
    def ranges(self) -> Mapping[str, float]:
        """Tensor name to clipping threshold, as calibrated and overridden."""
        return self._state.ranges

    @property
    def origins(self) -> Mapping[str, str]:
        """Tensor name to where its threshold comes from: a method's name, ``cache`` or ``manual``."""
        return self._state.origins

    def quantizable(self) -> list[str]:
        """Return the tensors that some plan could quantize: those that calibration observes, in graph order."""
        return activation_tensors(self.model, everything(self.model))

    def observe(
        self,
        samples: object,
        *,
        batch: int = 1,
        preprocessing: PreprocessingLike = None,
        channels: int | Mapping[str, int] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> Statistics:
        """Run samples once and return what is seen of every tensor that could be quantized; changes nothing.

        The parameters are those of `calibrate`.
        """
        data = self.open_samples(samples, preprocessing=preprocessing)
        return self._observed(data, Statistics(), batch, channels, checkpoint)

    def calibrate(
        self,
        samples: object,
        *,
        method: Method = DEFAULT_METHOD,
        percentile: float = 99.99,
        batch: int = 1,
        preprocessing: PreprocessingLike = None,
        overflow: bool | None = None,
        channels: int | Mapping[str, int] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> Statistics:
        """Run the samples once, and pick a range for every tensor that could be quantized.

        Parameters
        ----------
        samples
            Anything that `workbench.calibration.sources.open_samples` takes.
        method
            ``minmax``, ``percentile``, ``entropy`` or ``mse``.
        percentile
            For the method of that name.
        batch
            Samples a run for a model of dynamic batch.
        preprocessing
            For a folder of images.
        overflow
            Look for values beyond the range of FP16 too, in every tensor: a second pass. Where left out: if the plan
            so far asks for FP16.
        channels
            Keep the extremes of each channel too, along this axis of every tensor whose length there is fixed, or
            along the axes of the tensors named.
        checkpoint
            A file to keep what was gathered in after each batch: where it exists, calibration goes on from it.

        Returns
        -------
        Statistics
            What was seen; other methods follow from it without another pass (`choose_ranges`). Where a sample fails,
            what was seen before it stays in `statistics`.

        Raises
        ------
        SamplesError
            The samples do not fit the model, or it makes nothing finite of one; a checkpoint of another calibration.
        """
        from workbench.calibration import find_overflow

        if overflow is None:
            overflow = any(rule.precision == "fp16" for rule in self._state.plan.rules)
        data = self.open_samples(samples, preprocessing=preprocessing)
        statistics = self.statistics = Statistics()
        self._observed(data, statistics, batch, channels, checkpoint)
        found, unranged = _ranges(statistics, method, percentile, {})
        self.do(
            CalibrateStep(
                method=method,
                percentile=percentile if method == "percentile" else None,
                batch=batch,
                samples=SamplesReference(source=data.describe(), count=len(data), fingerprint=data.fingerprint),
                ranges=found,
                sha256=ranges_hash(found),
                overflow=find_overflow(self.model, data, batch=batch) if overflow else None,
                unranged=unranged or None,
            )
        )
        self._samples = data, batch
        return statistics

    def choose_ranges(
        self,
        method: Method = DEFAULT_METHOD,
        *,
        percentile: float = 99.99,
        overrides: Mapping[str, float | Method] | None = None,
    ) -> dict[str, float]:
        """Pick the ranges anew, by another method, from what was seen already: without another forward pass.

        Every tensor that was observed gets its range from here, also one that was set by hand before; name those that
        are to differ in `overrides`.

        Parameters
        ----------
        method
            ``minmax``, ``percentile``, ``entropy`` or ``mse``.
        percentile
            For the method of that name.
        overrides
            Another method, or a threshold, for the tensors named.

        Returns
        -------
        dict
            Tensor name to clipping threshold.

        Raises
        ------
        RecipeError
            There are no statistics.
        SamplesError
            An override names no tensor that was observed, or is no positive number.
        """
        if self.statistics is None:
            raise RecipeError(
                "there are no statistics to pick ranges from",
                where=self.source.name,
                fix="Calibrate first, or load some: wb.use_statistics(file).",
            )
        return self._choose(self.statistics, method, percentile, overrides or {}, None)

    def use_statistics(
        self,
        statistics: str | os.PathLike[str] | Statistics,
        *,
        method: Method = DEFAULT_METHOD,
        percentile: float = 99.99,
        overrides: Mapping[str, float | Method] | None = None,
    ) -> Statistics:
        """Take statistics that were gathered elsewhere, and pick the ranges from them.

        Parameters
        ----------
        statistics
            They themselves, or a file that ``wb.statistics.save`` wrote.
        method, percentile, overrides
            As for `choose_ranges`.

        Returns
        -------
        Statistics
            Those of the tensors that this model has.

        Raises
        ------
        ReportError
            The file cannot be read, or they are of no tensor of this model.
        """
        loaded = statistics if isinstance(statistics, Statistics) else Statistics.load(str(statistics))
        known = Statistics({name: seen for name, seen in loaded.items() if name in self.model.tensors})
        if not known:
            raise ReportError(
                f"none of the {len(loaded)} tensors of these statistics is in the model",
                where=self.source.name if isinstance(statistics, Statistics) else statistics,
                fix="Take statistics of this model; do its edits first (wb.prepare()).",
            )
        file = None if isinstance(statistics, Statistics) else FileReference.of(statistics)
        self._choose(known, method, percentile, overrides or {}, file)
        self._samples = None
        return known

    def use_cache(self, path: str | os.PathLike[str]) -> CacheMatch:
        """Take the ranges out of a calibration cache, TensorRT's or ONNX Runtime's.

        Parameters
        ----------
        path
            The file, of any dialect that `workbench.calibration.cache` reads.

        Returns
        -------
        CacheMatch
            What of the cache was of use: tensors matched, missing (they could be quantized and have no range in it),
            unusable, unknown (TensorRT's own names) and stale (of another export).

        Raises
        ------
        ReportError
            The file is no cache, or has no range of any tensor of this model.
        """
        # Tensors that an edit took away are no sign of another export.
        known = self.source.tensors.keys() | self.model.tensors.keys()
        match = match_cache(load_cache(str(path)), known, self.quantizable())
        found = {name: amax for name, amax in match.matched.items() if name in self.model.tensors}
        if not found:
            raise ReportError(
                f"no range in it is of a tensor of this model: {match}",
                where=path,
                fix="Take the cache that was made with this export.",
            )
        self.do(CacheStep(cache=FileReference.of(path), ranges=found, sha256=ranges_hash(found)))
        return match

    def set_range(self, tensor: str, amax: float) -> None:
        """Set one tensor's clipping threshold by hand."""
        self.do(RangeStep(tensor=tensor, amax=amax))

    def _observed(
        self,
        data: Samples,
        into: Statistics,
        batch: int,
        channels: int | Mapping[str, int] | None,
        checkpoint: str | os.PathLike[str] | None,
    ) -> Statistics:
        from workbench.calibration import observe

        tensors = self.quantizable()
        if isinstance(channels, int):
            channels = {name: channels for name in tensors if _has_axis(self.model, name, channels)}
        kept = None if checkpoint is None else str(checkpoint)
        return observe(self.model, tensors, data, batch=batch, channels=channels, checkpoint=kept, into=into)

    def _choose(
        self,
        statistics: Statistics,
        method: Method,
        percentile: float,
        overrides: Mapping[str, float | Method],
        file: FileReference | None,
    ) -> dict[str, float]:
        found, unranged = _ranges(statistics, method, percentile, overrides)
        used = method == "percentile" or "percentile" in overrides.values()
        # Whoever is told of the step finds what it came from.
        self.statistics = statistics
        self.do(
            ChooseStep(
                method=method,
                percentile=percentile if used else None,
                overrides=dict(overrides),
                statistics=file,
                ranges=found,
                sha256=ranges_hash(found),
                unranged=unranged or None,
            )
        )
        return found


def everything(model: Model) -> Resolution:
    """Everything that can be INT8 is: what a calibration should look at, whatever the plan says today."""
    return PrecisionPlan().with_rule("*", "int8").resolve(model)


def _ranges(
    statistics: Statistics, method: Method, percentile: float, overrides: Mapping[str, float | Method]
) -> tuple[dict[str, float], dict[str, str]]:
    """Return the threshold of every tensor that can have one, and why the others cannot."""
    reasons = {name: reason for name, tensor in statistics.items() if (reason := no_range(tensor)) is not None}
    # A threshold that a person gives needs nothing to follow from.
    manual = {name: one for name, one in overrides.items() if name in reasons and not isinstance(one, str)}
    others = {name: one for name, one in overrides.items() if name not in manual}
    usable = {name: tensor for name, tensor in statistics.items() if name not in reasons}
    chosen = ranges(usable, method, percentile=percentile, overrides=others)
    found = {name: one.amax for name, one in chosen.items()} | manual
    in_order = {name: found[name] for name in statistics if name in found}
    return in_order, {name: reason for name, reason in reasons.items() if name not in manual}


def _has_axis(model: Model, tensor: str, axis: int) -> bool:
    shape = model.tensor(tensor).shape
    return shape is not None and -len(shape) <= axis < len(shape) and isinstance(shape[axis], int)
