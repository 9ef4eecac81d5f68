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

import re
from functools import reduce
from typing import TYPE_CHECKING

from workbench.errors import SelectorError
from workbench.graph.select.selectors import Selector, between, everything, pick, related
from workbench.limits import check

if TYPE_CHECKING:
    from collections.abc import Callable

    from workbench.graph.model import Model

__all__ = ["parse", "select"]

_TOKEN = re.compile(
    r"""\s*(?:(?P<mark>[&|(),])|(?P<not>!)|(?P<key>[A-Za-z_]+):(?!:)|(?P<quoted>"(?:[^"]|"")*"|'(?:[^']|'')*')"""
    r"""|(?P<word>[^\s&|(),"']+))"""
)


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
