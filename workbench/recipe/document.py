"""The recipe: everything that was done to a model, in order, as one readable YAML document."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import BaseModel, Field, PrivateAttr, ValidationError

from workbench.display import Card, Shown, counted
from workbench.errors import RecipeError
from workbench.files import write_bytes, write_text
from workbench.graph.edits import Surgeon
from workbench.precision.placement import Pays
from workbench.recipe.build import Build
from workbench.recipe.comments import with_comments
from workbench.recipe.gates import Gate, GateResult, check_gates
from workbench.recipe.migrations import MIGRATIONS
from workbench.recipe.parts import Evaluation, ModelReference, Part, relative_to
from workbench.recipe.reading import SourceText, dumped, read_document, what_is_wrong
from workbench.recipe.steps import AnyStep, PlanStep, about
from workbench.results import refuse_source

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from workbench.backends import BuildOptions
    from workbench.evaluate import Comparison
    from workbench.names import BackendName
    from workbench.recipe.steps import Step

__all__ = ["SCHEMA", "Recipe", "Tuned"]

SCHEMA = 1
"""Version of the document's form. One of an earlier version is migrated, one of a later version refused."""

StepType = TypeVar("StepType", bound=BaseModel)


class Tuned(Part):
    """What the recipe makes: the SHA-256 of the file ``tuned.onnx``; see `workbench.graph.save.file_digest`."""

    sha256: str


class Recipe(Shown, Part):
    """The document. Immutable: adding a step gives a new one.

    Parameters
    ----------
    workbench
        The document's schema version.
    model
        The model it starts from.
    steps
        What was done, in order.
    target
        What it is lowered for, as `workbench.precision.targets.parse_target` reads it; ``None`` for any.
    weight_storage
        How the lowering stores quantized weights; ``None`` for what the target takes.
    build
        Where engines of it are to load; ``None`` where nothing is asked for.
    gates
        Conditions on the result.
    evaluation
        What the gates are judged on; ``None`` where that is the calibration's samples.
    tuned
        What came out.
    environment
        Versions that made it, for people who find a difference.
    """

    workbench: Literal[1] = 1
    model: ModelReference
    steps: tuple[AnyStep, ...] = ()
    target: str | None = None
    weight_storage: Literal["int8", "float"] | None = None
    build: Build | None = None
    gates: tuple[Gate, ...] = ()
    evaluation: Evaluation | None = None
    tuned: Tuned | None = None
    environment: dict[str, str] = Field(default_factory=dict)
    _written: SourceText = PrivateAttr(default_factory=SourceText)

    def _card(self) -> Card:
        tuned = f"makes {self.tuned.sha256[:12]}" if self.tuned else "not tuned yet"
        rows = tuple((at, step.do, about(step)) for at, step in enumerate(self.steps))
        return Card(
            f"recipe of {Path(self.model.file).name}: {counted(len(rows), 'step')}, {tuned}", ("", "step", "of"), rows
        )

    def with_step(self, step: Step) -> Recipe:
        """Return the recipe with one more step; what it made before is no longer known."""
        return self.model_copy(update={"steps": (*self.steps, step), "tuned": None})

    def of_kind(self, kind: type[StepType]) -> list[StepType]:
        """Return the steps of one kind, in order."""
        return [step for step in self.steps if isinstance(step, kind)]

    def newest(self, kind: type[StepType]) -> StepType | None:
        """Return the last step of one kind."""
        return next((step for step in reversed(self.steps) if isinstance(step, kind)), None)

    @property
    def pays(self) -> Pays:
        """Whether the plan is faster than floating point, by engines; not measured where a later step changed it."""
        last = self.steps[-1] if self.steps else None
        return (last.pays if isinstance(last, PlanStep) else None) or Pays()

    def built_by(self, backend: BackendName, options: BuildOptions) -> BuildOptions:
        """Return options of a build with what is asked for here, and with those that the plan was measured with."""
        options = options if self.build is None else self.build.added_to(options)
        fastest = {} if backend == "onnxruntime" else self.pays.build or {}
        measured: dict[str, Any] = {name: value for name, value in fastest.items() if getattr(options, name) is None}
        return replace(options, **measured)

    def check_gates(self, comparison: Comparison) -> tuple[GateResult, ...]:
        """Say of each gate whether what was measured meets it."""
        return tuple(check_gates(self.gates, comparison))

    def to_yaml(self) -> str:
        """Return the document as text, with the comments of the file that it was loaded from."""
        content = self.model_dump(mode="json", exclude_none=True)
        return with_comments(self._written.text, dumped(content))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the document, and the scripts that it runs beside it; paths in it become relative to it.

        Raises
        ------
        OutputError
            A file cannot be written, or is the model.
        RecipeError
            A script is not what it was.
        """
        path = Path(path)
        refuse_source(path.parent, (path.name,), Path(self.model.file))
        beside: list[Step] = list(self.steps)
        for place, step in enumerate(self.steps):
            if isinstance(step, Surgeon):
                copy = write_bytes(path.parent / step.file_beside(path.parent), step.content())
                beside[place] = step.moved(lambda _, copy=copy: str(copy))  # type: ignore[misc]
        recipe = self.model_copy(update={"steps": tuple(beside)})
        return write_text(path, recipe.relocated(lambda file: relative_to(file, path.parent)).to_yaml())

    def scripts(self, folder: str | os.PathLike[str]) -> tuple[str, ...]:
        """Return the names of the files that `save` writes to a folder beside the document."""
        return tuple(step.file_beside(Path(folder)) for step in self.of_kind(Surgeon))

    def with_scripts_allowed(self) -> Recipe:
        """Return the recipe with leave to run the scripts in it, which must be what they were.

        Raises
        ------
        RecipeError
            A script is missing, or is not the one that the recipe was made with.
        """
        steps = (step.allowed() if isinstance(step, Surgeon) else step for step in self.steps)
        return self.model_copy(update={"steps": tuple(steps)})

    def relocated(self, move: Callable[[str], str]) -> Recipe:
        """Return the recipe with every path in it given to `move`."""
        model = self.model.model_copy(update={"file": move(self.model.file)})
        parts: dict[str, object] = {"model": model, "steps": tuple(step.moved(move) for step in self.steps)}
        if self.evaluation is not None:
            parts["evaluation"] = self.evaluation.moved(move)
        return self.model_copy(update=parts)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Recipe:
        """Read a document; its paths become absolute.

        Raises
        ------
        RecipeError
            Not readable, not a recipe, of another schema version, or with ranges that were changed by hand.
        """
        path = Path(path)
        text, content = read_document(path, SCHEMA, migrations=MIGRATIONS)
        try:
            recipe = cls.model_validate(content)
        except ValidationError as error:
            raise RecipeError(what_is_wrong(error, cls), where=path, fix="Mend this line.") from error
        recipe._written = SourceText(text)  # noqa: SLF001 - its own
        for position, step in enumerate(recipe.steps):
            problem = step.problem()
            if problem is not None:
                raise RecipeError(
                    f"step {position} ({step.do}): {problem}",
                    where=path,
                    fix="Change a range with a set_range step, or calibrate again.",
                )
        try:
            return recipe.relocated(lambda file: str((path.parent / file).resolve()))
        except (TypeError, ValueError, OSError) as error:  # a path that is none, or that no file can have
            raise RecipeError(f"a path in it cannot be: {error}", where=path, fix="Mend the path.") from error
