"""Edits of the whole model, which a selector can keep to a part of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator

from workbench.graph.edits.base import Edit
from workbench.graph.select import Selector, nodes, select
from workbench.graph.structure import graphs_of, walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import onnx_ir as ir
    from typing_extensions import Self

    from workbench.graph.model import Model

__all__ = ["Area", "WideEdit"]


class Area:
    """The nodes that an edit may touch.

    Parameters
    ----------
    graph
        The copy that is edited.
    model
        The model the copy was made of.
    only
        A selector's text; ``None`` for every node.

    Raises
    ------
    SelectorError
        The selector cannot be read, or matches nothing.
    """

    def __init__(self, graph: ir.Model, model: Model, only: str | None = None) -> None:
        self.graph = graph
        self.model = model
        self._nodes: set[ir.Node] | None = None
        if only is not None:
            addresses = set(select(model, only))
            self._nodes = {node for address, node in walk(graph) if address in addresses}

    @property
    def whole(self) -> bool:
        """Whether it is all of the model."""
        return self._nodes is None

    def __contains__(self, node: ir.Node) -> bool:
        return self._nodes is None or node in self._nodes

    def __iter__(self) -> Iterator[tuple[str, ir.Graph, ir.Node]]:
        """Yield (address prefix, graph, node); nodes may be removed and added meanwhile."""
        for prefix, part in graphs_of(self.graph):
            for node in list(part):
                if node.graph is part and node in self:
                    yield prefix, part, node

    def parts(self) -> list[tuple[str, ir.Graph]]:
        """Return (address prefix, graph) for the graphs that hold a node of it."""
        return [(prefix, part) for prefix, part in graphs_of(self.graph) if any(node in self for node in part)]

    def weights(self) -> Iterator[tuple[str, ir.Graph, ir.Value]]:
        """Yield (address prefix, graph, weight) for the weights that the nodes read; all of them where it is whole."""
        for prefix, part in graphs_of(self.graph):
            for value in list(part.initializers.values()):
                if self.whole or any(use.node in self for use in value.uses()):
                    yield prefix, part, value


def _text(selector: object) -> object:
    return str(selector) if isinstance(selector, Selector) else selector


class WideEdit(Edit):
    """An edit of the whole model, unless `only` names nodes: then it acts at those alone.

    Subclasses implement `sweep` in place of `apply`, and `fits`.
    """

    only: Annotated[str, BeforeValidator(_text)] | None = None
    """A selector, or its text; ``None`` for all nodes."""

    @classmethod
    def fits(cls, node: ir.Node) -> bool:
        """Say whether the edit has something to do at a node, as far as the node itself tells."""
        return False

    @classmethod
    def fits_in(cls, node: ir.Node, model: Model) -> bool:
        """Say whether the edit has something to do at a node of a model."""
        return cls.fits(node)

    @classmethod
    def offers(cls, model: Model, addresses: Sequence[str]) -> Iterable[Self]:
        fitting = [address for address in addresses if cls.fits_in(model.nodes[address], model)]
        if fitting:
            yield cls.model_validate({"only": str(nodes(*fitting))})
        elif not addresses and any(cls.fits_in(node, model) for node in model.nodes.values()):
            yield cls.model_validate({})

    def apply(self, graph: ir.Model, model: Model) -> list[str] | None:
        return self.sweep(Area(graph, model, self.only))

    def sweep(self, area: Area) -> list[str] | None:
        """Do the edit in an area; see `apply`."""
        raise TypeError(f"{type(self).__name__} does not say what it does")
