"""Apply what the verdict suggests until the compiler accepts the model, or nothing more is known to help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.backends.verdict.checking import check
from workbench.errors import EditError
from workbench.graph.edits import edit_by_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.backends.protocol import ShapeRange
    from workbench.backends.verdict.verdict import Verdict
    from workbench.graph import Model
    from workbench.graph.edits import Edit

__all__ = ["Mended", "mend"]


@dataclass(frozen=True)
class Mended:
    """The model after the edits, the edits in order (for the recipe), what each said, and the verdicts on the way."""

    model: Model
    edits: tuple[Edit, ...]
    notes: tuple[str, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def verdict(self) -> Verdict:
        """The last verdict."""
        return self.verdicts[-1]


def mend(
    model: Model,
    target: str = "sm86",
    *,
    shapes: Mapping[str, ShapeRange | tuple[int, ...]] | None = None,
) -> Mended:
    """Check a model and apply the known fixes, as often as they change something.

    Parameters, errors
        As for `workbench.backends.verdict.verdict.check`.

    Returns
    -------
    Mended
        With no edits where the model is accepted as it is, or where no fix is known.
    """
    verdicts = [check(model, target, shapes=shapes)]
    edits: list[Edit] = []
    notes: list[str] = []
    while True:
        changed = False
        for fix in verdicts[-1].fixes:
            edit = edit_by_name(str(fix.edit), **fix.arguments)
            try:
                result = edit(model)
            except EditError as error:
                # What cannot be mended stays as it is, and refused; the note says why.
                notes.append(f"not applied: {edit.do}: {error}")
                continue
            if result.changed:
                model, changed = result.model, True
                edits.append(edit)
                notes.extend(result.notes)
        if not changed:
            return Mended(model, tuple(edits), tuple(notes), tuple(verdicts))
        verdicts.append(check(model, target, shapes=shapes))
