"""The workbench as a notebook sees it: one object, each action a line of the recipe."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from workbench.errors import RecipeError
from workbench.evaluate import checked
from workbench.graph import Graph, file_digest, load_model
from workbench.graph.edits import edit_by_name
from workbench.precision import parse_target
from workbench.precision.lowering import Lowered, activation_tensors, lower, needed_opset
from workbench.recipe import Gate, ModelReference, Recipe, State, Tuned, check_model, environment, start
from workbench.recipe.steps import CalibrateStep, PlanStep
from workbench.session.calibrating import everything
from workbench.session.changes import Change, Changes
from workbench.session.evaluating import Evaluating, PreprocessingLike
from workbench.session.plan import Plan

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    from workbench.calibration import Samples, Statistics
    from workbench.engine import EngineSummary, Finding
    from workbench.graph import Model
    from workbench.graph.edits import Edit, EditResult
    from workbench.precision.plan import PrecisionPlan
    from workbench.recipe.steps import Step

__all__ = ["PreprocessingLike", "Workbench", "open_model", "open_recipe"]


def open_model(path: str | os.PathLike[str]) -> Workbench:
    """Open an ONNX file on a new workbench.

    Raises
    ------
    ModelError
        It cannot be loaded; the message says why.
    """
    return Workbench(load_model(path))


def open_recipe(path: str | os.PathLike[str], *, model: str | os.PathLike[str] | None = None) -> Workbench:
    """Open a recipe with its model, every step done again.

    Parameters
    ----------
    path
        The recipe.
    model
        Where its model is now, if not where the recipe says.

    Raises
    ------
    RecipeError
        The recipe cannot be read, or the model is not the one it was made for.
    """
    recipe = Recipe.load(path)
    source = load_model(recipe.model.file if model is None else model)
    check_model(recipe, source)
    return Workbench(source, recipe=recipe)


class Workbench(Evaluating):
    """One model on its way: what was done to it is `recipe`, what became of it is `model`.

    Everything that changes something appends a step to the recipe; nothing else is remembered but measurements.

    Parameters
    ----------
    source
        The model as it was loaded.
    recipe
        Steps that are to be done at once; none where left out.
    """

    def __init__(self, source: Model, *, recipe: Recipe | None = None) -> None:
        self.source = source
        file = str(source.path.resolve()) if source.path is not None else source.name
        self.recipe = recipe or Recipe(model=ModelReference(file=file, sha256=source.digest), environment=environment())
        self._state = start(self.recipe, source)
        self._undone: list[tuple[Recipe, State]] = []
        self._before_plan: tuple[PlanStep, State] | None = None
        self._lowered: Lowered | None = None
        self._samples: tuple[Samples, int] | None = None
        self.statistics: Statistics | None = None
        self._changes = Changes()

    def __repr__(self) -> str:
        return f"<Workbench {self.source.name}: {len(self.recipe.steps)} steps, {len(self.model.nodes)} nodes>"

    def on_change(self, listener: Callable[[Change], object]) -> Callable[[], None]:
        """Call a function with each `Change` of this workbench from now on; what is returned stops it."""
        return self._changes.on_change(listener)

    # What there is

    @property
    def state(self) -> State:
        """The model, ranges and plan after the steps so far."""
        return self._state

    @property
    def graph(self) -> Graph:
        """Questions about the model's graph: ``wb.graph.nodes()``, ``.select(...)``, ``.summary()``."""
        return Graph(self.model)

    @property
    def model(self) -> Model:
        """The model after the edits so far, in floating point."""
        return self._state.model

    @property
    def plan(self) -> Plan:
        """The precision plan, to look at and to change."""
        return Plan(self)

    @property
    def tuned(self) -> Model:
        """The lowered model; made by `tune` where it was not made since the last change."""
        return (self._lowered or self.tune()).model

    @property
    def advice(self) -> tuple[str, ...]:
        """What whoever builds an engine of the tuned model should know, a sentence each."""
        return (self._lowered or self.tune()).advice

    # What changes something

    def edit(
        self, edit: str | Edit, /, *, check: bool | Mapping[str, npt.NDArray[Any]] | None = None, **arguments: Any
    ) -> EditResult:
        """Apply a surgery step; it enters the recipe if it changed anything.

        An edit that claims to change nothing in what the model computes is checked: ONNX Runtime runs the models before
        and after on the same inputs and the outputs are compared. The result's `check` says what was compared, on what
        inputs and with which error, or why it was not. A recipe that is replayed is not checked again.

        Parameters
        ----------
        edit
            The edit's name (``"fold_constants"``) with its arguments, or the edit itself.
        check
            ``None`` checks on seeded random inputs where one run is cheap and possible: see
            `workbench.evaluate.equivalence.too_costly` for the bounds. ``True`` does in any case, a mapping of input
            name to array on these inputs, ``False`` never.

        Raises
        ------
        EditError
            There is no such edit, it does not apply, it would leave an invalid graph, or an output moved by more than
            `workbench.graph.edits.TOLERANCE`; the model stays as it was.
        BackendError
            A check that was asked for cannot run; the model stays as it was.
        """
        step = edit_by_name(edit, **arguments) if isinstance(edit, str) else edit
        result = self.try_edit(step, check=check)
        if result.changed:
            self._append(step, self._state.edited(result))
        return result

    def try_edit(self, edit: Edit, *, check: bool | Mapping[str, npt.NDArray[Any]] | None = None) -> EditResult:
        """Return what `edit` would give, checks included, and change nothing."""
        result = edit(self.model)
        if not result.changed:
            return result
        return replace(result, check=checked(edit, self.model, result.model, check))

    def prepare(self) -> tuple[EditResult, ...]:
        """Bring the model into the form that quantization wants; return what was done, each step with its check.

        Folds constants, raises the operator set where Q/DQ needs it, folds BatchNormalization away, and states kernel
        shapes that only the weights say.
        """
        results = [self.edit("fold_constants")]
        conversion = needed_opset(self.model, everything(self.model))
        if conversion is not None:
            # A conversion turns attributes into constants.
            results += [self.edit(conversion), self.edit("fold_constants")]
        results += [self.edit("fold_batch_norm"), self.edit("state_kernel_shape")]
        return tuple(result for result in results if result.changed)

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

        step, (data, batch) = self._calibration(), self.samples_for(samples, preprocessing=preprocessing)
        tensors = activation_tensors(self.model, everything(self.model))
        result = self.edit(equalization(self.model, tensors, data, batch=batch))
        if result.changed:
            self.calibrate(data, method=step.method, percentile=step.percentile or 99.99, batch=batch)
        return result

    def correct_bias(self, samples: object = None, *, preprocessing: PreprocessingLike = None) -> EditResult:
        """Take out of each bias what INT8, by the plan as it is, adds to the mean of its channel.

        See `workbench.graph.edits.correct_bias.CorrectBias`. The last step before `tune`: it fits these ranges and
        rules alone.

        Parameters
        ----------
        samples, preprocessing
            What to measure on; the calibration's samples where left out.

        Raises
        ------
        RecipeError
            Nothing was calibrated.
        """
        from workbench.precision.measured_edits import bias_shifts

        self._calibration()
        data, batch = self.samples_for(samples, preprocessing=preprocessing)
        nodes = self._state.resolve().nodes("int8")
        return self.edit(bias_shifts(self.model, nodes, self.ranges, data, batch=batch))

    def _calibration(self) -> CalibrateStep:
        steps = self.recipe.of_kind(CalibrateStep)
        if not steps:
            raise RecipeError("nothing was calibrated", where=self.source.name, fix="Calibrate: wb.calibrate(samples).")
        return steps[-1]

    def set_target(self, target: str | None) -> None:
        """Say what the model is tuned for: ``rtx@sm89``, ``tensorrt-8.6``, ...; ``None`` for any.

        Raises
        ------
        PrecisionError
            There is no such target; see `workbench.precision.targets.TARGETS`.
        """
        parsed = None if target is None else parse_target(target)
        self.recipe = self.recipe.model_copy(update={"target": None if parsed is None else str(parsed), "tuned": None})
        self._state, self._lowered = replace(self._state, target=parsed), None
        self._changes.tell(Change("plan", str(parsed or "any target")))

    def engine(
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

        Show it with `workbench.views.engine`, mend what it found with `apply`.

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
        from workbench.engine import run

        built = model or (self.model if self._lowered is None else self._lowered.model)
        decisions = self.plan.resolve().decisions.values()
        summary = run(
            graph,
            profile=profile,
            timing=timing,
            metadata=metadata,
            model=built,
            requested={decision.node: decision.precision for decision in decisions if decision.rule is not None},
            tensorrt_version=tensorrt_version,
        )
        self._changes.tell(Change("measured", summary.report.name))
        return summary

    def require(self, metric: str, *, at_most: float | None = None, at_least: float | None = None) -> None:
        """Add a gate: a condition that the tuned model has to meet. See `workbench.recipe.document.Gate`."""
        gate = Gate.model_validate({"metric": metric, "at_most": at_most, "at_least": at_least})
        self.recipe = self.recipe.model_copy(update={"gates": (*self.recipe.gates, gate)})

    def apply(self, finding: Finding) -> str:
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
        from workbench.session.fixes import apply_fix

        return apply_fix(self, finding)

    def undo(self) -> None:
        """Take the recipe's last step back.

        Raises
        ------
        RecipeError
            There is none.
        """
        if not self.recipe.steps:
            raise RecipeError("there is nothing to undo", where=self.source.name)
        self._undone.append((self.recipe, self._state))
        step = self.recipe.steps[-1]
        self.recipe = self.recipe.model_copy(update={"steps": self.recipe.steps[:-1], "tuned": None})
        self._state, self._lowered = start(self.recipe, self.source), None
        self._changes.tell(Change("undone", _kind(step)))

    @property
    def undone(self) -> tuple[Step, ...]:
        """The steps that `redo` would do again, the next one first."""
        return tuple(recipe.steps[-1] for recipe, _ in reversed(self._undone))

    def redo(self) -> None:
        """Do the step again that was undone last.

        Raises
        ------
        RecipeError
            None was undone since the last change.
        """
        if not self._undone:
            raise RecipeError("there is nothing to redo", where=self.source.name)
        self.recipe, self._state = self._undone.pop()
        self._lowered = None
        self._changes.tell(Change("redone", _kind(self.recipe.steps[-1])))

    # What comes out

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
        if not self._state.plan.rules:
            self.plan.use("int8")
        self.raise_opset(self._state.plan)
        resolution = self._state.resolve()
        lowered = lower(self.model, resolution, self.ranges, weight_storage=self.recipe.weight_storage)
        tuned = Tuned(sha256=file_digest(lowered.model))
        self.recipe = self.recipe.model_copy(update={"tuned": tuned, "environment": environment()})
        self._lowered = lowered
        return lowered

    def raise_opset(self, plan: PrecisionPlan) -> None:
        """Convert the operator set if a plan needs a newer one: one more step of the recipe."""
        state = self._state
        conversion = needed_opset(self.model, state.resolve(plan))
        if conversion is not None:
            self.edit(conversion)
            # A conversion turns attributes into constants.
            self.edit("fold_constants")

    def do(self, step: Step) -> None:
        """Do one step of a recipe and append it; a whole plan takes the place of the one set right before it."""
        recipe, before = self.without_plan() if isinstance(step, PlanStep) else (self.recipe, self._state)
        state = step.apply_to(before)
        self.recipe = recipe
        self._append(step, state)
        if isinstance(step, PlanStep):
            self._before_plan = step, before

    def _append(self, step: Step, state: State) -> None:
        self.recipe = self.recipe.with_step(step)
        self._state, self._lowered = state, None
        self._undone.clear()
        self._changes.tell(Change("appended", _kind(step)))

    def rewind(self, recipe: Recipe, state: State) -> None:
        """Go back to what recipe and state were before something that was tried and is not kept."""
        self.recipe, self._state, self._lowered = recipe, state, None
        self._changes.tell(Change("undone"))

    def without_plan(self) -> tuple[Recipe, State]:
        """Return recipe and state without the last step where that set a whole plan; else as they are."""
        last = self.recipe.steps[-1] if self.recipe.steps else None
        if not isinstance(last, PlanStep):
            return self.recipe, self._state
        recipe = self.recipe.model_copy(update={"steps": self.recipe.steps[:-1], "tuned": None})
        if self._before_plan is None or self._before_plan[0] is not last:
            self._before_plan = last, start(recipe, self.source)
        return recipe, replace(self._before_plan[1], target=self._state.target)


def _kind(step: Step) -> str:
    """Return what a recipe calls a step of this kind."""
    return step.do
