"""Edits on what is selected: which apply, what they would do, and the recipe line that each becomes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from workbench.errors import EditError, SelectorError
from workbench.graph.edits import EDITS, Edit, applicable, edit_by_name, python_line
from workbench.session import tried
from workbench.views.graphs.diff import Fate, changes, diff_overlay
from workbench.views.graphs.forms import arguments_of, form_of, known_edits, prefilled
from workbench.views.graphs.network import network_of
from workbench.views.graphs.offers import Offer
from workbench.views.graphs.picture import GraphPicture
from workbench.views.graphs.rendering import svg
from workbench.views.graphs.scopes import ShownScopes
from workbench.views.graphs.tree import flat_tree
from workbench.views.graphs.view import GraphView
from workbench.views.kit import request

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from workbench.errors import WorkbenchError
    from workbench.session import Workbench
    from workbench.views.graphs.network import Network

__all__ = ["Preview", "Surgery"]

_PREVIEW_NODES = 24


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
    check
        How far the outputs move, or why that was not looked at.
    """

    offer: Offer
    before: GraphPicture
    after: GraphPicture
    changes: int
    check: str = ""


class Surgery(GraphView):
    """The graph view with the edits that apply to the selected nodes, and a form for every other.

    Parameters
    ----------
    wb
        The workbench; each edit that is done is a step of its recipe.
    height
        Of the drawing area, in CSS pixels.
    """

    def __init__(self, wb: Workbench, *, height: int = 460) -> None:
        super().__init__(wb, height=height)
        self.workbench = wb
        self.previewed: Preview | None = None
        self._refusal: tuple[str, str] | None = None
        self.done = ""
        self._offers: list[Offer] | None = None
        self._tried: Edit | None = None
        self._form: dict[str, Any] | None = None

    @property
    def offers(self) -> list[Offer]:
        """The edits that apply to the selected nodes; those of the whole model where none is selected."""
        if self._offers is None:
            self._offers = [Offer(edit) for edit in applicable(self.workbench.model, self.selected)]
        return self._offers

    def choose(self, names: Sequence[str]) -> None:
        """Select nodes by name."""
        names = self.picture.scopes.named(names)
        form = self._form
        self._forget()
        if form is not None:
            self._form = self._empty_form(form["edit"], names)
        super().choose(names)

    def between(self) -> list[str]:
        """Select everything on a path from the first selected node to the last, both included.

        Raises
        ------
        SelectorError
            Fewer than two nodes are selected, or no path leads from one to the other.
        """
        names, model = self.selected, self.workbench.model
        if len(names) < 2:
            raise SelectorError("it takes two nodes", where="between", fix="Select one, and another with Shift.")
        index, order = model.index, {name: at for at, name in enumerate(model.nodes)}
        first, last = min(names, key=order.__getitem__), max(names, key=order.__getitem__)
        path = index.downstream([first]) & index.upstream([last])
        if last not in index.downstream([first]):
            raise SelectorError("no path leads from one to the other", where=f"{first}, {last}", fix="Select others.")
        self.choose([name for name in order if name in path | {first, last}])
        return self.selected

    def handle(self, content: object) -> None:
        """Do what the page asks for; what was refused before is refused no longer."""
        self._refusal = self._tried = None
        super().handle(content)

    def refused(self, error: WorkbenchError) -> None:
        """Show why an edit was refused, at the node that it is about."""
        if isinstance(error, EditError) and (name := self._blamed(error)) is not None:
            self._refusal = name, str(error)
            self.reveal(name)
        else:
            super().refused(error)

    def preview(self, index: int) -> Preview:
        """Show what an edit of `offers` would do, without doing it."""
        return self._show(self._offer(index))

    def open_form(self, edit: str) -> dict[str, Any]:
        """Show the form of any edit, filled in with what is selected."""
        self.previewed = None
        self._form = self._empty_form(edit, self.selected)
        self.mark()
        return self._form

    def fill_in(self, edit: str, texts: Mapping[str, Any]) -> Preview:
        """Show what an edit would do with the arguments that a form holds, as texts; see `graph_forms`.

        Raises
        ------
        EditError
            An argument cannot be read, or the edit does not apply.
        """
        draft = edit_by_name(edit, **(arguments_of(EDITS[edit], texts) if edit in EDITS else {}))
        if self._form is not None and self._form["edit"] == edit:
            fields = [field | {"value": texts.get(field["name"], field["value"])} for field in self._form["fields"]]
            self._form = self._form | {"fields": fields}
        return self._show(Offer(draft), keep_form=True)

    def _show(self, offer: Offer, *, keep_form: bool = False) -> Preview:
        self.previewed, self.done = None, ""
        self._tried = offer.edit
        if not keep_form:
            self._form = form_of(type(offer.edit), offer.edit.model_dump(exclude={"do"}))
        result = tried(self.workbench.model, offer.edit)
        before, after = network_of(self.workbench.model), network_of(result.model)
        left, right = changes(before, after)
        touched = [name for name, fate in left.items() if fate != "same"]
        seeds = [name for name in self.selected if name in touched] or touched or self.selected
        count = len(touched) + sum(1 for fate in right.values() if fate == "added")
        there = _kept(before, seeds, after, right)
        near = _near(before, seeds, left), _near(after, there, right)
        self.previewed = Preview(offer, *near, count, str(result.check))
        self.mark()
        return self.previewed

    def apply(self, index: int | None = None) -> str:
        """Do an edit of `offers`, or the one that is previewed; return its recipe line.

        Raises
        ------
        EditError
            It does not apply, or changes nothing; the model and the recipe are as they were.
        """
        if index is None and self.previewed is None:
            raise EditError("there is nothing to apply", fix="Choose an edit and look at its preview.")
        offer = self.previewed.offer if index is None and self.previewed is not None else self._offer(index or 0)
        self._tried = offer.edit
        result = self.workbench.edit(offer.edit)
        if not result.changed:
            raise EditError("this edit changes nothing here", where=offer.name, fix="The recipe is as it was.")
        check = str(result.check)
        self.done = f"{offer.line}: {check}" if check else offer.line
        self.mark()
        return offer.line

    def _forget(self) -> None:
        self._offers = self.previewed = self._form = self._refusal = None
        self.done = ""

    def renew(self) -> None:
        """Show the model as it is now; what was offered and filled in was for the one before."""
        super().renew()
        self._forget()

    def _offer(self, index: int) -> Offer:
        if not 0 <= index < len(self.offers):
            raise EditError("there is no such edit for this selection", where=index, fix="Look at `offers`.")
        return self.offers[index]

    def _empty_form(self, edit: str, names: Sequence[str]) -> dict[str, Any]:
        if edit not in EDITS:
            raise EditError("there is no form for this edit", where=edit)
        return form_of(EDITS[edit], prefilled(EDITS[edit], self.workbench.model, names))

    def _blamed(self, error: EditError) -> str | None:
        """Return the node that an error is about: the one it names, else the one the edit was to change."""
        network = self.picture.scopes.network
        places = [error.where, *(getattr(self._tried, name, None) for name in ("node", "tensor", "input", "output"))]
        for where in (*places, *self.selected[:1]):
            if where in network.index:
                return str(where)
            if where in network.producer:
                return network.ops[network.producer[where]].name
        return None

    def mark_state(self, *, reveal: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return what is marked, with the edits, their forms and their preview."""
        state = super().mark_state(reveal=reveal)
        # One edit may apply at several of the selected nodes: its name alone would not tell which is which.
        times = Counter(offer.name for offer in self.offers)
        state["edits"] = [
            {"name": offer.name, "doc": offer.doc, "at": offer.at if times[offer.name] > 1 else ""}
            for offer in self.offers
        ]
        state["log"] = [python_line(step) for step in self.workbench.recipe.steps if isinstance(step, Edit)]
        state["done"] = self.done
        state |= {"all": known_edits(), "form": self._form, **self.history_state()}
        if self._refusal is not None:
            name, text = self._refusal
            shown = replace(self.picture.shown, selected=(name,))
            items = sorted(self.picture.selected_items(self.picture.panel(), shown))
            state["refused"] = {"id": items[0] if items else "", "text": text}
        if self.previewed is not None:
            shown_edit = self.previewed
            offer = shown_edit.offer
            state["preview"] = {
                "index": self.offers.index(offer) if offer in self.offers else -1,
                "doc": offer.doc if shown_edit.changes else f"{offer.doc} Here it changes nothing.",
                "line": offer.line,
                "check": shown_edit.check,
                "before": svg(shown_edit.before.drawing(bare=True), inside=True),
                "after": svg(shown_edit.after.drawing(bare=True), inside=True),
            }
        return state

    # What the page may ask

    @request(current=True)
    def _on_preview(self, index: int) -> None:
        self.preview(index)

    @request(current=True)
    def _on_apply(self) -> None:
        self.apply()

    @request
    def _on_form(self, edit: str) -> None:
        self.open_form(edit)

    @request(current=True)
    def _on_try(self, edit: str, arguments: dict[str, str | bool]) -> None:
        self.fill_in(edit, arguments)

    @request
    def _on_pick(self, selector: str) -> None:
        self.select(selector)

    @request
    def _on_between(self) -> None:
        self.between()


def _near(network: Network, names: Iterable[str], fates: Mapping[str, Fate]) -> GraphPicture:
    """Return the picture of some nodes and their neighbours, with no scopes."""
    seeds = list(names)[: _PREVIEW_NODES // 2]
    near, _ = network.neighbourhood(seeds, 1, _PREVIEW_NODES)
    picture = GraphPicture(
        near, shown=ShownScopes(), overlay=diff_overlay({op.name: fates[op.name] for op in near.ops})
    )
    picture.scopes.tree = flat_tree(near)
    return picture


def _kept(before: Network, seeds: Sequence[str], after: Network, fates: Mapping[str, Fate]) -> list[str]:
    """Return where to look afterwards: what is new or changed, else what was beside the edited nodes and still is."""
    new = [name for name, fate in fates.items() if fate != "same"]
    beside, _ = before.neighbourhood(seeds[: _PREVIEW_NODES // 2], 1, _PREVIEW_NODES)
    still = [op.name for op in beside.ops if op.name in after.index]
    return [name for name in still if name in new] or still or new
