"""A table with rows to select and columns to sort by: what every view that has one is made of."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from workbench.errors import SelectorError
from workbench.views.kit.requests import page, request
from workbench.views.kit.widget import View

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from workbench.session import Workbench

__all__ = ["Column", "Row", "Table", "table_state"]

Value = str | float | int | None


@dataclass(frozen=True)
class Column:
    """A column: how it is called, and whether it shows words, a number, a number with a bar, or one with a colour."""

    key: str
    label: str
    kind: Literal["text", "number", "bar", "colour"] = "text"
    title: str = ""


@dataclass
class Row:
    """A row: what it is sorted by, what it says, and its bars and colours, all by column.

    Attributes
    ----------
    id
        By which it is selected.
    search
        What a search looks into.
    values
        What it is sorted by; ``None`` is unknown, and comes last.
    texts, looks
        What a cell shows, and of a bar its ``share`` of the longest and its ``colour``.
    title, kind
        What resting on the row tells, and a word that its style depends on.
    """

    id: str
    search: str = ""
    values: dict[str, Value] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    looks: dict[str, dict[str, Any]] = field(default_factory=dict)
    title: str = ""
    kind: str = ""

    def put(self, key: str, value: Value, text: str | None = None, **look: Any) -> None:
        """Fill a cell; None is unknown."""
        self.values[key] = value
        self.texts[key] = text if text is not None else "unknown" if value is None else str(value)
        if look:
            self.looks[key] = look


class Table(View):
    """Rows to select and to sort; the order and the selection are kept here.

    Parameters
    ----------
    *sessions
        The workbench that is shown, if there is one.
    order
        Column to sort by at first, and whether downwards.
    """

    _esm, _css = page(Path(__file__).with_name("table.js"))

    def __init__(self, *sessions: Workbench | None, order: tuple[str, bool] = ("", False)) -> None:
        super().__init__(*sessions)
        self.order = order
        self._chosen: tuple[str, ...] = ()

    @abstractmethod
    def ids(self) -> Collection[str]:
        """Return what can be selected."""

    @abstractmethod
    def sortable(self) -> Sequence[str]:
        """Return the keys of the columns."""

    def choose(self, ids: Iterable[str]) -> None:
        """Select rows; those that there are not are passed over."""
        present = self.ids()
        self._chosen = tuple(one for one in dict.fromkeys(ids) if one in present)
        self.mark()
        self.selects()

    def sort(self, column: str, *, descending: bool = True) -> None:
        """Sort by a column; what is unknown comes last.

        Raises
        ------
        SelectorError
            There is no such column.
        """
        if column not in self.sortable():
            columns = ", ".join(self.sortable())
            raise SelectorError("there is no such column", where=column, fix=f"There are {columns}.")
        self.order = (column, descending)
        self.arrange()

    def arrange(self) -> None:
        """Show the rows in their order."""
        self.mark()

    def mark_state(self) -> dict[str, Any]:
        """Return the selection and the order."""
        return {"selected": list(self._chosen), "order": list(self.order)}

    def downwards(self, column: str) -> bool:  # noqa: ARG002 - a subclass may ask
        """Say whether a column is sorted downwards at the first click."""
        return True

    @request
    def _on_sort(self, column: str) -> None:
        again, down = self.order[0] == column, self.order[1]
        self.sort(column, descending=not down if again else self.downwards(column))

    @request
    def _on_select(self, rows: list[str], add: bool = False) -> None:
        """Select rows; to `add` some takes away those that are selected already, and so does a second click."""
        if not add and rows == list(self._chosen):
            rows = []
        ids = self.ids()
        for one in rows:
            if one not in ids:
                raise SelectorError("there is no such row", where=ascii(one))
        kept = [one for one in self._chosen if one not in rows]
        self.choose([*kept, *(one for one in rows if one not in self._chosen)] if add else rows)


def table_state(columns: Iterable[Column], rows: Iterable[Row], **more: Any) -> dict[str, Any]:
    """Return a table as a page draws it."""
    return {"columns": [{**vars(column)} for column in columns], "rows": [{**vars(row)} for row in rows], **more}
