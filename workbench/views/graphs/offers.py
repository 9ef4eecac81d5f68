"""What the surgery view works on: a model, the edits that apply to it, and the list of those done."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from workbench.views.graphs.network import Network, network_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.graph.edits import Edit
    from workbench.session import Workbench

__all__ = ["Bench", "Edited", "Offer", "WorkbenchBench"]


@dataclass(frozen=True)
class Offer:
    """An edit that applies to the selected nodes.

    Attributes
    ----------
    name, doc
        What to call it, and what it does in one sentence.
    line
        The recipe line, as one writes it in Python.
    edit
        Whatever the bench needs to do it.
    """

    name: str
    doc: str
    line: str
    edit: Any = field(compare=False)


class Edited(NamedTuple):
    """What an edit makes of a model.

    Attributes
    ----------
    network
        The model afterwards.
    changed
        Whether anything differs.
    check
        What comparing outputs said, or why it was not done; empty where there is nothing to say.
    """

    network: Network
    changed: bool
    check: str = ""


class Bench(Protocol):
    """What the surgery widget works on."""

    def network(self) -> Network:
        """Return the model as it is now."""

    def offers(self, names: Sequence[str]) -> list[Offer]:
        """Return the edits that apply to some nodes; no names asks for those of the whole model."""

    def after(self, offer: Offer) -> Edited:
        """Return what the model would be, changing nothing."""

    def apply(self, offer: Offer) -> Edited:
        """Do an edit."""

    def lines(self) -> list[str]:
        """Return the edits done so far, as one writes them in Python."""


class WorkbenchBench:
    """The edits of a workbench: what is applied here is a step of its recipe."""

    def __init__(self, workbench: Workbench) -> None:
        self.workbench = workbench

    def network(self) -> Network:
        """Return the model after the edits so far."""
        return network_of(self.workbench.model)

    def offers(self, names: Sequence[str]) -> list[Offer]:
        """Return the edits that apply to some nodes."""
        from workbench.graph.edits import applicable

        return [self.offer(edit) for edit in applicable(self.workbench.model, names)]

    def offer(self, edit: Edit) -> Offer:
        """Return an edit as an offer."""
        from workbench.graph.edits import python_line

        return Offer(edit.title, (type(edit).__doc__ or "").strip().split("\n", maxsplit=1)[0], python_line(edit), edit)

    def after(self, offer: Offer) -> Edited:
        """Return what the model would be, checked as it will be when the edit is done."""
        from workbench.session import tried

        result = tried(self.workbench.model, offer.edit)
        return Edited(network_of(result.model), result.changed, str(result.check))

    def apply(self, offer: Offer) -> Edited:
        """Do an edit; it enters the recipe if it changes anything."""
        result = self.workbench.edit(offer.edit)
        return Edited(self.network(), result.changed, str(result.check))

    def lines(self) -> list[str]:
        """Return the recipe's edits."""
        from workbench.graph.edits import Edit, python_line

        return [python_line(step) for step in self.workbench.recipe.steps if isinstance(step, Edit)]
