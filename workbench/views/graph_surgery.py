"""Edits on what is selected: which apply, what they would do, and the recipe line that each becomes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from workbench.errors import EditError
from workbench.views.graph_columns import cost_columns
from workbench.views.graph_diff import Change, changes, diff_overlay
from workbench.views.graph_ops import Network, network_of
from workbench.views.graph_picture import GraphPicture
from workbench.views.graph_scopes import Shown
from workbench.views.graph_svg import svg
from workbench.views.graph_tree import flat_tree
from workbench.views.graph_widget import GraphView

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from workbench.graph.edits.base import Edit
    from workbench.session import Workbench
    from workbench.views.graph_live import Request

__all__ = ["Bench", "Offer", "Preview", "Surgery", "WorkbenchBench"]

_PREVIEW_NODES = 24


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


class Bench(Protocol):
    """What the surgery widget works on."""

    def network(self) -> Network:
        """Return the model as it is now."""

    def offers(self, names: Sequence[str]) -> list[Offer]:
        """Return the edits that apply to some nodes; no names asks for those of the whole model."""

    def after(self, offer: Offer) -> Network:
        """Return what the model would be, changing nothing."""

    def apply(self, offer: Offer) -> bool:
        """Do an edit; say whether anything changed."""

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
        from workbench.graph.edits.base import python_line
        from workbench.graph.edits.registry import applicable

        edits = applicable(self.workbench.model, names)
        return [Offer(edit.title, _first_line(edit), python_line(edit), edit) for edit in edits]

    def after(self, offer: Offer) -> Network:
        """Return what the model would be."""
        return network_of(offer.edit(self.workbench.model).model)

    def apply(self, offer: Offer) -> bool:
        """Do an edit; it enters the recipe if it changes anything."""
        return self.workbench.edit(offer.edit).changed

    def lines(self) -> list[str]:
        """Return the recipe's edits."""
        from workbench.graph.edits.base import Edit, python_line

        return [python_line(step) for step in self.workbench.recipe.steps if isinstance(step, Edit)]


def _first_line(edit: Edit) -> str:
    return (type(edit).__doc__ or "").strip().split("\n", maxsplit=1)[0]


@dataclass(frozen=True)
class Preview:
    """What an edit would do, where it does it.

    Attributes
    ----------
    offer
        The edit.
    before, after
        The neighbourhood, what differs in colour.
    changes
        How many nodes of the model are added, removed or changed.
    """

    offer: Offer
    before: GraphPicture
    after: GraphPicture
    changes: int


class Surgery(GraphView):
    """The graph view with the edits that apply to the selected nodes.

    Parameters
    ----------
    bench
        A `Workbench`, or another bench.
    height
        Of the drawing area, in CSS pixels.
    """

    def __init__(self, bench: Workbench | Bench, *, height: int = 460) -> None:
        self.bench: Bench = bench if hasattr(bench, "offers") else WorkbenchBench(bench)  # type: ignore[assignment]
        workbench = getattr(self.bench, "workbench", None)
        super().__init__(workbench.model if workbench is not None else self.bench.network(), height=height)
        self._workbench: Workbench | None = workbench
        self.previewed: Preview | None = None
        self._offers: list[Offer] | None = None
        self._requests["preview"] = lambda request: self.preview(int(request["index"]))
        self._requests["apply"] = lambda request: self.apply(int(request["index"]))

    @property
    def offers(self) -> list[Offer]:
        """The edits that apply to the selected nodes; those of the whole model where none is selected."""
        if self._offers is None:
            self._offers = self.bench.offers(self.selected)
        return self._offers

    def choose(self, names: Sequence[str]) -> None:
        """Select nodes by name."""
        self.follow()
        self._offers = self.previewed = None
        super().choose(names)

    def follow(self) -> bool:
        """Show the workbench's model as it is now, if it was edited elsewhere; say whether it was."""
        if self._workbench is None or self._workbench.model is self.model:
            return False
        self._renew()
        return True

    def handle(self, request: Request) -> None:
        """Do what the page asks for, on the model as it is now."""
        if self.follow() and request.get("type") in {"preview", "apply"}:
            # The page's list of edits was that of another model.
            self.tell({"type": "error", "text": "The model was edited elsewhere; this is what it is now."})
            return
        super().handle(request)

    def preview(self, index: int) -> Preview:
        """Show what an edit of `offers` would do, without doing it."""
        offer = self._offer(index)
        before, after = self.bench.network(), self.bench.after(offer)
        left, right = changes(before, after)
        touched = [name for name, fate in left.items() if fate != "same"]
        seeds = [name for name in self.selected if name in touched] or touched or self.selected
        count = len(touched) + sum(1 for fate in right.values() if fate == "added")
        there = _kept(before, seeds, after, right)
        self.previewed = Preview(offer, _near(before, seeds, left), _near(after, there, right), count)
        self.mark()
        return self.previewed

    def apply(self, index: int) -> str:
        """Do an edit of `offers`; return its recipe line.

        Raises
        ------
        EditError
            It does not apply, or changes nothing; the model and the recipe are as they were.
        """
        offer = self._offer(index)
        if not self.bench.apply(offer):
            raise EditError("this edit changes nothing here", where=offer.name, fix="The recipe is as it was.")
        self._renew()
        for watcher in self._watchers:
            watcher(self.selected)
        return offer.line

    def _renew(self) -> None:
        self.picture.renew(self.bench.network())
        if self._workbench is not None:
            self.model = self._workbench.model
            used = self._loaded()
            self.columns |= cost_columns(self.model)
            overlay, size = self.picture.overlay, self.picture.size_by
            for name, old in used.items():
                self.picture.overlay = self.column(name) if old is overlay else self.picture.overlay
                self.picture.size_by = self.column(name) if old is size else self.picture.size_by
        self._offers = self.previewed = None
        self.found = [name for name in self.found if name in self.picture.scopes.network.index]
        self.refresh()

    def _offer(self, index: int) -> Offer:
        if not 0 <= index < len(self.offers):
            raise EditError("there is no such edit for this selection", where=index, fix="Look at `offers`.")
        return self.offers[index]

    def mark_state(self, *, reveal: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return what is marked, with the edits and their preview."""
        state = super().mark_state(reveal=reveal)
        state["edits"] = [{"name": offer.name, "doc": offer.doc} for offer in self.offers]
        state["log"] = self.bench.lines()
        if self.previewed is not None:
            shown = self.previewed
            state["preview"] = {
                "index": self.offers.index(shown.offer),
                "doc": shown.offer.doc if shown.changes else f"{shown.offer.doc} Here it changes nothing.",
                "line": shown.offer.line,
                "before": svg(shown.before.drawing(bare=True), inside=True),
                "after": svg(shown.after.drawing(bare=True), inside=True),
            }
        return state


def _near(network: Network, names: Iterable[str], fates: Mapping[str, Change]) -> GraphPicture:
    """Return the picture of some nodes and their neighbours, with no scopes."""
    seeds = list(names)[: _PREVIEW_NODES // 2]
    near, _ = network.neighbourhood(seeds, 1, _PREVIEW_NODES)
    picture = GraphPicture(near, shown=Shown(), overlay=diff_overlay({op.name: fates[op.name] for op in near.ops}))
    picture.scopes.tree = flat_tree(near)
    return picture


def _kept(before: Network, seeds: Sequence[str], after: Network, fates: Mapping[str, Change]) -> list[str]:
    """Return where to look afterwards: what is new or changed, else what was beside the edited nodes and still is."""
    new = [name for name, fate in fates.items() if fate != "same"]
    beside, _ = before.neighbourhood(seeds[: _PREVIEW_NODES // 2], 1, _PREVIEW_NODES)
    still = [op.name for op in beside.ops if op.name in after.index]
    return [name for name in still if name in new] or still or new
