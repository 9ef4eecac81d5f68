"""An edit as a page offers it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.graph.edits import python_line

if TYPE_CHECKING:
    from workbench.graph.edits import Edit

__all__ = ["Offer"]

MOST_CHARACTERS = 24


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
    def at(self) -> str:
        """The end of the node's or tensor's name that it is about; empty where it is about none, or several."""
        name = str(getattr(self.edit, "node", None) or getattr(self.edit, "tensor", None) or "")
        return name if len(name) <= MOST_CHARACTERS else f"…{name[1 - MOST_CHARACTERS :]}"

    @property
    def line(self) -> str:
        """The recipe line, as one writes it in Python."""
        return python_line(self.edit)
