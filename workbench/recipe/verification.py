"""Everything that can be known of a replay before it runs: all that is wrong at once, and what has drifted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from workbench.errors import RecipeError, WorkbenchError
from workbench.graph import load_model
from workbench.graph.edits import Surgeon
from workbench.precision import parse_target
from workbench.recipe.difference import drifted
from workbench.recipe.parts import FileReference
from workbench.recipe.replay import check_model
from workbench.recipe.steps import CalibrateStep
from workbench.recipe.versions import environment

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from workbench.graph import Model
    from workbench.recipe.document import Recipe

__all__ = ["Verified", "verify"]


@dataclass(frozen=True)
class Verified:
    """What a look at a recipe found.

    Parameters
    ----------
    recipe
        The recipe, its scripts read where they may run.
    model
        Its model; `None` where that is not to be had.
    problems
        What keeps it from being replayed.
    notes
        What has drifted and does not keep it from being replayed, a sentence each.
    """

    recipe: Recipe
    model: Model | None
    problems: tuple[WorkbenchError, ...]
    notes: tuple[str, ...]

    def required(self) -> Model:
        """Return the model.

        Raises
        ------
        WorkbenchError
            Something is wrong: the error itself where it is one thing, else one that names them all.
        """
        if len(self.problems) == 1:
            raise self.problems[0]
        if self.problems or self.model is None:
            problems = "; ".join(f"({at}) {problem}" for at, problem in enumerate(self.problems, 1))
            raise RecipeError(f"{len(self.problems)} things are wrong: {problems}")
        return self.model


def verify(
    recipe: Recipe,
    *,
    where: str | os.PathLike[str] | None = None,
    model: str | os.PathLike[str] | None = None,
    allow_scripts: bool = False,
    retrained: bool = False,
) -> Verified:
    """Look at all that a recipe needs, without running a step of it.

    Parameters
    ----------
    recipe
        The recipe.
    where
        Its file, for messages, and to look for a moved model beside it.
    model
        Where its model is, if not where the recipe says.
    allow_scripts
        Whether its scripts may run.
    retrained
        Whether a model of the same structure will do.
    """
    problems: list[WorkbenchError] = []
    notes = [f"drifted since it was made: {change}" for change in drifted(recipe.environment, environment())]
    loaded = None
    try:
        loaded = _model(recipe, where, model)
        _check_fits(recipe, loaded, retrained=retrained)
    except WorkbenchError as error:
        problems.append(error)
    if allow_scripts:
        try:
            recipe = recipe.with_scripts_allowed()
        except WorkbenchError as error:
            problems.append(error)
    elif scripts := recipe.of_kind(Surgeon):
        problems.append(
            RecipeError(
                f"it runs {len(scripts)} Python scripts, which nobody allowed",
                where=where,
                fix="Read them first; then give --allow-scripts.",
            )
        )
    if recipe.target is not None:
        try:
            parse_target(recipe.target)
        except WorkbenchError as error:
            problems.append(error)
    return Verified(recipe, loaded, tuple(problems), (*notes, *_moved_files(recipe), *_gone_samples(recipe)))


def _model(recipe: Recipe, where: str | os.PathLike[str] | None, model: str | os.PathLike[str] | None) -> Model:
    path = Path(recipe.model.file if model is None else model)
    if model is None and where is not None and not path.exists():
        beside = Path(where).resolve().parent / path.name
        hint = f"A file of that name lies beside the recipe: --model {beside}." if beside.is_file() else None
        raise RecipeError(
            f"its model is not at {path} any more", where=where, fix=hint or "Say where it is now: --model FILE."
        )
    return load_model(path)


def _check_fits(recipe: Recipe, model: Model, *, retrained: bool) -> None:
    if not retrained:
        check_model(recipe, model)
        return
    try:
        check_model(recipe, model)
    except RecipeError as error:
        if "another network" in error.what:
            raise RecipeError(
                "not of the structure of the recipe's model: nodes, edges or shapes differ",
                where=model.path or model.name,
                fix="Tune it anew; a recipe is re-targeted to the same network trained again.",
            ) from error


def _gone_samples(recipe: Recipe) -> Iterator[str]:
    """Yield what is gone, or changed, of the data that gates are judged on; a replay makes the model all the same."""
    if not recipe.gates:
        return
    samples = recipe.evaluation or recipe.newest(CalibrateStep)
    on = None if samples is None else samples.samples
    if on is None or "path" not in on.source:
        yield "gates on results cannot be judged again: their samples were no file"
    elif not Path(on.source["path"]).exists():
        yield f"gates on results cannot be judged again: there is no {on.source['path']}"
    labels = None if recipe.evaluation is None else recipe.evaluation.labels
    if labels is None:
        return
    became = _became(labels)
    if became == "gone":
        yield f"gates on accuracy cannot be judged again: there is no {labels.file}"
    elif became == "changed":
        yield f"gates on accuracy are judged on other labels: {labels.file} has changed"


def _moved_files(recipe: Recipe) -> Iterator[str]:
    """Yield what happened to files that ranges were read from; the recipe holds the ranges themselves."""
    for position, step in enumerate(recipe.steps):
        file = getattr(step, "cache", None) or getattr(step, "statistics", None)
        if not isinstance(file, FileReference):
            continue
        became = _became(file)
        if became == "gone":
            yield f"step {position} ({step.do}): {file.file} is gone; its ranges are in the recipe"
        elif became == "changed":
            yield f"step {position} ({step.do}): {file.file} has changed; the recipe has the ranges it had"


def _became(file: FileReference) -> Literal["gone", "changed"] | None:
    """Return what happened to a file since the recipe was made; None where it is as it was."""
    try:
        return None if FileReference.of(file.file).sha256 == file.sha256 else "changed"
    except OSError:
        return "gone"
