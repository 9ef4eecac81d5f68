"""The picture of a model: what is shown, how it is coloured, and every form it comes in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.views.graph_draw import Drawing, draw
from workbench.views.graph_html import html
from workbench.views.graph_overlay import Overlay, Paint, paint
from workbench.views.graph_png import png
from workbench.views.graph_scene import scene
from workbench.views.graph_scopes import GraphScopes, Panel, Shown
from workbench.views.graph_svg import svg
from workbench.views.mime import Pictured

if TYPE_CHECKING:
    from workbench.views.graph_ops import Network
    from workbench.views.theme import ThemeName

__all__ = ["GraphPicture"]


class GraphPicture(Pictured):
    """A model's graph as a picture.

    Parameters
    ----------
    network
        The model's operators; see `workbench.views.graph_ops.network_of`.
    title
        The line above the picture.
    shown
        What to show; None for the first look.
    overlay, size_by
        Columns that colour and size the nodes; None for the families of operators, and for equal sizes.
    """

    def __init__(
        self,
        network: Network,
        title: str = "",
        *,
        shown: Shown | None = None,
        overlay: Overlay | None = None,
        size_by: Overlay | None = None,
    ) -> None:
        self.scopes = GraphScopes(network)
        self.title = title
        self.shown = shown or self.scopes.first()
        self.overlay = overlay
        self.size_by = size_by

    def __repr__(self) -> str:
        network = self.scopes.network
        return f"<{type(self).__name__} {self.title}: {len(network.ops):,} nodes, {self.panel().visible()} shown>"

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

    def selected_items(self, panel: Panel) -> set[str]:
        """Return the things in the picture that hold a selected operator."""
        index, host = self.seen.index, self.seen.host
        chosen = {host[index[name]] for name in self.shown.selected if name in index}
        return {item.id for item in panel.walk() if item.kind != "stub" and not chosen.isdisjoint(item.ops)}

    def drawing(self, *, bare: bool = False) -> Drawing:
        """Return the drawing that all forms share; `bare` leaves titles and legend out."""
        panel = self.panel()
        colours = self.paint(panel)
        weight = paint(list(panel.walk()), self.seen, self.size_by).weight if self.size_by else {}
        count = len(self.scopes.network.ops)
        about = f"{count:,} nodes, {panel.visible()} shown"
        if self.shown.focus:
            about += f", {self.shown.hops} steps around {', '.join(self.shown.focus[:2])}"
        if self.size_by:
            about += f", sized by {self.size_by.title}"
        selected = () if bare else self.selected_items(panel)
        return draw(scene(panel, weight), colours, title=self.title, subtitle=about, selected=selected, bare=bare)

    def svg(self, theme: ThemeName = "auto") -> str:
        """Return the picture as an SVG document."""
        return svg(self.drawing(), theme)

    def png(self, theme: ThemeName = "light") -> bytes:
        """Return the picture as a PNG, with no browser."""
        return png(self.drawing(), theme)

    def html(self, theme: ThemeName = "auto") -> str:
        """Return the picture as a page of its own."""
        return html(self.drawing(), theme)
