r"""How people name nodes: ``op:Conv & scope:/encoder/* & !name:*/stem*``, as text and in Python.

====================  ==================================================================================================
``*``                 every node
``name:GLOB``         by address (see `Model.nodes`); ``*`` and ``?`` are wildcards, ``\*`` a plain star
``re:REGEX``          by address; the regular expression may match anywhere in it
``op:TYPE``           by operator, with its domain or without: ``op:Conv``, ``op:com.microsoft.*``
``scope:PATH``        everything beneath a name scope; ``*`` stands for one level, ``**`` for any number of levels
``dtype:TYPE``        by the element type of a result: ``dtype:FLOAT16``, ``dtype:int64``
``has:weights``       reads constants that are parameters; ``has:subgraph`` holds a subgraph
``reads:GLOB``        reads a tensor of that name; ``makes:GLOB`` makes it
``between(A, B)``     on a path from tensor A to tensor B
``upstream(S)``       what the nodes of selector S depend on; ``downstream(S)`` what depends on them
``consumers(S)``      what reads a result of S; ``producers(S)`` what S reads a result of
``S & T  S | T  !S``  and, or, not; ``!`` binds tightest, then ``&``; parentheses group
``op:Conv|Gemm``      several values of one key
====================  ==================================================================================================

Values with blanks or any of ``& | ( ) , "`` go in quotes; a doubled quote stands for one.
"""

from __future__ import annotations

import difflib
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, ClassVar

from workbench.errors import SelectorError
from workbench.graph.select.keys import KEYS, RELATIONS, WORDS, compiled, on_path, similar, tensor_names
from workbench.limits import check

if TYPE_CHECKING:
    from collections.abc import Callable

    from workbench.graph.model import Model

__all__ = ["Selector", "between", "everything", "nodes", "parse", "pick", "related", "select"]


class Selector(ABC):
    """A question that each node of a model answers with yes or no; combine with ``&``, ``|`` and ``~``.

    ``str(selector)`` is its text form, and ``parse(str(selector)) == selector``.
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


def select(model: Model, selector: Selector | str, *, required: bool = True) -> list[str]:
    """Return the addresses of the nodes that a selector names, in graph order.

    Raises
    ------
    SelectorError
        The text cannot be read; or nothing matches and `required` is true: the message suggests near names.
    """
    parsed = parse(selector) if isinstance(selector, str) else selector
    addresses = parsed.match(model)
    if addresses or not required:
        return addresses
    empty = parsed.blame(model)
    if empty is None:
        raise SelectorError(
            "no node fulfils all of it at once", where=str(parsed), fix="Each part alone matches; drop one of them."
        )
    near = empty.near(model)
    raise SelectorError(
        "matches nothing" if empty == parsed else f"matches nothing, for {str(empty)!r} does not",
        where=str(parsed),
        fix=f"Did you mean {' or '.join(near)}?" if near else f"Look at the names in {model.name}.",
    )


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
        near = difflib.get_close_matches(key, KEYS, n=1)
        raise SelectorError(
            f"there is no key {key!r}", fix=f"Did you mean {near[0]}?" if near else f"There are {', '.join(KEYS)}."
        )
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
        near = difflib.get_close_matches(relation, [*RELATIONS, "between"], n=1)
        raise SelectorError(
            f"there is no {relation!r}",
            fix=f"Did you mean {near[0]}?" if near else f"There are {', '.join(RELATIONS)}.",
        )
    return Related(relation, part)


_TOKEN = re.compile(
    r"""\s*(?:(?P<mark>[&|(),])|(?P<not>!)|(?P<key>[A-Za-z_]+):(?!:)|(?P<quoted>"(?:[^"]|"")*"|'(?:[^']|'')*')"""
    r"""|(?P<word>[^\s&|(),"']+))"""
)
_NEEDS_QUOTES = re.compile(r"""[\s&|(),"']|^$|^[!:]|^[A-Za-z_]+:(?!:)""")


def _quoted(value: str) -> str:
    return '"' + value.replace('"', '""') + '"' if _NEEDS_QUOTES.search(value) else value


def parse(text: str) -> Selector:
    """Read a selector's text form; the module's docstring shows the language.

    Raises
    ------
    SelectorError
        The text is not a selector; the message says where.
    """
    check("selector_characters", len(text), SelectorError, where="the selector")
    return _Reader(text).whole()


class _Reader:
    """A recursive descent over the tokens of one text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[str, str, int]] = []
        place = 0
        while text[place:].strip():
            match = _TOKEN.match(text, place)
            if match is None or match.lastgroup is None:
                raise self._error("a quote that is not closed", place)
            self.tokens.append((match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))
            place = match.end()
            if match.lastgroup == "key" and (value := re.compile(r"[^\s&|(),\"']+").match(text, place)):
                self.tokens.append(("word", value[0], place))
                place = value.end()
        self.at = 0
        self.depth = 0

    def whole(self) -> Selector:
        selector = self._any()
        if self.at < len(self.tokens):
            raise self._error("something is left over", self.tokens[self.at][2])
        return selector

    def _any(self) -> Selector:
        return reduce(Selector.__or__, self._list(self._all, "|"))

    def _all(self) -> Selector:
        return reduce(Selector.__and__, self._list(self._one, "&"))

    def _list(self, part: Callable[[], Selector], mark: str) -> list[Selector]:
        parts = [part()]
        while self._take("mark", mark):
            parts.append(part())
        return parts

    def _one(self) -> Selector:
        self.depth += 1
        check("selector_depth", self.depth, SelectorError, where="the selector")
        selector = self._single()
        self.depth -= 1
        return selector

    def _single(self) -> Selector:
        if self._take("not"):
            return ~self._one()
        if self._take("mark", "("):
            inner = self._any()
            self._close()
            return inner
        if key := self._take("key"):
            return self._values(key)
        if (word := self._take("word")) == "*":
            return everything
        if word is not None and self._take("mark", "("):
            return self._call(word)
        last = self.tokens[self.at - 1] if word is not None else self._next()
        raise self._error(
            f"{last[1]!r} is no selector" if last[1] else "a selector is missing",
            last[2],
            fix=f"Write name:{word} for a name." if word else "See the table in workbench.graph.select.language.",
        )

    def _values(self, key: str) -> Selector:
        values = [self._value()]
        # A plain word after "|" is one more value of the same key; anything else belongs to the outer "or".
        while self._next()[:2] == ("mark", "|") and self._is_value(1):
            self.at += 1
            values.append(self._value())
        return pick(key, *values)

    def _is_value(self, ahead: int) -> bool:
        kind, text, _ = self._next(ahead)
        return kind == "quoted" or (kind == "word" and text != "*" and self._next(ahead + 1)[:2] != ("mark", "("))

    def _call(self, name: str) -> Selector:
        if name == "between":
            start = self._value()
            if not self._take("mark", ","):
                raise self._error("between needs two tensors", self._next()[2], fix="Write between(a, b).")
            selector = between(start, self._value())
        else:
            selector = related(name, self._any())
        self._close()
        return selector

    def _value(self) -> str:
        if (word := self._take("word")) is not None:
            return word
        if (quoted := self._take("quoted")) is not None:
            mark = quoted[0]
            return quoted[1:-1].replace(mark * 2, mark)
        raise self._error("a value is missing", self._next()[2])

    def _close(self) -> None:
        if not self._take("mark", ")"):
            raise self._error("a closing parenthesis is missing", self._next()[2])

    def _next(self, ahead: int = 0) -> tuple[str, str, int]:
        place = self.at + ahead
        return self.tokens[place] if place < len(self.tokens) else ("end", "", len(self.text))

    def _take(self, kind: str, text: str | None = None) -> str | None:
        token = self._next()
        if token[0] != kind or (text is not None and token[1] != text):
            return None
        self.at += 1
        return token[1]

    def _error(self, what: str, place: int, *, fix: str | None = None) -> SelectorError:
        return SelectorError(f"at column {place + 1}: {what}", where=self.text or "an empty selector", fix=fix)


def _flat(kind: type[And | Or], *parts: Selector) -> tuple[Selector, ...]:
    return tuple(inner for part in parts for inner in (part.parts if isinstance(part, kind) else (part,)))
