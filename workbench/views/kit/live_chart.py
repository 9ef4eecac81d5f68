"""The live twin of a chart: the same drawing, in the page's theme, as wide as the cell, to point at and select."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import SelectorError
from workbench.views.kit.requests import page, request
from workbench.views.kit.widget import View

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from workbench.session import Workbench
    from workbench.views.kit.picture import Pictured
    from workbench.views.kit.spot import Spot

__all__ = ["LiveChart"]


class LiveChart(View):
    """A chart in a page.

    Parameters
    ----------
    chart
        What is shown where it cannot be live.
    spots
        What can be pointed at.
    drawn
        Returns the light and the dark SVG document in which each spot has an id: ``spot-`` and its key.
    session
        The workbench whose selection it shares.
    """

    _esm, _css = page(*(Path(__file__).with_name(f"live_chart.{kind}") for kind in ("js", "css")))

    def __init__(
        self, chart: Pictured, spots: Iterable[Spot], drawn: Callable[[], tuple[str, str]], session: Workbench | None
    ) -> None:
        super().__init__(session)
        self.chart, self._drawn = chart, drawn
        self.spots = {spot.key: spot for spot in spots}
        self._chosen: tuple[str, ...] = ()
        self._scene: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return f"<LiveChart of {type(self.chart).__name__}>"

    @property
    def selected(self) -> list[str]:
        """Addresses of the nodes that the selected spots stand for."""
        return [node for key in self._chosen for node in self.spots[key].nodes]

    @property
    def selected_nodes(self) -> list[str]:
        """The same: they are nodes."""
        return self.selected

    def choose_nodes(self, nodes: list[str]) -> None:
        """Select the spots that stand for some nodes."""
        self.choose(nodes)

    def choose(self, nodes: Iterable[str]) -> None:
        """Select the spots that stand for some nodes."""
        chosen = set(nodes)
        self._choose(key for key, spot in self.spots.items() if chosen & set(spot.nodes))

    def _choose(self, keys: Iterable[str]) -> None:
        self._chosen = tuple(keys)
        self.mark()
        self.selects()

    def still(self) -> Pictured:
        """Return the chart."""
        return self.chart

    def scene_state(self) -> dict[str, Any]:
        """Return the drawing in both themes, and what can be pointed at."""
        if self._scene is None:  # it is of the moment when it was asked for
            spots = [{"key": spot.key, "text": spot.text} for spot in self.spots.values()]
            light, dark = self._drawn()
            self._scene = {"light": light, "dark": dark, "spots": spots}
        return self._scene

    def mark_state(self) -> dict[str, Any]:
        """Return which spots are selected."""
        return {"selected": list(self._chosen)}

    @request
    def _on_select(self, key: str, add: bool = False) -> None:
        """Select a spot, or one more or less; again, none."""
        if key not in self.spots:
            raise SelectorError("there is no such spot in the chart", where=ascii(key))
        kept = [one for one in self._chosen if one != key] if add else []
        self._choose(kept if key in self._chosen else [*kept, key])
