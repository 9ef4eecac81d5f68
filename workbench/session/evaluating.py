"""How a workbench runs its models: samples in, and how far tuned and source are apart."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from workbench.calibration import Preprocessing, labels_for, open_samples
from workbench.errors import RecipeError
from workbench.evaluate import Agreement, Comparison, compare
from workbench.session.calibrating import Calibrating

if TYPE_CHECKING:
    import os
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from workbench.backends import Engine
    from workbench.calibration import Samples
    from workbench.graph import Model

__all__ = ["Evaluating", "PreprocessingLike"]

PreprocessingLike = Preprocessing | Mapping[str, Any] | str | None
"""Preprocessing itself, its fields as a recipe keeps them, or the command line's text."""


class Evaluating(Calibrating):
    """The part of a workbench that runs models; see `workbench.session.Workbench`."""

    @property
    @abstractmethod
    def tuned(self) -> Model:
        """The lowered model; made where it was not made since the last change."""

    def compare(
        self,
        samples: object = None,
        *,
        labels: str | os.PathLike[str] | npt.NDArray[np.int64] | None = None,
        batch: int | None = None,
        preprocessing: PreprocessingLike = None,
        runs: int = 30,
    ) -> Comparison:
        """Run the source and the tuned model on ONNX Runtime, and say how far apart they are.

        Where edits changed the model's inputs or outputs, the edited floating-point model stands in for the source.

        Parameters
        ----------
        samples
            What to run; the calibration's samples where left out.
        labels
            One class index a sample, as an array or a file: top-1 is measured.
        batch
            Samples a run for a model of dynamic batch; the calibration's where left out.
        preprocessing
            For a folder of images.
        runs
            Timed runs; 0 measures no latency.
        """
        data, used = self.samples_for(samples, preprocessing=preprocessing)
        indices = None if labels is None else labels_for(labels, data, self.model)
        return compare(self.reference_for(self.tuned), self.tuned, data, labels=indices, batch=batch or used, runs=runs)

    def compare_engine(
        self,
        engine: Engine | str | os.PathLike[str],
        samples: object = None,
        *,
        labels: str | os.PathLike[str] | npt.NDArray[np.int64] | None = None,
        batch: int | None = None,
        preprocessing: PreprocessingLike = None,
    ) -> Agreement:
        """Run an engine of the tuned model, and say how far its results are from the source's on ONNX Runtime.

        Parameters
        ----------
        engine
            The engine, or a file that `workbench.backends.manifest.write_engine` wrote.
        samples, labels, batch, preprocessing
            As in `compare`; `batch` must be one that the engine takes.

        Raises
        ------
        BackendError
            The engine is of unknown source, was made for another machine, or is of another model.
        """
        from workbench.backends import Engine, backend_of, read_engine
        from workbench.evaluate import compare_engine

        taken = engine if isinstance(engine, Engine) else read_engine(engine)
        data, used = self.samples_for(samples, preprocessing=preprocessing)
        indices = None if labels is None else labels_for(labels, data, self.model)
        reference = self.reference_for(self.tuned)
        return compare_engine(reference, backend_of(taken), taken, data, labels=indices, batch=batch or used)

    def save_inputs(
        self,
        path: str | os.PathLike[str],
        samples: object = None,
        *,
        runs: int = 8,
        preprocessing: PreprocessingLike = None,
    ) -> Path:
        """Write inputs of the tuned model for Polygraphy; see `workbench.evaluate.polygraphy.save_inputs`.

        Parameters
        ----------
        path
            The file to write.
        samples
            Where they come from; the calibration's samples where left out.
        runs
            How many runs at most.
        preprocessing
            For a folder of images.
        """
        from workbench.evaluate import save_inputs

        data, batch = self.samples_for(samples, preprocessing=preprocessing)
        return save_inputs(data, self.tuned, path, runs=runs, batch=batch)

    def samples_for(self, source: object, *, preprocessing: PreprocessingLike = None) -> tuple[Samples, int]:
        """Return samples to evaluate on, the calibration's where `source` is ``None``, and the calibration's batch.

        Raises
        ------
        RecipeError
            None are given, and nothing was calibrated here.
        """
        known, batch = self._samples or (None, 1)
        data = known if source is None else self.open_samples(source, preprocessing=preprocessing)
        if data is None:
            raise RecipeError(
                "there are no samples to run", where=self.source.name, fix="Give some, or calibrate first."
            )
        return data, batch

    def reference_for(self, model: Model) -> Model:
        """Return what a version of the model is compared with: the source, if its inputs and outputs are the same."""
        return self.source if _same_interface(self.source, model) else self.model

    def open_samples(self, source: object, *, preprocessing: PreprocessingLike = None) -> Samples:
        """Open samples for this model; see `workbench.calibration.sources.open_samples`."""
        if isinstance(preprocessing, str):
            preprocessing = Preprocessing.parse(preprocessing)
        elif isinstance(preprocessing, Mapping):
            preprocessing = Preprocessing.model_validate(preprocessing)
        return open_samples(source, self.model, preprocessing=preprocessing)


def _same_interface(a: Model, b: Model) -> bool:
    return [(t.name, t.shape, t.dtype) for t in (*a.inputs, *a.outputs)] == [
        (t.name, t.shape, t.dtype) for t in (*b.inputs, *b.outputs)
    ]
