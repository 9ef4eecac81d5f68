"""The graph view for notebooks: `GraphView(model)`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.errors import SelectorError, WorkbenchError
from workbench.session import Workbench
from workbench.views.graphs.columns import columns_of, cost_columns, overlay_of
from workbench.views.graphs.live import EQUAL, PLAIN, Column, LiveGraph
from workbench.views.graphs.network import Network, network_of
from workbench.views.graphs.overlay import Gather, Overlay
from workbench.views.graphs.picture import GraphPicture

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd

    from workbench.graph import Model
    from workbench.graph.select import Selector
    from workbench.views.graphs.overlay import Value
    from workbench.views.graphs.rendering import Drawing

__all__ = ["GraphView"]


class GraphView(LiveGraph):
    """A model's graph, live in a notebook and as a picture everywhere else.

    Click selects (with Shift or Ctrl more than one), double click opens and closes a scope, drag pans, the wheel zooms
    once the graph has been clicked. The table beneath lists what is selected or found; a click on a row selects its
    node and goes there. Keys: arrows walk, Enter opens, + - 0 zoom, / searches, f shows the neighbourhood,
    Esc goes back.

    Parameters
    ----------
    model
        A workbench, whose model is followed as it is edited; a `Model`, or a `Network` for graphs from elsewhere.
    columns
        More columns to colour and size by than the model's costs: a DataFrame whose index is node names (latency, SQNR,
        whatever was measured), or overlays by name.
    title
        The line above the picture; the model's name where left out.
    height
        Of the drawing area, in CSS pixels.
    """

    def __init__(
        self,
        model: Workbench | Model | Network,
        columns: pd.DataFrame | Mapping[str, Column] | None = None,
        *,
        title: str | None = None,
        height: int = 520,
    ) -> None:
        session = model if isinstance(model, Workbench) else None
        shown: Model | Network = model.model if isinstance(model, Workbench) else model
        self.model = None if isinstance(shown, Network) else shown
        network = shown if isinstance(shown, Network) else network_of(shown)
        picture = GraphPicture(network, title if title is not None else getattr(shown, "name", ""))
        costs = {} if self.model is None else cost_columns(self.model)
        more = {} if columns is None else _columns(columns, network)
        super().__init__([picture], costs | more, height=height, sessions=[session])

    def __repr__(self) -> str:
        return f"<GraphView {self.picture.title}: {self.picture.about()}>"

    def renew(self) -> None:
        """Show the workbench's model as it is now; what is open, selected and coloured by stays so where it can."""
        if self._session is None or self._session.model is self.model:
            return
        self.model = self._session.model
        self.picture.renew(network_of(self.model))
        self.replace_columns(cost_columns(self.model))
        self.matches = [name for name in self.matches if name in self.picture.scopes.network.index]
        self.selects()

    def replace_columns(self, columns: Mapping[str, Column]) -> None:
        """Take newer columns, and colour and size by them where the older ones were used."""
        used = self._loaded()
        self.columns |= columns
        for name, old in used.items():
            if old is self.picture.overlay:
                self.picture.overlay = self.column(name)
            if old is self.picture.size_by:
                self.picture.size_by = self.column(name)

    @property
    def picture(self) -> GraphPicture:
        """What is shown, and every still form of it."""
        return self.panes[0]

    @property
    def selected(self) -> list[str]:
        """Names of the selected nodes; assign to select."""
        return list(self.picture.shown.selected)

    @selected.setter
    def selected(self, names: Iterable[str]) -> None:
        self.choose(list(names))

    @property
    def selected_nodes(self) -> list[str]:
        """Names of the selected nodes."""
        return self.selected

    def choose_nodes(self, nodes: list[str]) -> None:
        """Select those nodes that the graph has, and go to the first."""
        index = self.picture.scopes.network.index
        names = [name for name in nodes if name in index]
        if names:
            self.choose(names)
            self.reveal(names[0])

    def select(self, what: str | Selector | Iterable[str]) -> list[str]:
        """Select nodes by a selector, by its text (``op:Conv & scope:/encoder/*``), or by their names.

        Raises
        ------
        SelectorError
            It cannot be read, or nothing matches.
        """
        if isinstance(what, str) and what in self.picture.scopes.network.index:
            what = [what]
        if isinstance(what, str) or hasattr(what, "among"):
            if self.model is None:
                raise SelectorError("there is no such node", where=repr(what), fix="Without a Model, give node names.")
            from workbench.graph.select import select

            what = select(self.model, what)  # type: ignore[arg-type]
        self.choose(list(what))
        return self.selected

    def color_by(
        self, column: str | Overlay | pd.Series[Any] | Mapping[str, Value] | None, *, gather: Gather | None = None
    ) -> None:
        """Colour by a column's name, or by values of your own by node name; None goes back to the operators' families.

        Parameters
        ----------
        column
            A name out of `columns`, an `Overlay`, a Series or a mapping.
        gather
            How a scope shows its nodes; see `Overlay`.
        """
        self.colour(self._named(column, gather) or PLAIN)

    def size_by(
        self, column: str | Overlay | pd.Series[Any] | Mapping[str, Value] | None, *, gather: Gather | None = None
    ) -> None:
        """Size the nodes by a column of numbers, as `color_by` colours them; None makes them equal."""
        self.size(self._named(column, gather) or EQUAL)

    def _named(
        self, column: str | Overlay | pd.Series[Any] | Mapping[str, Value] | None, gather: Gather | None
    ) -> str | None:
        if column is None or isinstance(column, str):
            return column
        overlay = column if isinstance(column, Overlay) else overlay_of(getattr(column, "name", None), column, gather)
        self.columns[overlay.title] = overlay
        return overlay.title

    def expand(self, path: str) -> None:
        """Open a scope."""
        self.picture.shown = self.picture.scopes.expand(self.picture.shown, path)
        self.draw()

    def collapse(self, path: str) -> None:
        """Close a scope."""
        self.picture.shown = self.picture.scopes.collapse(self.picture.shown, path)
        self.draw()

    def table(self) -> pd.DataFrame:
        """Return the selected nodes as a table: type, scope, tensors, and the columns that are in use."""
        import pandas as pd

        network, loaded = self.picture.scopes.network, self._loaded()
        ops = [network.ops[network.index[name]] for name in self.selected]
        rows: dict[str, Sequence[object]] = {
            "op": [op.op_type for op in ops],
            "scope": ["/".join(op.scope) for op in ops],
            "inputs": [op.inputs for op in ops],
            "outputs": [op.outputs for op in ops],
        }
        rows |= {name: [overlay.of([op.name]) for op in ops] for name, overlay in loaded.items()}
        frame: pd.DataFrame = pd.DataFrame(rows, index=pd.Index([op.name for op in ops], name="node"))
        return frame

    def drawing(self) -> Drawing:
        """Return what is shown now."""
        return self.picture.drawing()


def _columns(columns: pd.DataFrame | Mapping[str, Column], network: Network) -> dict[str, Column]:
    """Return a table's columns, or columns as they are.

    Raises
    ------
    WorkbenchError
        None of the table's rows is named after a node.
    """
    if not hasattr(columns, "iloc"):
        return dict(columns)
    table: pd.DataFrame = columns  # type: ignore[assignment]
    if len(table) and not any(str(name) in network.index for name in table.index):
        raise WorkbenchError(
            "no row of the table is named after a node",
            where=repr(table.index[0]),
            fix="Its index has to be node names.",
        )
    return columns_of(table)
