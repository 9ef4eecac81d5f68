"""The graph as a notebook asks for it: ``wb.graph.nodes()``, ``wb.graph.select(...)``, ``wb.graph.diff(other)``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from workbench.graph.edits import Edit
    from workbench.graph.inspection.difference import GraphDiff
    from workbench.graph.inspection.inspect import Summary
    from workbench.graph.model import Model
    from workbench.graph.select import Selector

__all__ = ["Graph"]


class Graph:
    """Questions about one model's graph; nothing here changes it.

    Parameters
    ----------
    model
        The model.
    """

    def __init__(self, model: Model) -> None:
        self.model = model

    def __repr__(self) -> str:
        return self.summary().text()

    def summary(self, sizes: Mapping[str, int] | None = None) -> Summary:
        """Return the model in one page; see `workbench.graph.inspection.inspect.summary`."""
        from workbench.graph.inspection.inspect import summary

        return summary(self.model, sizes)

    def nodes(self, selector: Selector | str = "*", sizes: Mapping[str, int] | None = None) -> pd.DataFrame:
        """Return one row a node that `selector` names; see `workbench.graph.inspection.tables.nodes`.

        Raises
        ------
        SelectorError
            Nothing matches.
        """
        from workbench.graph.inspection import tables

        table = tables.nodes(self.model, sizes)
        return table.loc[self.select(selector)] if len(table) else table

    def tensors(self) -> pd.DataFrame:
        """Return one row a tensor; see `workbench.graph.inspection.tables.tensors`."""
        from workbench.graph.inspection import tables

        return tables.tensors(self.model)

    def initializers(self, *, values: bool = False) -> pd.DataFrame:
        """Return one row a weight; see `workbench.graph.inspection.tables.initializers`."""
        from workbench.graph.inspection import tables

        return tables.initializers(self.model, values=values)

    def ops(self, sizes: Mapping[str, int] | None = None) -> pd.DataFrame:
        """Return one row an operator; see `workbench.graph.inspection.tables.ops`."""
        from workbench.graph.inspection import tables

        return tables.ops(self.model, sizes)

    def select(self, selector: Selector | str) -> list[str]:
        """Return the addresses of the nodes a selector names, in graph order.

        Raises
        ------
        SelectorError
            Nothing matches; the message suggests near names.
        """
        from workbench.graph.select import select

        return select(self.model, selector)

    def diff(self, other: Model) -> GraphDiff:
        """Return what differs between this model and another; see `workbench.graph.inspection.difference.diff`."""
        from workbench.graph.inspection.difference import diff

        return diff(self.model, other)

    def edits(self, selector: Selector | str = "*") -> list[Edit]:
        """Return the edits that apply to the nodes a selector names; ``"*"`` asks about the whole model.

        Raises
        ------
        SelectorError
            Nothing matches.
        """
        from workbench.graph.edits import applicable

        return applicable(self.model, [] if str(selector) == "*" else self.select(selector))
