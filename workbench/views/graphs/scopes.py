"""What of a model is shown: opening, closing, searching, focusing. Pure data; a state goes in, the next comes out."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from workbench.errors import SelectorError
from workbench.names import did_you_mean
from workbench.views.graphs.panel import build_panel
from workbench.views.graphs.tree import Scope, Tree, flat_tree, mirrored_tree, scope_tree

if TYPE_CHECKING:
    from collections.abc import Iterable

    from workbench.views.graphs.network import Network
    from workbench.views.graphs.panel import Panel

__all__ = ["MOST_VISIBLE", "GraphScopes", "ShownScopes"]

MOST_VISIBLE = 500
"""Never more nodes than this in one picture."""
_FIRST_PICTURE = 32
_SCOPE_SHARE, _FOLD_SHARE = 0.25, 0.7


@dataclass(frozen=True, slots=True)
class ShownScopes:
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
        self._near: tuple[object, Network, Tree] | None = None
        self._panel: tuple[object, Panel] | None = None

    def first(self) -> ShownScopes:
        """Return what to show first: scopes that hold most of the model are open, as far as it stays readable."""
        shown = ShownScopes()
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
        scope = self.tree.scopes.get(path) or self.tree.scopes.get(f"{path}/")
        if scope is None:
            fix = did_you_mean(path, self.tree.scopes, most=3, cutoff=0.4, otherwise="Search for a node in it.")
            raise SelectorError("there is no such scope", where=repr(path), fix=fix)
        return scope

    def expand(self, shown: ShownScopes, path: str) -> ShownScopes:
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

    def collapse(self, shown: ShownScopes, path: str) -> ShownScopes:
        """Close a scope and all within it."""
        closed = self.scope(path)
        kept = [other for other in map(self.scope, shown.expanded) if closed not in {other, *other.ancestors()}]
        return replace(shown, expanded=tuple(scope.path for scope in kept))

    def reveal(self, shown: ShownScopes, name: str) -> ShownScopes:
        """Open the scopes around an operator."""
        self.named([name])
        home = self.tree.home[self.network.host[self.network.index[name]]]
        return self.expand(shown, home.path) if home.path else replace(shown, focus=())

    def focus(self, shown: ShownScopes, names: Iterable[str], hops: int) -> ShownScopes:
        """Show only some operators and their neighbourhood; no names shows the whole model again."""
        return replace(shown, focus=tuple(self.named(names)), hops=max(hops, 0))

    def select(self, shown: ShownScopes, names: Iterable[str]) -> ShownScopes:
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
                fix = did_you_mean(name, self.network.index, most=3, cutoff=0.5, otherwise="Search for it.")
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

    def members(self, shown: ShownScopes, item_id: str) -> list[str]:
        """Return the operators that an item of the picture stands for."""
        for item in self.panel(shown).walk():
            if item.id == item_id:
                network = self.seen(shown)
                return [network.ops[at].name for at in item.ops]
        return []

    def panel(self, shown: ShownScopes) -> Panel:
        """Return the picture as data; the last one is kept, as every view asks for it several times."""
        key = (frozenset(shown.expanded), shown.focus, shown.hops)
        if self._panel is None or self._panel[0] != key:
            self._panel = (key, build_panel(self._seen(shown)[1], shown.expanded))
        return self._panel[1]

    def seen(self, shown: ShownScopes) -> Network:
        """Return the operators that the picture is about: all, or those in focus."""
        return self._seen(shown)[0]

    def _seen(self, shown: ShownScopes) -> tuple[Network, Tree]:
        if not shown.focus:
            return self.network, self.tree
        key = (shown.focus, shown.hops)
        if self._near is None or self._near[0] != key:
            near, _ = self.network.neighbourhood(shown.focus, shown.hops, MOST_VISIBLE - 100)
            self._near = (key, near, flat_tree(near))
        return self._near[1:]
