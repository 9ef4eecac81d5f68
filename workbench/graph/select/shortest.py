"""Say which nodes are meant in as few words as are exact: by operator, by scope, else by name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from workbench.graph.index import scope_of
from workbench.graph.select.language import select
from workbench.graph.select.selectors import nodes, pick

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from workbench.graph.model import Model
    from workbench.graph.select.selectors import Selector

__all__ = ["compact"]

_NUMBER = re.compile(r"\d+")
_WILD = re.compile(r"([*?\\])")


def compact(model: Model, targets: Collection[str], others: Collection[str]) -> list[str]:
    """Return selectors, in their text form, that together select all of some nodes and none of others.

    A whole operator, a whole scope, an operator within a scope, or names that differ in a number are named as such,
    with the few exceptions by name where that saves more names than it takes; what is left is named node by node. Nodes
    in neither group may be selected: a rule means nothing for them.

    Parameters
    ----------
    model
        The model.
    targets
        Nodes to select.
    others
        Nodes that must not be selected.
    """
    left, forbidden = set(targets), set(others)
    selectors: list[str] = []
    ideas = [(idea, set(select(model, idea, required=False))) for idea in _ideas(model, targets)]
    # Exceptions are worth it only where they are the few.
    ideas = [(idea, matched) for idea, matched in ideas if 3 * len(matched & forbidden) <= len(matched & left)]

    def saved(matched: set[str]) -> int:
        return len(matched & left) - 1 - len(matched & forbidden)

    while ideas:
        # What saves most names first; of equals the shortest, then by text, so that the result is always the same.
        idea, matched = min(ideas, key=lambda each: (-saved(each[1]), len(str(each[0])), str(each[0])))
        if saved(matched) < 1:
            break
        excepted = [address for address in model.nodes if address in matched & forbidden]
        selectors.append(str(idea & ~nodes(*excepted) if excepted else idea))
        left -= matched
    if left:
        selectors.append(str(nodes(*(address for address in model.nodes if address in left))))
    return selectors


def _ideas(model: Model, targets: Collection[str]) -> Iterator[Selector]:
    operators = dict.fromkeys(model.nodes[address].op_type for address in model.nodes if address in set(targets))
    scopes: dict[str, None] = {}
    for address in targets:
        scope = scope_of(address)
        while scope:
            scopes[scope] = None
            scope = scope_of(scope)
    for pattern in dict.fromkeys(_NUMBER.sub("*", _WILD.sub(r"\\\1", address)) for address in targets):
        yield pick("name", pattern)
    for operator in operators:
        yield pick("op", operator)
    for scope in scopes:
        inside = pick("scope", scope)
        yield inside
        for operator in operators:
            yield pick("op", operator) & inside
