"""From what an engine was found to lose time on to a step of the recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from workbench.errors import RecipeError
from workbench.graph.edits import edit_by_name, python_line
from workbench.graph.select import compact
from workbench.names import Precision
from workbench.precision.plan import Rule
from workbench.session.editing import edit
from workbench.session.plan import Plan

if TYPE_CHECKING:
    from workbench.engine import Finding, Suggestion
    from workbench.precision.plan import Resolution
    from workbench.session.history import History

__all__ = ["apply_fix", "fix_line"]


def fix_line(history: History, finding: Finding) -> str:
    """Return a finding's fix as one writes it in Python, without doing it.

    Raises
    ------
    RecipeError
        No step of a recipe does it; the message says what does.
    """
    suggestion = _suggestion(finding)
    if suggestion.kind == "edit":
        return python_line(edit_by_name(suggestion.value, **dict(suggestion.arguments)))
    select, precision = _rule(history, finding, suggestion)
    return f'wb.plan.set("{select}", "{precision}")'


def apply_fix(history: History, finding: Finding) -> str:
    """Do a finding's fix: an edit, or a rule of the precision plan. Either is a step of the recipe.

    Returns
    -------
    str
        The step, as one writes it in Python.

    Raises
    ------
    RecipeError
        No step of a recipe does it, or it would change nothing; the message says what to do instead.
    EditError, PrecisionError
        The step is refused.
    """
    line, suggestion = fix_line(history, finding), _suggestion(finding)
    if suggestion.kind == "edit":
        if not edit(history, suggestion.value, **dict(suggestion.arguments)).changed:
            raise RecipeError(f"{line} changes nothing here", where=finding.where, fix=f"{finding.fix}.")
        return line
    select, precision = _rule(history, finding, suggestion)
    plan = Plan(history)
    before, after = plan.resolve(), plan.resolve_with(Rule(select=select, precision=precision))
    if _precisions(before) == _precisions(after):
        node = next(node for node in suggestion.selector if node in after.decisions)
        reasons = "; ".join(after[node].reasons) or f"it has {after[node].precision} already"
        raise RecipeError(f"{line} changes nothing here: {reasons}", where=node, fix=f"See wb.plan.explain({node!r}).")
    plan.set(select, precision)
    return line


def _precisions(resolution: Resolution) -> list[tuple[str, str]]:
    return [(decision.precision, decision.floating) for decision in resolution.decisions.values()]


def _suggestion(finding: Finding) -> Suggestion:
    if finding.suggestion is None:
        raise RecipeError("no step of a recipe mends it", where=f"{finding.title} ({finding.where})", fix=finding.fix)
    if finding.suggestion.kind == "build":
        raise RecipeError(
            f"it is mended where the engine is built: {finding.suggestion.line}", where=finding.where, fix=finding.fix
        )
    return finding.suggestion


def _rule(history: History, finding: Finding, suggestion: Suggestion) -> tuple[str, Any]:
    """Return the selector and precision of a rule; nodes that only the lowered model has are left out."""
    precision = "int8" if suggestion.kind == "quantize_input" else suggestion.value
    if precision not in get_args(Precision):
        raise RecipeError(
            f"a plan has no {precision}", where=finding.where, fix=f"It has {', '.join(get_args(Precision))}."
        )
    present = set(history.state.model.nodes)
    nodes = present & set(suggestion.selector)
    if not nodes:
        raise RecipeError(
            f"the model has none of its nodes, such as {suggestion.selector[0]!r}",
            where=finding.where,
            fix="Open the model that the engine was built from.",
        )
    return " | ".join(compact(history.state.model, nodes, present - nodes)), precision
