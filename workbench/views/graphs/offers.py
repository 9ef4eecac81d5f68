"""An edit as a page offers it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.graph.edits import python_line

if TYPE_CHECKING:
    from workbench.graph.edits import Edit

__all__ = ["Offer"]


@dataclass(frozen=True)
class Offer:
    """An edit that could be done."""

    edit: Edit

    @property
    def name(self) -> str:
        """What to call it."""
        return self.edit.title

    @property
    def doc(self) -> str:
        """What it does, in one sentence."""
        return (type(self.edit).__doc__ or "").strip().split("\n", maxsplit=1)[0]

    @property
    def line(self) -> str:
        """The recipe line, as one writes it in Python."""
        return python_line(self.edit)
