"""What a notebook shows of a result: one sentence with the figure that matters, and at most a screen of rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

__all__ = ["Card", "Shown", "ShownText", "counted", "in_words", "shortened"]

MOST_ROWS = 15
MOST_NOTES = 5
MOST_CHARACTERS = 60
MOST_OF_A_SENTENCE = 400


def counted(number: int, noun: str) -> str:
    """Return how many there are, in words: ``1 edit``, ``2,000 edits``."""
    return f"{number} {noun}" if number == 1 else f"{number:,} {noun}s"


def shortened(text: str, most: int) -> str:
    """Return a text of at most so many characters, its end left out where it is longer."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


@dataclass(frozen=True)
class Card:
    """A result in one screen.

    Parameters
    ----------
    headline
        One sentence.
    header, rows
        A table, its most important rows first; those beyond a screen are counted, not shown.
    notes
        A sentence each.
    """

    headline: str
    header: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def of_text(cls, text: str) -> Card:
        """Return a text as a card: its first line is the headline."""
        headline, *lines = text.splitlines() or [""]
        return cls(headline, notes=tuple(lines))

    def text(self) -> str:
        """Return it as lines."""
        shown = [[_short(cell) for cell in row] for row in self.rows[:MOST_ROWS]]
        widths = [max(map(len, column)) for column in zip(self.header, *shown, strict=True)] if self.header else []
        table = [self.header, *shown] if shown else []
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
        ]
        return "\n".join([self._sentence(), *(f"  {line}" for line in lines), *(f"  {more}" for more in self._more())])

    def html(self) -> str:
        """Return it as HTML that takes the page's own colours."""
        line = "1px solid color-mix(in srgb,currentColor 20%,transparent)"
        cells = f"padding:.15em .8em .15em 0;text-align:left;border-bottom:{line}"
        parts = [f"<p style='margin:.3em 0'><strong>{escape(self._sentence())}</strong></p>"]
        if self.rows:
            head = "".join(f"<th style='{cells}'>{escape(name)}</th>" for name in self.header)
            body = "".join(
                f"<tr>{''.join(f'<td style={cells!r}>{escape(_short(cell))}</td>' for cell in row)}</tr>"
                for row in self.rows[:MOST_ROWS]
            )
            parts.append(f"<table style='border-collapse:collapse'><tr>{head}</tr>{body}</table>")
        parts += [f"<p style='margin:.2em 0;opacity:.75'>{escape(more)}</p>" for more in self._more()]
        return f"<div style='overflow-x:auto'>{''.join(parts)}</div>"

    def _sentence(self) -> str:
        return shortened(self.headline, MOST_OF_A_SENTENCE)

    def _more(self) -> list[str]:
        left = len(self.rows) - MOST_ROWS
        more = [f"and {left} more"] if left > 0 else []
        more += (shortened(note, MOST_OF_A_SENTENCE) for note in self.notes[:MOST_NOTES])
        return [*more, f"and {len(self.notes) - MOST_NOTES} more notes"] if len(self.notes) > MOST_NOTES else more


class Shown(ABC):
    """What shows itself as a card, in a notebook and in a terminal."""

    @abstractmethod
    def _card(self) -> Card: ...

    def __init_subclass__(cls) -> None:
        """Keep the card where a dataclass would write a line with all of its fields."""
        super().__init_subclass__()
        if "__repr__" not in vars(cls):
            setattr(cls, "__repr__", Shown.__repr__)  # noqa: B010 - mypy takes no assignment to a method

    def _repr_html_(self) -> str:
        return self._card().html()

    def __repr__(self) -> str:
        return self._card().text()


class ShownText(Shown):
    """What shows its text: the first line is the headline."""

    @abstractmethod
    def text(self) -> str:
        """Return it in lines."""

    def _card(self) -> Card:
        return Card.of_text(self.text())


def in_words(value: Any) -> str:
    """Return a value as a person writes it: a mapping's names before what they hold, one called ``name`` left out."""
    if isinstance(value, Mapping):
        parts = (("" if key == "name" else f"{key} ".replace("_", " ")) + in_words(held) for key, held in value.items())
        return ", ".join(parts)
    return ", ".join(map(in_words, value)) if isinstance(value, (list, tuple)) else str(value)


def _short(cell: Any) -> str:
    if cell is None or cell != cell:  # noqa: PLR0124 - NaN is what is not equal to itself
        return ""
    return shortened(f"{cell:.4g}" if isinstance(cell, float) else " ".join(str(cell).split()), MOST_CHARACTERS)
