"""Selectors: questions that each node of a model answers, and what makes them in Python."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from workbench.errors import SelectorError
from workbench.graph.select.keys import KEYS, RELATIONS, WORDS, compiled, on_path, similar, tensor_names
from workbench.names import did_you_mean

if TYPE_CHECKING:
    from workbench.graph.model import Model

__all__ = ["Selector", "between", "everything", "nodes", "pick", "related"]

_NEEDS_QUOTES = re.compile(r"""[\s&|(),"']|^$|^[!:]|^[A-Za-z_]+:(?!:)""")


class Selector(ABC):
    """A question that each node of a model answers with yes or no; combine with ``&``, ``|`` and ``~``.

    ``str(selector)`` is its text form, which `workbench.graph.select.language` reads.
    """

    strength: ClassVar[int] = 3
    """How tightly the text form binds: or 0, and 1, not 2, the rest 3."""

    @abstractmethod
    def among(self, model: Model) -> set[str]:
        """Return the addresses of the nodes that match, in no order."""

    def blame(self, model: Model) -> Selector | None:  # noqa: ARG002 - parts made of others ask it
        """Return the part for which nothing matches; ``None`` where every part alone matches something."""
        return self

    def near(self, model: Model) -> list[str]:  # noqa: ARG002 - kinds with words of their own ask it
        """Return names the writer may have meant, where nothing matches."""
        return []

    def match(self, model: Model) -> list[str]:
        """Return the addresses of the nodes that match, in graph order; empty where none does."""
        addresses = self.among(model)
        return [address for address in model.nodes if address in addresses]

    def __and__(self, other: Selector) -> Selector:
        return And(_flat(And, self, other))

    def __or__(self, other: Selector) -> Selector:
        return Or(_flat(Or, self, other))

    def __invert__(self) -> Selector:
        return self.part if isinstance(self, Not) else Not(self)

    def _inside(self, strength: int) -> str:
        return f"({self})" if self.strength <= strength else str(self)


@dataclass(frozen=True)
class Everything(Selector):
    """``*``: every node."""

    def among(self, model: Model) -> set[str]:
        return set(model.nodes)

    def __str__(self) -> str:
        return "*"


@dataclass(frozen=True)
class Pick(Selector):
    """``key:value|value``: nodes of which one property has one of some values."""

    key: str
    values: tuple[str, ...]

    def among(self, model: Model) -> set[str]:
        test = KEYS[self.key]
        return set().union(*(test(model, value) for value in self.values))

    def near(self, model: Model) -> list[str]:
        words = sorted(set(WORDS[self.key](model)))
        return [f"{self.key}:{_quoted(word)}" for value in self.values for word in similar(value, words)][:3]

    def __str__(self) -> str:
        first, *more = self.values
        # A bare star after "|" would be a selector of its own.
        return "|".join(
            [f"{self.key}:{_quoted(first)}", *('"*"' if value == "*" else _quoted(value) for value in more)]
        )


@dataclass(frozen=True)
class Between(Selector):
    """``between(A, B)``: nodes on a path from tensor A to tensor B."""

    start: str
    end: str

    def among(self, model: Model) -> set[str]:
        return on_path(model, self.start, self.end)

    def near(self, model: Model) -> list[str]:
        names = set(tensor_names(model))
        return [_quoted(word) for name in (self.start, self.end) if name not in names for word in similar(name, names)]

    def __str__(self) -> str:
        return f"between({_quoted(self.start)}, {_quoted(self.end)})"


@dataclass(frozen=True)
class Related(Selector):
    """``upstream(S)``, ``downstream(S)``, ``consumers(S)``, ``producers(S)``: neighbours of other nodes."""

    relation: str
    part: Selector

    def among(self, model: Model) -> set[str]:
        return RELATIONS[self.relation](model, self.part.among(model))

    def blame(self, model: Model) -> Selector | None:
        return self if self.part.among(model) else self.part.blame(model)

    def __str__(self) -> str:
        return f"{self.relation}({self.part})"


@dataclass(frozen=True)
class Not(Selector):
    """``!S``: the nodes that S does not match."""

    part: Selector
    strength = 2

    def among(self, model: Model) -> set[str]:
        return set(model.nodes) - self.part.among(model)

    def __str__(self) -> str:
        return f"!{self.part._inside(1)}"  # noqa: SLF001 - a sibling


@dataclass(frozen=True)
class And(Selector):
    """``S & T``: what every part matches."""

    parts: tuple[Selector, ...]
    strength = 1

    def among(self, model: Model) -> set[str]:
        return set.intersection(*(part.among(model) for part in self.parts))

    def blame(self, model: Model) -> Selector | None:
        return next((part.blame(model) for part in self.parts if not part.among(model)), None)

    def __str__(self) -> str:
        return " & ".join(part._inside(0) for part in self.parts)  # noqa: SLF001 - a sibling


@dataclass(frozen=True)
class Or(Selector):
    """``S | T``: what at least one part matches."""

    parts: tuple[Selector, ...]
    strength = 0

    def among(self, model: Model) -> set[str]:
        return set().union(*(part.among(model) for part in self.parts))

    def blame(self, model: Model) -> Selector | None:
        return self.parts[0].blame(model)

    def __str__(self) -> str:
        return " | ".join(str(part) for part in self.parts)


everything = Everything()
"""The selector of every node, ``*``."""


def pick(key: str, *values: str) -> Selector:
    """Return the selector ``key:value|value``.

    Raises
    ------
    SelectorError
        There is no such key, or no value.
    """
    if key not in KEYS:
        raise SelectorError(f"there is no key {key!r}", fix=did_you_mean(key, KEYS))
    if not values:
        raise SelectorError(f"the key {key!r} needs a value", fix=f"For example {key}:*.")
    if key == "re":
        for value in values:
            compiled(value)
    return Pick(key, values)


def nodes(*addresses: str) -> Selector:
    """Return the selector of exactly these nodes: ``name:A|B`` with wildcards escaped."""
    return pick("name", *(re.sub(r"([*?\\])", r"\\\1", address) for address in addresses))


def between(start: str, end: str) -> Selector:
    """Return the selector of the nodes on a path from one tensor to another."""
    return Between(start, end)


def related(relation: str, part: Selector) -> Selector:
    """Return the selector of the ``upstream``, ``downstream``, ``consumers`` or ``producers`` of other nodes.

    Raises
    ------
    SelectorError
        There is no such relation.
    """
    if relation not in RELATIONS:
        raise SelectorError(f"there is no {relation!r}", fix=did_you_mean(relation, [*RELATIONS, "between"]))
    return Related(relation, part)


def _quoted(value: str) -> str:
    return '"' + value.replace('"', '""') + '"' if _NEEDS_QUOTES.search(value) else value


def _flat(kind: type[And | Or], *parts: Selector) -> tuple[Selector, ...]:
    return tuple(inner for part in parts for inner in (part.parts if isinstance(part, kind) else (part,)))
