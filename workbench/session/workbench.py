"""The workbench as a notebook sees it: one object, each action a line of the recipe."""

from __future__ import annotations

from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Literal

from workbench.display import Card, Shown
from workbench.graph import Graph, blaming, load_model
from workbench.graph.edits import Surgeon
from workbench.names import DEFAULT_METHOD, BackendName, Method
from workbench.recipe import Gate, Recipe, check_model
from workbench.results import results_folder
from workbench.session import editing
from workbench.session.engines import Engines
from workbench.session.evaluation import compare_tuned, measure_sensitivity
from workbench.session.history import History, step_text
from workbench.session.plan import Plan
from workbench.session.ranges import Ranges
from workbench.session.tuning import Tuning

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from workbench.backends import BuildOptions, Engine
    from workbench.backends.verdict import Verdict
    from workbench.calibration import Statistics
    from workbench.evaluate import Comparison
    from workbench.graph import Model
    from workbench.graph.edits import Edit, EditResult
    from workbench.precision.lowering import Lowered
    from workbench.precision.sensitivity import Sensitivity
    from workbench.session.changes import Change
    from workbench.session.editing import Check, Edits
    from workbench.session.samples import PreprocessingLike

__all__ = ["Workbench", "history_of", "open_model", "open_recipe"]

_PAGE = "workbench.handoff:page"
"""What writes the report; by name, since it looks at sessions from above."""


def open_model(path: str | os.PathLike[str]) -> Workbench:
    """Open an ONNX file on a new workbench.

    Raises
    ------
    ModelError
        It cannot be loaded; the message says why.
    """
    return Workbench(load_model(path))


def open_recipe(
    path: str | os.PathLike[str], *, model: str | os.PathLike[str] | None = None, allow_scripts: bool = False
) -> Workbench:
    """Open a recipe with its model, every step done again.

    Parameters
    ----------
    path
        The recipe.
    model
        Where its model is now, if not where the recipe says.
    allow_scripts
        Whether Python scripts of the recipe (see `Workbench.surgeon`) may run. Read them first, as any program.

    Raises
    ------
    RecipeError
        The recipe cannot be read, or the model is not the one it was made for; a script is another, or may not run.
    """
    recipe = Recipe.load(path)
    recipe = recipe.with_scripts_allowed() if allow_scripts else recipe
    source = load_model(recipe.model.file if model is None else model)
    check_model(recipe, source)
    return Workbench(source, recipe=recipe)


class Workbench(Shown):
    """One model on its way: what was done to it is `recipe`, what became of it is `model`.

    Everything that changes something appends a step to the recipe; looking changes nothing. Ranges, precision plan and
    engines have their own places: `ranges`, `plan`, `engines`.

    Parameters
    ----------
    source
        The model as it was loaded.
    recipe
        Steps that are to be done at once; none where left out.
    """

    def __init__(self, source: Model, *, recipe: Recipe | None = None) -> None:
        self._history = History(source, recipe)
        self._tuning = Tuning(self._history)

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.startswith("_")]

    def _card(self) -> Card:
        steps = [step_text(step) for step in self.recipe.steps]
        headline = f"{self.source.name}: {len(steps)} steps, {len(self.model.nodes)} nodes"
        gates = tuple(f"gate {gate}" for gate in self.recipe.gates)
        return Card(headline, ("", "step"), tuple(enumerate(steps)), gates)

    # What there is

    @property
    def source(self) -> Model:
        """The model as it was loaded."""
        return self._history.source

    @property
    def recipe(self) -> Recipe:
        """Everything that was done, as a document that can be saved and replayed."""
        return self._history.recipe

    @property
    def model(self) -> Model:
        """The model after the edits so far, in floating point."""
        return self._history.state.model

    @property
    def graph(self) -> Graph:
        """Questions about the model's graph: ``wb.graph.nodes()``, ``.select(...)``, ``.summary()``."""
        return Graph(self.model)

    @property
    def ranges(self) -> Ranges:
        """Tensor name to clipping threshold, and every way to choose them anew."""
        return Ranges(self._history)

    @property
    def plan(self) -> Plan:
        """The precision plan, to look at and to change."""
        return Plan(self._history)

    @property
    def engines(self) -> Engines:
        """What compilers make of the tuned model: build, read, compare, fix."""
        return Engines(self._history, self._tuning)

    @property
    def tuned(self) -> Model:
        """The lowered model as the plan is now; `tune` makes it the recipe's result."""
        return self._tuning.lowered().model

    @property
    def advice(self) -> tuple[str, ...]:
        """What whoever builds an engine of the tuned model should know, a sentence each; `unchecked` comes first."""
        return (*self._history.unchecked, *self._tuning.lowered().advice)

    # What is done to it

    def edit(self, edit: str | Edit, /, *, check: Check = None, **arguments: Any) -> EditResult:
        """Apply a surgery step; it enters the recipe if it changed anything.

        An edit that claims to change nothing in what the model computes is checked: ONNX Runtime runs the models before
        and after on the same inputs and the outputs are compared. The result's `check` says what was compared, on what
        inputs and with which error, or why it was not. A recipe that is replayed is not checked again.

        Parameters
        ----------
        edit
            The edit's name (``"fold_constants"``) with its arguments, or the edit itself.
        check
            ``None`` checks on seeded random inputs where one run is cheap and possible, see
            `workbench.evaluate.edit_check.too_costly` for the bounds, and else the part of the model that was touched.
            ``True`` checks the whole in any case, a mapping of input name to array on these inputs, ``False`` never.

        Raises
        ------
        EditError
            There is no such edit, it does not apply, it would leave an invalid graph or one that does not run although
            the model did, or an output moved by more than `workbench.graph.edits.TOLERANCE`; the model stays as it was.
        BackendError
            A check that was asked for cannot run; the model stays as it was.
        """
        return editing.edit(self._history, edit, check=check, **arguments)

    def surgeon(
        self, function: str | Callable[..., object], /, *, check: Check = False, **arguments: Any
    ) -> EditResult:
        """Run a GraphSurgeon function of your own as a step; it enters the recipe if it changed anything.

        The function takes an ``onnx_graphsurgeon.Graph``, and changes it or returns another. What GraphSurgeon cannot
        hold (metadata, doc strings, types) stays with everything that the function left as it was. The recipe keeps a
        copy of the script with its hash; whoever opens it must allow that scripts run, see `open_recipe`.

        Parameters
        ----------
        function
            ``"script.py:function"``, or a function. One that was typed into a notebook may use modules, and what it
            imports from them, but no variable of the notebook.
        check
            Whether the numbers are compared too, as by `edit`; a function may be meant to change them.
        **arguments
            What the function is called with besides the graph: anything that JSON can hold.

        Raises
        ------
        EditError
            The script or the function cannot be had, it raised something, or it would leave an invalid graph; the model
            stays as it was.
        """
        return editing.edit(self._history, Surgeon.of(function, arguments), check=check)

    def prepare(self) -> Edits:
        """Bring the model into the form that quantization wants; return what was done, each step with its check.

        Folds constants, raises the operator set where Q/DQ needs it, lowers it where ONNX Runtime does not run it yet,
        folds BatchNormalization away, and states kernel shapes that only the weights say.
        """
        return editing.prepare(self._history)

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
        """Run the samples once, and pick a range for every tensor that could be quantized; see `Ranges.calibrate`."""
        return self.ranges.calibrate(
            samples,
            method=method,
            percentile=percentile,
            batch=batch,
            preprocessing=preprocessing,
            overflow=overflow,
            channels=channels,
            checkpoint=checkpoint,
        )

    def set_range(self, tensor: str, amax: float) -> None:
        """Set one tensor's clipping threshold by hand."""
        self.ranges.set(tensor, amax)

    def require(self, metric: str, *, at_most: float | None = None, at_least: float | None = None) -> None:
        """Add a gate: a condition that the tuned model has to meet. See `workbench.recipe.Gate`."""
        self._history.require(Gate.model_validate({"metric": metric, "at_most": at_most, "at_least": at_least}))

    @blaming
    def tune(self) -> Lowered:
        """Lower the plan into the graph: explicit Q/DQ, ready for every backend.

        Where no rule was added the best practice is: INT8 for what multiplies and for residual Adds. Where the plan
        needs a newer operator set (FP8, INT8 over FP16, BF16), the conversion is one more step of the recipe.

        Raises
        ------
        PrecisionError
            A tensor that is to be quantized has no range, or the target cannot have a precision.
        EditError
            The operator set cannot be converted.
        """
        return self._tuning.tune()

    def undo(self) -> str:
        """Take the recipe's last step back, and return it in words.

        Raises
        ------
        RecipeError
            There is none.
        """
        return self._history.undo()

    def redo(self) -> str:
        """Do the step again that was undone last, and return it in words.

        Raises
        ------
        RecipeError
            None was undone since the last change.
        """
        return self._history.redo()

    def on_change(self, listener: Callable[[Change], object]) -> Callable[[], None]:
        """Call a function with each `Change` of this workbench from now on; what is returned stops it."""
        return self._history.changes.on_change(listener)

    # What comes of it

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
        return compare_tuned(
            self._history, self.tuned, samples, labels=labels, batch=batch, preprocessing=preprocessing, runs=runs
        )

    def sensitivity(
        self,
        samples: object = None,
        *,
        how: Literal["quick", "exact"] = "quick",
        preprocessing: PreprocessingLike = None,
    ) -> Sensitivity:
        """Measure what each node that the plan makes INT8 costs alone.

        Parameters
        ----------
        samples
            What to run; the calibration's samples where left out.
        how
            ``quick`` estimates it from a few forward passes, ``exact`` runs the model anew for every node.
        preprocessing
            For a folder of images.

        Raises
        ------
        RecipeError
            Nothing was calibrated.
        PrecisionError
            No node computes in INT8 by this plan.
        """
        return measure_sensitivity(self._history, how=how, samples=samples, preprocessing=preprocessing)

    def check(self, target: str = "sm86") -> Verdict:
        """Ask a real TensorRT compiler what it makes of the tuned model, node by node; needs no GPU.

        Parameters
        ----------
        target
            The compute capability: ``sm75`` to ``sm121``.

        Raises
        ------
        BackendError
            TensorRT-RTX is not installed, or does not know the target.
        """
        from workbench.backends.verdict import check

        return check(self.tuned, target)

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
            How; the backend's defaults where left out.
        path
            Where to write the engine, with its manifest beside it; nowhere where left out.

        Raises
        ------
        BackendError
            The backend does not work here, or refuses the model.
        """
        return self.engines.build(backend, options=options, path=path)

    def save(self, folder: str | os.PathLike[str]) -> tuple[Path, ...]:
        """Tune, and write ``tuned.onnx`` and ``recipe.yaml`` into a folder, as a whole or not at all.

        Raises
        ------
        OutputError
            The folder holds something else, or cannot be written.
        """
        self.tune()
        names = ("tuned.onnx", "tuned.onnx.data", "recipe.yaml", *self.recipe.scripts(folder))
        with results_folder(folder, names) as place:
            return (*self.tuned.save(place / "tuned.onnx"), self.recipe.save(place / "recipe.yaml"))

    def export_html(self, path: str | os.PathLike[str], comparison: Comparison | None = None) -> Path:
        """Write the report as one page that needs no network.

        Parameters
        ----------
        path
            The ``.html`` file.
        comparison
            From `compare`; measured on the calibration's samples where left out.
        """
        from workbench.files import write_text
        from workbench.recipe import check_gates

        made = comparison or self.compare()
        return write_text(path, resolve_name(_PAGE)(self, made, check_gates(self.recipe.gates, made)))


def history_of(workbench: Workbench) -> History:
    """Return what lies beneath a workbench, for views and jobs: steps, states, what was measured."""
    return workbench._history  # noqa: SLF001 - the one door
