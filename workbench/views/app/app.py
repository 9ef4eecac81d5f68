"""The screen: parts with one selection, what runs beside the page, and every click a line of the recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from workbench.display import counted
from workbench.errors import WorkbenchError
from workbench.graph import collector_off
from workbench.graph.edits import Edit
from workbench.session import PREPARING, Change, Keeper, history_of, keeper_of, verdict
from workbench.views.app.acts import Acts
from workbench.views.app.folders import free_folder
from workbench.views.app.graph import AppGraph
from workbench.views.app.inspector import Inspector
from workbench.views.app.node_facts import NodeFacts
from workbench.views.app.nodes import NodeTable
from workbench.views.app.steps import next_step, step_states
from workbench.views.app.still import Still
from workbench.views.app.timeline import called, code_of, short, timeline
from workbench.views.kit import View, of_opened, page, request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.recipe.steps import Step
    from workbench.session import Workbench
    from workbench.views.kit import Pictured

__all__ = ["App", "bundle", "screen"]

_HERE = Path(__file__).parent
_PARTS = (
    *(_HERE.parent / "graphs" / name for name in ("pane.js", "surgery.js", "graph.js", "graph.css")),
    *(_HERE.parent / "calibration" / name for name in ("threshold.js", "threshold.css")),
    *(
        _HERE / f"{name}.js"
        for name in ("graph", "nodes", "weights", "inspector", "steps", "forms", "timeline", "cell", "app")
    ),
    *(_HERE / f"{name}.css" for name in ("app", "parts")),
)
_APPS: WeakValueDictionary[int, App] = WeakValueDictionary()
"""By the identity of its workbench, which each of them keeps alive."""


class App(Acts):
    """One workbench on one screen.

    Parameters
    ----------
    wb
        The workbench.
    """

    _esm, _css = page(*_PARTS)

    def __init__(self, wb: Workbench) -> None:
        super().__init__(wb)
        self.node_facts = NodeFacts(wb)
        self.graph = AppGraph(wb, self.node_facts)
        self.nodes = NodeTable(wb, self.node_facts)
        self.inspector = Inspector(wb, self.node_facts)
        self.selected: list[str] = []
        self._busy = False
        for part in (self.graph, self.nodes):
            part.part = True
            part.on_select(self._chosen_in)
        self.inspector.part = True
        self.inspector.on_selection("layer_nodes", self.choose)

    def __repr__(self) -> str:
        return f"<App {self.workbench.source.name}: {len(self.workbench.recipe.steps)} steps>"

    @property
    def parts(self) -> Sequence[View]:
        """The views that the page is made of."""
        return self.graph, self.nodes, self.inspector, self.inspector.threshold

    # Selecting

    def choose(self, nodes: Sequence[str]) -> None:
        """Select nodes, in every part."""
        names = set(nodes)
        self.selected = [node for node in self.workbench.model.nodes if node in names]
        self._busy = True
        try:
            self.nodes.choose(self.selected)
            self.graph.choose(self.selected)
            if len(self.selected) == 1 and self.selected[0] in self.graph.picture.scopes.network.index:
                self.graph.reveal(self.selected[0])
        finally:
            self._busy = False
        self.inspector.show(self.selected)
        self.selects()

    @property
    def selected_nodes(self) -> list[str]:
        """Addresses of the selected nodes."""
        return self.selected

    def choose_nodes(self, nodes: list[str]) -> None:
        """Select those nodes that the model has."""
        if any(node in self.workbench.model.nodes for node in nodes):
            self.choose(nodes)

    def _chosen_in(self, nodes: Sequence[str]) -> None:
        """Take over what was selected in a part; the others follow, and no echo comes of it."""
        if self._busy:
            return
        self._busy = True
        try:
            names = set(nodes)
            self.selected = [node for node in self.workbench.model.nodes if node in names]
            if self.nodes.selected != self.selected:
                self.nodes.choose(self.selected)
            if set(self.graph.selected) != names:
                self.graph.choose(self.selected)
        finally:
            self._busy = False
        self.inspector.show(self.selected)
        self.selects()

    # Listening

    def _listen(self, change: Change) -> None:
        if change.kind == "appended":
            # What was undone stays clicked, for a redo brings it back; what is appended takes its place.
            last = len(self.workbench.recipe.steps) - 1
            self._clicked = {at for at in self._clicked if at < last}
            if self._clicking_now():
                self._clicked.add(last)
        elif change.kind == "undone" and any(step.do in PREPARING for step in history_of(self.workbench).undone[:1]):
            self._prepared.append(self.workbench.recipe.of_kind(Edit))
        super()._listen(change)

    def _clicking_now(self) -> bool:
        return any(part.handling for part in (self, *self.parts))

    def renew(self) -> None:
        """Keep of the selection what is still there."""
        self.selected = [node for node in self.selected if node in self.workbench.model.nodes]

    # The page

    def fill(self, **options: Any) -> None:
        """Put scene and marks into the traits; the parts are opened first, for the page asks for them."""
        for part in self.parts:
            part.widget()
        super().fill(**options)

    def scene_state(self) -> dict[str, Any]:
        """Return steps, verdict and recipe, and by which names the page finds the parts."""
        wb = self.workbench
        names = ("graph", "nodes", "inspector", "threshold")
        return {
            "title": wb.source.name,
            "parts": {name: part.model_id for name, part in zip(names, self.parts, strict=True)},
            "stages": step_states(wb, self.node_facts),
            "next": next_step(wb, prepared=wb.recipe.of_kind(Edit) in self._prepared),
            "verdict": self._verdict(),
            "forms": self.forms.state(),
            "kept": self._kept(),
            **timeline(wb, self._clicked),
        }

    def _kept(self) -> dict[str, Any]:
        keeper = keeper_of(history_of(self.workbench))
        if keeper is None:
            return {}
        offer = 0 if keeper.offer is None else len(keeper.offer.steps)
        return {"file": keeper.file.name, "offer": offer, "problem": keeper.problem}

    def _verdict(self) -> dict[str, Any] | None:
        """Return what to think of the last figures, and what to do next."""
        figures = history_of(self.workbench).figures
        if figures.comparison is not None and figures.compared is history_of(self.workbench).state:
            judgement = verdict(self.workbench, figures.comparison)
            state = {
                "kind": judgement.kind,
                "text": judgement.headline,
                "next": judgement.next,
                "ask": judgement.ask,
                "notes": judgement.notes,
            }
            if judgement.ask == "build" and figures.built is history_of(self.workbench).state:
                state |= {"next": "Save it: tuned.onnx with its recipe.", "ask": "save"}
            return state
        worst = self._worst()
        if worst is None:
            return None
        row, share = worst
        text = f"{row} loses the most: {share}."
        return {
            "kind": "fair",
            "text": text,
            "next": "Look at it, or leave it in floating point.",
            "ask": "worst",
            "notes": (),
        }

    def _worst(self) -> tuple[str, str] | None:
        figures = history_of(self.workbench).figures
        if figures.sensitivity is None or not figures.sensitivity.errors:
            return None
        low = self.node_facts.resolution().nodes("int8")
        errors = [error for error in figures.sensitivity.errors if error.node in low]
        error = max(errors, key=lambda one: one.noise, default=None)
        return None if error is None else (error.node, f"{error.text} with it alone in INT8")

    def worded(self, step: Step) -> str:
        """Return a step as its chip says it."""
        return short(step)

    def still(self) -> Pictured:
        """Return the picture that stands for the screen."""
        return Still(self.workbench, self.node_facts)

    # What the page may ask

    @request
    def _on_choose(self, nodes: list[str]) -> None:
        self.choose(nodes)

    @request
    def _on_resume(self, go_on: bool) -> None:
        """Go on with the recipe that is kept, or start over."""
        keeper = keeper_of(history_of(self.workbench))
        if keeper is None:
            raise WorkbenchError("nothing is kept here", where=self.workbench.source.name)
        if not go_on:
            keeper.start_over()
            return self.draw()

        def done(count: int) -> None:
            edits = self.workbench.recipe.of_kind(Edit)
            self._prepared += [edits] if any(edit.do in PREPARING for edit in edits) else []
            self._say(f"Went on with {counted(count, 'step')}")
            self.draw()

        return self._start("going on", keeper.go_on, done)

    @request
    def _on_worst(self) -> None:
        """Select the node that loses the most, and go there."""
        worst = self._worst()
        if worst is not None:
            self.choose([worst[0]])

    @request
    def _on_save(self) -> None:
        files = self.workbench.save(free_folder(self.workbench))
        self._say(f"Wrote {', '.join(map(str, files))}")

    @request
    def _on_code(self) -> None:
        """Send the Python of the steps that were clicked, or of all where none was."""
        steps = self.workbench.recipe.steps
        clicked = self._clicked & set(range(len(steps))) or None
        self.tell("code", code=called(self.workbench, code_of(steps, clicked)))

    @request
    def _on_peek(self, samples: str, preprocessing: str) -> None:
        """Send what the model would see of samples, and the preprocessing that is stated."""
        self.tell("peek", **self.forms.peek(samples, preprocessing))

    @request(current=True)
    def _on_back(self, to: int) -> None:
        """Undo back to a step."""
        while len(self.workbench.recipe.steps) > max(to, 0):
            self.workbench.undo()


@of_opened
def screen(wb: Workbench) -> App:
    """Show a workbench on one screen; shown again, it is the same one.

    Parameters
    ----------
    wb
        The workbench.
    """
    app = _APPS.get(id(wb))
    if app is None:
        app = _APPS[id(wb)] = App(wb)
    return app


def bundle(wb: Workbench, include: Any = None, exclude: Any = None) -> Any:
    """Return what a notebook shows of a workbench: the screen, and its picture."""
    with collector_off():
        shown = screen(wb)
        history = history_of(wb)
        if keeper_of(history) is None:
            Keeper(history)
        data, metadata = shown._repr_mimebundle_(include, exclude)
    return data | {"text/plain": repr(wb)}, metadata
