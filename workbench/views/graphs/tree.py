"""The scopes of a model as a tree that never has many branches anywhere.

Names come first. What they leave flat is grouped into derived blocks, and a row of equal siblings is folded into one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from workbench.views.graphs.blocks import blocks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from workbench.views.graphs.network import Network

__all__ = ["MOST_CHILDREN", "Scope", "Tree", "flat_tree", "mirrored_tree", "scope_tree"]

MOST_CHILDREN = 48
"""More children than this are not seen at a glance; a scope with more gets derived blocks."""
_LEAST_FOLD = 3
_MOST_MIRRORED = 3 * MOST_CHILDREN

Kind = Literal["scope", "block", "fold"]


@dataclass(eq=False, slots=True)
class Scope:
    """A scope: named in the model, a derived block, or a fold of equal siblings.

    Attributes
    ----------
    path
        Its address; it ends in a slash, so that it is never that of an operator.
    label
        What the picture calls it.
    children
        Scopes, and operators by number, in running order.
    ops
        All operators beneath, by number, in running order.
    sign
        Equal for scopes of equal structure.
    copies
        Of how many equal siblings this is the fold.
    """

    path: str
    label: str
    kind: Kind = "scope"
    children: list[Scope | int] = field(default_factory=list)
    ops: list[int] = field(default_factory=list)
    sign: int = 0
    copies: int = 1
    parent: Scope | None = None

    def __repr__(self) -> str:
        return f"<{self.kind} {self.path}: {len(self.children)} children, {len(self.ops)} operators>"

    def ancestors(self) -> Iterator[Scope]:
        """Yield the scopes around this one, innermost first."""
        scope = self.parent
        while scope is not None:
            yield scope
            scope = scope.parent


class Tree:
    """A tree of scopes over a network, with its indexes."""

    def __init__(self, network: Network, root: Scope) -> None:
        self.network = network
        self.root = root
        self.scopes: dict[str, Scope] = {}
        self.home: list[Scope] = [root] * len(network.ops)
        """The scope that holds each operator directly."""
        todo = [root]
        while todo:
            scope = todo.pop()
            self.scopes[scope.path] = scope
            for child in scope.children:
                if isinstance(child, Scope):
                    child.parent = scope
                    todo.append(child)
                else:
                    self.home[child] = scope


def flat_tree(network: Network) -> Tree:
    """Return the tree of a neighbourhood: no scopes at all."""
    drawn = [at for at in range(len(network.ops)) if network.host[at] == at]
    return Tree(network, Scope("", "", children=list(drawn), ops=drawn))


def scope_tree(network: Network) -> Tree:
    """Return the tree of a whole model."""
    signs = _Signs(network)
    root = Scope("", "")
    by_path: dict[tuple[str, ...], Scope] = {(): root}
    for at, scope in enumerate(_scopes(network)):
        if network.host[at] != at:
            continue
        for depth in range(1, len(scope) + 1):
            if scope[:depth] not in by_path:
                new = Scope("/".join(scope[:depth]) + "/", scope[depth - 1])
                by_path[scope[:depth]] = new
                by_path[scope[: depth - 1]].children.append(new)
        by_path[scope].children.append(at)
    _finish(root, signs)
    return Tree(network, root)


def mirrored_tree(network: Network, like: Tree) -> Tree:
    """Return the tree of a model that came from another by edits: the same scopes, so that both open alike.

    A new operator joins the scope of what it feeds, else of what feeds it. Where most operators are new, or a scope has
    become a crowd, the model gets a tree of its own.
    """
    path = [
        like.home[like.network.index[op.name]].path if op.name in like.network.index else None for op in network.ops
    ]
    drawn = [at for at, host in enumerate(network.host) if at == host]
    if sum(1 for at in drawn if path[at] is None) * 2 > len(drawn):
        return scope_tree(network)
    joined = list(zip(network.tails.tolist(), network.heads.tolist(), strict=True))
    for ends in ([(tail, head) for tail, head in reversed(joined)], [(head, tail) for tail, head in joined]):
        for new, old in ends:
            if path[new] is None:
                path[new] = path[old]
    held: dict[str, list[int]] = {}
    for at in drawn:
        held.setdefault(path[at] or "", []).append(at)
    root = _mirrored(like.root, held)
    tree = Tree(network, root or Scope("", ""))
    crowd = max(len(scope.children) for scope in tree.scopes.values())
    return tree if crowd <= _MOST_MIRRORED else scope_tree(network)


def _mirrored(scope: Scope, held: dict[str, list[int]]) -> Scope | None:
    inner = [_mirrored(child, held) for child in scope.children if isinstance(child, Scope)]
    copy = Scope(scope.path, scope.label, scope.kind, sign=scope.sign, copies=scope.copies)
    copy.children = [*(child for child in inner if child is not None), *held.get(scope.path, ())]
    copy.children.sort(key=_middle)
    copy.ops = sorted(at for child in copy.children for at in _ops_of(child))
    return copy if copy.ops else None


def _scopes(network: Network) -> list[tuple[str, ...]]:
    """Return the scopes of every operator; one whose name tells none joins those it feeds, where they agree."""
    scopes = [op.scope for op in network.ops]
    named = sum(1 for scope in scopes if scope)
    if named * 2 < len(scopes):
        return scopes
    fed: dict[int, list[int]] = {}
    for tail, head in zip(network.tails.tolist(), network.heads.tolist(), strict=True):
        fed.setdefault(tail, []).append(head)
    for at in range(len(scopes) - 1, -1, -1):
        if not scopes[at] and at in fed:
            around = [scopes[head] for head in fed[at]]
            shared = 0
            while all(len(scope) > shared and scope[shared] == around[0][shared] for scope in around):
                shared += 1
            scopes[at] = around[0][:shared]
    return scopes


class _Signs:
    """Numbers for structures: equal structure, equal number."""

    def __init__(self, network: Network) -> None:
        self._ids: dict[object, int] = {}
        self.of_op = [self._number(op.op_type) for op in network.ops]
        """By the operator's place."""
        self.tails_of: dict[int, list[int]] = {}
        for tail, head in zip(network.tails.tolist(), network.heads.tolist(), strict=True):
            self.tails_of.setdefault(head, []).append(tail)

    def of(self, scope: Scope) -> int:
        """Return the number of a scope: its operators in order, and how they feed each other."""
        place = {at: index for index, at in enumerate(scope.ops)}
        rows = [
            (self.of_op[at], tuple([index - place[tail] for tail in self.tails_of.get(at, ()) if tail in place]))
            for index, at in enumerate(scope.ops)
        ]
        return self._number(tuple(rows))

    def _number(self, key: object) -> int:
        return self._ids.setdefault(key, len(self._ids))


def _finish(scope: Scope, signs: _Signs) -> None:
    """Tidy a scope from the leaves up: lone children merge, equal siblings fold, a crowd is grouped into blocks."""
    for index, child in enumerate(scope.children):
        if isinstance(child, Scope):
            _finish(child, signs)
            child.sign = signs.of(child)
            scope.children[index] = _lone(child)
    scope.children.sort(key=_middle)
    _fold(scope)
    if len(scope.children) > MOST_CHILDREN:
        _group(scope, signs)
        _fold(scope)
        while len(scope.children) > MOST_CHILDREN:
            _group(scope, signs)
    scope.ops = sorted(at for child in scope.children for at in _ops_of(child))


def _middle(child: Scope | int) -> int:
    """Return where in the running order a child stands; exporters like to put a scope's shape arithmetic far ahead."""
    return child.ops[len(child.ops) // 2] if isinstance(child, Scope) else child


def _ops_of(child: Scope | int) -> Sequence[int]:
    return child.ops if isinstance(child, Scope) else (child,)


def _lone(scope: Scope) -> Scope | int:
    """Return what stands for a scope with a single child: the child, under both names."""
    if len(scope.children) != 1:
        return scope
    child = scope.children[0]
    if isinstance(child, Scope) and child.kind != "fold":
        child.label = f"{scope.label}/{child.label}"
    return child


def _fold(scope: Scope) -> None:
    """Put every row of equal neighbours, three or more, into one fold."""
    children: list[Scope | int] = []
    row: list[Scope] = []
    for child in [*scope.children, -1]:
        if row and not (isinstance(child, Scope) and _alike(row[0], child)):
            if len(row) < _LEAST_FOLD or len(row) == len(scope.children):
                children += row
            else:
                children.append(_folded(row))
            row = []
        if isinstance(child, Scope):
            row.append(child)
        elif child >= 0:
            children.append(child)
    scope.children = children


def _folded(row: list[Scope]) -> Scope:
    """Return one scope for a row of equal siblings; a very long row is folded in parts first."""
    fold = Scope(f"{row[0].path[:-1]}…{_tail(row)}/", f"{row[0].label} … {row[-1].label}", "fold")
    fold.copies, fold.sign = len(row), row[0].sign
    fold.ops = [at for member in row for at in member.ops]
    size = -(-len(row) // MOST_CHILDREN)
    parts = [row[at : at + size] for at in range(0, len(row), size)]
    fold.children = [_folded(part) if len(part) > 1 else part[0] for part in parts]
    return fold


def _alike(one: Scope, other: Scope) -> bool:
    if one.sign != other.sign or "fold" in {one.kind, other.kind}:
        return False
    return re.sub(r"\d+", "#", one.label) == re.sub(r"\d+", "#", other.label)


def _tail(row: list[Scope]) -> str:
    numbers = re.findall(r"\d+", row[-1].label)
    return str(numbers[-1]) if numbers else row[-1].label


def _group(scope: Scope, signs: _Signs) -> None:
    """Put the children of a scope into derived blocks."""
    children = scope.children
    place = {
        at: index
        for index, child in enumerate(children)
        for at in (child.ops if isinstance(child, Scope) else (child,))
    }
    edges = [
        (place[tail], place[head])
        for head in place
        for tail in signs.tails_of.get(head, ())
        if tail in place and place[tail] < place[head]
    ]
    marks = [child.sign if isinstance(child, Scope) else signs.of_op[child] for child in children]
    grouped: list[Scope | int] = []
    level = 1 + max((_level(child) for child in children), default=0)
    word = {1: "block", 2: "stage"}.get(level, f"part {level - 2} ·")
    count = 0
    for start, end in blocks(marks, sorted(set(edges)), MOST_CHILDREN):
        if end - start == 1:
            grouped.append(children[start])
            continue
        count += 1
        label = f"{word} {count}"
        block = Scope(f"{scope.path}~{label}/", label, "block", children[start:end])
        block.ops = sorted(at for child in block.children for at in _ops_of(child))
        block.sign = signs.of(block)
        if len(block.children) > MOST_CHILDREN:
            _group(block, signs)
        _fold(block)
        grouped.append(block)
    scope.children = grouped


def _level(child: Scope | int) -> int:
    """Return how deep derived blocks are nested at the top of a child."""
    if not isinstance(child, Scope) or child.kind == "scope":
        return 0
    inner = max((_level(grandchild) for grandchild in child.children), default=0)
    return inner + (child.kind == "block")
