"""The ranges of a session: clipping thresholds by tensor, where they come from, and every way to choose them anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from workbench.calibration import Statistics, at, first_samples, load_cache, match_cache
from workbench.display import Card, Shown, counted
from workbench.errors import RecipeError, ReportError
from workbench.names import DEFAULT_METHOD, DEFAULT_PERCENTILE, Method, Quantized
from workbench.precision.lowering import activation_tensors
from workbench.precision.plan import all_int8
from workbench.recipe import FileReference, SamplesReference, ranges_hash
from workbench.recipe.steps import CacheStep, CalibrateStep, ChooseStep, range_step
from workbench.runtime import on_device, usable_device
from workbench.session.editing import edit
from workbench.session.history import Calibrated
from workbench.session.samples import opened, samples_for
from workbench.session.thresholds import NoRangeError, calibration, observed, thresholds_of

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from workbench.calibration import CacheMatch, Range, Samples
    from workbench.graph.edits import EditResult
    from workbench.runtime import Device
    from workbench.session.history import History
    from workbench.session.samples import PreprocessingLike

__all__ = ["Ranges"]


class Ranges(Shown, Mapping[str, float]):
    """Tensor name to clipping threshold (``amax``), as calibrated, chosen or set when this was asked for.

    Parameters
    ----------
    history
        Whose ranges they are; changes go to its recipe.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._state = history.state

    def __getitem__(self, tensor: str) -> float:
        """Return the threshold of a tensor.

        Raises
        ------
        NoRangeError
            It has none.
        """
        try:
            return self._state.ranges[tensor]
        except KeyError:
            raise NoRangeError(tensor, self._state.ranges) from None

    def __iter__(self) -> Iterator[str]:
        """Go through the tensors that have one."""
        return iter(self._state.ranges)

    def __len__(self) -> int:
        """Return how many tensors have one."""
        return len(self._state.ranges)

    def _card(self) -> Card:
        rows = tuple((tensor, amax, self.origins.get(tensor)) for tensor, amax in self.items())
        return Card(
            counted(len(rows), "range") if rows else "no ranges yet: wb.calibrate(samples)",
            ("tensor", "amax", "from"),
            rows,
        )

    @property
    def origins(self) -> Mapping[str, str]:
        """Tensor name to where its threshold comes from: a method's name, ``cache``, ``search`` or ``manual``."""
        return self._state.origins

    @property
    def statistics(self) -> Statistics | None:
        """What the last calibration saw, for pictures and other methods; not part of the recipe."""
        return self._history.measured.statistics

    def in_force(self, target: Quantized = "int8") -> dict[str, Range]:
        """Return the range of every tensor that was observed, with what it clips and costs.

        Raises
        ------
        RecipeError
            Nothing was calibrated here.
        """
        return {
            name: at(tensor, self[name], target=target, method=self.origins[name])
            for name, tensor in observed(self._history).items()
            if name in self
        }

    @property
    def samples(self) -> Samples | None:
        """What the last calibration ran; not part of the recipe, which knows where they lie."""
        return self._history.measured.samples

    @property
    def tensors(self) -> list[str]:
        """The tensors that some plan could quantize: those that calibration observes, in graph order."""
        model = self._history.state.model
        return activation_tensors(model, all_int8(model))

    def set(self, tensor: str, amax: float) -> None:
        """Set one tensor's clipping threshold by hand.

        Raises
        ------
        RecipeError
            The model has no such tensor, or this is no positive number.
        """
        self._history.do(range_step(tensor, amax))

    def observe(
        self,
        samples: object,
        *,
        batch: int = 1,
        preprocessing: PreprocessingLike = None,
        channels: int | Mapping[str, int] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        device: str | None = None,
    ) -> Statistics:
        """Run samples once and return what is seen of every tensor that could be quantized; changes nothing.

        The parameters are those of `Workbench.calibrate`.
        """
        data = opened(self._history, samples, preprocessing)
        return self._observed(data, Statistics(), batch, channels, checkpoint, usable_device(device))

    def calibrate(
        self,
        samples: object,
        *,
        method: Method = DEFAULT_METHOD,
        percentile: float = DEFAULT_PERCENTILE,
        batch: int = 1,
        preprocessing: PreprocessingLike = None,
        overflow: bool | None = None,
        channels: int | Mapping[str, int] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        device: str | None = None,
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
            Look for values beyond FP16 too, in every tensor: a second pass. Where left out: if the plan asks for FP16.
        channels
            Keep extremes of channels too: along this axis of every tensor of fixed length there, or by tensor.
        checkpoint
            A file to keep what was gathered in after each batch: where it exists, calibration goes on from it.
        device
            ``cuda``, ``cuda:1`` or, with TF32, ``cuda:0+tf32``: on a GPU. The recipe says how far off it is.

        Returns
        -------
        Statistics
            What was seen; other methods follow from it (`choose`).

        Raises
        ------
        SamplesError
            The samples do not fit the model, or it makes nothing finite of one; a checkpoint of another calibration.
        """
        from workbench.calibration import against_processor, find_overflow

        model, plan = self._history.state.model, self._history.state.plan
        look = any(rule.precision == "fp16" for rule in plan.rules) if overflow is None else overflow
        data = opened(self._history, samples, preprocessing)
        statistics, where = Statistics(), usable_device(device)
        try:
            self._observed(data, statistics, batch, channels, checkpoint, where)
        except BaseException:  # what was seen before stays
            self._history.measured = replace(self._history.measured, statistics=statistics)
            raise
        seen = max((tensor.samples for tensor in statistics.values()), default=len(data))
        if seen < len(data):  # somebody ended it early
            data = first_samples(data, seen)
        if statistics.device is not None:
            statistics.device += f": {against_processor(model, self.tensors, data, where, batch=batch)}"
        with on_device(where):
            beyond = find_overflow(model, data, batch=batch) if look else None
        thresholds, unranged = thresholds_of(statistics, method, percentile, {})
        # Listeners of the step find what it came from.
        self._history.measured = Calibrated(statistics, data, batch)
        self._history.do(
            CalibrateStep(
                method=method,
                percentile=percentile if method == "percentile" else None,
                batch=batch,
                samples=SamplesReference(source=data.describe(), count=len(data), fingerprint=data.fingerprint),
                ranges=thresholds,
                sha256=ranges_hash(thresholds),
                overflow=beyond,
                unranged=unranged or None,
                device=statistics.device,
            )
        )
        return statistics

    def choose(
        self,
        method: Method = DEFAULT_METHOD,
        *,
        percentile: float = DEFAULT_PERCENTILE,
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
                where=self._history.source.name,
                fix="Calibrate first, or load some: wb.ranges.use_statistics(file).",
            )
        return self._choose(self.statistics, method, percentile, overrides or {}, None)

    def use_statistics(
        self,
        statistics: str | os.PathLike[str] | Statistics,
        *,
        method: Method = DEFAULT_METHOD,
        percentile: float = DEFAULT_PERCENTILE,
        overrides: Mapping[str, float | Method] | None = None,
    ) -> Statistics:
        """Take statistics that were gathered elsewhere, and pick the ranges from them.

        Parameters
        ----------
        statistics
            They themselves, or a file that ``wb.ranges.statistics.save`` wrote.
        method, percentile, overrides
            As for `choose`.

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
        usable = Statistics({name: seen for name, seen in loaded.items() if name in self._history.state.model.tensors})
        if not usable:
            raise ReportError(
                f"none of the {len(loaded)} tensors of these statistics is in the model",
                where=self._history.source.name if isinstance(statistics, Statistics) else statistics,
                fix="Take statistics of this model; do its edits first (wb.prepare()).",
            )
        file = None if isinstance(statistics, Statistics) else FileReference.of(statistics)
        self._choose(usable, method, percentile, overrides or {}, file)
        self._history.measured = Calibrated(usable)
        return usable

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
        tensors = self._history.source.tensors.keys() | self._history.state.model.tensors.keys()
        match = match_cache(load_cache(str(path)), tensors, self.tensors)
        thresholds = {name: amax for name, amax in match.matched.items() if name in self._history.state.model.tensors}
        if not thresholds:
            raise ReportError(
                f"no range in it is of a tensor of this model: {match}",
                where=path,
                fix="Take the cache that was made with this export.",
            )
        self._history.do(CacheStep(cache=FileReference.of(path), ranges=thresholds, sha256=ranges_hash(thresholds)))
        return match

    def equalize(self, samples: object = None, *, preprocessing: PreprocessingLike = None) -> EditResult:
        """Give the channels of each activation like ranges, and calibrate again; the function stays the same.

        See `workbench.graph.edits.equalize_channels.EqualizeChannels`. Worth it where one channel reaches much further
        than others before a convolution, as before depthwise ones.

        Parameters
        ----------
        samples, preprocessing
            What to measure channels on; the calibration's samples where left out.

        Raises
        ------
        RecipeError
            Nothing was calibrated.
        """
        from workbench.precision.measured_edits import equalization

        step = calibration(self._history)
        data, batch = samples_for(self._history, samples, preprocessing)
        result = edit(self._history, equalization(self._history.state.model, self.tensors, data, batch=batch))
        if result.changed:
            percentile = step.percentile or DEFAULT_PERCENTILE
            self.calibrate(data, method=step.method, percentile=percentile, batch=batch)
        return result

    def _observed(
        self,
        data: Samples,
        into: Statistics,
        batch: int,
        channels: int | Mapping[str, int] | None,
        checkpoint: str | os.PathLike[str] | None,
        device: Device,
    ) -> Statistics:
        from workbench.calibration import channel_axes, observe

        model, tensors = self._history.state.model, self.tensors
        axes = channel_axes(model, tensors, channels) if isinstance(channels, int) else channels
        kept = None if checkpoint is None else str(checkpoint)
        return observe(model, tensors, data, batch=batch, channels=axes, checkpoint=kept, into=into, device=device)

    def _choose(
        self,
        statistics: Statistics,
        method: Method,
        percentile: float,
        overrides: Mapping[str, float | Method],
        file: FileReference | None,
    ) -> dict[str, float]:
        thresholds, unranged = thresholds_of(statistics, method, percentile, overrides)
        used = method == "percentile" or "percentile" in overrides.values()
        # Listeners of the step find what it came from.
        self._history.measured = replace(self._history.measured, statistics=statistics)
        self._history.do(
            ChooseStep(
                method=method,
                percentile=percentile if used else None,
                overrides=dict(overrides),
                statistics=file,
                ranges=thresholds,
                sha256=ranges_hash(thresholds),
                unranged=unranged or None,
            )
        )
        return thresholds
