"""The engines of a session: built, read, run against the model, and mended where they lose time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.calibration import labels_for
from workbench.display import Card, Shown
from workbench.session.changes import Change
from workbench.session.evaluation import reference_of
from workbench.session.fixes import apply_fix
from workbench.session.plan import Plan
from workbench.session.samples import samples_for

if TYPE_CHECKING:
    import os
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from workbench.backends import BuildOptions, Engine, TimingOptions
    from workbench.engine import EngineSummary, Finding
    from workbench.evaluate import Agreement
    from workbench.graph import Model
    from workbench.names import BackendName
    from workbench.session.history import History
    from workbench.session.samples import PreprocessingLike
    from workbench.session.tuning import Tuning

__all__ = ["Engines"]


class Engines(Shown):
    """What compilers make of a session's tuned model.

    Parameters
    ----------
    history, tuning
        Whose they are.
    """

    def __init__(self, history: History, tuning: Tuning) -> None:
        self._history = history
        self._tuning = tuning

    def _card(self) -> Card:
        engine, build = self._history.figures.engine, self._history.recipe.build
        headline = "no engine was read yet: wb.engines.inspect(wb.build())"
        if engine is not None:
            headline = f"the last engine that was read: {engine.report.name}"
        notes = [f"against floating point: {self._history.recipe.pays}"]
        if build is not None:
            notes.append(f"builds ask for {', '.join(build.asked)}")
        return Card(headline, ("", ""), tuple((engine.facts() if engine is not None else {}).items()), tuple(notes))

    def set(
        self,
        *,
        version_compatible: bool = False,
        exclude_lean_runtime: bool = False,
        hardware_compatible: bool = False,
        refit: bool = False,
        strip: bool = False,
    ) -> None:
        """Say where engines are to load; the recipe keeps it, and `build` takes it where it is given no options.

        Parameters
        ----------
        version_compatible, exclude_lean_runtime, hardware_compatible, refit, strip
            See `workbench.backends.protocol.BuildOptions`.

        Raises
        ------
        RecipeError
            They do not fit each other.
        """
        from workbench.recipe import Build

        asked = Build().and_also(
            version_compatible=version_compatible,
            exclude_lean_runtime=exclude_lean_runtime,
            hardware_compatible=hardware_compatible,
            refit=refit,
            strip=strip,
        )
        self._history.amend(build=asked if asked.asked else None)

    def build(
        self,
        backend: BackendName = "onnxruntime",
        *,
        options: BuildOptions | None = None,
        path: str | os.PathLike[str] | None = None,
    ) -> Engine:
        """Compile the tuned model, in a child process.

        Parameters
        ----------
        backend
            What compiles it; `workbench doctor` says which work here.
        options
            How; where left out the backend's defaults, with what `set` asked for and what the plan was measured with.
        path
            Where to write the engine, with its manifest beside it; nowhere where left out.

        Raises
        ------
        BackendError
            The backend does not work here, or refuses the model.
        """
        from workbench.backends import BuildOptions, backend_named, write_engine
        from workbench.child import Child

        model = self._tuning.lowered().model
        if options is None:
            options = self._history.recipe.built_by(backend, BuildOptions())
        engine = backend_named(backend).build(model, options, child=Child())
        if path is not None:
            write_engine(engine, path)
        self._history.changes.tell(Change("measured", f"engine of {model.name}"))
        return engine

    def inspect(self, engine: Engine, *, timing: TimingOptions | None = None) -> EngineSummary:
        """Ask an engine of the tuned model itself what it is made of, and time its layers on this machine.

        Raises
        ------
        BackendError
            It cannot run here.
        """
        from workbench.backends import TimingOptions, backend_of, with_weights

        model = self._tuning.lowered().model
        backend, engine = backend_of(engine), with_weights(engine, model)
        times = backend.profile(engine, timing or TimingOptions(warm_up_s=0.1, runs=20))
        return self.read(backend.inspect(engine), profile=times, model=model)

    def read(
        self,
        graph: Any,
        *,
        profile: Any = None,
        timing: Any = None,
        metadata: Any = (),
        model: Model | None = None,
        tensorrt_version: str | None = None,
    ) -> EngineSummary:
        """Read what a compiler made of this model, and set it against the plan; changes nothing.

        Show it with `workbench.views.engine`, mend what it found with `fix`.

        Parameters
        ----------
        graph, profile, timing, metadata, tensorrt_version
            The engine's files; see `workbench.engine.load.load_report`.
        model
            What it was built from; where left out the tuned model, or the model as it is where it was not tuned.

        Raises
        ------
        ReportError
            A file is something else, or the engine is of another model.
        """
        from workbench.engine import load_engine

        built = model or self._built_from()
        summary = load_engine(
            graph,
            profile=profile,
            timing=timing,
            metadata=metadata,
            model=built,
            requested=Plan(self._history).precisions,
            tensorrt_version=tensorrt_version,
        )
        self._history.keep(summary.report.name, engine=summary, built=self._history.state)
        return summary

    def compare(
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
            As in `Workbench.compare`; `batch` must be one that the engine takes.

        Raises
        ------
        BackendError
            The engine is of unknown source, was made for another machine, or is of another model.
        """
        from workbench.backends import Engine, backend_of, need_of, read_engine, with_weights
        from workbench.evaluate import compare_engine

        taken = engine if isinstance(engine, Engine) else read_engine(engine)
        if need_of(taken.manifest).stripped:
            taken = with_weights(taken, self._tuning.lowered().model)
        data, used = samples_for(self._history, samples, preprocessing)
        indices = None if labels is None else labels_for(labels, data, self._history.state.model)
        reference = reference_of(self._history)
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

        data, batch = samples_for(self._history, samples, preprocessing)
        return save_inputs(data, self._tuning.lowered().model, path, runs=runs, batch=batch)

    def fix(self, finding: Finding) -> str:
        """Do what mends a finding of an engine: an edit or a rule of the plan, one more step of the recipe.

        Returns
        -------
        str
            The step, as one writes it in Python.

        Raises
        ------
        RecipeError
            No step of a recipe does it; the message says what to do instead.
        EditError, PrecisionError
            The step is refused.
        """
        return apply_fix(self._history, finding)

    def _built_from(self) -> Model:
        """Return what an engine of this session was most likely built from: the tuned model, once there is one."""
        recipe = self._history.recipe
        return self._history.state.model if recipe.tuned is None else self._tuning.lowered().model
