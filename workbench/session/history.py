"""What was done to a model, step by step: the recipe, what it came to, and the way back and forth."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from workbench.errors import RecipeError
from workbench.graph import structure_digest
from workbench.graph.edits import Edit, Unchecked, python_line
from workbench.recipe import ModelReference, Recipe, environment, start
from workbench.recipe.steps import PlanStep, about
from workbench.session.changes import Change, Changes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from workbench.calibration import Samples, Statistics
    from workbench.engine import EngineSummary
    from workbench.evaluate import Comparison
    from workbench.graph import Model
    from workbench.graph.edits import Equivalence
    from workbench.precision import Target
    from workbench.precision.search import SearchResult
    from workbench.precision.sensitivity import Sensitivity
    from workbench.recipe import Gate, State
    from workbench.recipe.steps import Step

__all__ = ["Calibrated", "Figures", "History", "step_text"]

RECALLED = 12
"""States that are kept for an undo: each has a model of its own, which shares its weights with the others."""


@dataclass(frozen=True)
class Calibrated:
    """What calibration leaves behind beside the ranges; not part of the recipe.

    Parameters
    ----------
    statistics
        What the last calibration saw, for pictures and other methods.
    samples, batch
        What it ran, and how many a run.
    """

    statistics: Statistics | None = None
    samples: Samples | None = None
    batch: int = 1


@dataclass(frozen=True)
class Figures:
    """The last figures of each kind that were measured in a session; not part of the recipe.

    Parameters
    ----------
    sensitivity
        What nodes alone cost.
    search, searched
        What a search tried, and what it was asked for, so that one that was stopped can go on.
    comparison, compared
        How far the tuned model is from its source, and the state that was tuned.
    engine, built
        What a compiler made of it, and the state that it is of.
    """

    sensitivity: Sensitivity | None = None
    search: SearchResult | None = None
    searched: tuple[object, ...] = ()
    comparison: Comparison | None = None
    compared: State | None = None
    engine: EngineSummary | None = None
    built: State | None = None


class History:
    """The steps of one model, in order; the only place where a recipe grows or shrinks.

    Parameters
    ----------
    source
        The model as it was loaded.
    recipe
        Steps that are to be done at once; none where left out.
    """

    def __init__(self, source: Model, recipe: Recipe | None = None) -> None:
        file = str(source.path.resolve()) if source.path is not None else source.name
        self.source = source
        reference = ModelReference(file=file, sha256=source.digest, structure=structure_digest(source))
        self.recipe = recipe or Recipe(model=reference, environment=environment())
        self.state = start(self.recipe, source)
        self.measured = Calibrated()
        self.figures = Figures()
        self.changes = Changes()
        self.checks: list[tuple[Edit, Equivalence | Unchecked]] = []
        self._undone: list[tuple[Recipe, State]] = []
        self._passed: deque[tuple[tuple[Any, ...], State]] = deque(maxlen=RECALLED)
        """The last steps that something was appended to, and what they came to."""
        self._before_plan: tuple[PlanStep, State] | None = None
        self._claim: tuple[int, str] | None = None
        self.keeper: object = None
        """What keeps the recipe in a file as it grows, if anything does: see `workbench.session.keeping.keeper_of`."""

    @contextmanager
    def claimed(self, doing: str, post: Callable[[Callable[[], None]], object] | None = None) -> Iterator[None]:
        """Let only this thread change the recipe, and tell of changes where listeners live.

        Parameters
        ----------
        doing
            What it does, for others who want to change something meanwhile.
        post
            Takes what is to be called in the thread of the listeners; they are called here where left out.
        """
        self._claim = threading.get_ident(), doing
        try:
            with self.changes.posted(post):
                yield
        finally:
            self._claim = None

    def _check_claim(self) -> None:
        if self._claim is not None and self._claim[0] != threading.get_ident():
            raise RecipeError(
                f"{self._claim[1]} is under way", where=self.source.name, fix="Wait until it is done, or stop it."
            )

    def do(self, step: Step) -> None:
        """Do one step and append it; a whole plan takes the place of the one set right before it."""
        self._check_claim()
        recipe, before = self.without_plan() if isinstance(step, PlanStep) else (self.recipe, self.state)
        state = step.apply_to(before)
        self.recipe, self.state = recipe, before
        self.append(step, state)
        if isinstance(step, PlanStep):
            self._before_plan = step, before

    def append(self, step: Step, state: State) -> None:
        """Append a step whose state is known already."""
        self._check_claim()
        self._passed.append((self.recipe.steps, self.state))
        self.recipe, self.state = self.recipe.with_step(step), state
        if isinstance(step, Edit) and state.check is not None:
            self.checks.append((step, state.check))
        self._undone.clear()
        self.changes.tell(Change("appended", step_text(step)))

    @property
    def unchecked(self) -> tuple[str, ...]:
        """Which edits of the recipe claim to change nothing, and were not compared as a whole, a sentence each.

        Edits of a recipe that was opened were checked, or not, when they were made.
        """
        sentences = []
        for step, check in self.checks:
            if not step.equivalent or not any(step is other for other in self.recipe.steps):
                continue
            if isinstance(check, Unchecked) or check.partly is not None:
                sentences.append(f"{python_line(step)}: {check}")
        return tuple(sentences)

    def undo(self) -> str:
        """Take the last step back and return it in words.

        Raises
        ------
        RecipeError
            There is none.
        """
        self._check_claim()
        if not self.recipe.steps:
            raise RecipeError("there is nothing to undo", where=self.source.name)
        undone = step_text(self.recipe.steps[-1])
        self._undone.append((self.recipe, self.state))
        self.recipe = self._with_steps(self.recipe.steps[:-1])
        self.state = self._recalled() or start(self.recipe, self.source)
        self.changes.tell(Change("undone", undone))
        return undone

    def _recalled(self) -> State | None:
        """Return what the steps came to when the next was appended to them; an undo need not do them again."""
        steps = self.recipe.steps
        for passed, state in reversed(self._passed):
            if len(passed) == len(steps) and all(one is other for one, other in zip(passed, steps, strict=True)):
                now: State = state if state.target == self.state.target else replace(state, target=self.state.target)
                return now
        return None

    def redo(self) -> str:
        """Do the step again that was undone last, and return it in words.

        Raises
        ------
        RecipeError
            None was undone since the last change.
        """
        self._check_claim()
        if not self._undone:
            raise RecipeError("there is nothing to redo", where=self.source.name)
        self.recipe, self.state = self._undone.pop()
        redone = step_text(self.recipe.steps[-1])
        self.changes.tell(Change("redone", redone))
        return redone

    def take_over(self, recipe: Recipe) -> None:
        """Go on from another recipe of the same model, in place of this one.

        Raises
        ------
        RecipeError, EditError, SelectorError
            A step of it cannot be done; all is as it was.
        """
        self._check_claim()
        state = start(recipe, self.source)
        self.recipe, self.state = recipe.model_copy(update={"model": self.recipe.model}), state
        self._undone.clear()
        self._before_plan = None
        self.changes.tell(Change("appended", f"{len(recipe.steps)} steps that were kept"))

    @property
    def undone(self) -> tuple[Step, ...]:
        """The steps that `redo` would do again, the next one first."""
        return tuple(recipe.steps[-1] for recipe, _ in reversed(self._undone))

    @contextmanager
    def attempt(self) -> Iterator[Attempt]:
        """Try steps: where an error comes, or the attempt is discarded, all is as it was before."""
        before = self.recipe, self.state, self.measured, list(self._undone)

        def back() -> None:
            if self.recipe is not before[0]:
                self.recipe, self.state, self.measured, self._undone = before
                self.changes.tell(Change("undone", "what was tried"))

        try:
            yield Attempt(back)
        except BaseException:
            back()
            raise

    def without_plan(self) -> tuple[Recipe, State]:
        """Return recipe and state without the last step where that set a whole plan; else as they are."""
        last = self.recipe.steps[-1] if self.recipe.steps else None
        if not isinstance(last, PlanStep):
            return self.recipe, self.state
        recipe = self._with_steps(self.recipe.steps[:-1])
        if self._before_plan is None or self._before_plan[0] is not last:
            self._before_plan = last, start(recipe, self.source)
        return recipe, replace(self._before_plan[1], target=self.state.target)

    def drop_plan(self) -> None:
        """Go back to before the whole plan that the last step set, if it did."""
        self.recipe, self.state = self.without_plan()

    def keep(self, what: str, **parts: Any) -> None:
        """Keep what was measured, and tell of it."""
        self.figures = replace(self.figures, **parts)
        self.changes.tell(Change("measured", what))

    def amend(self, **parts: Any) -> None:
        """Set parts of the recipe that are no steps: gates, what came out."""
        before, self.recipe = self.recipe, self.recipe.model_copy(update=parts)
        if any(getattr(before, part) != value for part, value in parts.items()):
            self.changes.tell(Change("recipe", ", ".join(parts)))

    def require(self, gate: Gate) -> None:
        """Add a gate, once."""
        if gate not in self.recipe.gates:
            self.amend(gates=(*self.recipe.gates, gate))

    def set_target(self, target: Target | None) -> None:
        """Say what the model is tuned for."""
        self._check_claim()
        update = {"target": None if target is None else str(target), "tuned": None}
        self.recipe = self.recipe.model_copy(update=update)
        self.state = replace(self.state, target=target)
        self.changes.tell(Change("plan", str(target or "any target")))

    def _with_steps(self, steps: tuple[Any, ...]) -> Recipe:
        return self.recipe.model_copy(update={"steps": steps, "tuned": None})


@dataclass(frozen=True)
class Attempt:
    """Something that is being tried.

    Parameters
    ----------
    discard
        Takes it back.
    """

    discard: Callable[[], None]


def step_text(step: Step) -> str:
    """Return a step in a few words: what it does, and to what."""
    return f"{step.do} {about(step)}".strip()
