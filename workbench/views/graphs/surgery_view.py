"""Edits on what is selected: which apply, what they would do, and the recipe line that each becomes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from workbench.errors import EditError, SelectorError, WorkbenchError
from workbench.views.graphs.columns import cost_columns
from workbench.views.graphs.diff import Change, changes, diff_overlay
from workbench.views.graphs.offers import Bench, Offer, WorkbenchBench
from workbench.views.graphs.picture import GraphPicture
from workbench.views.graphs.rendering import svg
from workbench.views.graphs.scopes import Shown
from workbench.views.graphs.tree import flat_tree
from workbench.views.graphs.view import GraphView
from workbench.views.kit import answered

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from workbench.graph.edits import Edit
    from workbench.session import Workbench
    from workbench.views.graphs.live import Request
    from workbench.views.graphs.network import Network

__all__ = ["Preview", "Surgery"]

_PREVIEW_NODES = 24
_CHANGING = frozenset({"preview", "apply", "try", "undo", "redo"})


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
        self.refused: tuple[str, str] | None = None
        self.done = ""
        self._offers: list[Offer] | None = None
        self._tried: Edit | None = None
        self._form: dict[str, Any] | None = None
        self._requests |= {
            "preview": lambda request: self.preview(int(request["index"])),
            "apply": lambda _: self.apply(),
            "form": lambda request: self.open_form(str(request["edit"])),
            "try": lambda request: self.fill_in(str(request["edit"]), request["arguments"]),
            "pick": lambda request: self.select(str(request["selector"])),
            "between": lambda _: self.between(),
            "undo": lambda _: self.undo(),
            "redo": lambda _: self.redo(),
        }

    @property
    def offers(self) -> list[Offer]:
        """The edits that apply to the selected nodes; those of the whole model where none is selected."""
        if self._offers is None:
            self._offers = self.bench.offers(self.selected)
        return self._offers

    def choose(self, names: Sequence[str]) -> None:
        """Select nodes by name."""
        self.follow()
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
        names = self.selected
        if self.model is None or len(names) < 2:
            raise SelectorError("it takes two nodes", where="between", fix="Select one, and another with Shift.")
        index, order = self.model.index, {name: at for at, name in enumerate(self.model.nodes)}
        first, last = min(names, key=order.__getitem__), max(names, key=order.__getitem__)
        path = index.downstream([first]) & index.upstream([last])
        if last not in index.downstream([first]):
            raise SelectorError("no path leads from one to the other", where=f"{first}, {last}", fix="Select others.")
        self.choose([name for name in order if name in path | {first, last}])
        return self.selected

    def follow(self) -> bool:
        """Show the workbench's model as it is now, if it was edited elsewhere; say whether it was."""
        if self._workbench is None or self._workbench.model is self.model:
            return False
        self._renew()
        return True

    @answered
    def handle(self, request: Request) -> None:
        """Do what the page asks for, on the model as it is now."""
        if self.follow() and request.get("type") in _CHANGING:
            # The page's list of edits was that of another model.
            self.tell({"type": "error", "text": "The model was edited elsewhere; this is what it is now."})
            return
        self.refused, self._tried = None, None
        super().handle(request)

    def said(self, error: WorkbenchError) -> None:
        """Show why an edit was refused, at the node that it is about."""
        if isinstance(error, EditError) and (name := self._blamed(error)) is not None:
            self.refused = name, str(error)
            self.reveal(name)
        else:
            super().said(error)

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
        from workbench.graph.edits import EDITS, edit_by_name
        from workbench.views.graphs.forms import arguments_of

        if not isinstance(self.bench, WorkbenchBench):
            raise EditError("this bench takes no forms", where=edit)
        made = edit_by_name(edit, **(arguments_of(EDITS[edit], texts) if edit in EDITS else {}))
        if self._form is not None and self._form["edit"] == edit:
            fields = [field | {"value": texts.get(field["name"], field["value"])} for field in self._form["fields"]]
            self._form = self._form | {"fields": fields}
        return self._show(self.bench.offer(made), keep_form=True)

    def _show(self, offer: Offer, *, keep_form: bool = False) -> Preview:
        self.previewed, self.done = None, ""
        self._tried = offer.edit
        if isinstance(self.bench, WorkbenchBench) and not keep_form:
            self._form = self._filled_form(offer.edit)
        before, outcome = self.bench.network(), self.bench.after(offer)
        left, right = changes(before, outcome.network)
        touched = [name for name, fate in left.items() if fate != "same"]
        seeds = [name for name in self.selected if name in touched] or touched or self.selected
        count = len(touched) + sum(1 for fate in right.values() if fate == "added")
        there = _kept(before, seeds, outcome.network, right)
        near = _near(before, seeds, left), _near(outcome.network, there, right)
        self.previewed = Preview(offer, *near, count, outcome.check)
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
        outcome = self.bench.apply(offer)
        if not outcome.changed:
            raise EditError("this edit changes nothing here", where=offer.name, fix="The recipe is as it was.")
        self._renew(f"{offer.line}: {outcome.check}" if outcome.check else offer.line)
        return offer.line

    def undo(self) -> None:
        """Take the recipe's last step back."""
        if self._workbench is not None:
            self._workbench.undo()
            self._renew()

    def redo(self) -> None:
        """Do the step again that was undone last."""
        if self._workbench is not None:
            self._workbench.redo()
            self._renew()

    def _forget(self) -> None:
        self._offers = self.previewed = self._form = self.refused = None
        self.done = ""

    def _renew(self, done: str = "") -> None:
        self.picture.renew(self.bench.network())
        if self._workbench is not None:
            self.model = self._workbench.model
            used = self._loaded()
            self.columns |= cost_columns(self.model)
            overlay, size = self.picture.overlay, self.picture.size_by
            for name, old in used.items():
                self.picture.overlay = self.column(name) if old is overlay else self.picture.overlay
                self.picture.size_by = self.column(name) if old is size else self.picture.size_by
        self._forget()
        self.done = done
        self.found = [name for name in self.found if name in self.picture.scopes.network.index]
        self.refresh()
        for watcher in self._watchers:
            watcher(self.selected)

    def _offer(self, index: int) -> Offer:
        if not 0 <= index < len(self.offers):
            raise EditError("there is no such edit for this selection", where=index, fix="Look at `offers`.")
        return self.offers[index]

    def _empty_form(self, edit: str, names: Sequence[str]) -> dict[str, Any]:
        from workbench.graph.edits import EDITS
        from workbench.views.graphs.forms import form_of, prefilled

        if edit not in EDITS or self.model is None:
            raise EditError("there is no form for this edit", where=edit)
        return form_of(EDITS[edit], prefilled(EDITS[edit], self.model, names))

    def _filled_form(self, edit: Edit) -> dict[str, Any]:
        from workbench.views.graphs.forms import form_of

        return form_of(type(edit), edit.model_dump(exclude={"do"}))

    def _blamed(self, error: EditError) -> str | None:
        """Return the node that an error is about: the one it names, else the one the edit was to change."""
        network = self.picture.scopes.network
        told = [error.where, *(getattr(self._tried, name, None) for name in ("node", "tensor", "input", "output"))]
        for where in (*told, *self.selected[:1]):
            if where in network.index:
                return str(where)
            if where in network.producer:
                return network.ops[network.producer[where]].name
        return None

    def mark_state(self, *, reveal: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return what is marked, with the edits, their forms and their preview."""
        state = super().mark_state(reveal=reveal)
        state["edits"] = [{"name": offer.name, "doc": offer.doc} for offer in self.offers]
        state["log"] = self.bench.lines()
        state["done"] = self.done
        if self._workbench is not None:
            state |= self._workbench_state(self._workbench)
        if self.refused is not None:
            name, text = self.refused
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

    def _workbench_state(self, workbench: Workbench) -> dict[str, Any]:
        from workbench.session import history_of
        from workbench.views.graphs.forms import known_edits

        steps, undone = workbench.recipe.steps, history_of(workbench).undone
        return {
            "all": known_edits(),
            "form": self._form,
            "undo": _told(steps[-1]) if steps else "",
            "redo": _told(undone[0]) if undone else "",
        }


def _told(step: Any) -> str:
    """Return a step of the recipe in a few words."""
    from workbench.graph.edits import Edit, python_line

    return python_line(step) if isinstance(step, Edit) else str(step.do)


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
