"""A recipe in words, for people who have to understand what was done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.precision.placement import Pays

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workbench.recipe.document import Recipe

__all__ = ["recipe_text"]

SHOWN = ("select", "tensor", "method", "percentile", "precision", "amax", "move", "batch", "file", "function")
"""Fields of a step that tell what it is, in the order of a sentence."""


def recipe_text(recipe: Recipe) -> str:
    """Return a recipe as lines: its model, every step, what the result has to meet, and what made it."""
    return "\n".join(_lines(recipe))


def _lines(recipe: Recipe) -> Iterator[str]:
    yield f"model        {recipe.model.file}"
    yield f"             sha256 {recipe.model.sha256}"
    yield f"target       {recipe.target or 'any'}" + (f", weights as {s}" if (s := recipe.weight_storage) else "")
    for position, step in enumerate(recipe.steps):
        yield f"step {position:<8}{step.do}{_detail(step)}"
    if recipe.pays != Pays():
        yield f"pays         {recipe.pays}"
    if recipe.build is not None:
        yield f"build        {', '.join(f'{name} {value}' for name, value in recipe.build if value)}"
    for gate in recipe.gates:
        yield f"gate         {gate}"
    if recipe.evaluation is not None:
        samples, labels = recipe.evaluation.samples, recipe.evaluation.labels
        labelled = "" if labels is None else f", labels {labels.file}"
        yield f"judged on    {samples.count} samples of {samples.source.get('path', 'memory')}{labelled}"
    yield f"makes        {f'tuned.onnx, sha256 {recipe.tuned.sha256}' if recipe.tuned else 'not tuned yet'}"
    yield f"made with    {', '.join(f'{name} {version}' for name, version in recipe.environment.items())}"


def _detail(step: Any) -> str:
    details = [str(value) for name in SHOWN if (value := getattr(step, name, None)) not in (None, "")]
    if (samples := getattr(step, "samples", None)) is not None:
        details.append(f"{samples.count} samples of {samples.source.get('path', 'memory')}")
    sizes = ((name, getattr(step, name, None)) for name in ("ranges", "overflow", "unranged", "shifts", "exponents"))
    details += [f"{len(entries)} {name}" for name, entries in sizes if entries]
    details += [f"rule {rule}" for rule in getattr(step, "rules", ())]
    return f" {', '.join(details)}" if details else ""
