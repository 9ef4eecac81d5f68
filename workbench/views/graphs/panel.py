"""What is drawn, as small graphs within each other: an open scope is a panel, and edges cross its border at ports."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from workbench.views.graphs.layout import against_the_flow, assign_layers

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from workbench.views.graphs.network import Network
    from workbench.views.graphs.tree import Scope, Tree

__all__ = ["Item", "Link", "Panel", "build_panel"]

_MOST_ENDS = 12
_LONGEST_NOTE = 34
_HUB_FANOUT = 6
_FAR_LAYERS = 2
_FAR_EDGES = 4
_MOST_BEYOND = 50

ItemKind = Literal["op", "scope", "block", "fold", "input", "output", "stub", "port"]


@dataclass(slots=True)
class Item:
    """A thing that is drawn: an operator, a scope, an end of the model, a stub of a far-reaching edge, a port."""

    id: str
    kind: ItemKind
    label: str
    note: str = ""
    ops: Sequence[int] = ()
    copies: int = 1
    panel: Panel | None = None


@dataclass(slots=True)
class Link:
    """An edge within one panel, from item to item by number; at an open scope it meets one of that panel's ports."""

    tail: int
    head: int
    tail_port: int | None = None
    head_port: int | None = None
    tensors: int = 1
    name: str = ""


@dataclass(slots=True)
class Panel:
    """What an open scope holds; the outermost panel is the whole picture."""

    path: str
    label: str
    items: list[Item] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)

    def walk(self) -> Iterable[Item]:
        """Yield every item, those of inner panels included."""
        for item in self.items:
            yield item
            if item.panel is not None:
                yield from item.panel.walk()

    def visible(self) -> int:
        """Return how many nodes are drawn; ports are none."""
        return sum(1 for item in self.walk() if item.kind != "port")


def build_panel(tree: Tree, expanded: Collection[str]) -> Panel:
    """Return the outermost panel of a model.

    Parameters
    ----------
    tree
        The model's scopes.
    expanded
        Paths of those that are open; one within a closed scope is not seen.
    """
    return _Builder(tree, set(expanded)).build()


def _note(network: Network, scope: Scope) -> str:
    """Return the second line of a scope: how many operators, and which types most."""
    note = f"{len(scope.ops):,} ops ·"
    for kind, _ in Counter(network.ops[at].op_type for at in scope.ops).most_common(3):
        note += f" {kind}" if len(note) + len(kind) < _LONGEST_NOTE else ""
    return note


class _Builder:
    """Builds the panels for one state."""

    def __init__(self, tree: Tree, expanded: set[str]) -> None:
        self.network, self.tree, self.expanded = tree.network, tree, expanded
        network = tree.network
        self.items: list[Item] = []
        self.at: list[tuple[Panel, int]] = []
        self.titles: dict[str, str] = {}
        self.inside: dict[str, tuple[Panel, int]] = {}
        self.seen_as = np.full(len(network.ops), -1, dtype=np.int64)
        self.ports: dict[tuple[str, str, bool], int] = {}
        self.links: dict[tuple[str, int, int, int | None, int | None], Link] = {}

    def build(self) -> Panel:
        root = Panel("", "")
        feeds = self._ends(root, self.network.inputs, "input")
        self._fill(root, self.tree.root)
        results = self._ends(root, self.network.outputs, "output")
        for tail, head, count, name in self._pairs():
            self._join(tail, head, count, name)
        for at, op in enumerate(self.network.ops):
            for tensor in op.inputs:
                if tensor in feeds and self.seen_as[self.network.host[at]] >= 0:
                    self._join(feeds[tensor], int(self.seen_as[self.network.host[at]]), 1, tensor)
        for tensor, result in results.items():
            source = self.network.producer.get(tensor)
            if source is not None and self.seen_as[source] >= 0:
                self._join(int(self.seen_as[source]), result, 1, tensor)
            elif tensor in feeds:
                self._join(feeds[tensor], result, 1, tensor)
        self._mark_beyond(root)
        for panel in [root, *(item.panel for item in self.items if item.panel is not None)]:
            _split_hubs(panel)
        return root

    def _add(self, panel: Panel, item: Item) -> int:
        self.titles[item.id] = (item.note or item.label) if item.kind == "op" else item.label
        self.items.append(item)
        self.at.append((panel, len(panel.items)))
        panel.items.append(item)
        return len(self.items) - 1

    def _mark_beyond(self, root: Panel) -> None:
        """Say beside the operators at the rim of a neighbourhood how many more are before and behind them."""
        for name, counts in list(self.network.beyond.items())[:_MOST_BEYOND]:
            at = int(self.seen_as[self.network.index[name]])
            for count, way in zip(counts, "<>", strict=True):
                if count:
                    stub = self._add(root, Item(f"beyond{way}{name}", "stub", f"{count} more", name))
                    self._join(*((stub, at) if way == "<" else (at, stub)), 1, "")

    def _ends(self, root: Panel, tensors: Sequence[str], kind: ItemKind) -> dict[str, int]:
        """Add the model's inputs or outputs; a crowd of them becomes one item."""
        if len(tensors) > _MOST_ENDS:
            number = self._add(root, Item(f"{kind}:*", kind, f"{len(tensors)} {kind}s", f"{tensors[0]} …"))
            return dict.fromkeys(tensors, number)
        notes = self.network.notes
        return {
            tensor: self._add(root, Item(f"{kind}:{tensor}", kind, tensor, notes.get(tensor, kind)))
            for tensor in tensors
        }

    def _fill(self, panel: Panel, scope: Scope) -> None:
        for child in scope.children:
            if isinstance(child, int):
                op = self.network.ops[child]
                note = "" if op.label == op.op_type else op.label
                self.seen_as[child] = self._add(panel, Item(op.name, "op", op.op_type, note, (child,)))
                continue
            note = _note(self.network, child)
            item = Item(child.path, child.kind, child.label, note, child.ops, child.copies)
            number = self._add(panel, item)
            if child.path in self.expanded:
                item.panel = Panel(child.path, child.label)
                self.inside[child.path] = self.at[number]
                self._fill(item.panel, child)
            else:
                self.seen_as[child.ops] = number

    def _pairs(self) -> list[tuple[int, int, int, str]]:
        """Return the joined pairs of items, how many tensors join them, and the name of the first."""
        if not len(self.network.tails):
            return []
        host = np.asarray(self.network.host)
        tails, heads = self.seen_as[host[self.network.tails]], self.seen_as[host[self.network.heads]]
        code = tails * len(self.items) + heads
        code[(tails == heads) | (tails < 0) | (heads < 0)] = -1
        values, first, counts = np.unique(code, return_index=True, return_counts=True)
        return [
            (*divmod(int(value), len(self.items)), int(count), self.network.tensors[int(at)])
            for value, at, count in zip(values, first, counts, strict=True)
            if value >= 0
        ]

    def _join(self, tail: int, head: int, count: int, name: str) -> None:
        """Add the edge between two items, link by link, through the ports of the panels that it leaves and enters."""
        source = self.items[tail].id
        out, into = self._way(tail), self._way(head)
        while len(out) > 1 and len(into) > 1 and out[1][0] is into[1][0]:
            out, into = out[1:], into[1:]
        tail_port = head_port = None
        for panel, number in reversed(out[1:]):
            port = self._port(panel, source, leaving=True)
            self._link(panel, (number, port, tail_port, None), count, name)
            tail_port = port
        inner: list[tuple[Panel, int]] = into[1:]
        for panel, number in reversed(inner):
            port = self._port(panel, source, leaving=False)
            self._link(panel, (port, number, None, head_port), count, name)
            head_port = port
        self._link(out[0][0], (out[0][1], into[0][1], tail_port, head_port), count, name)

    def _way(self, number: int) -> list[tuple[Panel, int]]:
        """Return, from the outermost panel in, where in each panel an item is."""
        panel, place = self.at[number]
        way = [(panel, place)]
        while panel.path:
            panel, place = self.inside[panel.path]
            way.append((panel, place))
        return way[::-1]

    def _port(self, panel: Panel, source: str, *, leaving: bool) -> int:
        key = (panel.path, source, leaving)
        if key not in self.ports:
            self.ports[key] = len(panel.items)
            note = self.titles.get(source, source)
            panel.items.append(Item(f"{panel.path}{'<>'[leaving]}{source}", "port", "out" if leaving else "in", note))
        return self.ports[key]

    def _link(self, panel: Panel, ends: tuple[int, int, int | None, int | None], count: int, name: str) -> None:
        key = (panel.path, *ends)
        if key in self.links:
            self.links[key].tensors += count
        else:
            self.links[key] = Link(*ends, count, name)
            panel.links.append(self.links[key])


def _split_hubs(panel: Panel) -> None:
    """Cut the long edges of an item that feeds many, far and wide, and put a stub beside each consumer instead."""
    edges = [(link.tail, link.head) for link in panel.links]
    fanout = Counter(tail for tail, _ in edges)
    if not any(count >= _HUB_FANOUT for count in fanout.values()):
        return
    turned = against_the_flow(len(panel.items), edges)
    flow = [(head, tail) if turn else (tail, head) for (tail, head), turn in zip(edges, turned, strict=True)]
    layer = assign_layers(len(panel.items), flow)
    carried: dict[int, set[str]] = {}
    for link in panel.links:
        carried.setdefault(link.tail, set()).add(link.name)
    names = {tail: next(iter(names)) if len(names) == 1 else "" for tail, names in carried.items()}
    kept = []
    for link in panel.links:
        if fanout[link.tail] >= _HUB_FANOUT and layer[link.head] - layer[link.tail] > _FAR_LAYERS:
            far = sum(1 for tail, head in flow if tail == link.tail and layer[head] - layer[tail] > _FAR_LAYERS)
            if far >= _FAR_EDGES:
                hub = panel.items[link.tail]
                label = names[link.tail] or hub.note or hub.label
                stub = Item(f"stub:{hub.id}>{panel.items[link.head].id}", "stub", label, hub.id, hub.ops)
                link = replace(link, tail=len(panel.items), tail_port=None)  # noqa: PLW2901
                panel.items.append(stub)
        kept.append(link)
    panel.links = kept
