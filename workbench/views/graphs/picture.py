"""The picture of a model: what is shown, how it is coloured, and every form it comes in."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from workbench.display import counted
from workbench.views.graphs.overlay import Overlay, Paint, paint
from workbench.views.graphs.rendering import Drawing, Drawn, draw
from workbench.views.graphs.scene import scene
from workbench.views.graphs.scopes import GraphScopes, ShownScopes

if TYPE_CHECKING:
    from workbench.views.graphs.network import Network
    from workbench.views.graphs.panel import Panel
    from workbench.views.graphs.scene import Hull, Scene

__all__ = ["GraphPicture"]


class GraphPicture(Drawn):
    """A model's graph as a picture.

    Parameters
    ----------
    network
        The model's operators; see `workbench.views.graphs.network.network_of`.
    title
        The line above the picture.
    shown
        What to show; None for the first look.
    overlay, size_by
        Columns that colour and size the nodes; None for the families of operators, and for equal sizes.
    like
        The picture of the model that this one came from by edits: it gets the same scopes.
    """

    def __init__(
        self,
        network: Network,
        title: str = "",
        *,
        shown: ShownScopes | None = None,
        overlay: Overlay | None = None,
        size_by: Overlay | None = None,
        like: GraphPicture | None = None,
    ) -> None:
        self.scopes: GraphScopes = GraphScopes(network, None if like is None else like.scopes)
        self.title = title
        self.shown = shown or self.scopes.first()
        self.overlay = overlay
        self.size_by = size_by

    def __repr__(self) -> str:
        network = self.scopes.network
        return f"<{type(self).__name__} {self.title}: {len(network.ops):,} nodes, {self.panel().visible()} shown>"

    def renew(self, network: Network) -> None:
        """Show another state of the model; what is open, selected and in focus stays so where it is still there."""
        self.scopes = GraphScopes(network, self.scopes)
        shown = self.shown
        self.shown = replace(
            shown,
            expanded=tuple(path for path in shown.expanded if path in self.scopes.tree.scopes),
            selected=tuple(name for name in shown.selected if name in network.index),
            focus=tuple(name for name in shown.focus if name in network.index),
        )

    def panel(self) -> Panel:
        """Return what is shown, as data."""
        return self.scopes.panel(self.shown)

    def paint(self, panel: Panel) -> Paint:
        """Return the colours of what is shown."""
        return paint(list(panel.walk()), self.seen, self.overlay)

    @property
    def seen(self) -> Network:
        """The operators that the picture is about: all, or those in focus."""
        return self.scopes.seen(self.shown)

    def selected_items(self, panel: Panel, shown: ShownScopes | None = None) -> set[str]:
        """Return the things in the picture that hold a selected operator."""
        seen = self.seen
        names = (shown or self.shown).selected
        chosen = {seen.host[seen.index[name]] for name in names if name in seen.index}
        return {item.id for item in panel.walk() if item.kind != "stub" and not chosen.isdisjoint(item.ops)}

    def drawing(self, *, bare: bool = False) -> Drawing:
        """Return the drawing that all forms share; `bare` leaves titles and legend out."""
        panel = self.panel()
        colours = self.paint(panel)
        weight = paint(list(panel.walk()), self.seen, self.size_by).weight if self.size_by else {}
        selected = () if bare else self.selected_items(panel)
        about = self.about(panel)
        laid = scene(panel, weight)
        laid.hulls = self.hulls(panel, laid)
        for wire in laid.wires:
            wire.note = self.scopes.network.notes.get(wire.name, "")
        return draw(laid, colours, title=self.title, subtitle=about, selected=selected, bare=bare)

    def hulls(self, panel: Panel, laid: Scene) -> list[Hull]:  # noqa: ARG002 - for those that have some
        """Return outlines around what belongs together; this picture has none."""
        return []

    def about(self, panel: Panel | None = None) -> str:
        """Return one line on what is shown."""
        count = sum(op.op_type != "Constant" for op in self.scopes.network.ops)
        text = f"{counted(count, 'node')}, {(panel or self.panel()).visible()} shown"
        if self.shown.focus:
            text += f", {self.shown.hops} steps around {', '.join(self.shown.focus[:2])}"
            text += f", more beyond {len(self.seen.beyond)} of them" if self.seen.beyond else ""
        return text + (f", sized by {self.size_by.title}" if self.size_by else "")
