"""The recipe as the line at the bottom of the screen, and the Python of its steps."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

from workbench.display import shortened
from workbench.graph.edits import Edit, python_line
from workbench.recipe.steps import CacheStep, CalibrateStep, ChooseStep, PlanStep, PrecisionStep, RangeStep
from workbench.session import history_of, step_text
from workbench.views.kit import shown

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from workbench.precision.plan import Rule
    from workbench.recipe.steps import Step
    from workbench.session import Workbench

__all__ = ["called", "line_of", "short", "timeline"]

MOST_CHARACTERS = 34


def timeline(wb: Workbench, clicked: Collection[int]) -> dict[str, Any]:
    """Return the steps, those undone, and what undo and redo would do.

    Parameters
    ----------
    wb
        The workbench.
    clicked
        Positions of the steps that were made on the screen.
    """
    steps, undone = wb.recipe.steps, history_of(wb).undone
    return {
        "steps": [
            {"text": short(one), "title": line_of(one), "clicked": at in clicked} for at, one in enumerate(steps)
        ],
        "undone": [{"text": short(one), "title": line_of(one)} for one in undone[:3]],
        "undo": short(steps[-1]) if steps else "",
        "redo": short(undone[0]) if undone else "",
    }


def short(step: Step) -> str:
    """Return a step as a chip says it."""
    return shortened(shown(_step_text(step)), MOST_CHARACTERS)


def _step_text(step: Step) -> str:
    if isinstance(step, CalibrateStep):
        name = str(step.samples.source.get("path", step.samples.source.get("kind", ""))).rstrip("/").rpartition("/")[2]
        return f"calibrate {name or 'samples'}, {step.method}"
    if isinstance(step, RangeStep):
        return f"range {_tail(step.tensor)} = {step.amax:.4g}"
    if isinstance(step, PrecisionStep):
        return f"{_tail(step.select)} → {step.precision}"
    if isinstance(step, PlanStep):
        return f"plan: {step.move}"
    return step_text(step).replace("_", " ")


def _tail(name: str, most: int = 20) -> str:
    return name if len(name) <= most else f"…{name[1 - most :]}"


def line_of(step: Step) -> str:
    """Return a step as one writes it in Python."""
    if isinstance(step, Edit):
        return python_line(step)
    if isinstance(step, CalibrateStep):
        source = step.samples.source
        source_text = repr(source["path"]) if "path" in source else "samples"
        options = [f"method={step.method!r}"] if step.method != "mse" else []
        options += [f"percentile={step.percentile!r}"] if step.percentile is not None else []
        options += [f"batch={step.batch}"] if step.batch != 1 else []
        options += [f"preprocessing={source['preprocessing']!r}"] if source.get("preprocessing") else []
        return f"wb.calibrate({', '.join([source_text, *options])})"
    if isinstance(step, ChooseStep):
        options = [f"percentile={step.percentile!r}"] if step.percentile is not None else []
        options += [f"overrides={dict(step.overrides)!r}"] if step.overrides else []
        return f"wb.ranges.choose({', '.join([repr(step.method), *options])})"
    if isinstance(step, CacheStep):
        return f"wb.ranges.use_cache({step.cache.file!r})"
    if isinstance(step, RangeStep):
        return f"wb.set_range({step.tensor!r}, {step.amax!r})"
    if isinstance(step, PrecisionStep):
        fields = step.model_dump(exclude_defaults=True, exclude={"do", "select", "precision"})
        more = "".join(f", {name}={value!r}" for name, value in fields.items())
        return f"wb.plan.set({step.select!r}, {step.precision!r}{more})"
    if isinstance(step, PlanStep):
        return f"# the plan of a search, {step.move}: {len(step.rules)} rules, in the recipe"
    return f"# {step_text(step)}"


def code_of(steps: Sequence[Step], clicked: Collection[int] | None = None) -> str:
    """Return steps as the lines of a cell.

    Parameters
    ----------
    steps
        All steps of a recipe.
    clicked
        Positions of those that are wanted; all where left out.
    """
    lines: list[str] = []
    rules: tuple[Rule, ...] = ()
    for at, step in enumerate(steps):
        if clicked is None or at in clicked:
            lines += _lines_of_plan(step, rules) if isinstance(step, PlanStep) else [line_of(step)]
        if isinstance(step, PlanStep):
            rules = step.rules
        elif isinstance(step, PrecisionStep):
            rules += (step.rule,)
    return "\n".join(lines)


def called(wb: Workbench, code: str) -> str:
    """Return lines on ``wb`` as they run in this notebook: under its name there, opened first where it has none."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if shell is None:
        return code
    names = [name for name, value in shell.user_ns.items() if value is wb and not name.startswith("_")]
    if "wb" in names:
        return code
    if names:
        return re.sub(r"^wb\.", f"{names[0]}.", code, flags=re.MULTILINE)
    if wb.source.path is None:
        return code
    return f"import workbench\n\nwb = workbench.open_model({str(wb.source.path)!r})\n{code}"


def _lines_of_plan(step: PlanStep, before: tuple[Rule, ...]) -> list[str]:
    """Return what makes the rules before a search those that it found: it adds rules, ranges and edits to them."""
    if step.rules[: len(before)] != before or min(step.ranges.values(), default=1.0) <= 0:
        return [line_of(step)]
    added = [PrecisionStep(**rule.model_dump()) for rule in step.rules[len(before) :]]
    ranges = [RangeStep(tensor=tensor, amax=amax) for tensor, amax in step.ranges.items()]
    return [f"# found by a search, {step.move}", *map(line_of, (*ranges, *step.edits, *added))]
