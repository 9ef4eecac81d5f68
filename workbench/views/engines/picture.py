"""The engine graph: the layers that the compiler made, joined by their tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.views.engines.layers import engine_columns, engine_network
from workbench.views.engines.selection import LayerGraph
from workbench.views.graphs import GraphPicture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.engine import EngineSummary
    from workbench.session import Workbench
    from workbench.views.graphs import Overlay, Panel

__all__ = ["EngineGraph"]


class EnginePicture(GraphPicture):
    """An engine's layers as a picture."""

    def about(self, panel: Panel | None = None) -> str:
        """Return one line on what is shown; an engine whose file tells no tensors has no edges, and that is said."""
        network = self.scopes.network
        text = super().about(panel).replace(" nodes,", " layers,")
        return text if len(network.tails) or len(network.ops) < 2 else f"{text}; the file tells no tensors: no edges"


class EngineGraph(LayerGraph):
    """An engine's own layers as a graph, live in a notebook and as a picture everywhere else.

    Reformats, and Q/DQ that stand alone, are cards of their own; resting the pointer on an edge tells its format.

    Parameters
    ----------
    summary
        The engine, from `workbench.engine.summary`.
    color
        The column that colours: "precision", "latency", "kind", "findings", ...
    profile
        The optimization profile.
    height
        Of the drawing area, in CSS pixels.
    session
        The workbench whose plan the engine is set against, if it is to be followed.
    """

    def __init__(
        self,
        summary: EngineSummary,
        *,
        color: str = "precision",
        profile: int = 0,
        height: int = 520,
        session: Workbench | None = None,
    ) -> None:
        network = engine_network(summary.report, summary.fusion, profile)
        picture = EnginePicture(network, f"{summary.report.name}: the engine's layers")
        super().__init__(summary, picture, {}, profile=profile, height=height, session=session)
        self.columns |= self.engine_columns()
        self.colour(color)

    def engine_columns(self) -> dict[str, Overlay]:
        """Return the columns over layers."""
        return engine_columns(self.summary.report, self.summary.findings, self.profile)

    def nodes_of(self, layer: str) -> list[str]:
        """Return the layer itself: here layers are the nodes."""
        return [layer]

    def layer_of(self, names: Sequence[str]) -> str | None:
        """Return the first of some layers."""
        return names[0] if names else None
