"""Which of a model's nodes and scopes are drawn, and how they are joined: pure data, no pixels.

An expanded scope is a panel of its own. An edge that crosses a panel's border does so at a port, so every panel is a
small graph by itself and can be laid out by itself.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from workbench.errors import SelectorError
from workbench.views.graph_tree import Scope, Tree, flat_tree, mirrored_tree, scope_tree
from workbench.views.layout.cycles import against_the_flow
from workbench.views.layout.layers import assign_layers

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from workbench.views.graph_ops import Network

__all__ = ["MOST_VISIBLE", "GraphScopes", "Item", "Link", "Panel", "Shown"]

MOST_VISIBLE = 500
"""Never more nodes than this in one picture."""
_FIRST_PICTURE = 32
_SCOPE_SHARE, _FOLD_SHARE = 0.25, 0.7
_MOST_ENDS = 12
_LONGEST_NOTE = 34
_HUB_FANOUT = 6
_FAR_LAYERS = 2
_FAR_EDGES = 4

ItemKind = Literal["op", "scope", "block", "fold", "input", "output", "stub", "port"]


@dataclass(frozen=True, slots=True)
class Shown:
    """What a person has chosen to see.

    Attributes
    ----------
    expanded
        Paths of the scopes that are open, the latest last.
    focus, hops
        Only these operators and those at most `hops` tensors away; empty for the whole model.
    selected
        Names of the selected operators.
    """

    expanded: tuple[str, ...] = ()
    focus: tuple[str, ...] = ()
    hops: int = 2
    selected: tuple[str, ...] = ()


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


class GraphScopes:
    """The collapsed view of a model: every method takes what is shown and gives what is to be shown.

    Parameters
    ----------
    network
        The model's operators.
    like
        The view of the model that this one came from by edits: scopes stay what they were.
    """

    def __init__(self, network: Network, like: GraphScopes | None = None) -> None:
        self.network = network
        self.tree: Tree = scope_tree(network) if like is None else mirrored_tree(network, like.tree)
        self._notes: dict[str, str] = {}
        self._near: tuple[object, Network, Tree] | None = None
        self._panel: tuple[object, Panel] | None = None

    def first(self) -> Shown:
        """Return what to show first: scopes that hold most of the model are open, as far as it stays readable."""
        shown = Shown()
        count = len(self.tree.root.children)
        closed = [child for child in self.tree.root.children if isinstance(child, Scope)]
        while closed:
            largest = max(closed, key=lambda scope: len(scope.ops))
            count += len(largest.children) - 1
            share = len(largest.ops) / len(self.network.ops)
            if count > _FIRST_PICTURE or share < (_FOLD_SHARE if largest.kind == "fold" else _SCOPE_SHARE):
                break
            shown = replace(shown, expanded=(*shown.expanded, largest.path))
            closed.remove(largest)
            closed += [child for child in largest.children if isinstance(child, Scope)]
        return shown

    def scope(self, path: str) -> Scope:
        """Return a scope by its path, with or without the slash at its end.

        Raises
        ------
        SelectorError
            There is none; near paths are suggested.
        """
        found = self.tree.scopes.get(path) or self.tree.scopes.get(f"{path}/")
        if found is None:
            near = difflib.get_close_matches(path, self.tree.scopes, n=3, cutoff=0.4)
            raise SelectorError(
                "there is no such scope",
                where=repr(path),
                fix=f"Did you mean {' or '.join(map(repr, near))}?" if near else "Search for a node in it.",
            )
        return found

    def expand(self, shown: Shown, path: str) -> Shown:
        """Open a scope and those around it; where that is too much for one picture, those opened first are closed."""
        scope = self.scope(path)
        around = [outer.path for outer in scope.ancestors() if outer.path]
        opened = [*reversed(around), scope.path]
        kept = [other for other in shown.expanded if other not in opened]
        shown = replace(shown, expanded=(*kept, *opened), focus=())
        while kept and self.panel(shown).visible() > MOST_VISIBLE:
            kept.pop(0)
            shown = replace(shown, expanded=(*kept, *opened))
        return shown

    def collapse(self, shown: Shown, path: str) -> Shown:
        """Close a scope and all within it."""
        closed = self.scope(path)
        kept = [other for other in map(self.scope, shown.expanded) if closed not in {other, *other.ancestors()}]
        return replace(shown, expanded=tuple(scope.path for scope in kept))

    def reveal(self, shown: Shown, name: str) -> Shown:
        """Open the scopes around an operator."""
        self.named([name])
        home = self.tree.home[self.network.host[self.network.index[name]]]
        return self.expand(shown, home.path) if home.path else replace(shown, focus=())

    def focus(self, shown: Shown, names: Iterable[str], hops: int) -> Shown:
        """Show only some operators and their neighbourhood; no names shows the whole model again."""
        return replace(shown, focus=tuple(self.named(names)), hops=max(hops, 0))

    def select(self, shown: Shown, names: Iterable[str]) -> Shown:
        """Select operators by name."""
        return replace(shown, selected=tuple(dict.fromkeys(self.named(names))))

    def named(self, names: Iterable[str]) -> list[str]:
        """Return names as they are given.

        Raises
        ------
        SelectorError
            One of them is no operator's; near ones are suggested.
        """
        names = list(names)
        for name in names:
            if name not in self.network.index:
                near = difflib.get_close_matches(name, self.network.index, n=3, cutoff=0.5)
                fix = f"Did you mean {' or '.join(map(repr, near))}?" if near else "Search for it."
                raise SelectorError("there is no such node", where=repr(name), fix=fix)
        return names

    def search(self, pattern: str) -> list[str]:
        """Return the operators that a regular expression finds by name, type, or a tensor they make or are fed first.

        Upper and lower case are the same.

        Raises
        ------
        SelectorError
            It is no regular expression.
        """
        try:
            find = re.compile(pattern, re.IGNORECASE).search
        except re.error as error:
            raise SelectorError(f"not a regular expression: {error}", where=repr(pattern)) from error
        fed = set(self.network.inputs)
        return [
            op.name
            for op in self.network.ops
            if find(op.name)
            or find(op.op_type)
            or any(find(tensor) for tensor in op.outputs)
            or any(tensor in fed and find(tensor) for tensor in op.inputs)
        ]

    def members(self, shown: Shown, item_id: str) -> list[str]:
        """Return the operators that an item of the picture stands for."""
        for item in self.panel(shown).walk():
            if item.id == item_id:
                network = self.seen(shown)
                return [network.ops[at].name for at in item.ops]
        return []

    def panel(self, shown: Shown) -> Panel:
        """Return the picture as data; the last one is kept, as every view asks for it several times."""
        key = (frozenset(shown.expanded), shown.focus, shown.hops)
        if self._panel is None or self._panel[0] != key:
            network, tree = self._seen(shown)
            self._panel = (key, _Builder(self, network, tree, set(shown.expanded)).build())
        return self._panel[1]

    def seen(self, shown: Shown) -> Network:
        """Return the operators that the picture is about: all, or those in focus."""
        return self._seen(shown)[0]

    def _seen(self, shown: Shown) -> tuple[Network, Tree]:
        if not shown.focus:
            return self.network, self.tree
        key = (shown.focus, shown.hops)
        if self._near is None or self._near[0] != key:
            near, _ = self.network.neighbourhood(shown.focus, shown.hops, MOST_VISIBLE - 100)
            self._near = (key, near, flat_tree(near))
        return self._near[1:]

    def note(self, network: Network, scope: Scope) -> str:
        """Return the second line of a scope: how many operators, and which types most."""
        if scope.path not in self._notes:
            note = f"{len(scope.ops):,} ops ·"
            for kind, _ in Counter(network.ops[at].op_type for at in scope.ops).most_common(3):
                note += f" {kind}" if len(note) + len(kind) < _LONGEST_NOTE else ""
            self._notes[scope.path] = note
        return self._notes[scope.path]


class _Builder:
    """Builds the panels for one state."""

    def __init__(self, scopes: GraphScopes, network: Network, tree: Tree, expanded: set[str]) -> None:
        self.scopes, self.network, self.tree, self.expanded = scopes, network, tree, expanded
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
        for panel in [root, *(item.panel for item in self.items if item.panel is not None)]:
            _split_hubs(panel)
        return root

    def _add(self, panel: Panel, item: Item) -> int:
        self.titles[item.id] = (item.note or item.label) if item.kind == "op" else item.label
        self.items.append(item)
        self.at.append((panel, len(panel.items)))
        panel.items.append(item)
        return len(self.items) - 1

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
            note = self.scopes.note(self.network, child)
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
    names = {tail: next(iter(found)) if len(found) == 1 else "" for tail, found in carried.items()}
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
