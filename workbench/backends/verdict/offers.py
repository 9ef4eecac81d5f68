"""What a verdict offers to do: only edits that can be done, and change something."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from workbench.backends.verdict.cause import Fix
from workbench.errors import EditError

if TYPE_CHECKING:
    from workbench.backends.verdict.blame import Problem
    from workbench.backends.verdict.verdict import NodeVerdict
    from workbench.graph import Model

__all__ = ["Offers"]


class Offers:
    """Tries the edits that causes name, each once.

    Parameters
    ----------
    model
        The model that is judged.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._tried: dict[str, Fix] = {}

    def of_node(self, node: NodeVerdict) -> NodeVerdict:
        """Return what is said of a node, without an edit that cannot be done."""
        return replace(node, fix=self._possible(node.fix))

    def of_whole(self, problem: Problem) -> Problem:
        """Return a failure of the whole, without an edit that cannot be done."""
        return replace(problem, fix=self._possible(problem.fix))

    def _possible(self, fix: Fix | None) -> Fix | None:
        if fix is None or fix.edit is None:
            return fix
        key = f"{fix.text} {fix.edit} {sorted(fix.arguments.items())}"
        if key not in self._tried:
            try:
                from workbench.graph.edits import edit_by_name  # loads every edit

                changed = edit_by_name(fix.edit, **fix.arguments)(self._model).changed
                self._tried[key] = fix if changed else Fix(fix.text)
            except EditError as error:
                self._tried[key] = Fix(f"{fix.text} The workbench cannot do that here: {error.what}")
        return self._tried[key]
