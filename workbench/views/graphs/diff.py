"""Two models side by side: the same scopes open, the same nodes selected, what differs in colour."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, get_args

from workbench.session import Workbench
from workbench.views.graphs.live import LiveGraph
from workbench.views.graphs.network import Network, network_of
from workbench.views.graphs.overlay import Overlay
from workbench.views.graphs.picture import GraphPicture
from workbench.views.graphs.rendering import MARGIN, Drawing, Group, moved
from workbench.views.kit import OKABE_ITO

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import onnx_ir as ir

    from workbench.graph import Model

__all__ = ["Fate", "SideBySide", "changes", "diff_overlay"]

Fate = Literal["added", "removed", "changed", "same"]
_COLOURS = {
    "changed": OKABE_ITO["blue"],
    "added": OKABE_ITO["green"],
    "removed": OKABE_ITO["vermillion"],
    "same": OKABE_ITO["grey"],
}


def changes(before: Network, after: Network) -> tuple[dict[str, Fate], dict[str, Fate]]:
    """Return what happened to every node of one model, and where every node of the other came from.

    Of models it is what `workbench.graph.diff` finds: a node is "changed" that has another name, other attributes
    or tensors, or reads a weight of other values. Of graphs from elsewhere only types and tensors are compared.
    """
    old, new = ({op.name: op for op in network.ops} for network in (before, after))
    if before.model is not None and after.model is not None:
        return _model_changes(before.model, after.model, old, new)

    def fate(name: str) -> Fate:
        one, other = old[name], new[name]
        alike = (one.op_type, one.inputs, one.outputs) == (other.op_type, other.inputs, other.outputs)
        return "same" if alike else "changed"

    both = {name: fate(name) for name in old if name in new}
    left: dict[str, Fate] = {name: both.get(name, "removed") for name in old}
    right: dict[str, Fate] = {name: both.get(name, "added") for name in new}
    return left, right


def _model_changes(
    before: Model, after: Model, old: Iterable[str], new: Iterable[str]
) -> tuple[dict[str, Fate], dict[str, Fate]]:
    from workbench.graph import diff

    difference = diff(before, after)
    left: dict[str, Fate] = dict.fromkeys(old, "same")
    right: dict[str, Fate] = dict.fromkeys(new, "same")
    weights = {change.where for change in difference.of_kind("weight")}
    readers = {name for name, node in after.nodes.items() if any(_is(value, weights) for value in node.inputs)}
    for name in {*difference.changed, *readers}:
        left |= {name: "changed"} if name in left else {}
        right |= {name: "changed"} if name in right else {}
    for change in difference.of_kind("node renamed"):
        left[change.before], right[change.after] = "changed", "changed"
    left.update(dict.fromkeys(difference.removed, "removed"))
    right.update(dict.fromkeys(difference.added, "added"))
    return left, right


def _is(value: ir.Value | None, names: set[str]) -> bool:
    return value is not None and value.name in names


def diff_overlay(fates: Mapping[str, Fate]) -> Overlay:
    """Return the column that colours a difference; a scope that holds any shows it."""
    order = list(_COLOURS)
    return Overlay("difference", fates, "any" if fates else None, order=order, colours=_COLOURS)


class SideBySide(LiveGraph):
    """Two models in one view, before on the left and after on the right.

    Parameters
    ----------
    before, after
        The models; of a workbench the one that it has at the time.
    fates
        Node name to "added", "removed", "changed" or "same" for each side; compared where left out, see `changes`.
    titles
        What to call the sides.
    height
        Of the drawing area, in CSS pixels.
    """

    def __init__(
        self,
        before: Workbench | Model | Network,
        after: Workbench | Model | Network,
        fates: tuple[Mapping[str, Fate], Mapping[str, Fate]] | None = None,
        *,
        titles: tuple[str, str] = ("before", "after"),
        height: int = 520,
    ) -> None:
        self._sides, self._fates = (before, after), fates
        networks = [_network(side) for side in self._sides]
        left = GraphPicture(networks[0], titles[0])
        panes = [left, GraphPicture(networks[1], titles[1], like=left)]
        self._shown = [network.model for network in networks]
        self._paint(panes)
        opened = dict.fromkeys(path for pane in panes for path in pane.shown.expanded)
        for pane in panes:
            here = tuple(path for path in opened if path in pane.scopes.tree.scopes)
            pane.shown = replace(pane.shown, expanded=here)
        super().__init__(panes, height=height, sessions=[side for side in self._sides if isinstance(side, Workbench)])

    def renew(self) -> None:
        """Compare again, where a side is a workbench whose model was edited."""
        networks = [_network(side) for side in self._sides]
        if [network.model for network in networks] != self._shown:
            self._shown = [network.model for network in networks]
            for pane, network in zip(self.panes, networks, strict=True):
                pane.renew(network)
            self._paint(self.panes)

    def _paint(self, panes: Sequence[GraphPicture]) -> None:
        self.fates = self._fates or changes(*(pane.scopes.network for pane in panes))
        # One legend speaks for both sides, so both sides know all words.
        words: dict[str, Fate] = {f"\0{at}": word for at, word in enumerate(self._words())}
        for pane, fate in zip(panes, self.fates, strict=True):
            pane.overlay = diff_overlay({**fate, **words})

    def __repr__(self) -> str:
        return f"<SideBySide {' | '.join(f'{pane.title}: {pane.about()}' for pane in self.panes)}>"

    def _words(self) -> list[Fate]:
        words = {word for fate in self.fates for word in fate.values()}
        return [word for word in get_args(Fate) if word in words]

    def drawing(self) -> Drawing:
        """Return both pictures in one drawing, with one legend."""
        left, right = (pane.drawing() for pane in self.panes)
        keys = [group for group in left.groups if group.kind == "legend"]
        shift = left.width + MARGIN
        groups = [group for group in left.groups if group.kind != "legend"]
        groups += [_moved(group, shift) for group in right.groups if group.kind != "legend"]
        height = max(left.height, right.height)
        down = height - left.height
        groups += [_moved(group, 0, down) for group in keys]
        return Drawing(shift + right.width, height, groups, " and ".join(pane.title for pane in self.panes))


def _network(side: Workbench | Model | Network) -> Network:
    if isinstance(side, Network):
        return side
    return network_of(side.model if isinstance(side, Workbench) else side)


def _moved(group: Group, dx: float, dy: float = 0.0) -> Group:
    return Group([moved(mark, dx, dy) for mark in group.marks], group.kind, group.data, group.title)
